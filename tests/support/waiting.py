"""Waiting for something that another process does: polled, bounded, never a fixed time."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def wait_for(probe: Callable[[], T], what: str, timeout: float = 60.0, step: float = 0.05) -> T:
    """Call `probe` until it gives something true, and give that; an OSError counts as not yet."""
    deadline = time.monotonic() + timeout
    while True:
        problem = ""
        try:
            answer = probe()
            if answer:
                return answer
        except OSError as error:
            problem = f": {error}"
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {timeout:.0f} s in vain for {what}{problem}")
        time.sleep(step)
