"""Secrets that open something once, within their life: the `state` of a log-in, the code of a loopback.

1. Only the digest of a secret is held, so that a dump of memory gives none away.
2. Taken is gone, whatever the taker makes of it.
3. Bounded in all and per address: whoever starts log-ins without end runs into the bound alone.
"""

from __future__ import annotations

import hashlib
import secrets
from collections import Counter, OrderedDict
from dataclasses import dataclass
from typing import Generic, TypeVar

from vestibule.identity.failure import Failure, LoginRefused
from vestibule.identity.throttle import network
from vestibule.model.names import Instant

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Held(Generic[T]):
    value: T
    network: str
    expires: Instant


class OneTime(Generic[T]):
    """A bounded table of secrets; `life` in microseconds."""

    def __init__(self, life: int, most: int = 10_000, most_per_network: int = 200) -> None:
        """Start empty."""
        self._life = life
        self._most = most
        self._most_per_network = most_per_network
        # One life for all, so the order of making is the order of expiring.
        self._held: OrderedDict[bytes, _Held[T]] = OrderedDict()
        self._counts: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._held)

    def put(self, value: T, ip: str, now: Instant) -> str:
        """Hold `value` and give the secret that opens it."""
        self.expire(now)
        origin = network(ip)
        if len(self._held) >= self._most or self._counts[origin] >= self._most_per_network:
            raise LoginRefused(Failure.TOO_MANY, "too many log-ins are waiting; finish one of them, or wait a minute")
        secret = secrets.token_urlsafe(32)
        self._held[_digest(secret)] = _Held(value, origin, Instant(now + self._life))
        self._counts[origin] += 1
        return secret

    def take(self, secret: str, now: Instant) -> T | None:
        """Give what `secret` opens and forget it; None if it is unknown, taken or expired."""
        self.expire(now)
        key = _digest(secret)
        return self._remove(key).value if key in self._held else None

    def expire(self, now: Instant) -> None:
        """Forget what nobody took in time."""
        while self._held and next(iter(self._held.values())).expires <= now:
            self._remove(next(iter(self._held)))

    def _remove(self, key: bytes) -> _Held[T]:
        held = self._held.pop(key)
        self._counts[held.network] -= 1
        if not self._counts[held.network]:
            del self._counts[held.network]
        return held


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode(errors="replace")).digest()
