"""One way in for bytes that strangers make, as the fuzzer sees it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Reader:
    """Whole inputs, and what reads them.

    `read` gives whether the input was accepted, and lets out nothing but what is a defect: the error that is documented
    for bad bytes it catches itself. Of ten thousand inputs `share` are its.
    """

    name: str
    read: Callable[[bytes], bool]
    corpus: Callable[[], Sequence[bytes]]
    share: int
    words: tuple[bytes, ...] = ()
