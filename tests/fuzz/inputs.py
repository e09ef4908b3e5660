"""Bytes of strangers, by the million: whole inputs are changed a little, and whatever reads them may only refuse them.

    python -m tests.fuzz.inputs --count 10000000 --seed 1 --processes 2
    python -m tests.fuzz.inputs --only notes --count 100000
    python -m tests.fuzz.inputs --seed 1 --replay codecs.frontend:4711     the one input again, with its traceback
    python -m tests.fuzz.inputs --only codecs.frontend --file FOUND        the same for a saved input

1. Input `n` of a reader under a seed is always the same bytes, however many processes there are.
2. A defect is any exception that a reader lets out, a crash of the process, more than `SECONDS` of its time for one
   input, and more than `MEMORY` for all.
3. What was found is saved, with the command that shows it again. The last line counts inputs and defects.
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Final

from tests.fuzz.crew import Crew, Found, Unit
from tests.fuzz.mutation import Mutator
from tests.fuzz.readers import codecs, identity, notes, policy, records, rows, texts
from tests.fuzz.readers.base import Reader

READERS: Final = (
    *codecs.READERS,
    *rows.READERS,
    *records.READERS,
    *notes.READERS,
    *policy.READERS,
    *identity.READERS,
    *texts.READERS,
)
#: Inputs that come from one random state; one of them is made again by making those before it.
BLOCK: Final = 500
#: Inputs that are saved of one defect.
SAVED: Final = 3
SHOWN_EVERY: Final = 3.0


@dataclass(slots=True)
class Tally:
    """What was tried and found."""

    tried: Counter[str] = field(default_factory=Counter)
    accepted: Counter[str] = field(default_factory=Counter)
    found: dict[str, list[Found]] = field(default_factory=lambda: defaultdict(list))
    is_stopped: bool = False

    @property
    def defects(self) -> int:
        """How many inputs ended in something undefined."""
        return sum(map(len, self.found.values()))

    def __str__(self) -> str:
        """Write the last line."""
        return f"{self.tried.total()} inputs, {self.defects} undefined errors"


def chosen(only: str) -> list[Reader]:
    """Give the readers of a name, or of the part before the dot; all without one."""
    found = [reader for reader in READERS if not only or only in (reader.name, reader.name.partition(".")[0])]
    if not found:
        raise SystemExit(f"{only} reads nothing; known are {', '.join(reader.name for reader in READERS)}")
    return found


def shares(readers: Sequence[Reader], count: int) -> dict[str, int]:
    """Share `count` inputs out, as often as each reader is worth; the first gets what is left."""
    whole = sum(reader.share for reader in readers)
    counts = {reader.name: count * reader.share // whole for reader in readers}
    counts[readers[0].name] += count - sum(counts.values())
    return counts


def units(counts: dict[str, int]) -> list[Unit]:
    """Cut the work into blocks, mixed so that every reader is as far as the others at any moment."""
    blocks = [
        ((at + BLOCK) / total, Unit(name, at // BLOCK, 0, min(BLOCK, total - at)))
        for name, total in counts.items()
        for at in range(0, total, BLOCK)
    ]
    return [unit for _, unit in sorted(blocks, key=lambda block: block[0])]


class Inputs:
    """The inputs of every reader under one seed."""

    def __init__(self, readers: Sequence[Reader], seed: int) -> None:
        """Make the whole inputs that all others come from."""
        self.readers = {reader.name: reader for reader in readers}
        self._seed = seed
        self._corpora = {reader.name: tuple(reader.corpus()) for reader in readers}

    def whole(self, name: str) -> Sequence[bytes]:
        """Give what a reader's inputs are made of."""
        return self._corpora[name]

    def block(self, name: str, number: int) -> Iterator[bytes]:
        """Give the inputs of a block, without end."""
        random = Random(f"{self._seed}/{name}/{number}")
        mutator = Mutator(random, self._corpora[name], self.readers[name].words)
        while True:
            yield mutator.make()

    def one(self, name: str, index: int) -> bytes:
        """Give one input."""
        made = self.block(name, index // BLOCK)
        for _ in range(index % BLOCK):
            next(made)
        return next(made)


def check_whole(inputs: Inputs) -> None:
    """Read what all inputs are made of: where that is a defect already, nothing else is worth trying."""
    for name, reader in inputs.readers.items():
        for data in inputs.whole(name):
            reader.read(data)


def run(
    readers: Sequence[Reader],
    counts: dict[str, int],
    seed: int,
    processes: int = 1,
    show: Callable[[str], object] = lambda _: None,
) -> Tally:
    """Try as many inputs of each reader as `counts` says."""
    inputs, tally, shown = Inputs(readers, seed), Tally(), time.monotonic()
    check_whole(inputs)
    total = sum(counts.values())
    with Crew({reader.name: reader.read for reader in readers}, inputs.block, BLOCK) as crew, _stopping(tally):
        for news in crew.work(units(counts), processes):
            if isinstance(news, Found):
                tally.found[news.what].append(news)
                if len(tally.found[news.what]) <= SAVED:
                    show(f"FOUND {news}")
            else:
                tally.tried[news.name] += news.tried
                tally.accepted[news.name] += news.accepted
            if time.monotonic() - shown > SHOWN_EVERY:
                shown = time.monotonic()
                show(f"{tally.tried.total()} of {total} inputs, {tally.defects} undefined errors")
    return tally


@contextmanager
def _stopping(tally: Tally) -> Iterator[None]:
    """Let a run that somebody stops say what it has tried."""
    try:
        yield
    except KeyboardInterrupt:
        tally.is_stopped = True


def save(folder: Path, inputs: Inputs, seed: int, tally: Tally) -> Iterator[str]:
    """Keep what was found; say where, and how it is seen again."""
    for found in tally.found.values():
        for each in found[:SAVED]:
            folder.mkdir(parents=True, exist_ok=True)
            path = folder / f"{each.name}.{seed}.{each.index}"
            path.write_bytes(inputs.one(each.name, each.index))
            yield f"{path}  python -m tests.fuzz.inputs --seed {seed} --replay {each.name}:{each.index}"


def table(tally: Tally) -> str:
    """Write what was tried of each reader, and how much of it was accepted."""
    lines = [
        f"  {name:<24} {tried:>10} tried {tally.accepted[name]:>10} accepted" for name, tried in tally.tried.items()
    ]
    return "\n".join(sorted(lines))


def _replay(arguments: argparse.Namespace) -> int:
    name, _, index = (arguments.replay or f"{arguments.only}:").rpartition(":")
    readers = chosen(name)
    data = arguments.file.read_bytes() if arguments.file else Inputs(readers, arguments.seed).one(name, int(index))
    print(f"{len(data)} bytes: {data[:2_000]!r}", flush=True)
    print("accepted" if readers[0].read(data) else "refused")
    return 0


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=100_000, help="inputs in all")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--only", default="", help="a reader, or all of codecs, rows, records, notes, policy, ...")
    parser.add_argument("--replay", metavar="READER:INDEX", help="read one input, and show how it ends")
    parser.add_argument("--file", type=Path, help="read this file with the reader that --only names")
    parser.add_argument("--save", type=Path, default=Path("fuzz-found"), help="where failing inputs are kept")
    arguments = parser.parse_args()
    if arguments.replay or arguments.file:
        return _replay(arguments)
    # Whoever ends the program is told what it has tried, as somebody at a terminal is.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    readers, begun = chosen(arguments.only), time.monotonic()
    tally = run(
        readers,
        shares(readers, arguments.count),
        arguments.seed,
        arguments.processes,
        lambda text: print(text, flush=True),
    )
    for line in save(arguments.save, Inputs(readers, arguments.seed), arguments.seed, tally):
        print(line)
    print(f"{table(tally)}\nseed {arguments.seed}, {time.monotonic() - begun:.0f} s\n{tally}")
    return 1 if tally.defects or tally.is_stopped else 0


if __name__ == "__main__":
    sys.exit(main())
