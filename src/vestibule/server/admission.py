"""Who may wait at the door: connections that have not yet offered a proof, bounded in number.

1. A full house never turns a newcomer away: it drops the one that has waited longest. A log-in takes milliseconds, so
   whoever waits longest is idle or hostile.
2. The bound of one source address comes first, so that a flood from one address costs that address alone.
3. The last places are for sources that have none: when they are all that is left, whoever already waits makes room
   for themselves.
4. A trusted proxy is no source: until it has named its client it counts with the whole house only.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from typing import Final

#: The part of all places that only sources without a place may take.
RESERVED: Final = 0.2
#: A source that no address can be.
_PROXY: Final = "proxy "


class Slot:
    """One waiting connection's place; `evict` cuts the connection."""

    __slots__ = ("_admission", "evict", "source")

    def __init__(self, admission: Admission, source: str, evict: Callable[[], None]) -> None:
        self._admission = admission
        self.source = source
        self.evict = evict

    def move(self, ip: str) -> None:
        """Count with another source from now on: the proxy has named its client."""
        self._admission.move(self, ip)

    def release(self) -> None:
        """Give the place back; the connection no longer waits, or is gone."""
        self._admission.leave(self)


class Admission:
    """Counts the connections that wait, over all and for each source."""

    def __init__(self, total: int, per_source: int) -> None:
        """Bound both counts."""
        self._total, self._per_source = total, per_source
        self._open_to_all = total - int(total * RESERVED)
        self._sources: dict[str, dict[Slot, None]] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def enter(self, ip: str, evict: Callable[[], None], is_proxy: bool = False) -> Slot:
        """Take a place, which may cost another connection its own."""
        slot = Slot(self, _PROXY + ip if is_proxy else source_of(ip), evict)
        self._take(slot, self._total if is_proxy else self._per_source)
        return slot

    def move(self, slot: Slot, ip: str) -> None:
        """Give a place to another source; a slot that has left, or was evicted, stays out."""
        if slot in self._sources.get(slot.source, ()):
            self.leave(slot)
            slot.source = source_of(ip)
            self._take(slot, self._per_source)

    def leave(self, slot: Slot) -> None:
        """Give a place back; twice is no error."""
        waiting = self._sources.get(slot.source)
        if waiting is None or slot not in waiting:
            return
        del waiting[slot]
        self._count -= 1
        if not waiting:
            del self._sources[slot.source]

    def _take(self, slot: Slot, bound: int) -> None:
        waiting = self._sources.get(slot.source, {})
        is_proxy = slot.source.startswith(_PROXY)
        if waiting and (len(waiting) >= bound or (not is_proxy and self._count >= self._open_to_all)):
            self._evict_oldest(waiting)
        elif self._count >= self._total:
            self._evict_oldest(max(self._sources.values(), key=len))
        self._sources.setdefault(slot.source, {})[slot] = None
        self._count += 1

    def _evict_oldest(self, waiting: dict[Slot, None]) -> None:
        oldest = next(iter(waiting))
        self.leave(oldest)
        oldest.evict()


def source_of(ip: str) -> str:
    """Name who is counted together: an IPv4 address, or the /64 that an IPv6 host may choose from at will."""
    try:
        address = ipaddress.ip_address(ip)
    except ValueError:
        return ip
    if address.version == 4:
        return ip
    return str(ipaddress.IPv6Network((int(address) >> 64 << 64, 64)))


class Allowance:
    """A bucket of tokens for each source: `burst` at once, `rate` a second after that."""

    #: Sources that are remembered; the least recently used is forgotten first, and starts with a full bucket again.
    REMEMBERED = 10_000

    def __init__(self, burst: int, rate: float, monotonic: Callable[[], float]) -> None:
        """Start with full buckets."""
        self._burst, self._rate, self._monotonic = burst, rate, monotonic
        self._buckets: dict[str, tuple[float, float]] = {}

    def take(self, ip: str) -> bool:
        """Use one token of the source's bucket, if there is one."""
        now, source = self._monotonic(), source_of(ip)
        left, since = self._buckets.pop(source, (float(self._burst), now))
        left = min(self._burst, left + (now - since) * self._rate)
        self._buckets[source] = (left - 1 if left >= 1 else left, now)
        if len(self._buckets) > self.REMEMBERED:
            del self._buckets[next(iter(self._buckets))]
        return left >= 1
