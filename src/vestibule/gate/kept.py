"""How much of what a client is shown is recorded: the beginning of each result, up to a number of rows and bytes.

1. From the first bytes that do not fit on nothing more of the result is kept; its counts and its commitment go on.
2. A row so long that it passes in pieces is kept up to `LONGEST_ROW`.
3. Nothing is kept where nothing is masked: that is decided for each session when it is admitted, and again for each
   result, as the policy may have changed.
4. Of what may not be stored at all nothing is kept, and said so (`withhold`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

from vestibule.model.target import Target

LONGEST_ROW: Final = 4 * 1024 * 1024


def nothing(_: Target) -> bool:
    """Record the results of no target."""
    return False


@dataclass(frozen=True, slots=True)
class Recording:
    """Of which targets results are recorded, and how much of each result."""

    records: Callable[[Target], bool] = nothing
    rows: int = 10_000
    bytes: int = 8 * 1024 * 1024


class Kept:
    """What is recorded of one result so far."""

    __slots__ = ("_inside", "_limits", "is_truncated", "is_withheld", "rows", "size")

    def __init__(self, limits: Recording) -> None:
        """Start with nothing."""
        self._limits = limits
        self._inside = 0
        self.rows = 0
        self.size = 0
        self.is_truncated = False
        self.is_withheld = False

    @property
    def word(self) -> Literal["full", "truncated", "none"]:
        """Say how much of the result is recorded."""
        return "none" if self.is_withheld else "truncated" if self.is_truncated else "full"

    def withhold(self) -> None:
        """Keep nothing more of the result."""
        self.is_withheld = True

    def take(self, size: int, rows: int, goes_on: bool) -> bool:
        """Tell whether the next bytes are recorded; `goes_on` says that they begin inside a row."""
        self._inside = self._inside + size if goes_on else 0
        fits = self.size + size <= self._limits.bytes and self.rows + rows <= self._limits.rows
        if self.is_withheld:
            return False
        if self.is_truncated or not fits or self._inside > LONGEST_ROW:
            self.is_truncated = True
            return False
        self.size += size
        self.rows += rows
        return True
