import re
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, urlencode, urlsplit
from uuid import uuid4

import httpx2
import pytest
import pytest_asyncio
from fastapi import FastAPI

from tests.support.hostile_issuer import CLIENT_ID, CLIENT_SECRET, HostileIssuer, Reply, self_signed, signed
from tests.support.identities import Clock, MemoryJournal, fresh_database
from vestibule.control.api import sign_in as routes
from vestibule.control.api.sign_in import LOGIN_COOKIE, SESSION_COOKIE, SignIn
from vestibule.identity.fetch import Fetcher
from vestibule.identity.handover import challenge
from vestibule.identity.login import LoginService
from vestibule.identity.oidc import RelyingParty
from vestibule.identity.provider import Provider
from vestibule.identity.proving import Prover
from vestibule.identity.tokens import new_token
from vestibule.model import wording
from vestibule.model.names import SECOND
from vestibule.stores.logins import LoginStore

pytestmark = pytest.mark.asyncio
PUBLIC = "https://vestibule.example:8443"
VERIFIER = "verifier-of-the-command-line-" + "x" * 20
HOME = "http://127.0.0.1:40123/callback"


def cli_query(**changes: str | None) -> dict[str, str]:
    """What a command line asks for; None leaves a parameter out."""
    query: dict[str, str | None] = {
        "response_type": "code",
        "client_id": "vestibule-cli",
        "redirect_uri": HOME,
        "state": "state-of-the-command-line",
        "code_challenge": challenge(VERIFIER),
        "code_challenge_method": "S256",
        **changes,
    }
    return {name: value for name, value in query.items() if value is not None}


@dataclass
class House:
    """The control plane with its provider; `browser` keeps cookies and follows nothing."""

    issuer: HostileIssuer
    service: LoginService
    app: FastAPI
    browser: httpx2.AsyncClient
    journal: MemoryJournal
    clock: Clock

    def another_browser(self) -> httpx2.AsyncClient:
        """A browser without these cookies."""
        return httpx2.AsyncClient(transport=httpx2.ASGITransport(self.app), base_url=PUBLIC)

    async def begin(self, query: dict[str, str] | None = None) -> str:
        """Open `/login` and prepare the provider's answer; give the address that the provider sends back to."""
        answer = await self.browser.get("/login", params=query or {})
        assert answer.status_code == 302, answer.text
        asked = parse_qs(urlsplit(answer.headers["location"]).query)
        self.issuer.id_token = signed(self.issuer.claims(nonce=asked["nonce"][0]))
        return f"{asked['redirect_uri'][0]}?{urlencode({'state': asked['state'][0], 'code': 'idp-code'})}"

    async def cli_code(self) -> str:
        """Log in as far as the code that reaches the command line."""
        answer = await self.browser.get(await self.begin(cli_query()))
        assert answer.status_code == 303, answer.text
        return parse_qs(urlsplit(answer.headers["location"]).query)["code"][0]

    async def swap(self, code: str, /, **changes: str) -> httpx2.Response:
        """Swap a code as the command line does."""
        form = {
            "grant_type": "authorization_code",
            "client_id": "vestibule-cli",
            "code": code,
            "redirect_uri": HOME,
            "code_verifier": VERIFIER,
            **changes,
        }
        async with self.another_browser() as cli:
            return await cli.post("/login/token", data=form)

    async def token(self) -> str:
        """Log a command line in."""
        token: str = (await self.swap(await self.cli_code())).json()["access_token"]
        return token

    async def ask(self, method: str, path: str, token: str, **more: object) -> httpx2.Response:
        """Ask with a token and without cookies."""
        async with self.another_browser() as cli:
            headers = {"Authorization": f"Bearer {token}"}
            return await cli.request(method, path, headers=headers, **more)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def pem(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return self_signed(tmp_path_factory.mktemp("issuer"))


@pytest_asyncio.fixture
async def house(tmp_path: Path, pem: Path) -> AsyncIterator[House]:
    with HostileIssuer() as issuer:
        clock, journal, engine = Clock(int(time.time()) * SECOND), MemoryJournal(), await fresh_database(tmp_path)
        store = LoginStore(engine)
        service = LoginService({"corp": party(issuer, "corp", pem, clock)}, store, journal, clock, PUBLIC)
        app = FastAPI()
        app.state.sign_in = SignIn(
            service, Prover(store, clock), PUBLIC, lambda _: ["core", "payments"], {"postgres": 15432}
        )
        app.include_router(routes.router)
        transport = httpx2.ASGITransport(app)
        async with httpx2.AsyncClient(transport=transport, base_url=PUBLIC) as browser:
            yield House(issuer, service, app, browser, journal, clock)
        await service.close()
        await engine.dispose()


def party(issuer: HostileIssuer, name: str, pem: Path, clock: Clock) -> RelyingParty:
    provider = Provider(name, issuer.issuer, CLIENT_ID, CLIENT_SECRET, insecure_loopback_http=True)
    fetcher = Fetcher(str(pem), insecure_loopback_http=True)
    return RelyingParty(provider, f"{PUBLIC}/login/callback/{name}", fetcher, clock, time.monotonic)


async def test_a_command_line_logs_in_through_a_browser(house: House) -> None:
    answer = await house.swap(await house.cli_code())

    assert answer.status_code == 200
    got = answer.json()
    assert re.fullmatch(r"vst_[A-Za-z0-9_-]{43}", got["access_token"])
    assert (got["token_type"], got["expires_in"]) == ("Bearer", 8 * 3600)
    assert (got["name"], got["groups"], got["ports"]) == ("dev1", ["engineering"], {"postgres": 15432})
    assert answer.headers["cache-control"] == "no-store"


async def test_the_browser_goes_back_to_the_command_line_with_its_state_and_no_token(house: House) -> None:
    answer = await house.browser.get(await house.begin(cli_query()))
    location = answer.headers["location"]

    assert location.startswith(f"{HOME}?")
    assert parse_qs(urlsplit(location).query)["state"] == ["state-of-the-command-line"]
    assert "vst_" not in location
    assert SESSION_COOKIE not in house.browser.cookies


async def test_a_browser_signs_itself_in(house: House) -> None:
    answer = await house.browser.get(await house.begin())

    assert answer.status_code == 200
    assert "signed in as <strong>dev1</strong>" in answer.text
    assert "default-src 'none'; style-src" in answer.headers["content-security-policy"]
    cookie = answer.headers["set-cookie"]
    for needed in ("__Host-vestibule=vsb_", "Secure", "HttpOnly", "SameSite=lax", "Path=/", "Max-Age=28800"):
        assert needed in cookie
    assert "Domain" not in cookie
    assert (await house.browser.get("/api/v1/me")).json()["name"] == "dev1"


@pytest.mark.parametrize(
    "address",
    [
        "https://evil.example/",
        "http://evil.example:80/",
        "http://localhost:4000/callback",
        "http://127.0.0.1/callback",
        "http://127.0.0.1:0/callback",
        "http://127.0.0.1:65536/callback",
        "http://127.0.0.1:4000@evil.example/",
        "http://evil.example#@127.0.0.1:4000/",
        "http://127.0.0.1:4000.evil.example/",
        "http://127.0.0.1:4000/callback?x=1",
        "http://127.0.0.1:4000/callback#x",
        "http://127.0.0.1:4000//evil.example/..;/",
        "http://127.0.0.1:4000/\r\nSet-Cookie: x=1",
        "http://127.0.0.1:4000/callback\n",
        "http://127.0.0.2:4000/",
        "http://[::ffff:127.0.0.1]:4000/",
        "http://2130706433:4000/",
        "https://127.0.0.1:4000/",
        "HTTP://127.0.0.1:4000/",
        "file:///etc/passwd",
        "javascript:alert(1)",
        "//evil.example",
        "",
    ],
)
async def test_a_browser_is_never_sent_anywhere_but_to_a_loopback_address(house: House, address: str) -> None:
    answer = await house.browser.get("/login", params=cli_query(redirect_uri=address))

    assert answer.status_code == 400
    assert "location" not in answer.headers
    assert "evil" not in answer.text


async def test_a_loopback_address_of_ipv6_is_one(house: House) -> None:
    assert await house.begin(cli_query(redirect_uri="http://[::1]:4000/callback"))


@pytest.mark.parametrize(
    "change",
    [
        {"response_type": "token"},
        {"client_id": "other"},
        {"code_challenge_method": "plain"},
        {"code_challenge_method": None},
        {"code_challenge": None},
        {"code_challenge": "short"},
        {"state": None},
        {"state": "short"},
        {"state": "<script>alert(1)</script>"},
    ],
)
async def test_a_command_line_that_asks_without_protection_is_refused(
    house: House, change: dict[str, str | None]
) -> None:
    answer = await house.browser.get("/login", params=cli_query(**change))

    assert answer.status_code == 400
    assert "<script>" not in answer.text


async def test_a_parameter_that_comes_twice_does_not_count(house: House) -> None:
    answer = await house.browser.get(f"/login?{urlencode(cli_query())}&redirect_uri=http://127.0.0.1:1/")
    assert answer.status_code == 400
    back = await house.begin()
    assert (await house.browser.get(f"{back}&state=other")).status_code == 400


async def test_an_address_that_is_too_long_is_refused(house: House) -> None:
    assert (await house.browser.get(f"/login?x={'y' * 17_000}")).status_code == 400


@pytest.mark.case("ID-03")
async def test_an_answer_in_another_browser_is_refused(house: House) -> None:
    back = await house.begin(cli_query())

    async with house.another_browser() as other:
        assert (await other.get(back)).status_code == 403
        other.cookies.set(LOGIN_COOKIE, "x" * 43)
        assert (await other.get(back)).status_code == 403


async def test_two_windows_of_one_browser_do_not_undo_each_other(house: House) -> None:
    first = await house.begin()
    first_token = house.issuer.id_token
    second = await house.begin()

    assert (await house.browser.get(second)).status_code == 200
    house.issuer.id_token = first_token
    assert (await house.browser.get(first)).status_code == 200


@pytest.mark.case("ID-03")
async def test_a_wrong_state_or_a_second_use_of_it_is_refused(house: House) -> None:
    back = await house.begin()

    assert (await house.browser.get("/login/callback/corp?state=guessed&code=idp-code")).status_code == 403
    assert (await house.browser.get(back)).status_code == 200
    assert (await house.browser.get(back)).status_code == 403


@pytest.mark.case("ID-03")
async def test_an_answer_that_names_another_issuer_is_refused(house: House) -> None:
    back = await house.begin()

    answer = await house.browser.get(f"{back}&iss=https%3A%2F%2Fevil.example")
    assert answer.status_code == 403
    assert "evil" not in answer.text


@pytest.mark.case("ID-03")
async def test_a_bad_id_token_signs_nobody_in(house: House) -> None:
    back = await house.begin()
    house.issuer.id_token = signed(house.issuer.claims(nonce="another"))

    answer = await house.browser.get(back)
    assert answer.status_code == 403
    assert SESSION_COOKIE not in house.browser.cookies


async def test_an_error_of_the_provider_is_told_in_our_words(house: House) -> None:
    back = (await house.begin()).replace("code=idp-code", "error=%3Cscript%3Ealert(1)%3C/script%3E")

    answer = await house.browser.get(back)
    assert answer.status_code == 403
    assert "refused the log-in" in answer.text
    assert "<script>" not in answer.text


async def test_a_provider_that_is_down_is_a_page_and_not_a_crash(house: House) -> None:
    house.issuer.answers["/.well-known/openid-configuration"] = Reply(status=500)

    answer = await house.browser.get("/login")
    assert answer.status_code == 502
    assert answer.headers["content-type"].startswith("text/html")


async def test_a_command_line_hears_that_the_provider_is_down(house: House) -> None:
    house.issuer.answers["/.well-known/openid-configuration"] = Reply(status=500)

    answer = await house.browser.get("/login", params=cli_query())
    assert answer.headers["location"].startswith(f"{HOME}?error=access_denied&")
    assert parse_qs(urlsplit(answer.headers["location"]).query)["state"] == ["state-of-the-command-line"]


async def test_several_providers_are_offered_and_the_command_lines_wish_is_kept(house: House, pem: Path) -> None:
    house.service.serve({name: party(house.issuer, name, pem, house.clock) for name in ("corp", "other")})
    page = (await house.browser.get("/login", params=cli_query())).text
    links = re.findall(r'href="([^"]+)"', page)

    assert len(links) == 2
    chosen = parse_qs(urlsplit(links[1].replace("&amp;", "&")).query)
    assert chosen["provider"] == ["other"]
    assert chosen["redirect_uri"] == [HOME]
    assert (await house.browser.get("/login", params={"provider": "nobody"})).status_code == 404
    assert await house.begin({"provider": "other"})


@pytest.mark.case("ID-03")
async def test_a_code_is_swapped_once_with_its_verifier_and_its_address(house: House) -> None:
    for change in ({"code_verifier": "y" * 43}, {"redirect_uri": "http://127.0.0.1:1/"}):
        answer = await house.swap(await house.cli_code(), **change)
        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_grant")

    code = await house.cli_code()
    token = (await house.swap(code)).json()["access_token"]
    again = await house.swap(code)
    assert (again.status_code, again.json()["error"]) == (400, "invalid_grant")
    assert (await house.ask("GET", "/api/v1/me", token)).status_code == 401


async def test_a_code_that_is_a_minute_old_is_refused(house: House) -> None:
    code = await house.cli_code()
    house.clock.pass_seconds(60)

    assert (await house.swap(code)).json()["error"] == "invalid_grant"


@pytest.mark.parametrize(
    "change",
    [
        {"grant_type": "password"},
        {"client_id": "other"},
        {"code": ""},
        {"code_verifier": ""},
        {"code_verifier": "short"},
        {"code_verifier": "ü" * 43},
    ],
)
async def test_a_swap_that_is_none_is_refused(house: House, change: dict[str, str]) -> None:
    answer = await house.swap("some-code", **change)

    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")


@pytest.mark.parametrize("body", [b"\xff", b"code=a&code=b", b"a=1&" * 50, b""])
async def test_a_form_that_is_none_is_refused(house: House, body: bytes) -> None:
    answer = await house.browser.post("/login/token", content=body)

    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")


async def test_no_record_no_token(house: House) -> None:
    code = await house.cli_code()
    house.journal.is_down = True

    answer = await house.swap(code)
    assert answer.status_code == 503
    assert answer.json() == {"error": "temporarily_unavailable", "error_description": wording.EVIDENCE_UNWRITABLE}


async def test_the_api_says_who_asks(house: House) -> None:
    answer = await house.ask("GET", "/api/v1/me", await house.token())

    got = answer.json()
    assert (got["issuer"], got["subject"], got["name"]) == (house.issuer.issuer, "u-dev1", "dev1")
    assert got["groups"] == ["engineering"]
    assert got["expires_at"].endswith("Z")


@pytest.mark.parametrize(
    ("shown", "detail"),
    [
        (new_token("gateway"), wording.TOKEN_REFUSED),
        ("vst_short", wording.truncated(9)),
        ("nonsense", wording.TOKEN_REFUSED),
    ],
    # Named, as a token is another in each process and would be part of the test's name.
    ids=["unknown", "cut", "nonsense"],
)
async def test_a_wrong_token_is_401_with_what_to_do(house: House, shown: str, detail: str) -> None:
    answer = await house.ask("GET", "/api/v1/me", shown)

    assert (answer.status_code, answer.json()["detail"]) == (401, detail)
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert answer.headers["content-type"] == "application/problem+json"
    assert house.journal.records[-1].members["failure"] == "token"


async def test_nobody_is_401(house: House) -> None:
    answer = await house.browser.get("/api/v1/me")

    assert answer.status_code == 401
    assert "vestibule login" in answer.json()["detail"]


async def test_an_expired_token_is_told_so(house: House) -> None:
    token = await house.token()
    house.clock.pass_seconds(8 * 3600)

    answer = await house.ask("GET", "/api/v1/me", token)
    assert (answer.status_code, answer.json()["detail"]) == (401, wording.TOKEN_EXPIRED)


async def test_too_many_wrong_tokens_are_429(house: House) -> None:
    for _ in range(10):
        await house.ask("GET", "/api/v1/me", new_token("gateway"))

    answer = await house.ask("GET", "/api/v1/me", new_token("gateway"))
    assert answer.status_code == 429
    assert answer.headers["retry-after"]


async def test_a_cookie_is_no_token_and_a_token_no_cookie(house: House) -> None:
    await house.browser.get(await house.begin())
    cookie = house.browser.cookies[SESSION_COOKIE]
    token = await house.token()

    assert (await house.ask("GET", "/api/v1/me", cookie)).status_code == 401
    async with house.another_browser() as other:
        other.cookies.set(SESSION_COOKIE, token)
        assert (await other.get("/api/v1/me")).status_code == 401


async def test_a_token_is_made_and_ended(house: House) -> None:
    token = await house.token()
    made = await house.ask("POST", "/api/v1/tokens", token, json={})
    assert made.status_code == 201
    new = made.json()
    assert new["token"] != token
    assert (await house.ask("GET", "/api/v1/me", new["token"])).status_code == 200

    assert (await house.ask("DELETE", f"/api/v1/tokens/{new['id']}", token)).status_code == 204
    assert (await house.ask("GET", "/api/v1/me", new["token"])).status_code == 401
    assert (await house.ask("GET", "/api/v1/me", token)).status_code == 200


async def test_a_token_may_be_short_and_for_some_targets(house: House) -> None:
    token = await house.token()
    made = (await house.ask("POST", "/api/v1/tokens", token, json={"targets": ["core"], "life": 60})).json()

    assert made["targets"] == ["core"]
    answer = await house.ask("GET", "/api/v1/me", made["token"])
    assert answer.status_code == 403
    assert "targets only" in answer.json()["detail"]


async def test_a_token_for_a_target_that_is_not_ones_own_is_refused_with_the_names(house: House) -> None:
    token = await house.token()
    answer = await house.ask("POST", "/api/v1/tokens", token, json={"targets": ["vault"]})

    assert (answer.status_code, answer.json()["detail"]) == (422, wording.choose_target(["core", "payments"]))


@pytest.mark.parametrize(
    "wrong", [{"life": 0}, {"life": "1h"}, {"targets": []}, {"targets": "core"}, {"scope": "all"}, {"life": 10**9}, []]
)
async def test_a_wish_for_a_token_that_is_none_is_refused(house: House, wrong: object) -> None:
    assert (await house.ask("POST", "/api/v1/tokens", await house.token(), json=wrong)).status_code == 422


async def test_a_token_that_is_not_ones_own_cannot_be_ended(house: House) -> None:
    token = await house.token()

    assert (await house.ask("DELETE", f"/api/v1/tokens/{uuid4()}", token)).status_code == 404
    assert (await house.ask("DELETE", "/api/v1/tokens/nonsense", token)).status_code == 422


async def test_logging_out_ends_everything_and_takes_the_cookie(house: House) -> None:
    await house.browser.get(await house.begin())
    answer = await house.browser.post("/api/v1/logout", headers={"Origin": PUBLIC})

    assert answer.status_code == 204
    assert 'vestibule="";' in answer.headers["set-cookie"]
    assert "Max-Age=0" in answer.headers["set-cookie"]
    assert (await house.browser.get("/api/v1/me")).status_code == 401


@pytest.mark.parametrize(
    "origin", [None, "https://evil.example", "null", "http://vestibule.example:8443", PUBLIC + "/"]
)
async def test_a_cookie_changes_nothing_for_another_site(house: House, origin: str | None) -> None:
    await house.browser.get(await house.begin())
    headers = {} if origin is None else {"Origin": origin}

    for method, path in (
        ("POST", "/api/v1/logout"),
        ("POST", "/api/v1/tokens"),
        ("DELETE", f"/api/v1/tokens/{uuid4()}"),
    ):
        assert (await house.browser.request(method, path, headers=headers)).status_code == 403
    assert (await house.browser.get("/api/v1/me", headers=headers)).status_code == 200


async def test_a_cookie_makes_tokens_for_its_own_site(house: House) -> None:
    await house.browser.get(await house.begin())

    assert (await house.browser.post("/api/v1/tokens", json={}, headers={"Origin": PUBLIC})).status_code == 201


async def test_an_idle_browser_is_signed_out(house: House) -> None:
    await house.browser.get(await house.begin())
    house.clock.pass_seconds(30 * 60)

    assert (await house.browser.get("/api/v1/me")).status_code == 401


async def test_a_database_that_fails_is_503(house: House) -> None:
    token = await house.token()
    engine = house.app.state.sign_in.prover._logins._engine
    async with engine.begin() as connection:
        await connection.exec_driver_sql("DROP TABLE token")

    assert (await house.ask("GET", "/api/v1/me", token)).status_code == 503


async def test_the_openapi_document_describes_the_routes_and_their_problems(house: House) -> None:
    paths = house.app.openapi()["paths"]

    assert set(paths) == {"/api/v1/me", "/api/v1/tokens", "/api/v1/tokens/{token}", "/api/v1/logout"}
    assert "application/problem+json" in paths["/api/v1/me"]["get"]["responses"]["401"]["content"]
    assert paths["/api/v1/me"]["get"]["security"] == [{"HTTPBearer": []}]
