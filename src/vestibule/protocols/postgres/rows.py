"""The row kernel: checks and masks rows in runs. The file is both builds: Python as it stands, C as Cython makes it.

1. `scan` tells whether a run of bytes is exactly what re-encoding its rows would give: a DataRow whose header, column
   count and field lengths agree with its frame to the byte is canonical, so a run of them may be handed on as it is.
2. `mask` gives the rows that `scan` accepts, each field as its portal's layout says; `cell` is its reference.
3. Compiled, neither makes an object per row or field. What is made grows by no more than a few bytes per masked field.
"""

from __future__ import annotations

from struct import Struct
from typing import Final, Literal

from vestibule.masking.steps import KEEP, LONGEST, NULL, PASS, STEP, TRIM, RowMask
from vestibule.masking.transforms import STARS
from vestibule.model.errors import TargetProtocolError
from vestibule.protocols.postgres import uncompiled as cython

if cython.compiled:
    # Never at run time: from here on Cython takes the words for its own.
    import cython
    from cython.cimports.libc.string import memcpy

#: Which of the two builds this is.
BUILD: Final[Literal["pure", "compiled"]] = "compiled" if cython.compiled else "pure"

#: Type byte and length of a frame; the same and the column count of a row.
HEADER: Final = 5
ROW_HEADER: Final = 7

DATA_ROW: Final = ord("D")
COPY_DATA: Final = ord("d")

#: A field of NULL has this length and no bytes. It is read unsigned: as a small integer of C it would be negative.
_NO_VALUE = cython.declare(cython.longlong, 0xFFFFFFFF)

_PASS = cython.declare(cython.uchar, PASS)
_NULL = cython.declare(cython.uchar, NULL)
_KEEP = cython.declare(cython.uchar, KEEP)
_TRIM = cython.declare(cython.uchar, TRIM)
_STEP = cython.declare(cython.Py_ssize_t, STEP.size)
_BLANK = cython.declare(cython.uchar, ord(" "))
_STARS = cython.declare(cython.Py_ssize_t, len(STARS))

#: By how much a masked field grows at most: an empty one becomes the longest literal, or stars come into one.
GROWTH: Final = max(LONGEST, len(STARS))

#: Where rows are made as long as they are not many.
_SCRATCH: Final = bytearray(1 << 20 if cython.compiled else 0)

_head = Struct("!BI").unpack_from
_row_head = Struct("!BIH").unpack_from
_uint32 = Struct("!I").unpack_from
_length = Struct("!i").unpack_from
_put_uint32 = Struct("!I").pack_into


def scan(
    buffer: bytes, offset: cython.Py_ssize_t, end: cython.Py_ssize_t, columns: cython.Py_ssize_t
) -> tuple[int, int]:
    """Walk the whole DataRow frames from `offset`; return where they end, and how many they are."""
    data: cython.p_const_uchar = buffer
    row: cython.Py_ssize_t = DATA_ROW
    header: cython.Py_ssize_t = ROW_HEADER
    null: cython.longlong = _NO_VALUE
    count: cython.Py_ssize_t = 0
    tag: cython.Py_ssize_t
    size: cython.longlong
    fields: cython.Py_ssize_t
    stop: cython.Py_ssize_t
    at: cython.Py_ssize_t
    length: cython.longlong
    _: cython.Py_ssize_t
    _check_range(buffer, offset, end)
    while end - offset >= header:
        if cython.compiled:
            tag, size, fields = data[offset], _word(data, offset + 1), data[offset + 5] << 8 | data[offset + 6]
        else:
            tag, size, fields = _row_head(data, offset)
        stop = offset + 1 + size
        if tag != row or stop > end:
            break
        if fields != columns:
            raise TargetProtocolError(f"a row of {fields} columns where {columns} were described")
        at = offset + header
        for _ in range(columns):
            # Compiled, nothing else would stop a length that is read behind the buffer.
            if stop - at < 4:
                raise TargetProtocolError("a row's fields are longer than its frame")
            if cython.compiled:
                length = _word(data, at)
            else:
                (length,) = _uint32(data, at)
            at += 4
            if length <= stop - at:
                at += length
            # A NULL field has no bytes; anything else so long would leave the frame or, read as -2 or less, go back.
            elif length != null:
                raise TargetProtocolError("a row's fields are longer than its frame")
        if at != stop:
            raise TargetProtocolError("a row's fields are not as long as its frame")
        offset = stop
        count += 1
    return offset, count


def mask(
    buffer: bytes, offset: cython.Py_ssize_t, end: cython.Py_ssize_t, layout: RowMask
) -> tuple[bytes, int, int, int]:
    """Walk as `scan`; return the rows as they are shown, where they end, how many, and how many values are masked."""
    stop: cython.Py_ssize_t
    count: cython.Py_ssize_t
    stop, count = scan(buffer, offset, end, layout.columns)
    made = _room(stop - offset + GROWTH * layout.masked * count)
    shown, values = _rewrite(made, buffer, offset, stop, layout.steps, layout.columns)
    return shown, stop, count, values


def _room(size: int) -> bytearray:
    # Compiled, nothing else runs until the rows are copied out of it; fresh memory costs more than the work in it.
    return _SCRATCH if cython.compiled and size <= len(_SCRATCH) else bytearray(size)


def _rewrite(
    made: bytearray,
    buffer: bytes,
    offset: cython.Py_ssize_t,
    end: cython.Py_ssize_t,
    layout: bytes,
    columns: cython.Py_ssize_t,
) -> tuple[bytes, int]:
    """Write the rows, which are whole and checked, into `made`; return them, and how many values are masked."""
    out: cython.p_uchar = made
    data: cython.p_const_uchar = buffer
    steps: cython.p_const_uchar = layout
    header: cython.Py_ssize_t = ROW_HEADER
    # All before `kept` is in `out`, which holds `size` bytes.
    kept: cython.Py_ssize_t = offset
    size: cython.Py_ssize_t = 0
    values: cython.Py_ssize_t = 0
    before: cython.Py_ssize_t
    head: cython.Py_ssize_t
    stop: cython.Py_ssize_t
    at: cython.Py_ssize_t
    step: cython.Py_ssize_t
    column: cython.Py_ssize_t
    length: cython.longlong
    null: cython.longlong = _NO_VALUE
    skipped: cython.uchar = _PASS
    while offset < end:
        stop = offset + 1 + _word(data, offset + 1)
        head = size + offset - kept
        at = offset + header
        before = values
        for column in range(columns):
            if cython.compiled:
                length = _word(data, at)
            else:
                (length,) = _uint32(data, at)
            at += 4
            if length == null:
                continue
            step = column * _STEP
            if steps[step] != skipped:
                size = _copy(out, size, data, kept, at - 4)
                size = _show(out, size, data, at, at + length, steps, step)
                kept = at + length
                values += 1
            at += length
        if values != before:
            _put_word(out, head + 1, size + stop - kept - head - 1)
        offset = stop
    size = _copy(out, size, data, kept, end)
    return bytes(out[:size]), values


@cython.cfunc
@cython.exceptval(check=False)
def _show(
    out: cython.p_uchar,
    size: cython.Py_ssize_t,
    data: cython.p_const_uchar,
    at: cython.Py_ssize_t,
    end: cython.Py_ssize_t,
    steps: cython.p_const_uchar,
    step: cython.Py_ssize_t,
) -> cython.Py_ssize_t:
    """Write the field that stands for the value between `at` and `end`; return where it ends."""
    kind: cython.uchar = steps[step]
    characters: cython.longlong = -1
    first: cython.longlong = _word(steps, step + 8)
    last: cython.longlong = _word(steps, step + 12)
    if kind == _NULL:
        return _put_word(out, size, _NO_VALUE)
    if kind == _TRIM:
        while end > at and data[end - 1] == _BLANK:
            end -= 1
    if kind in (_KEEP, _TRIM):
        characters = _characters(data, at, end)
    # What is not UTF-8 has -1 characters, and what is hidden whole is not counted.
    if characters < 0 or characters < 2 * (first + last):
        size = _put_word(out, size, steps[step + 1])
        return _copy(out, size, steps, step + 2, step + 2 + steps[step + 1])
    return _show_part(out, size, data, at, end, steps, step)


@cython.cfunc
@cython.exceptval(check=False)
def _show_part(
    out: cython.p_uchar,
    size: cython.Py_ssize_t,
    data: cython.p_const_uchar,
    at: cython.Py_ssize_t,
    end: cython.Py_ssize_t,
    steps: cython.p_const_uchar,
    step: cython.Py_ssize_t,
) -> cython.Py_ssize_t:
    """Write a field of the first and last characters with stars between, all within a limit; return where it ends."""
    first: cython.longlong = _word(steps, step + 8)
    most: cython.longlong = _word(steps, step + 16)
    start: cython.Py_ssize_t = size
    tail: cython.Py_ssize_t = end
    _: cython.longlong
    for _ in range(_word(steps, step + 12)):
        tail -= 1
        # Bytes of the form 10xxxxxx go on with a character.
        while data[tail] & 0xC0 == 0x80:
            tail -= 1
    size = _copy(out, size + 4, data, at, _after(data, at, end, min(first, most)))
    most -= min(first, most)
    # The literal is as many stars as the limit allows.
    size = _copy(out, size, steps, step + 2, step + 2 + min(_STARS, most))
    most -= min(_STARS, most)
    size = _copy(out, size, data, tail, _after(data, tail, end, most))
    _put_word(out, start, size - start - 4)
    return size


@cython.cfunc
@cython.exceptval(check=False)
def _after(
    data: cython.p_const_uchar, at: cython.Py_ssize_t, end: cython.Py_ssize_t, count: cython.longlong
) -> cython.Py_ssize_t:
    """Find the place `count` characters behind `at`, or `end` if they are fewer."""
    while count > 0 and at < end:
        at += 1
        while at < end and data[at] & 0xC0 == 0x80:
            at += 1
        count -= 1
    return at


@cython.cfunc
@cython.exceptval(check=False)
def _characters(data: cython.p_const_uchar, at: cython.Py_ssize_t, end: cython.Py_ssize_t) -> cython.longlong:
    """Count the characters of UTF-8 between two places, -1 if the bytes are something else (RFC 3629, 4)."""
    if not cython.compiled:
        try:
            return len(data[at:end].decode())
        except UnicodeDecodeError:
            return -1
    count: cython.longlong = 0
    more: cython.Py_ssize_t
    lead: cython.uchar
    while at < end:
        # Most text is ASCII for long stretches.
        while end - at >= 8 and _is_ascii(data, at):
            at += 8
            count += 8
        if at == end:
            break
        lead = data[at]
        at += 1
        count += 1
        if lead < 0x80:
            continue
        if lead < 0xC2 or lead > 0xF4:
            return -1
        more = 1 if lead < 0xE0 else 2 if lead < 0xF0 else 3
        if end - at < more:
            return -1
        # Overlong forms, surrogates, and what lies behind the last character show in the second byte.
        if data[at] < (0xA0 if lead == 0xE0 else 0x90 if lead == 0xF0 else 0x80):
            return -1
        if data[at] > (0x9F if lead == 0xED else 0x8F if lead == 0xF4 else 0xBF):
            return -1
        at += 1
        while more > 1:
            if data[at] & 0xC0 != 0x80:
                return -1
            at += 1
            more -= 1
    return count


@cython.cfunc
@cython.exceptval(check=False)
def _is_ascii(data: cython.p_const_uchar, at: cython.Py_ssize_t) -> cython.bint:
    """Tell whether each of the eight bytes is a character of ASCII."""
    low: cython.uchar = data[at] | data[at + 1] | data[at + 2] | data[at + 3]
    high: cython.uchar = data[at + 4] | data[at + 5] | data[at + 6] | data[at + 7]
    return low | high < 0x80


@cython.cfunc
@cython.exceptval(check=False)
def _copy(
    out: cython.p_uchar,
    size: cython.Py_ssize_t,
    data: cython.p_const_uchar,
    at: cython.Py_ssize_t,
    end: cython.Py_ssize_t,
) -> cython.Py_ssize_t:
    """Write what is between two places of `data` behind the first `size` bytes of `out`; return where it ends."""
    if cython.compiled:
        memcpy(out + size, data + at, end - at)
    else:
        out[size : size + end - at] = data[at:end]
    return size + end - at


@cython.cfunc
@cython.exceptval(check=False)
def _word(data: cython.p_const_uchar, at: cython.Py_ssize_t) -> cython.longlong:
    """Read four bytes, the first one the highest, unsigned."""
    if cython.compiled:
        high: cython.longlong = data[at] << 8 | data[at + 1]
        return high << 16 | data[at + 2] << 8 | data[at + 3]
    else:
        value: int = _uint32(data, at)[0]
        return value


@cython.cfunc
@cython.exceptval(check=False)
def _put_word(out: cython.p_uchar, at: cython.Py_ssize_t, value: cython.longlong) -> cython.Py_ssize_t:
    """Write four bytes, the first one the highest; return where they end."""
    if cython.compiled:
        out[at] = value >> 24 & 0xFF
        out[at + 1] = value >> 16 & 0xFF
        out[at + 2] = value >> 8 & 0xFF
        out[at + 3] = value & 0xFF
    else:
        _put_uint32(out, at, value)
    return at + 4


def _check_range(buffer: bytes, offset: int, end: int) -> None:
    # Compiled, a place outside of the buffer would be read all the same.
    if not 0 <= offset <= end <= len(buffer):
        raise ValueError(f"from {offset} to {end} in a buffer of {len(buffer)} bytes")


def scan_copy(buffer: bytes, offset: int, end: int, largest: int) -> tuple[int, int]:
    """Walk the whole CopyData frames of at most `largest` bytes; return where they end, and how many they are."""
    count = 0
    while end - offset >= HEADER:
        tag, size = _head(buffer, offset)
        stop = offset + 1 + size
        if tag != COPY_DATA or stop > end or not 4 <= size <= largest:
            break
        offset = stop
        count += 1
    return offset, count


class LongRow:
    """A row that is handed on in pieces, checked as it passes."""

    __slots__ = ("_field", "_fields", "_left")

    def __init__(self, size: int, fields: int) -> None:
        """Begin behind the row's header; `size` is the frame's length field."""
        self._left = size - 6
        self._fields = fields
        self._field = 0

    @property
    def is_over(self) -> bool:
        """Whether the row's last byte has passed."""
        return self._left == 0

    def advance(self, buffer: bytes, offset: int, end: int) -> int:
        """Check what is there from `offset`; return where the checked part ends."""
        while True:
            step = min(self._field, end - offset)
            offset += step
            self._field -= step
            self._left -= step
            if self._field or not self._fields or end - offset < 4:
                break
            self._begin(_length(buffer, offset)[0])
            offset += 4
        if not self._field and not self._fields and self._left:
            raise TargetProtocolError("a row's fields are not as long as its frame")
        return offset

    def _begin(self, length: int) -> None:
        # The lengths of the fields behind it have their place too.
        if length < -1 or max(length, 0) > self._left - 4 * self._fields:
            raise TargetProtocolError("a row's fields are longer than its frame")
        self._fields -= 1
        self._field = max(length, 0)
        self._left -= 4
