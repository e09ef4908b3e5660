"""One figure: what was measured, against what, and what was aimed at."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Literal


@dataclass(frozen=True, slots=True)
class Figure:
    """A number beside its aim; `aim` is None where the number is only stated."""

    group: str
    name: str
    value: float
    unit: str
    aim: float | None = None
    #: Whether the aim is the most or the least that the value may be.
    bound: Literal["at most", "at least"] = "at most"
    against: str = ""
    #: What the figure was made of: medians by route, spread, counts.
    parts: Mapping[str, float] = field(default_factory=dict)

    @property
    def is_met(self) -> bool | None:
        """Whether the aim is reached; None where there is none."""
        if self.aim is None:
            return None
        return self.value <= self.aim if self.bound == "at most" else self.value >= self.aim


def quantile(values: Iterable[float], part: float) -> float:
    """Give the value below which `part` of the values lie."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * part))]


def middle(rounds: Sequence[float]) -> float:
    """The median over rounds."""
    return median(rounds)


def paired(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """The median of the ratios of rounds that ran next to each other."""
    return median(a / b for a, b in zip(ours, theirs, strict=True))
