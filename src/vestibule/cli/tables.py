"""Recorded results on a terminal: each table under its statement, in the order in which it was shown.

1. Pages are asked for one by one; one is in memory at a time.
2. A table is printed behind its statement's decision and before its statement's outcome.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from rich.markup import escape
from rich.table import Table

from vestibule.cli.api import Api

Row = Mapping[str, Any]

PAGE: Final = 200
#: How long the gateway may hold an answer back while nothing new is shown.
WAIT: Final = 20


class Tables:
    """The tables of a session, to be taken in order."""

    def __init__(self, tables: Iterator[Row]) -> None:
        """Take them from `tables`, none before it is wanted."""
        self._tables = tables
        self._next: Row | None = None

    def until(self, at_us: int, announced: set[int], ending: int = 0) -> Iterator[Row]:
        """Give what was shown up to a moment, of statements that are announced; of `ending` everything."""
        while (table := self._peek()) is not None:
            is_due = table["at_us"] <= at_us or table["statement"] == ending
            if not is_due or table["statement"] not in announced:
                return
            self._next = None
            yield table

    def rest(self) -> Iterator[Row]:
        """Give everything that is left."""
        while (table := self._peek()) is not None:
            self._next = None
            yield table

    def _peek(self) -> Row | None:
        if self._next is None:
            self._next = next(self._tables, None)
        return self._next


def recorded(api: Api, session: str) -> Iterator[Row]:
    """Ask for the tables of a session as it is now."""
    after: str | None = None
    while True:
        query = {"limit": PAGE, **({} if after is None else {"after": after})}
        page = api.call("GET", f"/api/v1/sessions/{session}/replay/results", query=query)
        yield from page["tables"]
        # A running session is at its end where nothing new comes.
        if page["over"] or page["next"] == after or (after is None and not page["tables"]):
            return
        after = page["next"]


def followed(api: Api, session: str) -> Iterator[Row]:
    """Ask for statements and tables as they come, page by page, until the session has ended."""
    after, seen = "0.0.0", 0
    while True:
        query = {"limit": PAGE, "after": after, "seen": seen, "wait": WAIT}
        page = api.call("GET", f"/api/v1/sessions/{session}/replay/results", query=query)
        yield page
        after = page["next"]
        seen = max([seen, *(row["number"] for row in page["statements"])])
        if page["over"] and not page["statements"]:
            return


def title(table: Row) -> str:
    """Say whose rows they are, plainly."""
    return f"#{table['statement']} rows{' (continued)' if table['continued'] else ''}"


def ending(table: Row) -> str:
    """Say how a result ended, if it has."""
    if not table["ended"]:
        return ""
    return f"#{table['statement']} {table['error'] or table['tag'] or 'suspended'}"


def rendered(table: Row, shown: Callable[[object], str]) -> Table | None:
    """Draw the rows of a table; `shown` makes a text from elsewhere safe. A table without columns has none."""
    if not table["columns"] or (not table["rows"] and table["continued"]):
        return None
    drawn = Table(box=None, pad_edge=False, header_style="bold", show_header=not table["continued"])
    for column in table["columns"]:
        masked = f" [yellow]({shown(column['masked'])})[/yellow]" if column["masked"] else ""
        drawn.add_column(shown(column["name"]) + masked, overflow="fold")
    for row in table["rows"]:
        drawn.add_row(*(_cell(value, shown) for value in row))
    return drawn


def _cell(value: object, shown: Callable[[object], str]) -> str:
    if value is None:
        return "[dim]NULL[/dim]"
    if isinstance(value, Mapping):
        return f"[dim]{escape(str(value['bytes']))} bytes[/dim]"
    return shown(value)
