"""The system's Chromium, driven by playwright: people's browsers on a laptop and on a phone, and axe-core's verdict."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, sync_playwright

from tests.support.providers import Provider
from tests.support.sandbox import TOOLS

PROGRAM = "/usr/bin/chromium"
AXE = TOOLS / "node" / "node_modules" / "axe-core" / "axe.min.js"
FLAGS = [
    "--no-sandbox",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--disable-gpu",
    "--renderer-process-limit=1",
]
SCREENS: Mapping[str, tuple[int, int]] = {"laptop": (1366, 768), "phone": (390, 844)}
#: What axe-core calls findings that keep somebody from using a page.
GRAVE = ("serious", "critical")

Scheme = Literal["light", "dark"]


@dataclass
class Window:
    """One person's browser window; `complaints` are what the console had to say about pages of `site`."""

    page: Page
    site: str
    complaints: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Listen from the first page on."""
        self.page.on("console", self._hear)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def _hear(self, message: ConsoleMessage) -> None:
        # What the browser says about a policy has no address; the favicon is the provider's own page's wish.
        address = message.location.get("url", "")
        is_ours = not address or (address.startswith(self.site) and not address.endswith("/favicon.ico"))
        if message.type in ("error", "warning") and is_ours:
            self.complaints.append(message.text)

    def open(self, path: str) -> None:
        """Go to a page of the site."""
        self.page.goto(self.site + path)

    def sign_in(self, path: str, provider: Provider, person: str) -> None:
        """Go to a page of the site, sign in where it leads, and be back at it."""
        self.open(path)
        self.page.fill("input[name=sub]", provider.types(person)[0])
        self.page.click("button")
        self.page.wait_for_url(self.site + path)

    def wait_until_live(self) -> None:
        """Wait until the page hears of changes."""
        self.page.wait_for_selector("#live.on")

    def grave_findings(self) -> list[str]:
        """Let axe-core look at the page, and give what is serious or worse."""
        # The page's own policy lets nothing in from outside: axe runs in a world of its own.
        self.page.evaluate(AXE.read_text() + "\n;undefined")
        found: dict[str, Any] = self.page.evaluate("axe.run(document, {resultTypes: ['violations']})")
        return [
            f"{each['id']}: {node['target']} {node['failureSummary']}"
            for each in found["violations"]
            if each["impact"] in GRAVE
            for node in each["nodes"]
        ]

    def is_wider_than_its_screen(self) -> bool:
        """Tell whether one must scroll sideways."""
        return bool(self.page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth"))


@dataclass
class Chromium:
    """A running Chromium; every window is another person's, with cookies of its own."""

    browser: Browser
    site: str
    _contexts: list[BrowserContext] = field(default_factory=list)

    def window(self, screen: str = "laptop", scheme: Scheme = "light") -> Window:
        """Open a window."""
        width, height = SCREENS[screen]
        is_phone = screen == "phone"
        context = self.browser.new_context(
            viewport={"width": width, "height": height},
            color_scheme=scheme,
            ignore_https_errors=True,
            is_mobile=is_phone,
            has_touch=is_phone,
            device_scale_factor=2 if is_phone else 1,
            locale="en-GB",
            timezone_id="UTC",
        )
        context.set_default_timeout(20_000)
        self._contexts.append(context)
        return Window(context.new_page(), self.site)

    def close_windows(self) -> None:
        """Close all windows."""
        while self._contexts:
            self._contexts.pop().close()


@contextlib.contextmanager
def chromium(site: str) -> Iterator[Chromium]:
    """Start Chromium without a screen."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=PROGRAM, args=FLAGS)
        try:
            yield Chromium(browser, site)
        finally:
            browser.close()
