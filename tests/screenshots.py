"""The pictures of the guide: `python -m tests.screenshots [folder]` makes them anew, by default where they belong."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from tests.support.approvals import BEA
from tests.support.asked import TOKEN
from tests.support.certificates import Authority
from tests.support.chromium import Window, chromium
from tests.support.providers import LightProvider
from tests.support.sandbox import CHECKOUT, Sandbox
from tests.support.web_site import WebSite
from vestibule.model.approval import Request
from vestibule.model.names import GroupName
from vestibule.model.statement import Impact

IMAGES = CHECKOUT / "docs" / "guide" / "images"
#: Each picture with its size in pixels; a phone has two for each of the page's.
PICTURES: Mapping[str, tuple[int, int]] = {
    "approvals-laptop.png": (1366, 768),
    "approval-laptop.png": (1366, 768),
    "approval-dark.png": (1366, 768),
    "approval-answered-laptop.png": (1366, 768),
    "approvals-phone.png": (780, 1688),
    "approval-phone.png": (780, 1688),
}


def take(folder: Path, sandbox: Sandbox) -> None:
    """Take all pictures."""
    authority = Authority(sandbox)
    provider = LightProvider(sandbox, authority)
    provider.start()
    with (
        tempfile.TemporaryDirectory() as data,
        WebSite(Path(data), authority, provider) as site,
        chromium(site.url) as browser,
    ):
        page = f"/approvals/{_fill(site)}"
        for screen in ("laptop", "phone"):
            window = browser.window(screen)
            window.sign_in("/approvals", provider, "dora")
            _shoot(window, folder / f"approvals-{screen}.png")
            window.open(page)
            _shoot(window, folder / f"approval-{screen}.png")
        dark = browser.window("laptop", "dark")
        dark.sign_in(page, provider, "dora")
        _shoot(dark, folder / "approval-dark.png")
        dark.page.emulate_media(color_scheme="light")
        dark.page.fill("#reason", "Agreed with the branch, TCK-4711")
        dark.page.click("button.approve")
        _shoot(dark, folder / "approval-answered-laptop.png")
        browser.close_windows()
    provider.stop()


def _fill(site: WebSite) -> str:
    """Let people ask for things; give the one that is looked at."""
    both = frozenset(map(GroupName, ("dba-managers", "platform")))
    _ask(site, "UPDATE accounts SET status = 'closed' WHERE iban = " + TOKEN, "update", "public.accounts")
    _ask(site, "ALTER TABLE payments ADD COLUMN settled_on date", "alter", "public.payments", Impact.SCHEMA, both, 2)
    text = "UPDATE branches SET closed = true WHERE id = 17"
    site.wait(
        site.desk.answer(BEA, _ask(site, text, "update", "public.branches"), comment="Closed on Friday, TCK-4702")
    )
    return str(site.ask().approval)


def _ask(
    site: WebSite,
    text: str,
    verb: str,
    name: str,
    impact: Impact = Impact.WRITE,
    approvers: frozenset[GroupName] = frozenset({GroupName("dba-managers")}),
    quorum: int = 1,
) -> Request:
    operations = ({"verb": verb, "object": name, "impact": impact.word},)
    return site.ask(text=text, parameters=(), operations=operations, approvers=approvers, quorum=quorum)


def _shoot(window: Window, path: Path) -> None:
    window.wait_until_live()
    window.page.wait_for_load_state()
    path.write_bytes(window.page.screenshot(animations="disabled", caret="hide"))


def main() -> int:
    """Make them where the guide shows them, or in a folder that is named."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else IMAGES
    folder.mkdir(parents=True, exist_ok=True)
    with Sandbox() as sandbox:
        take(folder, sandbox)
    return 0


if __name__ == "__main__":
    sys.exit(main())
