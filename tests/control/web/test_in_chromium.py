"""The pages in a real browser: on a laptop and on a phone, by keyboard, live, and for people who cannot see them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from playwright.sync_api import expect

from tests.screenshots import PICTURES
from tests.support.approvals import POLICY
from tests.support.asked import HOSTILE, requester
from tests.support.certificates import Authority
from tests.support.chromium import SCREENS, Chromium, Scheme, Window, chromium
from tests.support.providers import LightProvider
from tests.support.sandbox import CHECKOUT, Sandbox
from tests.support.web_site import WebSite
from vestibule.control.approval_view import shown_hash
from vestibule.control.approvals import Watch
from vestibule.model.approval import Request
from vestibule.model.decision import Rule
from vestibule.model.names import GroupName, LoginName, RuleName, TargetName

SCHEMES: tuple[Scheme, ...] = ("light", "dark")
BOTH = frozenset(map(GroupName, ("dba-managers", "platform")))

# A browser of a busy machine takes its time.
expect.set_options(timeout=20_000)


@pytest.fixture(scope="module")
def site(
    tmp_path_factory: pytest.TempPathFactory, sandbox: Sandbox, authority: Authority, light_provider: LightProvider
) -> Iterator[WebSite]:
    with WebSite(tmp_path_factory.mktemp("site"), authority, light_provider) as made:
        yield made


@pytest.fixture(scope="module")
def program(site: WebSite) -> Iterator[Chromium]:
    with chromium(site.url) as made:
        yield made


@pytest.fixture
def browser(program: Chromium) -> Iterator[Chromium]:
    yield program
    program.close_windows()


def page_of(asked: Request) -> str:
    return f"/approvals/{asked.approval}"


def at(browser: Chromium, site: WebSite, person: str, path: str, screen: str = "laptop", **more: Any) -> Window:
    """Open a window of somebody's, signed in and live at a page."""
    window = browser.window(screen, **more)
    window.sign_in(path, site.provider, person)
    window.wait_until_live()
    window.page.evaluate("window.isThePageOpenedFirst = true")
    return window


def is_not_reloaded(window: Window) -> bool:
    return bool(window.page.evaluate("window.isThePageOpenedFirst === true"))


def hostile(text: str, issuer: str, subject: str) -> dict[str, Any]:
    who = replace(requester(issuer), subject=subject, name=LoginName(text))
    return {
        "reason": text,
        "banner": text,
        "text": text,
        "account": text,
        "database": text,
        "search_path": text,
        "target": TargetName(text),
        "rule": Rule(RuleName(text), "guardrails", POLICY),
        "groups": frozenset({GroupName(text)}),
        "requester": who,
        "parameters": ({"type": text, "value": text, "null": False},),
        "operations": ({"verb": text, "object": text, "impact": "write"},),
    }


@pytest.mark.parametrize("screen", SCREENS)
@pytest.mark.parametrize("scheme", SCHEMES)
def test_every_page_fits_its_screen_and_axe_finds_nothing_serious(
    site: WebSite, browser: Chromium, screen: str, scheme: Scheme
) -> None:
    asked, over = site.ask(approvers=BOTH, quorum=2), site.ask(text="DROP TABLE loans")
    pat = at(browser, site, "pat", page_of(asked))
    pat.page.click("text=Approve")
    window = at(browser, site, "dora", page_of(over), screen, scheme=scheme)
    window.page.fill("#reason", "Not on a Friday")
    window.page.click("button.deny")
    window.page.wait_for_selector("text=It was denied")

    for path in (page_of(over), page_of(asked), "/approvals", "/approvals/AR-0000000000", "/signed-out"):
        window.open(path)
        assert window.grave_findings() == [], path
        assert not window.is_wider_than_its_screen(), path
    assert [each for each in window.complaints if "404" not in each] == []


@pytest.mark.parametrize("screen", SCREENS)
def test_an_approval_in_one_browser_shows_in_another_without_a_reload(
    site: WebSite, browser: Chromium, screen: str
) -> None:
    asked = site.ask()
    dev1 = at(browser, site, "dev1", page_of(asked))
    on_list = at(browser, site, "dora", "/approvals")
    dora = at(browser, site, "dora", page_of(asked), screen)
    expect(dev1.page.locator("#standing")).to_contain_text("waiting")

    dora.page.fill("#reason", "TCK-4711 is right")
    dora.page.click("button.approve")

    expect(dora.page.locator("#standing")).to_contain_text("approved by dora")
    expect(dev1.page.locator("#standing")).to_contain_text("approved by dora")
    expect(dev1.page.locator("#standing")).to_contain_text("TCK-4711 is right")
    expect(on_list.page.locator(f"section[aria-labelledby=mine] a[href='{page_of(asked)}']")).to_have_count(0)
    expect(on_list.page.locator(f"section[aria-labelledby=recent] a[href='{page_of(asked)}']")).to_have_count(1)
    assert is_not_reloaded(dev1)
    assert is_not_reloaded(on_list)
    assert dev1.complaints + dora.complaints + on_list.complaints == []


def test_a_new_request_appears_in_an_open_list(site: WebSite, browser: Chromium) -> None:
    dora = at(browser, site, "dora", "/approvals", "phone")
    asked = site.ask()
    expect(dora.page.locator(f"a[href='{page_of(asked)}']")).to_contain_text("DELETE public.loans")
    assert is_not_reloaded(dora)


def test_what_somebody_types_stays_while_others_answer(site: WebSite, browser: Chromium) -> None:
    asked = site.ask(approvers=BOTH, quorum=2)
    dora, pat = at(browser, site, "dora", page_of(asked)), at(browser, site, "pat", page_of(asked))
    dora.page.click("#reason")
    dora.page.keyboard.type("half a rea")
    pat.page.click("button.approve")
    expect(dora.page.locator("#standing")).to_contain_text("1 of 2")
    dora.page.keyboard.type("son")
    assert dora.page.input_value("#reason") == "half a reason"
    dora.page.click("button.approve")
    expect(dora.page.locator("#standing")).to_contain_text("2 of 2")


def test_the_form_goes_from_an_open_page_once_it_is_over(site: WebSite, browser: Chromium) -> None:
    asked = site.ask(approvers=BOTH)
    dora, pat = at(browser, site, "dora", page_of(asked)), at(browser, site, "pat", page_of(asked))
    pat.page.click("button.approve")
    expect(dora.page.locator("#answer")).to_contain_text("It is approved, and has not run yet.")
    expect(dora.page.locator("button.approve")).to_have_count(0)
    assert is_not_reloaded(dora)


def test_a_request_is_answered_by_keyboard_alone(site: WebSite, browser: Chromium) -> None:
    asked = site.ask()
    dora = at(browser, site, "dora", "/approvals")
    dora.page.focus(f"a[href='{page_of(asked)}']")
    dora.page.keyboard.press("Enter")
    dora.page.wait_for_url(site.url + page_of(asked))
    for _ in range(12):
        dora.page.keyboard.press("Tab")
        if dora.page.evaluate("document.activeElement.id") == "reason":
            break
    dora.page.keyboard.type("by hand")
    dora.page.keyboard.press("Tab")
    assert dora.page.evaluate("document.activeElement.textContent") == "Approve"
    dora.page.keyboard.press("Tab")
    dora.page.keyboard.press("Enter")
    expect(dora.page.locator("#standing")).to_contain_text("denied by dora")


def test_a_page_whose_stream_was_refused_says_so_and_asks_again(site: WebSite, browser: Chromium) -> None:
    dora = at(browser, site, "dora", "/approvals")
    watches = set(site.desk.service._watches)
    (who,) = {watch.viewer for watch in watches}

    async def fill() -> list[Watch]:
        return [site.desk.service.watch(who) for _ in range(8 - len(watches))]

    async def free(taken: list[Watch]) -> None:
        for watch in taken:
            watch.close()

    taken = site.wait(fill())
    second = Window(dora.page.context.new_page(), site.url)
    second.open("/approvals")
    expect(second.page.locator("#live")).to_have_text("not live")
    site.wait(free(taken))
    second.wait_until_live()


def test_the_clock_runs_by_itself(site: WebSite, browser: Chromium) -> None:
    dora = at(browser, site, "dora", page_of(site.ask()))
    before = dora.page.text_content(".closes b")
    expect(dora.page.locator(".closes b")).not_to_have_text(before or "")


def test_a_log_in_that_is_revoked_is_told_on_the_open_page(site: WebSite, browser: Chromium) -> None:
    dora = at(browser, site, "dora", page_of(site.ask()))
    login = UUID(dora.page.evaluate("fetch('/api/v1/me').then((answer) => answer.json())")["login"])
    site.wait(site.service.revoke_login(login))
    expect(dora.page.locator("#signed-out")).to_be_visible()
    expect(dora.page.locator("#signed-out a")).to_have_attribute(
        "href", f"/login?next={dora.page.url[len(site.url) :]}"
    )


def test_signing_out_leads_to_a_page_and_back_goes_nowhere(site: WebSite, browser: Chromium) -> None:
    dora = at(browser, site, "dora", page_of(site.ask()))
    dora.page.click("text=Sign out")
    dora.page.wait_for_url(site.url + "/signed-out")
    dora.page.go_back()
    expect(dora.page.locator("#reason")).to_have_count(0)


@pytest.mark.parametrize("screen", SCREENS)
def test_hostile_text_neither_runs_nor_breaks_the_page(site: WebSite, browser: Chromium, screen: str) -> None:
    dora = at(browser, site, "dora", "/approvals", screen)
    dora.page.on("dialog", lambda dialog: dora.complaints.append(dialog.message))
    sent: list[str] = []
    dora.page.on("request", lambda request: sent.append(request.url))
    for text in HOSTILE:
        asked = site.ask(**hostile(text, site.provider.issuer, f"u-{screen}"))
        dora.open(page_of(asked))
        dora.wait_until_live()
        assert not dora.is_wider_than_its_screen(), text[:40]
        buttons = dora.page.locator("button.approve")
        expect(buttons).to_be_visible()
    dora.open("/approvals")
    assert not dora.is_wider_than_its_screen()
    assert dora.grave_findings() == []
    assert dora.complaints == []
    assert [url for url in sent if not url.startswith(site.url) or "sign-out" in url] == []


def test_an_override_of_direction_does_not_change_what_is_read(site: WebSite, browser: Chromium) -> None:
    text = "SELECT 1; -- \u202eselohw morf eteled\u202c"
    dora = at(browser, site, "dora", page_of(site.ask(text=text)))
    read = dora.page.inner_text(".sql")
    assert "U+202E" in read
    assert "\u202e" not in read


def test_the_policy_of_the_page_stops_a_script_that_got_in(site: WebSite, browser: Chromium) -> None:
    dora = at(browser, site, "dora", page_of(site.ask()))
    ran = dora.page.evaluate(
        """() => {
          const script = document.createElement("script");
          script.textContent = "window.hasRun = true";
          document.body.append(script);
          const image = document.createElement("div");
          image.innerHTML = "<img src=x onerror='window.hasRun = true'>";
          document.body.append(image);
          return new Promise((done) => setTimeout(() => done(window.hasRun === true), 300));
        }"""
    )
    assert ran is False
    assert any("Content Security Policy" in each for each in dora.complaints)


def test_a_form_of_another_site_answers_nothing(site: WebSite, browser: Chromium) -> None:
    asked = site.ask()
    dora = at(browser, site, "dora", page_of(asked))
    token = dora.page.get_attribute("#answer input[name=form_token]", "value")
    other = dora.page.context.new_page()
    other.route(
        "https://evil.example/",
        lambda route: route.fulfill(body=_forged(site.url, asked, str(token)), content_type="text/html"),
    )
    with other.expect_response(lambda response: response.url == site.url + page_of(asked)) as answered:
        other.goto("https://evil.example/")
    # Lax: the cookie does not come along, so nobody is signed in.
    assert answered.value.status in (303, 403)
    assert site.wait(site.desk.state(asked)) == "pending"


def _forged(url: str, asked: Request, token: str) -> str:
    return (
        f"<form method=post action='{url}{page_of(asked)}'><input name=form_token value='{token}'>"
        f"<input name=shown value='{shown_hash(asked)}'><input name=answer value=approve></form>"
        "<script>document.forms[0].submit()</script>"
    )


def test_no_other_site_shows_a_page_in_a_frame(site: WebSite, browser: Chromium) -> None:
    asked = site.ask()
    dora = at(browser, site, "dora", page_of(asked))
    other = dora.page.context.new_page()
    frame = f"<iframe src='{site.url}{page_of(asked)}'></iframe>"
    other.route("https://evil.example/", lambda route: route.fulfill(body=frame, content_type="text/html"))
    other.goto("https://evil.example/")
    other.wait_for_timeout(500)
    assert "public.loans" not in "".join(each.content() for each in other.frames if each != other.main_frame)


@pytest.mark.server
def test_the_pictures_of_the_guide_are_made_by_their_command(tmp_path: Path) -> None:
    # A process of its own: playwright's loop is running in this one.
    subprocess.run([sys.executable, "-m", "tests.screenshots", str(tmp_path)], cwd=CHECKOUT, check=True, timeout=100)
    for name, (width, height) in PICTURES.items():
        data = (tmp_path / name).read_bytes()
        assert data.startswith(b"\x89PNG")
        assert (int.from_bytes(data[16:20]), int.from_bytes(data[20:24])) == (width, height)
        assert (CHECKOUT / "docs" / "guide" / "images" / name).exists()
