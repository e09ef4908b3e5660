"""How much memory a gateway's processes hold."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.support import processes
from tests.support.gateway import Gateway

MIB = 1 << 20
_RESIDENT = re.compile(r"VmRSS:\s+(\d+) kB")


@dataclass(slots=True)
class Growth:
    """How far the resident memory of a gateway, all processes together, rose above where it began."""

    gateway: Gateway
    start: int = 0
    peak: int = 0
    _stop: threading.Event = field(default_factory=threading.Event)

    @property
    def mib(self) -> float:
        """The growth at its highest."""
        return (self.peak - self.start) / MIB

    def look(self) -> int:
        """Look now; give what is held."""
        held = resident(self.gateway)
        self.peak = max(self.peak, held)
        return held

    def watch(self) -> None:
        """Look until told to stop."""
        while not self._stop.wait(0.1):
            self.look()

    def stop(self) -> None:
        """Look no more."""
        self._stop.set()


@contextmanager
def growth(gateway: Gateway) -> Iterator[Growth]:
    """Watch a gateway's memory for the length of a block."""
    watched = Growth(gateway)
    watched.start = watched.peak = watched.look()
    watcher = threading.Thread(target=watched.watch, daemon=True)
    watcher.start()
    try:
        yield watched
    finally:
        watched.stop()
        watcher.join()
        watched.look()


def resident(gateway: Gateway) -> int:
    """Add up the resident memory of all processes of a gateway."""
    if gateway.program is None:
        raise RuntimeError("the gateway does not run")
    family = [gateway.program.pid, *processes.descendants(gateway.program.pid)]
    return sum(_resident(pid) for pid in family)


def _resident(pid: int) -> int:
    try:
        found = _RESIDENT.search(Path(f"/proc/{pid}/status").read_text())
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return int(found[1]) * 1024 if found else 0
