"""One psql in a terminal that stays open from step to step: what is typed is shown, and what it answers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from demo.show import Show
from tests.support.clients import Psql, Terminal
from tests.support.postgres import DATABASE

PROMPT: Final = f"{DATABASE}=> "
#: The terminal's own echo of what is typed, and messages as psql shows them to people.
OPTIONS: Final = ("-n", "-v", "VERBOSITY=default")


@dataclass(frozen=True, slots=True)
class Talk:
    """What is typed into psql, line by line."""

    terminal: Terminal
    show: Show

    def say(self, line: str) -> str:
        """Type a line, and give what comes before the next prompt."""
        self.begin(line)
        return self.rest()

    def begin(self, line: str) -> None:
        """Type a line whose answer is to be waited for."""
        self.show.typed(line)
        self.terminal.type(line)
        self.terminal.expect("\n")

    def line(self) -> str:
        """Wait for one line of the answer."""
        return self._shown(self.terminal.expect("\n"))

    def rest(self) -> str:
        """Wait for what comes before the next prompt."""
        return self._shown(self.terminal.expect(PROMPT).removesuffix(PROMPT))

    def end(self) -> None:
        """Leave psql."""
        self.terminal.type("\\q")
        self.terminal.wait()

    def _shown(self, text: str) -> str:
        self.show.output(text)
        return text


@contextmanager
def talking(psql: Psql, show: Show) -> Iterator[Talk]:
    """Start psql in a terminal; hang up at the end if it is still there."""
    with psql.terminal(*OPTIONS) as terminal:
        terminal.expect(PROMPT)
        yield Talk(terminal, show)
