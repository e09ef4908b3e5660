import pytest
from hypothesis import given
from hypothesis import strategies as st

from vestibule.model.errors import TargetProtocolError
from vestibule.protocols.postgres import messages as pg
from vestibule.protocols.postgres.codec import decode_backend, encode
from vestibule.protocols.postgres.rows import ROW_HEADER, LongRow, scan, scan_copy

LARGEST = 65_536
rows = st.integers(0, 5).flatmap(
    lambda columns: st.lists(
        st.lists(st.none() | st.binary(max_size=9), min_size=columns, max_size=columns).map(
            lambda values: encode(pg.DataRow(tuple(values)))
        ),
        min_size=1,
        max_size=5,
    ).map(lambda written: (columns, written))
)


def walk(data: bytes, columns: int) -> list[bytes]:
    """The rows of `data`, decoded one by one and written again: what `scan` must agree with."""
    written, at = [], 0
    while at < len(data):
        end = at + 1 + int.from_bytes(data[at + 1 : at + 5])
        message = decode_backend(data[at], data[at + 5 : end])
        assert isinstance(message, pg.DataRow)
        assert len(message.values) == columns
        written.append(encode(message))
        at = end
    return written


@given(rows)
def test_whole_rows_are_walked_to_their_end(case):
    columns, written = case
    data = b"".join(written)
    assert scan(data, 0, len(data), columns) == (len(data), len(written))


@given(rows, st.data())
def test_a_walk_ends_before_a_row_that_is_not_whole(case, data):
    columns, written = case
    whole = b"".join(written)
    cut = data.draw(st.integers(0, len(whole)))
    end, count = scan(whole[:cut], 0, cut, columns)
    assert whole[:end] == b"".join(written[:count])
    assert cut < len(b"".join(written[: count + 1])) or count == len(written)


@given(rows, st.data())
def test_what_a_walk_accepts_re_encodes_to_the_same_bytes(case, data):
    columns, written = case
    changed = bytearray(b"".join(written))
    changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))
    try:
        end, count = scan(bytes(changed), 0, len(changed), columns)
    except TargetProtocolError:
        return
    assert b"".join(walk(bytes(changed[:end]), columns)) == changed[:end]
    assert len(walk(bytes(changed[:end]), columns)) == count


def test_a_walk_starts_and_ends_where_it_is_told():
    row = encode(pg.DataRow((b"x", None)))
    data = b"junk" + row * 3
    assert scan(data, 4, len(data), 2) == (len(data), 3)
    assert scan(data, 4, len(data) - 1, 2) == (4 + 2 * len(row), 2)


def test_a_walk_ends_before_another_message():
    row, done = encode(pg.DataRow((b"x",))), encode(pg.CommandComplete("SELECT 1"))
    assert scan(row + done + row, 0, len(row + done + row), 1) == (len(row), 1)


def test_a_null_field_has_length_minus_one_and_no_bytes():
    data = encode(pg.DataRow((None, None, b""))) * 2
    assert scan(data, 0, len(data), 3) == (len(data), 2)


@pytest.mark.parametrize(
    "row",
    [
        "440000000a0001" + "00000001",
        "440000000b0002" + "0000000178",
        "440000000b0001" + "fffffffe78",
        "440000000b0001" + "8000000078",
        "440000000b0001" + "7fffffff78",
        "440000000c0001" + "0000000178" + "00",
        "44000000060001",
        "44000000000001",
        "44000000030001",
    ],
)
def test_a_row_whose_lengths_disagree_is_the_targets_fault(row):
    data = bytes.fromhex(row)
    for padding in (b"", bytes(40)):
        with pytest.raises(TargetProtocolError):
            scan(data + padding, 0, len(data), 1)


def test_a_row_of_another_column_count_is_the_targets_fault():
    data = encode(pg.DataRow((b"x",)))
    for columns in (0, 2, 65_535):
        with pytest.raises(TargetProtocolError, match="were described"):
            scan(data, 0, len(data), columns)


@given(st.binary(max_size=80), st.integers(0, 3))
def test_any_bytes_are_walked_or_refused(data, columns):
    try:
        end, count = scan(data, 0, len(data), columns)
    except TargetProtocolError:
        return
    assert len(walk(data[:end], columns)) == count


@given(st.lists(st.binary(max_size=9), max_size=5), st.binary(max_size=9))
def test_copy_data_is_walked_to_its_end(pieces, tail):
    data = b"".join(encode(pg.CopyData(piece)) for piece in pieces)
    assert scan_copy(data, 0, len(data), LARGEST) == (len(data), len(pieces))
    end, count = scan_copy(tail, 0, len(tail), LARGEST)
    assert end <= len(tail)
    assert end >= 5 * count


def test_copy_data_that_is_too_long_or_has_no_length_ends_the_walk():
    long = encode(pg.CopyData(bytes(LARGEST)))
    assert scan_copy(long, 0, len(long), LARGEST) == (0, 0)
    assert scan_copy(b"d\0\0\0\3" * 3, 0, 15, LARGEST) == (0, 0)


def pass_in_pieces(row: bytes, columns: int, size: int) -> bytes:
    long = LongRow(len(row) - 1, columns)
    passed, waiting = b"", b""
    for at in range(ROW_HEADER, len(row), size):
        waiting += row[at : at + size]
        end = long.advance(waiting, 0, len(waiting))
        passed, waiting = passed + waiting[:end], waiting[end:]
        assert len(waiting) < 4
    assert long.is_over
    return passed


@given(st.lists(st.none() | st.binary(max_size=30), min_size=1, max_size=5), st.integers(1, 40))
def test_a_long_row_passes_in_pieces_of_any_size(values, size):
    row = encode(pg.DataRow(tuple(values)))
    assert pass_in_pieces(row, len(values), size) == row[ROW_HEADER:]


@given(st.lists(st.none() | st.binary(max_size=9), min_size=1, max_size=4), st.data())
def test_a_long_row_that_passes_would_have_been_walked_as_well(values, data):
    row = bytearray(encode(pg.DataRow(tuple(values))))
    at = data.draw(st.integers(ROW_HEADER, len(row) - 1))
    row[at] = data.draw(st.integers(0, 255))
    long = LongRow(len(row) - 1, len(values))
    try:
        end = long.advance(bytes(row), ROW_HEADER, len(row))
        passes = long.is_over
    except TargetProtocolError:
        passes = False
    try:
        walked = scan(bytes(row), 0, len(row), len(values)) == (len(row), 1)
    except TargetProtocolError:
        walked = False
    assert passes == walked
    assert not passes or end == len(row)


def test_a_long_row_that_leaves_no_place_for_its_last_field_is_refused():
    row = bytearray(encode(pg.DataRow((b"x", None))))
    row[ROW_HEADER : ROW_HEADER + 4] = (5).to_bytes(4)
    with pytest.raises(TargetProtocolError):
        LongRow(len(row) - 1, 2).advance(bytes(row), ROW_HEADER, len(row))
