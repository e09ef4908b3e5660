"""How this process is doing, as the operating system and its own event loop say."""

from __future__ import annotations

import asyncio
import os
import resource
import time
from pathlib import Path
from typing import Final

from vestibule.metrics import Key, Snapshot

#: How often the event loop is asked whether it is late.
LOOK_EVERY: Final = 1.0
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")


class Vitals:
    """Looks at this process; `start` it inside the event loop."""

    def __init__(self, process: str) -> None:
        """Speak of it as `process`."""
        self._process = process
        self._worst = 0.0
        self._timer: asyncio.TimerHandle | None = None
        #: Tells this run of the process from every other.
        self.life = f"{os.getpid()}.{time.monotonic_ns()}"

    def start(self) -> None:
        """Look at the event loop from now on."""
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(LOOK_EVERY, self._look, time.monotonic() + LOOK_EVERY)

    def stop(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()

    def snapshot(self) -> Snapshot:
        """Say how things are now; the worst lateness is forgotten with that."""
        worst, self._worst = self._worst, 0.0
        gauges = {
            self._key("resident_memory_bytes"): float(_resident()),
            self._key("open_fds"): float(_descriptors()),
            self._key("max_fds"): float(resource.getrlimit(resource.RLIMIT_NOFILE)[0]),
            self._key("loop_lag_seconds"): worst,
        }
        return Snapshot({self._key("cpu_seconds_total"): time.process_time()}, {}, gauges)

    def _look(self, due: float) -> None:
        self._worst = max(self._worst, time.monotonic() - due)
        self.start()

    def _key(self, name: str) -> Key:
        return f"vestibule_process_{name}", (self._process,)


def _descriptors() -> int:
    # Linux 6.2 and later say how many there are; listing twenty thousand would hold up the event loop.
    return os.stat("/proc/self/fd").st_size or len(os.listdir("/proc/self/fd"))


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE
