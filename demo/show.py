"""What the walk prints: steps with a counter, the commands as one would type them, and what each shows."""

from __future__ import annotations

import sys
import textwrap
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

WIDTH = 110
SHOWN_LINES = 14


@dataclass(slots=True)
class Show:
    """Prints the walk and counts what showed what it should."""

    total: int = 0
    number: int = 0
    good: int = 0
    _failed: list[str] = field(default_factory=list)

    def say(self, text: str = "") -> None:
        """Print text as it is."""
        print(text, flush=True)

    @contextmanager
    def starting(self, what: str) -> Iterator[None]:
        """Tell that something is being started, and how long it took."""
        print(f"  {what:<84}", end="", flush=True)
        begun = time.monotonic()
        yield
        print(f" {time.monotonic() - begun:5.1f} s", flush=True)

    @contextmanager
    def step(self, title: str, why: str) -> Iterator[None]:
        """One step: it is good if every check in it held and nothing was raised."""
        self.number += 1
        self._failed.clear()
        self.say(f"\n[{self.number}/{self.total}] {title}")
        self.say(textwrap.indent(textwrap.fill(why, WIDTH - 6), "      "))
        try:
            yield
        except (AssertionError, LookupError, OSError, RuntimeError, ValueError) as error:
            self._failed.append(str(error))
            self.say(f"      ! {type(error).__name__}: {error}")
        if not self._failed:
            self.good += 1

    def command(self, text: str) -> None:
        """Print a command as one would type it."""
        self.say(f"      $ {text}")

    def output(self, text: str, most: int = SHOWN_LINES) -> None:
        """Print what a program answered, cut where it is long."""
        lines = text.rstrip().splitlines()
        for line in lines[:most]:
            print(f"      | {line}", flush=True)
        if len(lines) > most:
            print(f"      | ... {len(lines) - most} more lines", flush=True)

    def check(self, claim: str, holds: bool) -> None:
        """Print a claim and whether it held."""
        print(f"      {'ok' if holds else 'NOT SHOWN'}: {claim}", flush=True)
        if not holds:
            self._failed.append(claim)

    def finish(self) -> int:
        """Print the count; 0 only if every step showed what it should."""
        print(f"{self.good} of {self.total} steps", flush=True)
        sys.stdout.flush()
        return 0 if self.good == self.total else 1
