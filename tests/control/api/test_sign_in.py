import re
from pathlib import Path
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest

from tests.support.control_plane import HOME, House, cli_query, party
from tests.support.hostile_issuer import Reply, signed
from vestibule.control.api.asking import SESSION_COOKIE
from vestibule.control.api.sign_in import LOGIN_COOKIE
from vestibule.model import wording

pytestmark = pytest.mark.asyncio


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

    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    cookie = answer.headers["set-cookie"]
    for needed in ("__Host-vestibule=vsb_", "Secure", "HttpOnly", "SameSite=lax", "Path=/", "Max-Age=28800"):
        assert needed in cookie
    assert "Domain" not in cookie
    assert (await house.browser.get("/api/v1/me")).json()["name"] == "dev1"


async def test_a_browser_goes_on_to_the_page_that_it_came_for(house: House) -> None:
    answer = await house.browser.get(await house.begin({"next": "/approvals/AR-7K2M9QXW01"}))
    assert (answer.status_code, answer.headers["location"]) == (303, "/approvals/AR-7K2M9QXW01")


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

    assert (await house.browser.get(second)).status_code == 303
    house.issuer.id_token = first_token
    assert (await house.browser.get(first)).status_code == 303


@pytest.mark.case("ID-03")
async def test_a_wrong_state_or_a_second_use_of_it_is_refused(house: House) -> None:
    back = await house.begin()

    assert (await house.browser.get("/login/callback/corp?state=guessed&code=idp-code")).status_code == 403
    assert (await house.browser.get(back)).status_code == 303
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
