import re
from uuid import UUID

import pytest

from tests.support.control_plane import PUBLIC
from tests.support.pages import SAME_SITE, Rooms, form_at, send, words_of
from vestibule.control.api.asking import SESSION_COOKIE
from vestibule.control.web.visitor import FORM_TOKEN

pytestmark = pytest.mark.asyncio
OUT = "/sign-out"


async def test_somebody_who_is_not_signed_in_is_sent_to_sign_in_and_comes_back(rooms: Rooms) -> None:
    asked = await rooms.ask()
    browser = await rooms.browser()
    sent = await browser.get(f"/approvals/{asked.approval}")
    assert (sent.status_code, sent.headers["location"]) == (303, f"/login?next=%2Fapprovals%2F{asked.approval}")

    back = await rooms.back_from_provider(browser, "dora", f"/approvals/{asked.approval}")
    answer = await browser.get(back)
    assert (answer.status_code, answer.headers["location"]) == (303, f"/approvals/{asked.approval}")
    assert (await browser.get(answer.headers["location"])).status_code == 200


@pytest.mark.parametrize(
    "page",
    [
        "https://evil.example/",
        "//evil.example",
        "/\\evil.example",
        "/%2f/evil.example",
        "\\\\evil.example",
        "/\t/evil.example",
        "/x\r\nSet-Cookie: a=b",
        "javascript:alert(1)",
        "approvals",
        "",
        "/a?next=//evil.example",
        "/" + "a" * 300,
    ],
)
async def test_after_signing_in_nobody_is_sent_to_another_site(rooms: Rooms, page: str) -> None:
    answer = await (await rooms.browser()).get("/login", params={"next": page})
    assert answer.status_code == 400
    assert "location" not in answer.headers


async def test_an_answer_that_was_begun_in_another_browser_signs_nobody_in(rooms: Rooms) -> None:
    attacker, victim = await rooms.browser(), await rooms.browser()
    back = await rooms.back_from_provider(attacker, "eve", "/approvals")
    await victim.get("/login")

    answer = await victim.get(back)
    assert answer.status_code == 403
    assert SESSION_COOKIE not in victim.cookies


async def test_a_session_is_a_new_secret_and_not_one_that_the_browser_brought(rooms: Rooms) -> None:
    browser = await rooms.browser()
    back = await rooms.back_from_provider(browser, "dora")
    planted = "vsb_" + "A" * 43
    brought = "; ".join(f"{name}={value}" for name, value in browser.cookies.items())
    answer = await browser.get(back, headers={"Cookie": f"{brought}; {SESSION_COOKIE}={planted}"})
    assert answer.status_code == 303
    assert planted not in answer.headers["set-cookie"]
    for needed in (f"{SESSION_COOKIE}=vsb_", "Secure", "HttpOnly", "SameSite=lax", "Path=/"):
        assert needed in answer.headers["set-cookie"]


async def test_only_the_digest_of_a_cookie_is_kept(rooms: Rooms) -> None:
    browser = await rooms.signed_in("dora")
    async with rooms.house.engine.connect() as connection:
        rows = (await connection.exec_driver_sql("SELECT * FROM token")).all()
    assert browser.cookies[SESSION_COOKIE] not in str(rows)


@pytest.mark.parametrize("cookie", ["vsb_" + "A" * 43, "vst_" + "A" * 43, "x", "\u00e4", "A" * 9_000])
async def test_a_cookie_that_is_none_is_nobody(rooms: Rooms, cookie: str) -> None:
    browser = await rooms.browser()
    answer = await browser.get("/approvals", headers={"Cookie": f"{SESSION_COOKIE}={cookie}".encode()})
    assert (answer.status_code, answer.headers.get("location")) == (303, "/login?next=%2Fapprovals")


async def test_a_gateway_token_opens_no_page(rooms: Rooms) -> None:
    token = await rooms.house.token()
    answer = await (await rooms.browser()).get("/approvals", headers={"Authorization": f"Bearer {token}"})
    assert answer.status_code == 303


async def test_guessing_cookies_ends_soon(rooms: Rooms) -> None:
    browser = await rooms.browser()
    statuses = []
    for number in range(12):
        cookie = f"{SESSION_COOKIE}=vsb_{number:043d}"
        statuses.append((await browser.get("/approvals", headers={"Cookie": cookie})).status_code)
    assert statuses[0] == 303
    assert statuses[-1] == 429


async def test_a_login_that_is_revoked_is_out_at_once(rooms: Rooms) -> None:
    browser = await rooms.signed_in("dora")
    assert (await browser.get("/approvals")).status_code == 200
    me = (await browser.get("/api/v1/me")).json()

    await rooms.house.service.revoke_login(UUID(me["login"]))
    assert (await browser.get("/approvals")).status_code == 303


async def test_an_idle_session_ends_and_a_page_that_refreshes_itself_does_not_keep_it(rooms: Rooms) -> None:
    browser = await rooms.signed_in("dora")
    for _ in range(3):
        rooms.house.clock.pass_seconds(9 * 60)
        assert (await browser.get("/approvals/list", headers={"HX-Request": "true"})).status_code == 200
    rooms.house.clock.pass_seconds(4 * 60)
    assert (await browser.get("/approvals/list", headers={"HX-Request": "true"})).status_code == 401
    assert (await browser.get("/approvals")).status_code == 303


async def test_using_pages_keeps_a_session_but_no_longer_than_its_life(rooms: Rooms) -> None:
    browser = await rooms.signed_in("dora")
    for _ in range(23):
        rooms.house.clock.pass_seconds(20 * 60)
        assert (await browser.get("/approvals")).status_code == 200
    rooms.house.clock.pass_seconds(20 * 60)
    assert (await browser.get("/approvals")).status_code == 303


async def test_a_form_of_the_page_is_taken(rooms: Rooms) -> None:
    browser = await rooms.signed_in("dora")
    assert (await send(browser, await form_at(browser, "/approvals", OUT))).status_code == 303


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Origin": "null"},
        {"Origin": "https://evil.example"},
        {"Origin": PUBLIC.replace("https", "http")},
        {"Origin": PUBLIC + ".evil.example"},
        {"Origin": PUBLIC, "Sec-Fetch-Site": "cross-site"},
        {"Origin": PUBLIC, "Sec-Fetch-Site": "same-site"},
        {"Origin": PUBLIC, "Sec-Fetch-Site": "none"},
        {"Referer": PUBLIC},
    ],
)
async def test_a_form_of_another_site_is_refused_even_with_its_token(rooms: Rooms, headers: dict[str, str]) -> None:
    browser = await rooms.signed_in("dora")
    answer = await send(browser, await form_at(browser, "/approvals", OUT), headers)
    assert answer.status_code == 403
    assert (await browser.get("/approvals")).status_code == 200


@pytest.mark.parametrize("token", [None, "", "x", "\u00e4", "A" * 43])
async def test_a_form_without_its_token_is_refused(rooms: Rooms, token: str | None) -> None:
    browser = await rooms.signed_in("dora")
    fields = {} if token is None else {FORM_TOKEN: token}
    answer = await browser.post(OUT, data={"x": "y", **fields}, headers=SAME_SITE)
    assert answer.status_code == 403
    assert (await browser.get("/approvals")).status_code == 200


async def test_a_token_of_another_session_or_another_form_is_refused(rooms: Rooms) -> None:
    asked = await rooms.ask()
    mine, other = await rooms.signed_in("dora"), await rooms.signed_in("dora")
    theirs = await form_at(other, "/approvals", OUT)
    assert (await send(mine, theirs)).status_code == 403

    answering = await form_at(mine, f"/approvals/{asked.approval}")
    answering.action = OUT
    assert (await send(mine, answering)).status_code == 403


async def test_a_form_is_worth_nothing_after_its_session(rooms: Rooms) -> None:
    asked = await rooms.ask()
    browser = await rooms.signed_in("dora")
    old = await form_at(browser, f"/approvals/{asked.approval}")
    await send(browser, await form_at(browser, "/approvals", OUT))
    assert (await send(browser, old, answer="approve")).status_code == 303

    await browser.get(await rooms.back_from_provider(browser, "dora"))
    assert (await send(browser, old, answer="approve")).status_code == 403
    assert await rooms.desk.state(asked) == "pending"


async def test_the_token_does_not_give_the_cookie_away(rooms: Rooms) -> None:
    browser = await rooms.signed_in("dora")
    page = (await browser.get("/approvals")).text
    assert browser.cookies[SESSION_COOKIE] not in page
    assert re.search(rf'name="{FORM_TOKEN}" value="[A-Za-z0-9_-]{{43}}"', page)


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b"form_token=a&form_token=b", "application/x-www-form-urlencoded", 400),
        (b"\xff", "application/x-www-form-urlencoded", 400),
        (b"a=%ff", "application/x-www-form-urlencoded", 400),
        (b"", "application/x-www-form-urlencoded", 403),
        (b"&".join(b"a%d=1" % number for number in range(40)), "application/x-www-form-urlencoded", 400),
        (b"{}", "application/json", 415),
        (b"form_token=a", "text/plain", 415),
        (b"--x", "multipart/form-data; boundary=x", 415),
        (b"a=" + b"b" * 70_000, "application/x-www-form-urlencoded", 413),
    ],
)
async def test_what_is_no_form_is_refused_with_a_page(rooms: Rooms, body: bytes, kind: str, status: int) -> None:
    browser = await rooms.signed_in("dora")
    answer = await browser.post(OUT, content=body, headers={**SAME_SITE, "Content-Type": kind})
    assert answer.status_code == status
    assert answer.headers["content-type"].startswith("text/html")


async def test_a_database_that_fails_is_a_page_that_says_so(rooms: Rooms) -> None:
    browser = await rooms.signed_in("dora")
    async with rooms.house.engine.begin() as connection:
        await connection.exec_driver_sql("DROP TABLE token")
    answer = await browser.get("/approvals")
    assert answer.status_code == 503
    assert "Not possible now" in words_of(answer.text)
