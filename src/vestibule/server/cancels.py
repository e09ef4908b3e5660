"""Cancel requests, which prove nothing and are never answered: an address may send so many."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import structlog

from vestibule.server.admission import Allowance, source_of
from vestibule.server.repeats import Repeats

log = structlog.get_logger(__name__)

#: Of one address: a burst, and how many a second after that.
BURST: Final = 50
RATE: Final = 10.0
_SEVERAL: Final = "several"


class Cancels:
    """Counts them for each address."""

    def __init__(self, monotonic: Callable[[], float], burst: int = BURST, rate: float = RATE) -> None:
        """Start with nobody counted."""
        self._allowance = Allowance(burst, rate, monotonic)
        self._refused = Repeats(_too_many, _SEVERAL)

    def allows(self, ip: str) -> bool:
        """Tell whether one more is looked at."""
        if self._allowance.take(ip):
            return True
        self._refused.note((source_of(ip),), ip)
        return False

    def close(self) -> None:
        """Log what was only counted."""
        self._refused.close()


def _too_many(ip: str, count: int) -> None:
    log.warning("too_many_cancel_requests", ip=ip, count=count)
