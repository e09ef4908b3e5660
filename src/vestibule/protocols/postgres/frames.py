"""Bytes to frames: bounded before anything is kept, streamed where a message may be large.

1. A length is read unsigned and judged before a byte of the body is waited for; a type that the table of
   limits does not hold is refused at its first bytes.
2. Rows and CopyData pass as slabs of whole frames, checked but not taken apart; a row too long to wait for
   passes in pieces, a long CopyData anew in frames of at most 64 KiB.
3. With a layout that masks, rows leave masked or not at all: each is gathered whole, up to a limit of its own.
4. Where less may be stored than shown, rows are whole in the same way, and come a second time as they may be stored.
   If that fails they are shown all the same, and not stored.
5. After an error the reader fails for good: nothing resynchronises.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from struct import Struct
from typing import Final

from vestibule.masking.steps import RowMask
from vestibule.model.errors import ClientProtocolError, TargetProtocolError
from vestibule.model.event import Side
from vestibule.protocols.postgres.codec import spell
from vestibule.protocols.postgres.rows import COPY_DATA, DATA_ROW, HEADER, ROW_HEADER, LongRow, mask, scan, scan_copy
from vestibule.wire.buffer import Buffer

KIB: Final = 1 << 10
MIB: Final = 1 << 20
STREAMED: Final = (1 << 30) - 1

#: What waits to be whole: a longer row or CopyData passes in pieces.
PIECE: Final = 64 * KIB

#: The longest row with a masked column, its length field included. It is whole before it can be written anew.
MASKED: Final = 128 * MIB

_head = Struct("!BI").unpack_from
_row_head = Struct("!BIH").unpack_from
_frame_head = Struct("!BI").pack

#: The longest frame of each type, its length field included, that the side may send. Types not named are refused.
Limits = Mapping[int, int]


def _limits(small: str, large: Mapping[str, int]) -> dict[int, int]:
    return dict.fromkeys(small.encode(), 64 * KIB) | {ord(tag): limit for tag, limit in large.items()}


#: A client that has not proven itself: a password, a token or SASL data.
UNPROVEN: Final[Limits] = _limits("", {"p": 64 * KIB + 4})

#: A target, in log-in and session. CopyBothResponse and FunctionCallResponse answer nothing that is ever sent.
TARGET: Final[Limits] = _limits("RvKSNAEZnCIs123GHc", {"T": 4 * MIB, "t": 4 * MIB, "D": STREAMED, "d": STREAMED})


def client_limits(bind: int = 64 * MIB) -> Limits:
    """Make the limits of a client in session; `bind` is the longest Bind."""
    return _limits("DECHSXFcf", {"Q": 16 * MIB, "P": 16 * MIB, "B": bind, "d": STREAMED})


@dataclass(frozen=True, slots=True)
class Frame:
    """One message, whole and not yet decoded."""

    type: int
    body: bytes


@dataclass(frozen=True, slots=True)
class Rows:
    """DataRow frames byte for byte; `count` rows end in `data`, and unless `complete` the last one goes on.

    Under a layout they are as shown, and `masked` values of them are not as the target sent them. `stored` are the same
    rows as they may be stored, where that is something else; unless `is_storable` they may not be.
    """

    data: bytes
    count: int
    complete: bool = True
    masked: int = 0
    stored: bytes | None = None
    is_storable: bool = True


@dataclass(frozen=True, slots=True)
class Copied:
    """CopyData frames of at most 64 KiB, always whole; `size` is what they carry without their headers."""

    data: bytes
    size: int


Item = Frame | Rows | Copied


class FrameReader:
    """Takes one side's bytes and gives messages; its public members may be changed between two messages."""

    def __init__(self, side: Side, limits: Limits) -> None:
        self.limits = limits
        #: How many columns a row has now; None where no row is expected.
        self.columns: int | None = None
        #: How these columns are masked; None where none is.
        self.layout: RowMask | None = None
        #: How they are masked where they are stored; None where that is as shown.
        self.stored: RowMask | None = None
        self._side = side
        self._buffer = Buffer()
        self._row: LongRow | None = None
        self._copy = 0
        self._failure: ClientProtocolError | TargetProtocolError | None = None

    def __len__(self) -> int:
        """How many bytes wait."""
        return len(self._buffer)

    @property
    def is_between_messages(self) -> bool:
        """Whether no message has begun and not ended."""
        return not len(self._buffer) and self._row is None and not self._copy

    def feed(self, data: bytes) -> None:
        """Take bytes as they came."""
        self._buffer.feed(data)

    def next(self) -> Item | None:
        """Give the next message or run of messages, None when more bytes are needed."""
        if self._failure is not None:
            raise self._failure
        try:
            return self._next()
        except (ClientProtocolError, TargetProtocolError) as failure:
            self._failure = failure
            raise

    def _next(self) -> Item | None:
        if self._row is not None:
            return self._row_piece(self._row)
        if self._copy:
            return self._copy_pieces()
        buffer = self._buffer
        if not buffer.gather(HEADER):
            return None
        tag, size = _head(buffer.data, buffer.at)
        if not 4 <= size <= self.limits.get(tag, 0):
            raise self._violation(self._fault(tag, size))
        if tag == DATA_ROW and self._side is Side.TARGET:
            return self._rows(size)
        if tag == COPY_DATA:
            return self._copies(size)
        return self._frame(tag, size)

    def _fault(self, tag: int, size: int) -> str:
        """Say what is wrong with the head of a message."""
        limit = self.limits.get(tag)
        if limit is None:
            return f"unexpected message of type {spell(tag)}"
        if size < 4:
            return f"message of type {spell(tag)} has the length {size}"
        return f"message of type {spell(tag)} has {size} bytes; the limit is {limit}"

    def _violation(self, message: str) -> ClientProtocolError | TargetProtocolError:
        return ClientProtocolError(message) if self._side is Side.CLIENT else TargetProtocolError(message)

    def _frame(self, tag: int, size: int) -> Frame | None:
        buffer = self._buffer
        if not buffer.gather(1 + size):
            return None
        buffer.skip(HEADER)
        return Frame(tag, buffer.take(size - 4))

    def _rows(self, size: int) -> Rows | None:
        if self.columns is None:
            raise self._violation("unexpected row")
        layout = self.layout if self.layout is not None and self.layout.masked else None
        if layout is not None or self.stored is not None:
            return self._masked_rows(size, self.columns, layout, self.stored)
        if self._buffer.gather(1 + size):
            return self._whole_rows(self.columns)
        if size <= PIECE or not self._buffer.gather(ROW_HEADER):
            return None
        return self._begin_row(self.columns)

    def _whole_rows(self, columns: int) -> Rows:
        buffer = self._buffer
        end, count = scan(buffer.data, buffer.at, len(buffer.data), columns)
        self._judge_rows(count)
        return Rows(buffer.take(end - buffer.at), count)

    def _masked_rows(self, size: int, columns: int, layout: RowMask | None, stored: RowMask | None) -> Rows | None:
        for each in (layout, stored):
            if each is not None and each.columns != columns:
                raise self._violation(f"{columns} columns were described where {each.columns} are masked or passed")
        if size > MASKED:
            raise self._violation(f"a row with masked columns has {size} bytes; the limit is {MASKED}")
        buffer = self._buffer
        if not buffer.gather(1 + size):
            return None
        data, at = buffer.data, buffer.at
        rows = self._whole_rows(columns) if layout is None else self._shown_rows(layout)
        return rows if stored is None else _with_stored(rows, data, at, stored)

    def _shown_rows(self, layout: RowMask) -> Rows:
        buffer = self._buffer
        data, end, count, masked = mask(buffer.data, buffer.at, len(buffer.data), layout)
        self._judge_rows(count)
        buffer.skip(end - buffer.at)
        return Rows(data, count, masked=masked)

    def _judge_rows(self, count: int) -> None:
        if not count:
            raise self._violation("a row too short for its column count")

    def _begin_row(self, columns: int) -> Rows:
        _, size, fields = _row_head(self._buffer.data, self._buffer.at)
        if fields != columns:
            raise self._violation(f"a row of {fields} columns where {columns} were described")
        self._row = LongRow(size, fields)
        return Rows(self._buffer.take(ROW_HEADER), 0, complete=False)

    def _row_piece(self, row: LongRow) -> Rows | None:
        buffer = self._buffer
        available = buffer.gather_all()
        end = row.advance(buffer.data, buffer.at, buffer.at + available)
        if end == buffer.at:
            return None
        if row.is_over:
            self._row = None
        return Rows(buffer.take(end - buffer.at), int(row.is_over), row.is_over)

    def _copies(self, size: int) -> Copied | None:
        buffer = self._buffer
        if size > PIECE:
            buffer.skip(HEADER)
            self._copy = size - 4
            return self._copy_pieces()
        if not buffer.gather(1 + size):
            return None
        end, count = scan_copy(buffer.data, buffer.at, len(buffer.data), PIECE)
        data = buffer.take(end - buffer.at)
        return Copied(data, len(data) - HEADER * count)

    def _copy_pieces(self) -> Copied | None:
        taken = min(self._copy, self._buffer.gather_all())
        if not taken:
            return None
        self._copy -= taken
        data = self._buffer.take(taken)
        step = PIECE - HEADER
        pieces = [data[at : at + step] for at in range(0, taken, step)]
        return Copied(b"".join([_frame_head(COPY_DATA, 4 + len(piece)) + piece for piece in pieces]), taken)


def _with_stored(rows: Rows, data: bytes, at: int, stored: RowMask) -> Rows:
    """Make the rows once more, as they may be stored."""
    try:
        kept, _, count, _ = mask(data, at, len(data), stored)
    except Exception:  # noqa: BLE001 - whatever fails in it: what could not be masked is not stored
        return replace(rows, is_storable=False)
    return replace(rows, stored=kept) if count == rows.count else replace(rows, is_storable=False)
