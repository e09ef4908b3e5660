"""What the row kernel costs: checking rows, and masking them, in both builds.

    python -m benchmarks.rows [--seconds 0.5] [--json]

Each figure is the best of several rounds over one buffer as a target sends it, and `ratio` says how much faster the
compiled kernel is. Where only the pure one is there, its figures stand alone; `VESTIBULE_BUILD=compiled make setup`
makes the other.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from types import ModuleType
from typing import Final

from tests.support.kernels import KERNELS
from vestibule.masking.steps import RowMask, row_mask
from vestibule.masking.transforms import TEXT
from vestibule.model.plan import Transform
from vestibule.protocols.postgres import messages as pg
from vestibule.protocols.postgres.codec import encode

#: About what one read of a busy socket brings.
BUFFER: Final = 256 << 10

INTEGER: Final = 23


@dataclass(frozen=True, slots=True)
class Answer:
    """Rows of one kind, as bytes, and how they are masked."""

    name: str
    data: bytes
    count: int
    layout: RowMask


@dataclass(frozen=True, slots=True)
class Figure:
    """What one kind of work costs in one build; `ratio` is the pure build's time over this one's."""

    answer: str
    work: str
    build: str
    megabytes_per_second: float
    nanoseconds_per_row: float
    ratio: float


def answer(name: str, values: Sequence[bytes | None], columns: Sequence[Transform | None]) -> Answer:
    """Fill a buffer with one row again and again."""
    row = encode(pg.DataRow(tuple(values)))
    count = max(1, BUFFER // len(row))
    types = [INTEGER if value is not None and value.isdigit() and len(value) < 9 else TEXT for value in values]
    return Answer(name, row * count, count, row_mask(columns, types, [0] * len(values)))


def answers() -> list[Answer]:
    """Make rows as applications ask for: narrow, wide, and long."""
    ssn, card = Transform("keep", last=4), Transform("keep", first=6, last=4)
    customer = [b"4711", b"Ada Lovelace", b"123-45-6789", b"NY", None]
    wide = [b"4711", b"4111111111111111", b"ada@bank.example", *[b"some text of a field"] * 17]
    return [
        answer("2 columns, 1 hidden", [b"4711", b"123-45-6789"], [None, Transform()]),
        answer("5 columns, 1 in part", customer, [None, None, ssn, None, None]),
        answer("20 columns, 2 masked", wide, [None, card, Transform(), *[None] * 17]),
        answer("long text, hidden", [b"4711", b"x" * 30_000], [None, Transform()]),
        answer("long text, in part", [b"4711", b"x" * 30_000], [None, ssn]),
    ]


def best(seconds: float, work: Callable[[], object]) -> float:
    """Time `work` until the time is over and give the shortest, in nanoseconds."""
    end, shortest = time.perf_counter() + seconds, float("inf")
    while time.perf_counter() < end:
        started = time.perf_counter_ns()
        work()
        shortest = min(shortest, time.perf_counter_ns() - started)
    return shortest


def measure(kernels: Sequence[ModuleType], seconds: float) -> list[Figure]:
    """Time each kind of work on each kind of answer; the first kernel is the one that others are compared with."""
    figures = []
    for each in answers():
        size = len(each.data)
        for work in ("scan", "mask"):
            times = [best(seconds, _call(kernel, work, each)) for kernel in kernels]
            figures += [
                Figure(
                    each.name,
                    work,
                    kernel.BUILD,
                    round(size / taken * 1_000, 1),
                    round(taken / each.count, 1),
                    round(times[0] / taken, 1),
                )
                for kernel, taken in zip(kernels, times, strict=True)
            ]
    return figures


def _call(kernel: ModuleType, work: str, each: Answer) -> Callable[[], object]:
    if work == "scan":
        return lambda: kernel.scan(each.data, 0, len(each.data), each.layout.columns)
    return lambda: kernel.mask(each.data, 0, len(each.data), each.layout)


def table(figures: Sequence[Figure]) -> str:
    """Write the figures for people."""
    head = f"{'rows':24}{'work':6}{'build':10}{'MB/s':>10}{'ns/row':>10}{'ratio':>8}"
    lines = [
        f"{each.answer:24}{each.work:6}{each.build:10}{each.megabytes_per_second:>10}{each.nanoseconds_per_row:>10}"
        f"{each.ratio:>8}"
        for each in figures
    ]
    return "\n".join([head, *lines]) + "\n"


def main() -> None:
    """Measure and print."""
    arguments = argparse.ArgumentParser(description="What the row kernel costs, in both builds.")
    arguments.add_argument("--seconds", type=float, default=0.5, help="how long each is measured (default 0.5)")
    arguments.add_argument("--json", action="store_true", help="print JSON")
    given = arguments.parse_args()
    figures = measure([KERNELS[build] for build in ("pure", "compiled") if build in KERNELS], given.seconds)
    sys.stdout.write(json.dumps([asdict(each) for each in figures]) + "\n" if given.json else table(figures))


if __name__ == "__main__":
    main()
