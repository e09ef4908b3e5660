"""Damage a data folder at random, again and again, and let the verifier find it: `python -m tests.tamper N [SEED]`.

Every kind of damage changes something that is stored. What the verifier is not asked to find, because nothing is lost
by it: that `lock` or `reserve` (which hold nothing) are gone or shorter, or that room behind the last record is.
Where the end is cut off, or all is written anew with the log's own key, only a checkpoint saved before can tell: those
kinds are checked with one. The last line is `found N`; the exit status is 1 if anything was missed.
"""

import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from tests.support.data_folder import busy_day, write_files
from vestibule.evidence import verify
from vestibule.evidence.segment import encode_frame, read_frames
from vestibule.evidence.tiles import decode_entries, encode_entries

Files = dict[str, bytes]


@dataclass(frozen=True)
class Sample:
    """The folder as it should be, as it was at earlier checkpoints, and as its owner would forge it."""

    files: Files
    earlier: tuple[Files, ...]
    forged: Files

    @property
    def names(self) -> list[str]:
        return sorted(self.files)

    @property
    def evidence(self) -> list[str]:
        """The files that hold something."""
        return [name for name in self.names if not name.endswith(("/lock", "/reserve"))]


@dataclass(frozen=True)
class Damage:
    """What changes: new content by name, None for a file that goes; `what` tells it to people."""

    what: str
    changes: Mapping[str, bytes | None]
    saved: bool = False


def make_sample(seed: int) -> Sample:
    files, log, _ = busy_day(seed)
    return Sample(files, tuple(log.earlier), busy_day(seed + 1)[0])


def _any_place(sample: Sample, source: random.Random) -> tuple[str, int]:
    """Choose a stored byte: half of the time any byte, else any file."""
    names = [name for name in sample.names if sample.files[name]]
    weights = [len(sample.files[name]) for name in names] if source.random() < 0.5 else None
    name = source.choices(names, weights)[0]
    return name, source.randrange(len(sample.files[name]))


def flip_bit(sample: Sample, source: random.Random) -> Damage:
    name, place = _any_place(sample, source)
    data = bytearray(sample.files[name])
    data[place] ^= 1 << source.randrange(8)
    return Damage(f"{name} byte {place}", {name: bytes(data)})


def insert_bytes(sample: Sample, source: random.Random) -> Damage:
    name, place = _any_place(sample, source) if source.random() < 0.9 else (source.choice(sample.names), 0)
    extra = source.choice([bytes, source.randbytes])(source.randint(1, 8))
    data = sample.files[name]
    place = source.choice([place, len(data)])
    return Damage(f"{name} at {place}: {extra.hex()}", {name: data[:place] + extra + data[place:]})


def delete_bytes(sample: Sample, source: random.Random) -> Damage:
    name, place = _any_place(sample, source)
    data = sample.files[name]
    count = source.randint(1, 8)
    return Damage(f"{name} at {place}: {count}", {name: data[:place] + data[place + count :]})


def swap_bytes(sample: Sample, source: random.Random) -> Damage:
    name, first = _any_place(sample, source)
    data = bytearray(sample.files[name])
    second = source.randrange(len(data))
    data[first], data[second] = data[second], data[first]
    return Damage(f"{name} bytes {first} and {second}", {name: bytes(data)})


def swap_lines(sample: Sample, source: random.Random) -> Damage:
    name = source.choice([name for name in sample.names if "checkpoint" in name])
    lines = sample.files[name].splitlines(keepends=True)
    first, second = source.sample(range(len(lines)), 2)
    lines[first], lines[second] = lines[second], lines[first]
    return Damage(f"{name} lines {first} and {second}", {name: b"".join(lines)})


def change_records(sample: Sample, source: random.Random) -> Damage:
    name = source.choice([name for name in sample.names if name.endswith(".seg")])
    frames = [encode_frame(frame.header, frame.body) for frame in read_frames(sample.files[name])]
    what, changed = _rearranged(frames, source)
    rest = sample.files[name][sum(map(len, frames)) :]
    if rest:
        rest = bytes(-sum(map(len, changed)) % 4_096)
    return Damage(f"{name} {what}", {name: b"".join(changed) + rest})


def change_bodies(sample: Sample, source: random.Random) -> Damage:
    """A record gets another body, with check values that fit."""
    name = source.choice([name for name in sample.names if name.endswith(".seg")])
    frames = list(read_frames(sample.files[name]))
    place = source.randrange(len(frames))
    body = bytearray(frames[place].body)
    body[source.randrange(len(body))] ^= 1 << source.randrange(8)
    frames[place] = replace(frames[place], body=bytes(body))
    rest = sample.files[name][frames[-1].end :]
    content = b"".join(encode_frame(frame.header, frame.body) for frame in frames)
    return Damage(f"{name} body {place}", {name: content + rest})


def change_entries(sample: Sample, source: random.Random) -> Damage:
    name = source.choice([name for name in sample.names if "/entries/" in name])
    width = int(name.rpartition(".p/")[2]) if ".p/" in name else 256
    what, changed = _rearranged(decode_entries(sample.files[name], width), source)
    return Damage(f"{name} {what}", {name: encode_entries(changed)})


def _rearranged(items: list[bytes], source: random.Random) -> tuple[str, list[bytes]]:
    changed = list(items)
    place = source.randrange(len(items))
    match source.choice(["drop", "double", "swap"]):
        case "drop":
            del changed[place]
            return f"drops {place}", changed
        case "double":
            changed.insert(place, items[place])
            return f"doubles {place}", changed
        case _:
            other = source.randrange(len(items))
            changed[place], changed[other] = changed[other], changed[place]
            return f"swaps {place} and {other}", changed


def drop_file(sample: Sample, source: random.Random) -> Damage:
    name = source.choice(sample.evidence)
    return Damage(name, {name: None})


def double_file(sample: Sample, source: random.Random) -> Damage:
    name = source.choice(sample.evidence)
    folder, _, last = name.rpartition("/")
    places = [f"{name}.copy", f"{folder}/{last}1", f"{folder}/1{last}", f"log/{last}", f"journal/{last}"]
    other = source.choice([place for place in places if place not in sample.files])
    return Damage(f"{name} as {other}", {other: sample.files[name]})


def swap_files(sample: Sample, source: random.Random) -> Damage:
    first, second = source.sample(sample.evidence, 2)
    return Damage(f"{first} and {second}", {first: sample.files[second], second: sample.files[first]})


def truncate_file(sample: Sample, source: random.Random) -> Damage:
    name = source.choice(sample.evidence)
    data = sample.files[name]
    end = source.randrange(len(data.rstrip(b"\0")) if name.endswith(".seg") else len(data))
    return Damage(f"{name} to {end}", {name: data[:end]})


def cut_off_end(sample: Sample, source: random.Random) -> Damage:
    earlier = source.choice(sample.earlier)
    return Damage("the end of journal and log", _instead(sample, earlier), saved=True)


def write_anew(sample: Sample, source: random.Random) -> Damage:
    return Damage("all of it, signed with the log's key", _instead(sample, sample.forged), saved=True)


def _instead(sample: Sample, other: Files) -> dict[str, bytes | None]:
    return {name: other.get(name) for name in sample.files.keys() | other.keys()}


KINDS: dict[Callable[[Sample, random.Random], Damage], int] = {
    flip_bit: 30,
    insert_bytes: 10,
    delete_bytes: 10,
    swap_bytes: 10,
    swap_lines: 4,
    change_records: 10,
    change_bodies: 6,
    change_entries: 4,
    drop_file: 4,
    double_file: 4,
    swap_files: 4,
    truncate_file: 6,
    cut_off_end: 1,
    write_anew: 1,
}


class Bench:
    """A folder on disk that is damaged, verified and repaired."""

    def __init__(self, folder: Path, sample: Sample) -> None:
        self.folder = folder / "data"
        self.sample = sample
        self.saved = sample.files["log/checkpoint"]
        write_files(self.folder, sample.files)

    def finds(self, damage: Damage) -> list[str]:
        """Damage the folder, and give what the verifier says of it."""
        for name, data in damage.changes.items():
            self._put(name, data)
        try:
            findings, _, _ = verify.verify(str(self.folder), self.saved if damage.saved else None)
        finally:
            for name in damage.changes:
                self._put(name, self.sample.files.get(name))
        return [text for texts in findings.values() for text in texts]

    def _put(self, name: str, data: bytes | None) -> None:
        path = self.folder / name
        if data is None:
            path.unlink(missing_ok=True)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)


def damages(sample: Sample, count: int, source: random.Random):
    """Give `count` damages that change something."""
    while count:
        kind = source.choices(list(KINDS), list(KINDS.values()))[0]
        damage = kind(sample, source)
        if any(sample.files.get(name) != data for name, data in damage.changes.items()):
            count -= 1
            yield kind.__name__, damage


def run(folder: Path, count: int, seed: int) -> tuple[Counter[str], list[str]]:
    """Damage `count` times; give how often each kind was found, and what was missed."""
    sample = make_sample(seed)
    bench = Bench(folder, sample)
    if bench.finds(Damage("nothing", {}, saved=True)):
        raise AssertionError("the sample itself is not found to be whole")
    found: Counter[str] = Counter()
    missed: list[str] = []
    for kind, damage in damages(sample, count, random.Random(seed)):
        if bench.finds(damage):
            found[kind] += 1
        else:
            missed.append(f"{kind}: {damage.what}")
    return found, missed


def main(arguments: list[str]) -> int:
    count = int(arguments[0]) if arguments else 1_000
    seed = int(arguments[1]) if len(arguments) > 1 else random.SystemRandom().randrange(1_000_000)
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        found, missed = run(Path(folder), count, seed)
    sys.stdout.write("".join(f"{kind.__name__.replace('_', ' '):16} {found[kind.__name__]:6}\n" for kind in KINDS))
    sys.stdout.write("".join(f"MISSED {line}\n" for line in missed))
    sys.stdout.write(f"seed {seed}, {time.monotonic() - started:.0f} s\nfound {found.total()}\n")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
