"""What a stranger can cause as often as they like, told a bounded number of times.

1. The first of a kind is told at once. Others of its kind within `WINDOW` are counted, and told together, as a number,
   when the window ends.
2. Kinds are bounded too: when `OPEN` windows are open, whatever begins another kind is counted together.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

WINDOW: Final = 60.0
OPEN: Final = 1_000

What = TypeVar("What")
Key = tuple[str, ...]

_ANYTHING: Final[Key] = ()


@dataclass(slots=True)
class _Window(Generic[What]):
    first: What
    timer: asyncio.TimerHandle
    repeats: int = 0


class Repeats(Generic[What]):
    """Tells, or counts."""

    def __init__(self, tell: Callable[[What, int], None], anything: What, window: float = WINDOW) -> None:
        """Hand to `tell` the first of a kind and how many they are; `anything` stands for kinds beyond the bound."""
        self._tell, self._anything, self._window = tell, anything, window
        self._windows: dict[Key, _Window[What]] = {}

    def note(self, kind: Key, what: What) -> None:
        """Tell or count one."""
        if kind not in self._windows and len(self._windows) >= OPEN:
            kind, what = _ANYTHING, self._anything
        window = self._windows.get(kind)
        if window is not None:
            window.repeats += 1
            return
        timer = asyncio.get_running_loop().call_later(self._window, self._end, kind)
        self._windows[kind] = _Window(what, timer)
        self._tell(what, 1)

    def close(self) -> None:
        """Tell what was only counted."""
        for kind, window in list(self._windows.items()):
            window.timer.cancel()
            self._end(kind)

    def _end(self, kind: Key) -> None:
        window = self._windows.pop(kind)
        if window.repeats:
            self._tell(window.first, window.repeats)
