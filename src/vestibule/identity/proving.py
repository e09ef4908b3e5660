"""Who somebody is, by the token or the certificate that they show.

1. Unknown, expired and revoked tokens take the same way: one look-up, every check made, then one answer chosen.
   So do certificates: a certificate that was signed but is not kept proves nothing.
2. Failures are limited per network, and per login name from one network: a stranger elsewhere cannot lock a person out.
3. The token is hashed at the door. It is in no log, no record, no error.
4. That whoever shows a certificate holds its key, TLS has verified in the data process, which nobody else can ask from.
"""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable
from typing import Final
from uuid import UUID

from vestibule.identity.certificates import Authority, Shown, common_name
from vestibule.identity.ports import Logins
from vestibule.identity.throttle import Throttle, network
from vestibule.identity.tokens import digest, malformed
from vestibule.model.identity import Identity, Peer, Refusal, Who
from vestibule.model.login import Found, Login, StateUnavailable, Token, TokenKind, identity_of
from vestibule.model.names import SECOND, Instant, LoginName

LookUp = Callable[[Instant], Awaitable[Identity | Refusal]]

BROWSER_IDLE: Final = 30 * 60 * SECOND
#: A browser's last use is written this often, not at every request.
TOUCH_EVERY: Final = 60 * SECOND

#: Stands in for a token that is not there, so that it is judged like any other; revoked since ever.
_NOBODY: Final = Found(
    Token(UUID(int=0), UUID(int=0), "gateway", Instant(0), Instant(0), revoked_at=Instant(0)),
    Login(Who("", "", LoginName(""), "human", UUID(int=0)), "", frozenset(), (), "", None, "", Instant(0), Instant(0)),
    bytes(32),
)


class Limits:
    """How often a network, and a login name from it, may show a wrong token."""

    def __init__(self, by_network: Throttle | None = None, by_login: Throttle | None = None) -> None:
        """Allow a hundred at once and one a second for a network, ten and one in six seconds for a login from it."""
        self._by_network = by_network or Throttle(100, SECOND)
        self._by_login = by_login or Throttle(10, 6 * SECOND)

    def is_open(self, client: Peer, attempted: str, now: Instant) -> bool:
        """Tell whether the client may show a token."""
        origin = network(client.ip)
        return self._by_network.is_open(origin, now) and self._by_login.is_open(_pair(origin, attempted), now)

    def fail(self, client: Peer, attempted: str, now: Instant) -> None:
        """Count a wrong token."""
        origin = network(client.ip)
        self._by_network.fail(origin, now)
        self._by_login.fail(_pair(origin, attempted), now)


class Prover:
    """Answers proofs from the store of logins."""

    def __init__(
        self,
        logins: Logins,
        now: Callable[[], Instant],
        limits: Limits | None = None,
        authority: Authority | None = None,
    ) -> None:
        """Look tokens up in `logins`; `now` is the wall clock. Without an `authority`, no certificate counts."""
        self._logins = logins
        self._now = now
        self._limits = limits or Limits()
        self._authority = authority

    async def prove(self, token: bytes, attempted: str, client: Peer) -> Identity | Refusal:
        """Prove a gateway token shown for the user name `attempted`, which is not believed."""
        return await self._limited(self._by_token(token, "gateway"), attempted, client)

    async def prove_certificate(self, certificate: bytes, attempted: str, client: Peer) -> Identity | Refusal:
        """Prove a certificate (DER) whose key the client holds, shown for the user name `attempted`."""
        return await self._limited(self._by_certificate(certificate), attempted, client)

    async def prove_browser(self, cookie: bytes, client: Peer, is_use: bool = True) -> Identity | Refusal:
        """Prove a browser's cookie, and keep it from idling out; what a page asks for by itself is no use."""
        return await self._limited(self._by_token(cookie, "browser", is_use), "", client)

    async def _limited(self, look_up: LookUp, attempted: str, client: Peer) -> Identity | Refusal:
        now = self._now()
        if not self._limits.is_open(client, attempted, now):
            return Refusal.TOO_MANY
        try:
            answer = await look_up(now)
        except StateUnavailable:
            return Refusal.UNAVAILABLE
        if isinstance(answer, Refusal):
            self._limits.fail(client, attempted, now)
        return answer

    def _by_token(self, token: bytes, kind: TokenKind, is_use: bool = True) -> LookUp:
        async def look_up(now: Instant) -> Identity | Refusal:
            if (wrong := malformed(token)) is not None:
                return wrong
            key = digest(token)
            found = await self._logins.find(key)
            answer = judge(found, key, kind, now)
            if kind == "browser" and is_use and found is not None and isinstance(answer, Identity):
                await self._touch(found.token, now)
            return answer

        return look_up

    def _by_certificate(self, certificate: bytes) -> LookUp:
        async def look_up(now: Instant) -> Identity | Refusal:
            shown = None if self._authority is None else self._authority.read(certificate)
            key = digest(certificate)
            found = await self._logins.find(key)
            return judge(found if shown is not None and _says(shown, found) else None, key, "certificate", now)

        return look_up

    async def _touch(self, token: Token, now: Instant) -> None:
        if now - _last_use(token) >= TOUCH_EVERY:
            await self._logins.touch(token.id, now)


def _says(shown: Shown, found: Found | None) -> bool:
    """Tell whether a certificate names the login and the credential that are kept of it."""
    if found is None:
        return False
    who = found.login.who
    return (shown.login, shown.credential, shown.name) == (who.login, found.token.id, common_name(who.name))


def judge(found: Found | None, key: bytes, kind: TokenKind, now: Instant) -> Identity | Refusal:
    """Decide on a token: every check is made whatever the others say, then the first that failed answers."""
    candidate = found or _NOBODY
    token, login = candidate.token, candidate.login
    refusals = (
        (Refusal.UNKNOWN, not hmac.compare_digest(candidate.digest, key)),
        (Refusal.UNKNOWN, token.kind != kind),
        (Refusal.REVOKED, token.revoked_at is not None or login.revoked_at is not None),
        (Refusal.EXPIRED, now >= min(token.expires_at, login.expires_at, _idle_end(token))),
    )
    identity = identity_of(candidate)
    return next((refusal for refusal, failed in refusals if failed), identity)


def _idle_end(token: Token) -> int:
    return _last_use(token) + BROWSER_IDLE if token.kind == "browser" else token.expires_at


def _last_use(token: Token) -> Instant:
    return token.used_at if token.used_at is not None else token.created_at


def _pair(origin: str, attempted: str) -> str:
    login, plus, _ = attempted.rpartition("+")
    return f"{origin} {(login if plus else attempted).casefold()[:128]}"
