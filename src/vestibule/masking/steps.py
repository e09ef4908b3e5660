"""The masks of a portal's columns, as the row kernel reads them.

1. A layout is made once for each portal that was described, and holds for all rows of it.
2. It is bytes, one step of a fixed size for each column, so that a compiled loop needs no object to follow it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from struct import Struct
from typing import Final

from vestibule.masking.transforms import BPCHAR, PARTED, hide, limit
from vestibule.model.plan import Transform

#: What happens to a value: it passes, becomes NULL, becomes the step's literal, or is shown in part; with TRIM the
#: blanks at its end do not count.
PASS: Final = 0
NULL: Final = 1
LITERAL: Final = 2
KEEP: Final = 3
TRIM: Final = 4

#: A step: what happens, the literal's length and bytes, how many characters are shown at the start and at the end,
#: and how many there may be in all.
STEP: Final = Struct("!BB6sIII")

#: More than any value has, and twice the sum of two is still far from the end of 64 bits.
_ENDLESS: Final = (1 << 32) - 1


#: The longest literal that a step holds.
LONGEST: Final = 6


@dataclass(frozen=True, slots=True)
class RowMask:
    """One step for each of `columns` columns; `masked` of them do not pass."""

    steps: bytes
    columns: int = field(init=False)
    masked: int = field(init=False)

    def __post_init__(self) -> None:
        # The compiled kernel follows the steps without another look: what it relies on is judged here.
        if len(self.steps) % STEP.size or any(length > LONGEST for length in self.steps[1 :: STEP.size]):
            raise ValueError("steps of a layout that are not whole")
        kinds = self.steps[:: STEP.size]
        object.__setattr__(self, "columns", len(kinds))
        object.__setattr__(self, "masked", len(kinds) - kinds.count(PASS))


def row_mask(
    columns: Sequence[Transform | None], types: Sequence[int], formats: Sequence[int], typmods: Sequence[int] = ()
) -> RowMask:
    """Make the layout of a portal from its plan and its RowDescription; without `typmods` no length is bounded."""
    described = zip(columns, types, formats, typmods or [-1] * len(columns), strict=True)
    steps = [STEP.pack(PASS, 0, b"", 0, 0, 0) if each[0] is None else _step(each[0], *each[1:]) for each in described]
    return RowMask(b"".join(steps))


def _step(transform: Transform, type_oid: int, format: int, typmod: int) -> bytes:  # noqa: A002 - the manual's word
    hidden = hide(transform, type_oid, format, typmod)
    if hidden is None:
        return STEP.pack(NULL, 0, b"", 0, 0, 0)
    kind = LITERAL
    if transform.kind == "keep" and type_oid in PARTED:
        kind = TRIM if type_oid == BPCHAR else KEEP
    first, last = min(transform.first, _ENDLESS), min(transform.last, _ENDLESS)
    return STEP.pack(kind, len(hidden), hidden, first, last, min(limit(type_oid, typmod) or _ENDLESS, _ENDLESS))
