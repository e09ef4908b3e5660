"""One deadline at a time, as a relay sets it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from vestibule.model.names import Instant
from vestibule.server.clock import Clock


class Alarm:
    """Rings once when the newest deadline has passed."""

    def __init__(self, clock: Clock, ring: Callable[[], None]) -> None:
        """Start without a deadline."""
        self._clock = clock
        self._ring = ring
        self._loop = asyncio.get_running_loop()
        self._at: Instant | None = None
        self._timer: asyncio.Handle | None = None

    def set(self, at: Instant) -> None:
        """Replace the deadline."""
        # A later deadline keeps the timer: most are moved on long before they pass, at every statement.
        is_later = self._at is not None and at >= self._at
        self._at = at
        if self._timer is None or not is_later:
            self._start(at)

    def cancel(self) -> None:
        """Never ring."""
        self._at = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _start(self, at: Instant) -> None:
        if self._timer is not None:
            self._timer.cancel()
        seconds = self._clock.seconds_until(at)
        if seconds == 0.0:
            # In the loop's next round, behind what has arrived for others.
            self._timer = self._loop.call_soon(self._due)
        else:
            # The loop counts milliseconds and may come up to one early.
            self._timer = self._loop.call_later(seconds + 0.001, self._due)

    def _due(self) -> None:
        self._timer = None
        if self._at is None:
            return
        if self._clock.now() < self._at:
            self._start(self._at)
            return
        self._at = None
        self._ring()
