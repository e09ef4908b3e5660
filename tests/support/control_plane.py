"""The control plane in this process, with a provider that does what a test asks for and a browser of its own."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx2
from fastapi import FastAPI
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.support.hostile_issuer import CLIENT_ID, CLIENT_SECRET, HostileIssuer, signed
from tests.support.identities import Clock, MemoryJournal, fresh_database
from vestibule.control.api import sign_in
from vestibule.control.api.asking import SignIn
from vestibule.identity.certificates import new_authority
from vestibule.identity.fetch import Fetcher
from vestibule.identity.handover import challenge
from vestibule.identity.login import LoginService
from vestibule.identity.oidc import RelyingParty
from vestibule.identity.provider import Provider
from vestibule.identity.proving import Prover
from vestibule.model.names import SECOND
from vestibule.stores.logins import LoginStore

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
    engine: AsyncEngine

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


@asynccontextmanager
async def open_house(folder: Path, pem: Path) -> AsyncIterator[House]:
    """Open it with one provider, `corp`, and the targets `core` and `payments`."""
    with HostileIssuer() as issuer:
        clock, journal, engine = Clock(int(time.time()) * SECOND), MemoryJournal(), await fresh_database(folder)
        store = LoginStore(engine)
        service = LoginService({"corp": party(issuer, "corp", pem, clock)}, store, journal, clock, PUBLIC)
        authority = new_authority("vestibule.example")
        app = FastAPI()
        app.state.sign_in = SignIn(
            service,
            Prover(store, clock, authority=authority),
            PUBLIC,
            lambda _: ["core", "payments"],
            {"postgres": 15432},
            authority,
        )
        app.include_router(sign_in.router)
        transport = httpx2.ASGITransport(app)
        async with httpx2.AsyncClient(transport=transport, base_url=PUBLIC) as browser:
            yield House(issuer, service, app, browser, journal, clock, engine)
        await service.close()
        await engine.dispose()


def party(issuer: HostileIssuer, name: str, pem: Path, clock: Clock) -> RelyingParty:
    """Make a relying party of the issuer."""
    provider = Provider(name, issuer.issuer, CLIENT_ID, CLIENT_SECRET, insecure_loopback_http=True)
    fetcher = Fetcher(str(pem), insecure_loopback_http=True)
    return RelyingParty(provider, f"{PUBLIC}/login/callback/{name}", fetcher, clock, time.monotonic)
