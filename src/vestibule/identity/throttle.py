"""Rate limits on what goes wrong, in tables that cannot grow.

1. A key may fail `burst` times at once and then once in `every`; what goes right is never counted.
2. One network is one source: an IPv4 address, or the 64-bit prefix that one household of IPv6 has.
"""

from __future__ import annotations

import ipaddress
from collections import OrderedDict

from vestibule.model.names import Instant


class Throttle:
    """One limit over many keys; `every` in microseconds."""

    def __init__(self, burst: int, every: int, most: int = 20_000) -> None:
        """Start with nobody limited."""
        self._slack = (burst - 1) * every
        self._every = every
        self._most = most
        #: When the key's failures will be worked off (the generic cell rate algorithm).
        self._settled: OrderedDict[str, int] = OrderedDict()

    def __len__(self) -> int:
        return len(self._settled)

    def is_open(self, key: str, now: Instant) -> bool:
        """Tell whether `key` may try."""
        ahead = self._settled.get(key, 0) - now
        # More than failures can add up to: the clock was set back, and nobody is to wait for it.
        return ahead <= self._slack or ahead > self._slack + self._every

    def fail(self, key: str, now: Instant) -> None:
        """Count a failure of `key`."""
        self._settled[key] = max(self._settled.pop(key, 0), now) + self._every
        if len(self._settled) > self._most:
            self._settled.popitem(last=False)


def network(ip: str) -> str:
    """Name the network that `ip` stands for in every limit."""
    try:
        address = ipaddress.ip_address(ip.partition("%")[0])
    except ValueError:
        return ip[:64]
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.ip_network((address, 64), strict=False))
