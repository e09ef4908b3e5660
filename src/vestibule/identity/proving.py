"""Who somebody is, by the token that they show.

1. Unknown, expired and revoked tokens take the same way: one look-up, every check made, then one answer chosen.
2. Failures are limited per network, and per login name from one network: a stranger elsewhere cannot lock a person out.
3. The token is hashed at the door. It is in no log, no record, no error.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from typing import Final
from uuid import UUID

from vestibule.identity.ports import Logins
from vestibule.identity.throttle import Throttle, network
from vestibule.identity.tokens import digest, malformed
from vestibule.model.identity import Identity, Peer, Refusal, Who
from vestibule.model.login import Found, Login, StateUnavailable, Token, TokenKind, identity_of
from vestibule.model.names import SECOND, Instant, LoginName

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

    def __init__(self, logins: Logins, now: Callable[[], Instant], limits: Limits | None = None) -> None:
        """Look tokens up in `logins`; `now` is the wall clock."""
        self._logins = logins
        self._now = now
        self._limits = limits or Limits()

    async def prove(self, token: bytes, attempted: str, client: Peer) -> Identity | Refusal:
        """Prove a gateway token shown for the user name `attempted`, which is not believed."""
        return await self._limited(token, "gateway", attempted, client)

    async def prove_browser(self, cookie: bytes, client: Peer, is_use: bool = True) -> Identity | Refusal:
        """Prove a browser's cookie, and keep it from idling out; what a page asks for by itself is no use."""
        return await self._limited(cookie, "browser", "", client, is_use)

    async def _limited(
        self, token: bytes, kind: TokenKind, attempted: str, client: Peer, is_use: bool = True
    ) -> Identity | Refusal:
        now = self._now()
        if not self._limits.is_open(client, attempted, now):
            return Refusal.TOO_MANY
        answer = await self._look_up(token, kind, now, is_use)
        if isinstance(answer, Refusal) and answer is not Refusal.UNAVAILABLE:
            self._limits.fail(client, attempted, now)
        return answer

    async def _look_up(self, token: bytes, kind: TokenKind, now: Instant, is_use: bool) -> Identity | Refusal:
        if (wrong := malformed(token)) is not None:
            return wrong
        key = digest(token)
        try:
            found = await self._logins.find(key)
            answer = judge(found, key, kind, now)
            if kind == "browser" and is_use and found is not None and isinstance(answer, Identity):
                await self._touch(found.token, now)
        except StateUnavailable:
            return Refusal.UNAVAILABLE
        return answer

    async def _touch(self, token: Token, now: Instant) -> None:
        if now - _last_use(token) >= TOUCH_EVERY:
            await self._logins.touch(token.id, now)


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
