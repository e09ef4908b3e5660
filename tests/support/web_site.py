"""The pages as browsers get them: the real application over TLS, with sign-in at a real provider, in a thread."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Coroutine
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar
from uuid import UUID

from fastapi import FastAPI
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.support.approvals import Site
from tests.support.asked import IN_A_BANK, requester
from tests.support.certificates import Authority
from tests.support.identities import Clock, MemoryJournal, fresh_database
from tests.support.ports import free_port
from tests.support.providers import CLIENT_ID, CLIENT_SECRET, Provider
from vestibule.control.api import sign_in
from vestibule.control.api.asking import SignIn
from vestibule.control.https import Web
from vestibule.control.web.approvals import Pages
from vestibule.control.web.site import add_pages
from vestibule.identity.fetch import Fetcher
from vestibule.identity.login import LoginService
from vestibule.identity.oidc import RelyingParty
from vestibule.identity.provider import Provider as Known
from vestibule.identity.proving import Prover
from vestibule.model.approval import Request
from vestibule.model.names import SECOND, Instant
from vestibule.stores.data_keys import open_data_keys
from vestibule.stores.logins import LoginStore

T = TypeVar("T")
PATIENCE = 30


class WallClock(Clock):
    """The time of day."""

    def __call__(self) -> Instant:
        """Read it."""
        return Instant(int(time.time() * SECOND))


wall_clock = WallClock()


@dataclass
class WebSite:
    """One site; `desk` is its approvals, and what is done to them is done in its own loop by `wait`."""

    folder: Path
    authority: Authority
    provider: Provider
    port: int = field(default_factory=free_port)
    service: LoginService = field(init=False)
    desk: Site = field(init=False)
    _loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.new_event_loop)
    _engine: AsyncEngine = field(init=False)
    _web: Web = field(init=False)

    @property
    def url(self) -> str:
        """Where it is."""
        return f"https://localhost:{self.port}"

    def __enter__(self) -> WebSite:
        """Start it."""
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.wait(self._start())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop it."""
        self.wait(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(PATIENCE)
        self._loop.close()

    def wait(self, work: Coroutine[Any, Any, T]) -> T:
        """Do something in the site's loop and give what comes of it."""
        done: Future[T] = asyncio.run_coroutine_threadsafe(work, self._loop)
        return done.result(PATIENCE)

    def ask(self, **changes: Any) -> Request:
        """Let dev1 ask for something."""
        who = requester(self.provider.issuer)
        return self.wait(self.desk.open(**{**IN_A_BANK, "requester": who, **changes}))

    async def _start(self) -> None:
        self._engine = await fresh_database(self.folder)
        store = LoginStore(self._engine)
        known = Known("corp", self.provider.issuer, CLIENT_ID, CLIENT_SECRET, scopes=self.provider.scopes)
        fetcher = Fetcher(str(self.provider.ca), insecure_loopback_http=False)
        party = RelyingParty(known, f"{self.url}/login/callback/corp", fetcher, wall_clock, time.monotonic)
        self.service = LoginService({"corp": party}, store, MemoryJournal(), wall_clock, self.url)
        app = FastAPI(openapi_url=None)
        app.state.sign_in = SignIn(self.service, Prover(store, wall_clock), self.url, lambda _: [])
        app.include_router(sign_in.router)
        self.desk = Site(self._engine, await open_data_keys(self._engine, self.folder / "kek"), wall_clock)
        self.service.on_revoked(self._revoked)
        add_pages(app, Pages(self.desk.service, wall_clock))
        certificate = self.authority.issue("site")
        self._web = Web(app, certificate.certificate, certificate.key)
        await self._web.start(socket.create_server(("127.0.0.1", self.port)))

    def _revoked(self, login: UUID, cause: str, token: UUID | None = None) -> None:
        if token is None:
            self.desk.service.end_watches(login)

    async def _stop(self) -> None:
        self.desk.service.close()
        await self._web.stop()
        await self.service.close()
        await self._engine.dispose()
