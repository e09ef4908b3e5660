"""The one clock of a data process."""

from __future__ import annotations

import time
from collections.abc import Callable

from vestibule.model.names import SECOND, Instant


class Clock:
    """Wall time when the process started, plus what the monotonic clock says has passed since.

    A step of the wall clock neither lengthens nor shortens a session, a deadline or a duration.
    """

    def __init__(
        self, wall_ns: Callable[[], int] = time.time_ns, monotonic_ns: Callable[[], int] = time.monotonic_ns
    ) -> None:
        """Start now."""
        self._monotonic_ns = monotonic_ns
        self._started_ns = monotonic_ns()
        self._offset_ns = wall_ns() - self._started_ns

    def now(self) -> Instant:
        """Say what time it is."""
        return Instant((self._monotonic_ns() + self._offset_ns) // 1_000)

    def elapsed_us(self) -> int:
        """Say how many microseconds have passed since the start."""
        return (self._monotonic_ns() - self._started_ns) // 1_000

    def seconds_until(self, at: Instant) -> float:
        """Say how long it is until `at`; never negative."""
        return max(0.0, (at - self.now()) / SECOND)
