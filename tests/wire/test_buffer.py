import time
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vestibule.wire.buffer import Buffer, Cursor, Malformed

READS = (
    Cursor.uint8,
    Cursor.uint16,
    Cursor.int16,
    Cursor.uint32,
    Cursor.int32,
    Cursor.string,
    Cursor.rest,
    lambda cursor: cursor.take(3),
    lambda cursor: cursor.take(-1),
)


@given(st.lists(st.binary(max_size=50)), st.data())
def test_what_is_taken_is_what_was_fed_however_it_was_cut(pieces, data):
    buffer, taken = Buffer(), b""
    for piece in pieces:
        buffer.feed(piece)
        count = data.draw(st.integers(0, 60))
        if buffer.gather(count):
            taken += buffer.take(count)
    taken += buffer.take(buffer.gather_all())
    assert taken == b"".join(pieces)
    assert len(buffer) == 0


def test_a_lone_piece_is_not_copied():
    buffer, piece = Buffer(), bytes(1000)
    buffer.feed(piece)
    assert buffer.gather(1000)
    assert buffer.take(1000) is piece


def test_nothing_is_gathered_before_it_is_there():
    buffer = Buffer()
    buffer.feed(b"abc")
    assert not buffer.gather(4)
    buffer.feed(b"d")
    assert buffer.gather(4)
    assert buffer.take(4) == b"abcd"


def test_skipped_bytes_are_left_out():
    buffer = Buffer()
    buffer.feed(b"headbody")
    assert buffer.gather(8)
    buffer.skip(4)
    assert buffer.take(4) == b"body"


def test_nothing_is_kept_of_what_was_skipped_to_its_end():
    buffer = Buffer()
    buffer.feed(b"headbody")
    buffer.skip(8)
    assert (buffer.data, len(buffer)) == (b"", 0)


def test_single_bytes_cost_linear_time():
    buffer = Buffer()
    began = time.process_time()
    for _ in range(200_000):
        buffer.feed(b"x")
        buffer.gather(200_000)
    assert buffer.gather(200_000)
    # Quadratic copying would take about 20 GB of memory traffic.
    assert time.process_time() - began < 2


def test_taken_bytes_are_let_go_while_a_message_is_incomplete():
    buffer = Buffer()
    buffer.feed(bytes(1_000_000))
    assert buffer.gather(999_999)
    buffer.take(999_999)
    assert not buffer.gather(100)
    assert len(buffer.data) == 1


@given(st.binary(max_size=20), st.lists(st.sampled_from(READS)))
def test_a_cursor_reads_or_says_malformed_and_never_passes_the_end(data, reads):
    cursor = Cursor(data)
    for read in reads:
        with suppress(Malformed):
            read(cursor)
        assert 0 <= cursor.at <= len(data)


def test_trailing_bytes_are_malformed():
    cursor = Cursor(b"ab")
    cursor.uint8()
    with pytest.raises(Malformed, match="1 trailing"):
        cursor.finish()


def test_integers_are_big_endian_and_signed_as_asked():
    cursor = Cursor(b"\xff\xff\xff\xfe\xff\xff\xff\xfe\xff\xfe\xff\xfe\x07")
    assert (cursor.int32(), cursor.uint32()) == (-2, 2**32 - 2)
    assert (cursor.int16(), cursor.uint16(), cursor.uint8()) == (-2, 2**16 - 2, 7)
    cursor.finish()
