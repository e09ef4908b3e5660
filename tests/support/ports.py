"""Free loopback ports that no two tests of this machine get at once.

1. They lie below the range from which the kernel takes clients' ports, so no connection can sit on one.
2. A port is reserved by an abstract socket of its name, which ends with the process, whatever ends it.
"""

from __future__ import annotations

import random
import socket

FIRST, LAST = 20_000, 32_000

_reserved: dict[int, socket.socket] = {}


def free_port() -> int:
    """Reserve a port of 127.0.0.1 for the life of this process."""
    for port in random.SystemRandom().sample(range(FIRST, LAST), 500):
        if port not in _reserved and _reserve(port):
            return port
    raise RuntimeError(f"no free port between {FIRST} and {LAST}")


def _reserve(port: int) -> bool:
    claim = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        claim.bind(f"\0vestibule-test-port-{port}")
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
    except OSError:
        claim.close()
        return False
    _reserved[port] = claim
    return True
