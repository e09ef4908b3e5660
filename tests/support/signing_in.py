"""Signing in without the command line: the same requests in this process, for tests that need many tokens."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx2

from tests.support.browser import Browser
from tests.support.ports import free_port
from vestibule.identity.handover import authorization_request, new_verifier, token_request

if TYPE_CHECKING:
    from tests.support.gateway import Gateway


@dataclass(frozen=True, slots=True)
class SignedIn:
    """Somebody's token, and what they can do with it over the API."""

    gateway: Gateway
    person: str
    token: str
    login: str
    token_id: str

    def another_token(self, *, life: int | None = None, targets: list[str] | None = None) -> SignedIn:
        """Make one more token of the same log-in."""
        wanted = {"life": life, "targets": targets}
        made = self._ask("POST", "/api/v1/tokens", {name: value for name, value in wanted.items() if value})
        return SignedIn(self.gateway, self.person, made["token"], self.login, made["id"])

    def revoke(self, token_id: str = "") -> None:
        """End a token, one's own by default."""
        self._ask("DELETE", f"/api/v1/tokens/{token_id or self.token_id}")

    def log_out(self) -> None:
        """End the log-in."""
        self._ask("POST", "/api/v1/logout")

    def _ask(self, method: str, path: str, body: object = None) -> Any:
        with client(self.gateway) as http:
            answer = http.request(method, path, json=body, headers={"Authorization": f"Bearer {self.token}"})
            answer.raise_for_status()
            return answer.json() if answer.content else None


def client(gateway: Gateway) -> httpx2.Client:
    """Open an HTTP client for the control plane that trusts the run's authority alone."""
    context = ssl.create_default_context(cafile=str(gateway.ca))
    return httpx2.Client(base_url=gateway.public_url, verify=context, timeout=30, trust_env=False)


def sign_in(gateway: Gateway, person: str) -> SignedIn:
    """Log `person` in as the command line does, with the provider's own form."""
    verifier, state = new_verifier(), new_verifier()
    home = f"http://127.0.0.1:{free_port()}/"
    address = f"{gateway.public_url}/login?{urlencode(authorization_request(home, state, verifier))}"
    with Browser(gateway.ca) as browser:
        landed = browser.log_in_until(address, *gateway.provider.types(person), until=home)
    answer = parse_qs(urlsplit(landed).query)
    if "code" not in answer:
        raise RuntimeError(f"the log-in of {person} was refused: {answer}")
    with client(gateway) as http:
        given = http.post("/login/token", data=dict(token_request(home, answer["code"][0], verifier))).json()
    return SignedIn(gateway, person, given["access_token"], given["login"], given["token_id"])
