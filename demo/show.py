"""What the walk prints: steps with a counter, the commands as one would type them, and what each shows."""

from __future__ import annotations

import shutil
import sys
import textwrap
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

#: Lines are folded to the terminal's width, within these bounds.
NARROW, WIDE = 80, 110
SHOWN_LINES = 14
#: Everything that belongs to a step stands this far in.
INDENT = " " * 6


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
        print(f"  {what:<{NARROW - 12}}", end="", flush=True)
        begun = time.monotonic()
        yield
        print(f" {time.monotonic() - begun:5.1f} s", flush=True)

    @contextmanager
    def step(self, title: str, why: str) -> Iterator[None]:
        """One step: it is good if every check in it held and nothing was raised."""
        self.number += 1
        self._failed.clear()
        self.say(f"\n[{self.number}/{self.total}] {title}")
        self.say(folded(why))
        try:
            yield
        except (AssertionError, LookupError, OSError, RuntimeError, ValueError) as error:
            self._failed.append(str(error))
            self.say(f"{INDENT}! {type(error).__name__}: {error}")
        if not self._failed:
            self.good += 1

    def command(self, text: str) -> None:
        """Print a command as one would type it."""
        self.say(folded(text, "$ "))

    def typed(self, line: str) -> None:
        """Print a line as one would type it into a program."""
        self.say(folded(line, "> "))

    def told(self, text: str) -> None:
        """Print what happens besides."""
        self.say(folded(text))

    def output(self, text: str, most: int = SHOWN_LINES, *, is_table: bool = False) -> None:
        """Print what a program answered, cut where it is long; the rows of a wide table are cut and not folded."""
        lines = text.strip("\n").rstrip().splitlines()
        for line in lines[:most]:
            self.say(cut(line) if is_table else folded(line.rstrip(), "| ", "|   ", is_broken=True))
        if len(lines) > most:
            self.say(f"{INDENT}| ... {len(lines) - most} more lines")

    def check(self, claim: str, holds: bool) -> None:
        """Print a claim and whether it held."""
        lead = "ok: " if holds else "NOT SHOWN: "
        self.say(folded(claim, lead, " " * len(lead)))
        if not holds:
            self._failed.append(claim)

    def finish(self) -> int:
        """Print the count; 0 only if every step showed what it should."""
        print(f"{self.good} of {self.total} steps", flush=True)
        sys.stdout.flush()
        return 0 if self.good == self.total else 1


def width() -> int:
    """Give the width of a line."""
    return min(max(shutil.get_terminal_size().columns, NARROW), WIDE)


def cut(line: str) -> str:
    """Cut a line of a program's answer to the terminal's width."""
    whole = f"{INDENT}| {line.rstrip()}"
    return whole if len(whole) <= width() else f"{whole[: width() - 4].rstrip()} ..."


def folded(text: str, lead: str = "", more: str = "  ", *, is_broken: bool = False) -> str:
    """Fold a line to the terminal's width, behind `lead` and from the second line on behind `more`.

    Words that are longer than a line are broken only if asked for: an address is to be copied.
    """
    lines = textwrap.wrap(
        text,
        width(),
        initial_indent=INDENT + lead,
        subsequent_indent=INDENT + (more if lead else ""),
        break_long_words=is_broken,
        break_on_hyphens=False,
    )
    return "\n".join(lines) or f"{INDENT}{lead}".rstrip()
