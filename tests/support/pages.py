"""The pages in this process: people with browsers of their own, and requests that they answer."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx2

from tests.support.approvals import Site
from tests.support.asked import IN_A_BANK, requester
from tests.support.browser import Form, forms_of
from tests.support.control_plane import PUBLIC, House, open_house
from tests.support.identities import CLIENT
from tests.support.providers import PEOPLE
from vestibule.control.api.asking import SESSION_COOKIE
from vestibule.control.web.approvals import Pages
from vestibule.control.web.site import add_pages
from vestibule.model.approval import Request
from vestibule.model.identity import Identity
from vestibule.stores.data_keys import open_data_keys

#: What a browser says of a form of the page that it shows.
SAME_SITE = {"Origin": PUBLIC, "Sec-Fetch-Site": "same-origin"}
Browser = httpx2.AsyncClient


@dataclass
class Rooms:
    """The house with its pages; `desk` keeps the approvals."""

    house: House
    desk: Site
    _stack: AsyncExitStack = field(default_factory=AsyncExitStack)

    async def browser(self) -> Browser:
        """Open a browser in which nobody is signed in."""
        return await self._stack.enter_async_context(self.house.another_browser())

    async def back_from_provider(self, browser: Browser, person: str, page: str = "/") -> str:
        """Begin to sign in; give the address that the provider sends the browser back to."""
        answer = await browser.get("/login", params={"next": page})
        asked = parse_qs(urlsplit(answer.headers["location"]).query)
        who = PEOPLE[person]
        self.house.issuer.give(
            nonce=asked["nonce"][0], sub=who.sub, preferred_username=who.name, groups=list(who.groups)
        )
        return f"{asked['redirect_uri'][0]}?{urlencode({'state': asked['state'][0], 'code': 'idp-code'})}"

    async def signed_in(self, person: str) -> Browser:
        """Open a browser in which `person` is signed in."""
        browser = await self.browser()
        answer = await browser.get(await self.back_from_provider(browser, person))
        assert answer.status_code == 303, answer.text
        return browser

    async def identity_of(self, browser: Browser) -> Identity:
        """Say who is signed in in a browser."""
        found = await self.house.app.state.sign_in.prover.prove_browser(
            browser.cookies[SESSION_COOKIE].encode(), CLIENT
        )
        assert isinstance(found, Identity)
        return found

    async def ask(self, **changes: Any) -> Request:
        """Let dev1 ask for something."""
        who = requester(self.house.issuer.issuer)
        return await self.desk.open(**{**IN_A_BANK, "requester": who, **changes})


async def form_at(browser: Browser, path: str, action: str | None = None) -> Form:
    """Read the form of a page that goes to `action`, by default to the page itself."""
    answer = await browser.get(path)
    assert answer.status_code == 200, answer.text
    return next(form for form in forms_of(answer.text) if form.action == (action or path))


async def send(browser: Browser, form: Form, headers: dict[str, str] | None = None, **fields: str) -> httpx2.Response:
    """Send a form as a browser does; `fields` are filled in."""
    values = {name: value for name, value in form.fields.items() if form.types[name] == "hidden"}
    return await browser.post(form.action, data={**values, **fields}, headers=SAME_SITE if headers is None else headers)


def words_of(page: str) -> str:
    """Read what a page says, without its tags."""
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", page)).split())


@asynccontextmanager
async def open_rooms(folder: Path, pem: Path) -> AsyncIterator[Rooms]:
    """Open house and pages."""
    async with open_house(folder, pem) as house:
        desk = Site(house.engine, await open_data_keys(house.engine, folder / "kek"), house.clock)
        add_pages(house.app, Pages(desk.service, house.clock))
        rooms = Rooms(house, desk)
        async with rooms._stack:
            yield rooms
