import pytest

from tests.support.pages import Rooms, form_at, send, words_of
from vestibule.control.api.asking import SESSION_COOKIE
from vestibule.control.web.rendering import HEADERS

pytestmark = pytest.mark.asyncio
AS_A_BROWSER = {"Accept": "text/html,application/xhtml+xml"}


async def test_the_root_leads_to_the_approvals(rooms: Rooms) -> None:
    answer = await (await rooms.browser()).get("/")
    assert (answer.status_code, answer.headers["location"]) == (303, "/approvals")


async def test_signing_out_ends_the_session_everywhere_and_says_so(rooms: Rooms) -> None:
    browser = await rooms.signed_in("dora")
    cookie = browser.cookies[SESSION_COOKIE]

    out = await send(browser, await form_at(browser, "/approvals", "/sign-out"))
    assert (out.status_code, out.headers["location"]) == (303, "/signed-out")
    assert f'{SESSION_COOKIE}=""' in out.headers["set-cookie"]
    assert "Max-Age=0" in out.headers["set-cookie"]
    assert "Signed out" in words_of((await browser.get("/signed-out")).text)

    thief = await rooms.browser()
    answer = await thief.get("/approvals", headers={"Cookie": f"{SESSION_COOKIE}={cookie}"})
    assert answer.status_code == 303
    assert rooms.house.journal.events[-1] == "logout"


async def test_an_address_that_is_none_is_a_page_for_a_browser_and_a_problem_for_a_program(rooms: Rooms) -> None:
    browser = await rooms.browser()
    page = await browser.get("/nothing", headers=AS_A_BROWSER)
    assert page.status_code == 404
    assert "no page at this address" in words_of(page.text)
    assert page.headers["content-security-policy"] == HEADERS["Content-Security-Policy"]

    for path, headers in (("/nothing", {}), ("/api/v1/nothing", AS_A_BROWSER)):
        answer = await browser.get(path, headers=headers)
        assert answer.status_code == 404
        assert answer.headers["content-type"] == "application/problem+json"


async def test_an_error_keeps_the_frame_of_whoever_is_signed_in(rooms: Rooms) -> None:
    browser = await rooms.signed_in("dora")
    words = words_of((await browser.get("/approvals/AR-0000000000")).text)
    assert "dora Sign out" in words


async def test_a_method_that_a_page_does_not_take_is_refused(rooms: Rooms) -> None:
    browser = await rooms.signed_in("dora")
    assert (await browser.get("/sign-out", headers=AS_A_BROWSER)).status_code == 405
    assert (await browser.put("/approvals", headers=AS_A_BROWSER)).status_code == 405
    assert (await browser.get("/approvals")).status_code == 200


async def test_every_page_carries_the_headers(rooms: Rooms) -> None:
    asked = await rooms.ask()
    browser = await rooms.signed_in("dora")
    paths = ["/", "/approvals", f"/approvals/{asked.approval}", "/approvals/AR-0000000000", "/signed-out"]
    for path in [*paths, "/approvals/list", f"/approvals/{asked.approval}/standing"]:
        answer = await browser.get(path)
        for name, value in HEADERS.items():
            assert answer.headers[name] == value, path
