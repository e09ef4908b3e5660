"""A document of the provider's, kept for a while: fetched again in time, on demand, and never by two at once.

1. Fresh: given as it is. Due: fetched first; while that fails the old one goes on, for the stale time and no longer.
2. Whoever misses something in it may ask for a newer one; that fetches at most once in `FORCED_EVERY` seconds.
3. After a failed fetch nobody tries again for `RETRY_AFTER` seconds.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from vestibule.identity.failure import Failure, LoginRefused

T = TypeVar("T")

FORCED_EVERY = 60.0
RETRY_AFTER = 5.0


@dataclass(frozen=True, slots=True)
class Held(Generic[T]):
    """A document and the clock's reading at which it is due again."""

    value: T
    due: float


class Cached(Generic[T]):
    """One document. `fetch` answers it with its life in seconds; `clock` is monotonic, in seconds."""

    def __init__(
        self, fetch: Callable[[], Awaitable[tuple[T, float]]], clock: Callable[[], float], stale: float
    ) -> None:
        """Hold nothing yet."""
        self._fetch = fetch
        self._clock = clock
        self._stale = stale
        self._lock = asyncio.Lock()
        self._held: Held[T] | None = None
        self._forced_at = float("-inf")
        self._retry_at = float("-inf")
        self._error = LoginRefused(Failure.PROVIDER, "the identity provider has not been reached yet")

    async def get(self) -> Held[T]:
        """Give the document, fetched first if it is due; raise `LoginRefused` when there is none to rely on."""
        if self._is_due():
            async with self._lock:
                # Whoever waited for the lock finds the work done.
                if self._is_due() and self._clock() >= self._retry_at:
                    await self._refresh()
        if self._held is None or self._clock() >= self._held.due + self._stale:
            raise self._error
        return self._held

    async def newer_than(self, seen: Held[T]) -> Held[T]:
        """Give a document fetched after `seen`, or `seen` itself if it is too early to ask again."""
        async with self._lock:
            if self._held is seen and self._clock() >= self._forced_at + FORCED_EVERY:
                self._forced_at = self._clock()
                await self._refresh()
        return await self.get()

    def _is_due(self) -> bool:
        return self._held is None or self._clock() >= self._held.due

    async def _refresh(self) -> None:
        self._retry_at = self._clock() + RETRY_AFTER
        try:
            value, life = await self._fetch()
        except LoginRefused as error:
            self._error = error
        else:
            self._held = Held(value, self._clock() + life)
