"""Broken DataRow streams for the row kernel: both builds walk, mask and stop alike, and as the reference says."""

from __future__ import annotations

import struct
from types import ModuleType
from typing import Any, Final

from tests.fuzz.readers.base import Reader
from tests.support.kernels import KERNELS
from vestibule.masking.steps import RowMask, row_mask
from vestibule.masking.transforms import BPCHAR, JSON, JSONB, TEXT, VARCHAR, cell
from vestibule.model.errors import TargetProtocolError
from vestibule.model.event import Side
from vestibule.model.plan import Transform
from vestibule.protocols.postgres import messages as pg
from vestibule.protocols.postgres.codec import decode_backend, encode
from vestibule.protocols.postgres.frames import TARGET, FrameReader, Rows

_KEEP: Final = Transform("keep", 2, 4)
#: Columns of a layout: transform, type, format and length modifier.
_MASKS: Final[tuple[tuple[tuple[Transform | None, int, int, int], ...], ...]] = (
    ((None, TEXT, 0, -1), (_KEEP, TEXT, 0, -1), (Transform("null"), TEXT, 0, -1), (_KEEP, BPCHAR, 0, 14)),
    ((_KEEP, VARCHAR, 1, 9), (Transform(), JSONB, 1, -1), (Transform(), JSON, 0, -1), (None, 23, 1, -1)),
    ((_KEEP, TEXT, 0, -1),),
    ((Transform("keep", 0, 1), VARCHAR, 0, 5), (Transform("keep", 2**31, 1), TEXT, 0, -1)),
    ((Transform(), 17, 0, -1), (None, TEXT, 0, -1), (Transform("keep", 1, 0), BPCHAR, 0, 5)),
)
_LAYOUTS: Final = tuple(row_mask(*(tuple(column) for column in zip(*columns, strict=True))) for columns in _MASKS)
#: What is stored of them: nothing.
_HIDDEN: Final = tuple(
    row_mask([Transform()] * len(columns), [column[1] for column in columns], [column[2] for column in columns])
    for columns in _MASKS
)
_VALUES: Final = (
    b"078-05-1120",
    None,
    b"",
    "gr\u00fc\u00df \u20ac \U0001d11e".encode(),
    b"a" * 24,
    b"ada      ",
    b"\xed\xa0\x80",
    b"\x01{}",
    b"\0\0\0\7",
)


def walked(data: bytes) -> bool:
    """Rows of as many columns as the first byte says, some of them whole; `scan` agrees with the codec."""
    columns, stream = data[0] % 6 if data else 0, data[1:]
    results = _both(lambda kernel: kernel.scan(stream, 0, len(stream), columns))
    if results is None:
        return False
    end, count = results
    rows = list(_decoded(stream[:end]))
    assert (len(rows), {len(row) for row in rows} <= {columns}) == (count, True)
    return bool(count)


def masked(data: bytes) -> bool:
    """The same under a layout that the first byte chooses; `mask` agrees with `cell` for every value."""
    number, stream = data[0] % len(_LAYOUTS) if data else 0, data[1:]
    layout: RowMask = _LAYOUTS[number]
    results = _both(lambda kernel: kernel.mask(stream, 0, len(stream), layout))
    if results is None:
        return False
    shown, end, count, _ = results
    rows = [
        tuple(
            value if kind is None else cell(kind, value, type_, form, most)
            for value, (kind, type_, form, most) in zip(row, _MASKS[number], strict=True)
        )
        for row in _decoded(stream[:end])
    ]
    assert list(_decoded(shown)) == rows
    assert len(rows) == count
    return bool(count)


def streamed(data: bytes) -> bool:
    """The same in one piece and in several, masked as it is shown and, otherwise, as it is stored."""
    number, stream = data[0] % len(_LAYOUTS) if data else 0, data[1:]
    whole, failed = _drained(number, [stream])
    step = 1 + len(data) % 50
    parts, failed_in_parts = _drained(number, [stream[at : at + step] for at in range(0, len(stream), step)])
    assert failed == failed_in_parts
    for one, other in zip(whole, parts, strict=True):
        # Rows before a bad one in the same slab are not handed on where the slab came whole.
        assert other.startswith(one) if failed else other == one
    return bool(whole[0])


def _drained(number: int, pieces: list[bytes]) -> tuple[tuple[bytes, bytes], bool]:
    reader = FrameReader(Side.TARGET, TARGET)
    shown, stored = b"", b""
    reader.layout, reader.stored = _LAYOUTS[number], _HIDDEN[number]
    reader.columns = reader.layout.columns
    for piece in pieces:
        reader.feed(piece)
        try:
            while isinstance(item := reader.next(), Rows):
                assert item.is_storable
                shown, stored = shown + item.data, stored + (item.stored or b"")
        except TargetProtocolError:
            return (shown, stored), True
        if item is not None:
            break
    return (shown, stored), False


def copied(data: bytes) -> bool:
    """CopyData frames."""
    results = _both(lambda kernel: kernel.scan_copy(data, 0, len(data), 64))
    assert results is not None
    end, count = results
    assert 0 <= end <= len(data)
    return bool(count)


def long(data: bytes) -> bool:
    """One row in pieces: the first bytes say how long it is, how many fields it has, and how long the pieces are."""
    if len(data) < 6:
        return False
    size, fields, step = struct.unpack_from("!HHH", data)
    results = _both(lambda kernel: _advanced(kernel, data[6:], 6 + size % 512, fields % 9, 1 + step % 40))
    return results is not None and results[1]


def _advanced(kernel: ModuleType, stream: bytes, size: int, fields: int, step: int) -> tuple[int, bool]:
    row, at = kernel.LongRow(size, fields), 0
    for end in range(step, len(stream) + step, step):
        here = row.advance(stream, at, min(end, len(stream)))
        assert at <= here <= len(stream)
        at = here
        if row.is_over:
            break
    return at, row.is_over


def _both(work: Any) -> Any:
    """Do the work in both builds; None where both refuse."""
    results = []
    for kernel in KERNELS.values():
        try:
            results.append((work(kernel), ""))
        except TargetProtocolError as error:
            results.append((None, str(error)))
    assert all(result == results[0] for result in results), results
    return results[0][0]


def _decoded(data: bytes) -> Any:
    at = 0
    while at < len(data):
        end = at + 1 + int.from_bytes(data[at + 1 : at + 5], "big")
        message = decode_backend(data[at], data[at + 5 : end])
        assert isinstance(message, pg.DataRow)
        yield message.values
        at = end


def _streams(columns: int, first: int) -> bytes:
    rows = (pg.DataRow(tuple(_VALUES[(at + shift) % 9] for at in range(columns))) for shift in range(9))
    return bytes([first]) + b"".join(map(encode, rows))


def _rows() -> list[bytes]:
    return [_streams(columns, columns) for columns in range(6)]


def _masked_rows() -> list[bytes]:
    return [_streams(len(columns), number) for number, columns in enumerate(_MASKS)]


def _long_rows() -> list[bytes]:
    made = []
    for columns in (1, 3, 8):
        row = encode(pg.DataRow(tuple(_VALUES[at % 9] for at in range(columns))))
        made.append(struct.pack("!HHH", len(row) - 1 - 6, columns, 7) + row[7:])
    return made


_WORDS: Final = (
    b"D\0\0\0\6\0\0",
    b"\xff\xff\xff\xff",
    b"\xff\xff\xff\xfe",
    b"\x80\0\0\0",
    b"\0\0\0\0",
    b"\xed\xa0\x80",
    b"\xe2\x82\xac",
)

READERS: Final = (
    Reader("rows.walked", walked, _rows, 400, _WORDS),
    Reader("rows.masked", masked, _masked_rows, 300, _WORDS),
    Reader("rows.streamed", streamed, _masked_rows, 100, _WORDS),
    Reader("rows.copied", copied, lambda: [encode(pg.CopyData(bytes(size))) * 3 for size in (0, 7, 60)], 100),
    Reader("rows.long", long, _long_rows, 200, _WORDS),
)
