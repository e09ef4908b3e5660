from uuid import uuid4

import pytest

from tests.support.control_plane import PUBLIC, House
from vestibule.control.api.asking import SESSION_COOKIE
from vestibule.identity.tokens import new_token
from vestibule.model import wording

pytestmark = pytest.mark.asyncio


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
    house.clock.pass_seconds(60)
    await house.service.sweep()
    assert sum(record.members.get("count", 1) for record in house.journal.records) == 11  # type: ignore[misc]


async def test_a_cookie_is_no_token_and_a_token_no_cookie(house: House) -> None:
    await house.browser.get(await house.begin())
    cookie = house.browser.cookies[SESSION_COOKIE]
    token = await house.token()

    assert (await house.ask("GET", "/api/v1/me", cookie)).status_code == 401
    async with house.another_browser() as other:
        other.cookies.set(SESSION_COOKIE, token)
        assert (await other.get("/api/v1/me")).status_code == 401


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


async def test_an_idle_browser_is_signed_out(house: House) -> None:
    await house.browser.get(await house.begin())
    house.clock.pass_seconds(30 * 60)

    assert (await house.browser.get("/api/v1/me")).status_code == 401


async def test_a_database_that_fails_is_503(house: House) -> None:
    token = await house.token()
    async with house.engine.begin() as connection:
        await connection.exec_driver_sql("DROP TABLE token")

    assert (await house.ask("GET", "/api/v1/me", token)).status_code == 503
