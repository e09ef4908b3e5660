"""Somebody pries after protected values: `python -m tests.fuzz.masked --cases N --seed S [--one K] [--without-masks]`.

Everything that comes back through the gateway is searched for canaries as the leak battery searches. Each attempt is
also made directly, as the superuser: an attempt that brings no canary there proves nothing, and an answer that is the
same here and there has not been masked.
"""

from __future__ import annotations

import argparse
import re
import struct
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from random import Random
from typing import Any

import yaml

from tests.fuzz import prying
from tests.support.canary_bank import BATTERY, MASKS, Bank, canary_bank
from tests.support.certificates import Authority
from tests.support.providers import LightProvider
from tests.support.sandbox import Sandbox

# The battery's files import each other by their bare names.
sys.path.append(str(BATTERY))

import run as battery
import scan
import wire

#: Attempts in one session.
STEP = 25
#: What a refusal tells of the gateway's own: random digits that hit a fragment by chance.
OWN = re.compile(rb'"session":"[0-9a-f-]{36}"')
#: What a binary copy begins with, how long that is with flags and extension, and what it ends with.
SIGNATURE, HEAD, END = b"PGCOPY\n\xff\r\n\0", 19, b"\xff\xff"
HEX = re.compile(rb"(?:\\x)?((?:[0-9a-f]{2}){4,})")
SHOWN = 20


@dataclass(frozen=True, slots=True)
class Leak:
    """An attempt that brought something back, and what."""

    number: int
    attempt: prying.Attempt
    found: str

    def __str__(self) -> str:
        """Write it as a case of the battery."""
        case = {
            "id": f"F{self.number}",
            "kind": "leak",
            "category": self.attempt.way,
            "steps": list(self.attempt.steps),
        }
        return f"# {self.found}\n{yaml.safe_dump([case], sort_keys=False, allow_unicode=True, width=1000)}"


@dataclass(slots=True)
class Tally:
    """What became of all attempts."""

    tried: int = 0
    direct: int = 0
    refused: int = 0
    ended: int = 0
    leaks: list[Leak] = field(default_factory=list)
    ways: Counter[str] = field(default_factory=Counter)

    def __str__(self) -> str:
        """Tell it in one line."""
        return (
            f"{self.tried} tried, {self.direct} leak directly, {len(self.leaks)} leak through the gateway, "
            f"{self.refused} were refused there, {self.ended} ended the session"
        )


class Pryer(battery.Performer):
    """Somebody with a session that lasts for some attempts."""

    def __init__(self, side: wire.Dsn, direct: wire.Dsn) -> None:
        super().__init__(side, direct)
        self._dsn = side
        self._session: wire.Session | None = None

    def pry(self, attempt: prying.Attempt) -> battery.Transcript:
        """Make an attempt; give everything that came back."""
        session = self._session = self._session or wire.Session(self._dsn)
        session.frames, ended = [], ""
        try:
            for step in attempt.steps:
                self._step(session, {"query": step} if isinstance(step, str) else step)
            heard = list(session.frames)
            if heard[-1].kind != "Z" or heard[-1].payload != b"I":
                session.query("ROLLBACK")
        except EOFError as error:
            heard, ended = session.frames, str(error)
            self.leave()
        return battery.Transcript(heard, ended)

    def leave(self) -> None:
        """End the session; what is temporary goes with it."""
        if self._session is not None:
            self._session.close()
            self._session = None


def traces(frames: Iterable[wire.Frame]) -> list[tuple[str, str]]:
    """Where canaries are in an answer."""
    told = list(_told(frames))
    found: list[tuple[str, str]] = scan.traces(told)
    if all(len(trace) < scan.PREFIX for _, trace in found):
        # Digits of hex text and of timestamps hit a fragment by chance: what is only a fragment must be one as text.
        found = found and scan.traces(list(map(_read, told)))
    return found


def _told(frames: Iterable[wire.Frame]) -> Iterator[wire.Frame]:
    is_binary = False
    for kind, payload in frames:
        is_binary = kind == "d" and (is_binary or payload.startswith(SIGNATURE))
        if kind == "E":
            yield wire.Frame(kind, OWN.sub(b"", payload))
        elif not is_binary:
            yield wire.Frame(kind, payload)
        elif (row := payload[HEAD:] if payload.startswith(SIGNATURE) else payload) not in (b"", END):
            # A tuple of a binary copy is written as a DataRow is.
            yield wire.Frame("D", row)


def _read(frame: wire.Frame) -> wire.Frame:
    if frame.kind != "D":
        return frame._replace(payload=HEX.sub(_unhexed, frame.payload))
    values = [
        None if value is None or _is_number(value) else HEX.sub(_unhexed, value) for value in wire.cells(frame.payload)
    ]
    written = b"".join(
        struct.pack("!i", -1) if each is None else struct.pack("!i", len(each)) + each for each in values
    )
    return frame._replace(payload=struct.pack("!h", len(values)) + written)


def _is_number(value: bytes) -> bool:
    return len(value) in (2, 4, 8) and not value.decode("latin1").isprintable()


def _unhexed(run: re.Match[bytes]) -> bytes:
    text = bytes.fromhex(run[1].decode())
    return text if text.isascii() and text.decode().isprintable() else run[0]


def judge(attempt: prying.Attempt, direct: battery.Transcript, answer: battery.Transcript) -> str:
    """Say what leaked in an answer, or nothing."""
    if found := traces(answer.frames):
        return str(found[:2])
    # A disguise leaves no trace, but it is another one if the value was masked before.
    if attempt.way == prying.DISGUISED and _rows(direct) & _rows(answer):
        return "the same bytes as without a gateway"
    return ""


def _rows(transcript: battery.Transcript) -> set[bytes]:
    return {frame.payload for frame in transcript.frames if frame.kind == "D"}


def pry(
    direct: wire.Dsn, side: wire.Dsn, numbers: Iterable[int], seed: int, show: Callable[[str], object] = lambda _: None
) -> Tally:
    """Make the attempts of these numbers, the same for the same seed, on both sides."""
    tally, plain, other = Tally(), Pryer(direct, direct), Pryer(side, direct)
    for number in numbers:
        attempt = prying.attempt(Random(f"{seed}/{number}"), number)
        real = plain.pry(attempt)
        answer = other.pry(attempt)
        tally.tried += 1
        tally.direct += bool(judge(attempt, real, real))
        tally.refused += bool(answer.errors)
        tally.ended += bool(answer.ended)
        if found := judge(attempt, real, answer):
            tally.leaks.append(Leak(number, attempt, found))
            tally.ways[attempt.way] += 1
        if tally.tried % STEP == 0:
            plain.leave()
            other.leave()
        if tally.tried % 500 == 0:
            show(str(tally))
    plain.leave()
    other.leave()
    return tally


def sides(bank: Bank) -> tuple[wire.Dsn, wire.Dsn]:
    """Give the server itself, and the gateway before it."""
    return wire.Dsn.parse(bank.direct), wire.Dsn.parse(bank.through, password=bank.person.token)


@contextmanager
def bank_of_its_own(masks: Sequence[dict[str, Any]]) -> Iterator[Bank]:
    """Start all that is needed, and end it."""
    with Sandbox() as sandbox:
        authority = Authority(sandbox)
        provider = LightProvider(sandbox, authority)
        provider.start()
        try:
            with canary_bank(sandbox, authority, provider, masks) as bank:
                yield bank
        finally:
            provider.stop()


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--one", type=int, help="make the attempt of this number alone")
    parser.add_argument("--without-masks", action="store_true", help="through a gateway that masks nothing")
    arguments = parser.parse_args()
    numbers = range(arguments.cases) if arguments.one is None else [arguments.one]
    with bank_of_its_own(() if arguments.without_masks else MASKS) as bank:
        tally = pry(*sides(bank), numbers, arguments.seed, print)
    for leak in tally.leaks[:SHOWN]:
        print(leak)
    print(f"{tally}; leaks by their way out: {dict(tally.ways)}")
    return 1 if tally.leaks else 0


if __name__ == "__main__":
    sys.exit(main())
