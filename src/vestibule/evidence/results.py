"""Recorded results read back as tables: columns, rows, and how each result ended.

1. What is read are the events of a recording, which hold PostgreSQL's frames as they were sent.
2. Reading may begin at any chunk: each begins with the description of its rows.
3. A row that was cut off (the recording was, or it was longer than is kept) is left out; what is behind it stands.
4. Of each statement are held its columns and one frame at most.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from struct import Struct, error
from typing import Final

from vestibule.evidence.cells import Cell, cell
from vestibule.evidence.errors import EvidenceFormatError
from vestibule.evidence.recording import Event, Part


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a recorded result; `type` is its number in pg_type."""

    name: str
    type: int = 25
    is_binary: bool = False


@dataclass(frozen=True, slots=True)
class Described:
    """The rows that follow for this statement have these columns."""

    statement: int
    at_us: int
    columns: tuple[Column, ...]


@dataclass(frozen=True, slots=True)
class Row:
    """One row that was shown."""

    statement: int
    at_us: int
    cells: tuple[Cell, ...]


@dataclass(frozen=True, slots=True)
class Ended:
    """A result has ended: with the target's `tag`, or with an error."""

    statement: int
    at_us: int
    tag: str = ""
    error: str = ""


Item = Described | Row | Ended

#: Results of which more may come, at once.
OPEN_LIMIT: Final = 1_024
_COPY: Final = (Column("COPY"),)
_front = Struct("!cI")
_FRONT: Final = 5
_count = Struct("!H").unpack_from
_length = Struct("!i").unpack_from
_facts = Struct("!IHIhiH")


@dataclass(slots=True)
class _Open:
    """A result that is being read."""

    columns: tuple[Column, ...] = ()
    head: bytes = b""
    has_ended: bool = False
    unread: bytearray = field(default_factory=bytearray)


class Results:
    """Reads the events of one session."""

    def __init__(self) -> None:
        """Start at the beginning of a chunk."""
        self._open: dict[int, _Open] = {}

    def feed(self, event: Event) -> Iterator[Item]:
        """Give what an event completes, one by one; raise `EvidenceFormatError` if it is no frame."""
        result = self._of(event.statement)
        if event.part is Part.HEAD:
            # At the beginning of a chunk the same description only goes on.
            if event.data != result.head or result.has_ended:
                result.head, result.has_ended = event.data, False
                result.columns = _COPY if event.data[:1] == b"H" else _columns(event.data[_FRONT:])
                yield Described(event.statement, event.offset_us, result.columns)
            return
        if event.part is Part.FRAMES:
            result.unread.clear()
        elif not result.unread:
            return  # the beginning of this frame is not here
        result.unread += event.data
        yield from self._frames(event, result)

    def columns(self, statement: int) -> tuple[Column, ...]:
        """Give the columns by which rows of a statement are read now."""
        known = self._open.get(statement)
        return () if known is None else known.columns

    def _of(self, statement: int) -> _Open:
        if statement not in self._open and len(self._open) >= OPEN_LIMIT:
            # A portal that was never read to its end; of a later row of it only the names of its columns are missing.
            del self._open[next(iter(self._open))]
        return self._open.setdefault(statement, _Open())

    def _frames(self, event: Event, result: _Open) -> Iterator[Item]:
        data, at = bytes(result.unread), 0
        result.unread.clear()
        while at + _FRONT <= len(data):
            tag, length = _front.unpack_from(data, at)
            end = at + 1 + length
            if length < 4:
                raise EvidenceFormatError("a recorded frame is shorter than its length")
            if end > len(data):
                break
            yield from self._frame(event, result, tag, data[at + _FRONT : end])
            at = end
        result.unread += data[at:]

    def _frame(self, event: Event, result: _Open, tag: bytes, body: bytes) -> Iterator[Item]:
        number, at = event.statement, event.offset_us
        match tag:
            case b"D" | b"d":
                if result.has_ended:
                    # Another result, whose description is the same.
                    result.has_ended = False
                    yield Described(number, at, result.columns)
                yield Row(number, at, _cells(body, result.columns) if tag == b"D" else (_line(body),))
            case b"C":
                yield Ended(number, at, tag=_string(body))
            case b"E":
                yield Ended(number, at, error=_error(body))
            case b"I" | b"s":
                yield Ended(number, at)
            case _:
                return
        result.has_ended = tag not in (b"D", b"d")


def _columns(body: bytes) -> tuple[Column, ...]:
    try:
        found: list[Column] = []
        at = 2
        for _ in range(_count(body)[0]):
            end = body.index(b"\x00", at)
            _, _, type_, _, _, form = _facts.unpack_from(body, end + 1)
            found.append(Column(body[at:end].decode(errors="replace"), type_, form == 1))
            at = end + 1 + _facts.size
    except (error, ValueError):
        raise EvidenceFormatError("the recorded description of a result cannot be read") from None
    return tuple(found)


def _cells(body: bytes, columns: tuple[Column, ...]) -> tuple[Cell, ...]:
    try:
        cells: list[Cell] = []
        at = 2
        for number in range(_count(body)[0]):
            length = _length(body, at)[0]
            at += 4
            column = columns[number] if number < len(columns) else Column("")
            value = None if length < 0 else body[at : at + length]
            cells.append(cell(column.type, column.is_binary, value))
            at += max(0, length)
    except error:
        at = -1
    if at != len(body):
        raise EvidenceFormatError("a recorded row cannot be read")
    return tuple(cells)


def _error(body: bytes) -> str:
    fields = {part[:1]: part[1:].decode(errors="replace") for part in body.split(b"\x00") if part}
    return f"{fields.get(b'C', '')} {fields.get(b'M', '')}".strip()


def _line(body: bytes) -> str:
    return body.decode(errors="replace").removesuffix("\n")


def _string(body: bytes) -> str:
    return body.rstrip(b"\x00").decode(errors="replace")
