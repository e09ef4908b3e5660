import tracemalloc
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support import pg_messages as some
from vestibule.masking.steps import RowMask, row_mask
from vestibule.masking.transforms import TEXT
from vestibule.model.errors import ClientProtocolError, TargetProtocolError
from vestibule.model.event import Side
from vestibule.model.plan import Transform
from vestibule.protocols.postgres import frames
from vestibule.protocols.postgres import messages as pg
from vestibule.protocols.postgres.codec import decode_backend, decode_frontend, encode
from vestibule.protocols.postgres.frames import (
    MASKED,
    PIECE,
    STREAMED,
    TARGET,
    UNPROVEN,
    Copied,
    Frame,
    FrameReader,
    Item,
    Rows,
    client_limits,
)

CLIENT = client_limits()
MIB = 1 << 20


def client_reader() -> FrameReader:
    return FrameReader(Side.CLIENT, CLIENT)


def target_reader(columns: int | None = None) -> FrameReader:
    reader = FrameReader(Side.TARGET, TARGET)
    reader.columns = columns
    return reader


def masking_reader(*columns: Transform | None) -> FrameReader:
    reader = target_reader(len(columns))
    reader.layout = layout(*columns)
    return reader


def layout(*columns: Transform | None) -> RowMask:
    return row_mask(columns, [TEXT] * len(columns), [0] * len(columns))


def read(reader: FrameReader, *pieces: bytes) -> list[Item]:
    items = []
    for piece in pieces:
        reader.feed(piece)
        while (item := reader.next()) is not None:
            items.append(item)
    return items


def flat(items: list[Item]) -> list[object]:
    """Items without the borders that the cuts made: frames as they are, slabs of one kind joined."""
    joined: list[object] = []
    for item in items:
        if isinstance(item, Frame):
            joined.append(item)
            continue
        data = payload(item.data) if isinstance(item, Copied) else item.data
        if joined and isinstance(joined[-1], tuple) and joined[-1][0] is type(item):
            joined[-1] = (type(item), joined[-1][1] + data)
        else:
            joined.append((type(item), data))
    return joined


def payload(data: bytes) -> bytes:
    """What CopyData frames carry."""
    carried, at = b"", 0
    while at < len(data):
        assert data[at] == ord("d")
        size = int.from_bytes(data[at + 1 : at + 5])
        assert 4 <= size <= PIECE
        carried += data[at + 5 : at + 1 + size]
        at += 1 + size
    return carried


def cut(data: bytes, places: list[int]) -> list[bytes]:
    borders = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[one:other] for one, other in pairwise(borders)]


in_session = st.one_of([strategy for make, strategy in some.FRONTEND.items() if make is not pg.PasswordMessage])
from_target = st.one_of(
    [
        strategy
        for make, strategy in some.BACKEND.items()
        if make not in (pg.DataRow, pg.CopyBothResponse, pg.FunctionCallResponse)
    ]
)
two_columns = st.builds(pg.DataRow, st.tuples(st.none() | some.blobs, st.none() | some.blobs))
places = st.lists(st.integers(0, 10_000), max_size=8)


@given(st.lists(in_session, max_size=6), places)
def test_a_clients_bytes_cut_anywhere_give_the_same_messages(messages, places):
    data = b"".join(map(encode, messages))
    items = read(client_reader(), *cut(data, places))
    assert flat(items) == flat(read(client_reader(), data))
    frames = [item for item in items if isinstance(item, Frame)]
    assert [decode_frontend(frame.type, frame.body) for frame in frames] == [
        message for message in messages if not isinstance(message, pg.CopyData)
    ]


@given(st.lists(from_target | two_columns, max_size=6), places)
def test_a_targets_bytes_cut_anywhere_give_the_same_messages(messages, places):
    data = b"".join(map(encode, messages))
    items = read(target_reader(2), *cut(data, places))
    assert flat(items) == flat(read(target_reader(2), data))
    frames = [item for item in items if isinstance(item, Frame)]
    assert [decode_backend(frame.type, frame.body) for frame in frames] == [
        message for message in messages if not isinstance(message, pg.CopyData | pg.DataRow)
    ]
    rows = [message for message in messages if isinstance(message, pg.DataRow)]
    assert sum(item.count for item in items if isinstance(item, Rows)) == len(rows)
    assert b"".join(item.data for item in items if isinstance(item, Rows)) == b"".join(map(encode, rows))


@given(st.lists(st.binary(max_size=40), max_size=6), st.sampled_from(list(Side)), st.none() | st.integers(0, 3))
def test_any_bytes_give_messages_or_the_sides_own_error(pieces, side, columns):
    reader = FrameReader(side, CLIENT if side is Side.CLIENT else TARGET)
    reader.columns = columns
    fault = ClientProtocolError if side is Side.CLIENT else TargetProtocolError
    try:
        read(reader, *pieces)
    except fault:
        with pytest.raises(fault):
            read(reader, encode(pg.Sync()))


@pytest.mark.case("PG-25")
@pytest.mark.parametrize("size", [0, 1, 2, 3, 2**31 - 1, 2**31, 2**32 - 1])
@pytest.mark.parametrize("tag", sorted(CLIENT))
def test_a_length_that_cannot_be_is_refused_before_a_byte_of_the_body(tag, size):
    reader = client_reader()
    reader.feed(bytes([tag]) + size.to_bytes(4))
    with pytest.raises(ClientProtocolError) as refused:
        reader.next()
    assert refused.value.code == "08P01"
    assert str(size) in str(refused.value)


@pytest.mark.case("PG-25")
def test_a_type_that_a_client_never_sends_is_refused_at_its_header():
    for tag in set(range(256)) - set(CLIENT):
        with pytest.raises(ClientProtocolError, match="unexpected message of type"):
            read(client_reader(), bytes([tag]) + b"\0\0\0\4")


def test_a_type_that_a_target_never_sends_is_refused_at_its_header():
    for tag in set(range(256)) - set(TARGET):
        with pytest.raises(TargetProtocolError, match="unexpected message of type"):
            read(target_reader(), bytes([tag]) + b"\0\0\0\4")


@pytest.mark.parametrize(
    ("tag", "limit"),
    [("Q", 16 * MIB), ("P", 16 * MIB), ("B", 64 * MIB), ("D", 65_536), ("f", 65_536), ("d", STREAMED)],
)
def test_each_type_has_its_limit(tag, limit):
    assert read(client_reader(), tag.encode() + limit.to_bytes(4)) == []
    with pytest.raises(ClientProtocolError, match=f"the limit is {limit}"):
        read(client_reader(), tag.encode() + (limit + 1).to_bytes(4))


def test_the_limit_of_a_bind_is_the_operators():
    reader = FrameReader(Side.CLIENT, client_limits(bind=1000))
    with pytest.raises(ClientProtocolError, match="the limit is 1000"):
        read(reader, b"B" + (1001).to_bytes(4))


def test_before_a_proof_only_a_password_passes():
    frame = encode(pg.PasswordMessage(b"x" * 65_535 + b"\0"))
    (item,) = read(FrameReader(Side.CLIENT, UNPROVEN), frame)
    assert decode_frontend(item.type, item.body) == pg.PasswordMessage(b"x" * 65_535 + b"\0")
    for refused in (encode(pg.PasswordMessage(b"x" * 65_536 + b"\0"))[:5], encode(pg.Query(b"select 1")), b"X\0\0\0\4"):
        with pytest.raises(ClientProtocolError):
            read(FrameReader(Side.CLIENT, UNPROVEN), refused)


def test_limits_may_change_between_two_messages_of_one_piece():
    reader = FrameReader(Side.CLIENT, UNPROVEN)
    reader.feed(encode(pg.PasswordMessage(b"a\0")) + encode(pg.Sync()))
    assert reader.next() == Frame(ord("p"), b"a\0")
    reader.limits = CLIENT
    assert reader.next() == Frame(ord("S"), b"")


def test_a_message_whose_length_wrapped_is_followed_by_bytes_that_are_refused():
    # CVE-2024-27304: a driver writes 4 GiB and 20 bytes as a length of 20; its parameter goes on behind the frame.
    text = b"INSERT INTO t VALUES ($1)"
    parameter = encode(pg.Query(b"DROP TABLE t")) * 2
    wrapped = b"B" + (20).to_bytes(4) + b"\0\0\0\0" + b"\0\1" + (2**32 - 1 - 4).to_bytes(4) + parameter
    parse, bind, *_ = read(client_reader(), encode(pg.Parse("", text)) + wrapped[:21])
    assert decode_frontend(parse.type, parse.body) == pg.Parse("", text)
    with pytest.raises(ClientProtocolError, match="invalid Bind"):
        decode_frontend(bind.type, bind.body)


def test_a_run_of_rows_is_one_slab_that_is_the_targets_own_bytes():
    data = encode(pg.DataRow((b"1", b"x"))) * 1000
    (slab,) = read(target_reader(2), data)
    assert slab == Rows(data, 1000)
    assert slab.data is data


def test_rows_end_a_slab_where_another_message_begins():
    row = encode(pg.DataRow((b"1",)))
    notice = encode(pg.NoticeResponse((("M", "hello"),)))
    items = read(target_reader(1), row * 2 + notice + row)
    assert items == [Rows(row * 2, 2), Frame(ord("N"), notice[5:]), Rows(row, 1)]


def test_the_column_count_may_change_between_two_results_of_one_piece():
    reader = target_reader(1)
    reader.feed(encode(pg.DataRow((b"1",))) + encode(pg.CommandComplete("SELECT 1")) + encode(pg.DataRow(())))
    assert isinstance(reader.next(), Rows)
    assert isinstance(reader.next(), Frame)
    reader.columns = 0
    assert reader.next() == Rows(encode(pg.DataRow(())), 1)


def test_a_row_that_nobody_expects_is_refused():
    with pytest.raises(TargetProtocolError, match="unexpected row"):
        read(target_reader(None), encode(pg.DataRow(())))


@pytest.mark.parametrize("step", [3, 1000, 65_536, 300_000])
def test_a_long_row_passes_in_pieces_and_is_one_row(step):
    row = encode(pg.DataRow((b"1" * 70_000, None, b"2" * 3_000)))
    data = row + encode(pg.CommandComplete("SELECT 1"))
    reader, items, most = target_reader(3), [], 0
    for at in range(0, len(data), step):
        items += read(reader, data[at : at + step])
        most = max(most, len(reader))
    slabs = [item for item in items if isinstance(item, Rows)]
    assert b"".join(slab.data for slab in slabs) == row
    assert sum(slab.count for slab in slabs) == 1
    assert [slab.complete for slab in slabs] == [False] * (len(slabs) - 1) + [True]
    assert items[-1] == Frame(ord("C"), b"SELECT 1\0")
    assert most <= PIECE + step


def test_a_long_row_whose_lengths_disagree_is_refused_in_its_middle():
    row = bytearray(encode(pg.DataRow((b"1" * 70_000, b"2" * 70_000))))
    row[7 + 4 + 70_000 : 7 + 4 + 70_000 + 4] = (70_001).to_bytes(4)
    reader = target_reader(2)
    pieces = [bytes(row[at : at + 4096]) for at in range(0, len(row), 4096)]
    with pytest.raises(TargetProtocolError):
        read(reader, *pieces)
    with pytest.raises(TargetProtocolError):
        reader.next()


def test_a_long_row_of_another_column_count_is_refused_at_its_header():
    header = encode(pg.DataRow((b"1" * 70_000,)))[:7]
    with pytest.raises(TargetProtocolError, match="were described"):
        read(target_reader(2), header)


def test_a_reader_knows_whether_it_is_between_messages():
    reader = target_reader(1)
    assert reader.is_between_messages
    for piece in (b"Z", encode(pg.DataRow((b"1" * 70_000,)))[:60_000], encode(pg.CopyData(b"x" * 70_000))[:60_000]):
        reader = target_reader(1)
        read(reader, piece)
        assert not reader.is_between_messages


@pytest.mark.parametrize("side", list(Side))
@pytest.mark.parametrize("step", [3, 4096, 65_536, 400_000])
def test_copy_data_is_framed_anew_in_pieces(side, step):
    carried = bytes(range(256)) * 280
    data = encode(pg.CopyData(carried)) + encode(pg.CopyData(b"")) + encode(pg.CopyData(b"end")) + encode(pg.CopyDone())
    reader = FrameReader(side, CLIENT if side is Side.CLIENT else TARGET)
    items = read(reader, *(data[at : at + step] for at in range(0, len(data), step)))
    slabs = items[:-1]
    assert items[-1] == Frame(ord("c"), b"")
    assert b"".join(payload(slab.data) for slab in slabs) == carried + b"end"
    assert sum(slab.size for slab in slabs) == len(carried) + 3


def test_a_hundred_megabytes_of_rows_keep_the_buffer_bounded():
    row = encode(pg.DataRow((b"x" * 50_001, None)))
    stream, total, piece = row * 40, 0, 64 << 10
    reader, rows = target_reader(2), 0
    tracemalloc.start()
    try:
        at = 0
        while total < 100 << 20:
            chunk = (stream + stream[:piece])[at : at + piece]
            at, total = (at + piece) % len(stream), total + piece
            rows += sum(item.count for item in read(reader, chunk))
            assert len(reader) <= PIECE
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()
    assert rows == total // len(row)


def test_a_long_message_in_single_bytes_takes_little_more_than_its_size():
    body = b"x" * 100_000
    reader = client_reader()
    tracemalloc.start()
    try:
        items = [item for byte in encode(pg.Query(body)) for item in read(reader, bytes([byte]))]
        assert tracemalloc.get_traced_memory()[1] < 4 * len(body)
    finally:
        tracemalloc.stop()
    assert items == [Frame(ord("Q"), body + b"\0")]


# -- rows with a layout

HIDE = Transform()
LAST = Transform("keep", last=4)


def test_rows_under_a_layout_come_out_masked_and_their_masked_values_are_counted():
    data = b"".join(encode(pg.DataRow(row)) for row in ((b"1", b"secret"), (b"2", None), (b"3", b"")))
    shown = b"".join(encode(pg.DataRow(row)) for row in ((b"1", b"***"), (b"2", None), (b"3", b"***")))
    assert read(masking_reader(None, HIDE), data) == [Rows(shown, 3, masked=2)]


@given(st.lists(from_target | two_columns, max_size=6), places)
def test_rows_under_a_layout_cut_anywhere_give_the_same_masked_rows(messages, places):
    data = b"".join(map(encode, messages))
    items = read(masking_reader(LAST, None), *cut(data, places))
    assert flat(items) == flat(read(masking_reader(LAST, None), data))
    rows = [item for item in items if isinstance(item, Rows)]
    assert all(item.complete for item in rows)
    seen = [message.values[0] for message in messages if isinstance(message, pg.DataRow)]
    assert sum(item.masked for item in rows) == sum(value is not None for value in seen)


@pytest.mark.parametrize("step", [1000, 65_536, 300_000])
def test_a_long_row_under_a_layout_is_whole_before_anything_of_it_leaves(step):
    row = encode(pg.DataRow((b"1" * 200_000, b"secret", None)))
    data = row + encode(pg.CommandComplete("SELECT 1"))
    items = read(masking_reader(None, HIDE, HIDE), *(data[at : at + step] for at in range(0, len(data), step)))
    shown = encode(pg.DataRow((b"1" * 200_000, b"***", None)))
    assert items == [Rows(shown, 1, masked=1), Frame(ord("C"), b"SELECT 1\0")]


def test_a_row_longer_than_may_wait_is_refused_at_its_header():
    reader = masking_reader(HIDE)
    assert read(reader, b"D" + MASKED.to_bytes(4)) == []
    with pytest.raises(
        TargetProtocolError, match=f"row with masked columns has {MASKED + 1} bytes; the limit is {MASKED}"
    ):
        read(masking_reader(HIDE), b"D" + (MASKED + 1).to_bytes(4))


def test_a_row_of_64_megabytes_is_masked_and_nothing_of_it_is_kept():
    value = b"1" * (64 * MIB)
    reader = masking_reader(LAST)
    (slab,) = read(reader, encode(pg.DataRow((value,))))
    assert slab == Rows(encode(pg.DataRow((b"***1111",))), 1, masked=1)
    tracemalloc.start()
    try:
        read(reader, b"")
        row = encode(pg.DataRow((value,)))
        assert read(reader, row) == [slab]
        del row
        assert tracemalloc.get_traced_memory()[0] < MIB
    finally:
        tracemalloc.stop()


def test_a_layout_that_masks_nothing_leaves_rows_as_they_are():
    data = encode(pg.DataRow((b"1", b"x"))) * 1000
    (slab,) = read(masking_reader(None, None), data)
    assert slab == Rows(data, 1000)
    assert slab.data is data
    long = encode(pg.DataRow((b"1" * 70_000, None)))
    pieces = read(masking_reader(None, None), long[:66_000], long[66_000:])
    assert [piece.complete for piece in pieces] == [False, False, True]
    assert b"".join(piece.data for piece in pieces) == long


def test_a_layout_of_other_columns_than_were_described_lets_no_row_pass():
    for columns in (0, 1, 3):
        reader = masking_reader(HIDE, None)
        reader.columns = columns
        with pytest.raises(TargetProtocolError, match=f"{columns} columns were described"):
            read(reader, encode(pg.DataRow((b"secret",) * columns)))


def test_a_row_of_other_columns_than_its_layout_is_refused():
    with pytest.raises(TargetProtocolError, match="a row of 3 columns where 2 were described"):
        read(masking_reader(HIDE, None), encode(pg.DataRow((b"x", b"y", b"secret"))))


def test_a_row_that_nobody_expects_is_refused_whatever_the_layout():
    reader = masking_reader(HIDE)
    reader.columns = None
    with pytest.raises(TargetProtocolError, match="unexpected row"):
        read(reader, encode(pg.DataRow((b"secret",))))


def test_a_row_too_short_for_its_count_is_refused_under_a_layout():
    with pytest.raises(TargetProtocolError, match="too short"):
        read(masking_reader(HIDE), b"D\0\0\0\4")


def test_the_layout_may_change_between_two_results_of_one_piece():
    reader = masking_reader(HIDE)
    row, done = encode(pg.DataRow((b"12345678",))), encode(pg.CommandComplete("SELECT 1"))
    reader.feed((row + done) * 3)
    shown = []
    for each in (layout(HIDE), layout(LAST), None):
        reader.layout = each
        shown.append(reader.next())
        assert isinstance(reader.next(), Frame)
    assert shown == [
        Rows(encode(pg.DataRow((b"***",))), 1, masked=1),
        Rows(encode(pg.DataRow((b"***5678",))), 1, masked=1),
        Rows(row, 1),
    ]


@given(st.lists(st.binary(max_size=40), max_size=6), st.integers(0, 3))
def test_any_bytes_under_a_layout_give_masked_rows_or_the_targets_error(pieces, columns):
    reader = masking_reader(*[HIDE] * columns)
    try:
        read(reader, *pieces)
    except TargetProtocolError:
        with pytest.raises(TargetProtocolError):
            read(reader, encode(pg.Sync()))


def test_rows_of_which_less_is_stored_come_whole_and_twice() -> None:
    reader = FrameReader(Side.TARGET, TARGET)
    reader.columns, reader.stored = 1, layout(Transform())
    row = encode(pg.DataRow((b"x" * (2 * PIECE),)))
    reader.feed(row[:-1])
    assert reader.next() is None
    reader.feed(row[-1:])

    assert reader.next() == Rows(row, 1, stored=encode(pg.DataRow((b"***",))))


def test_rows_that_cannot_be_masked_for_storing_are_shown_and_not_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(buffer: bytes, offset: int, end: int, layout: RowMask) -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr(frames, "mask", fail)
    reader = FrameReader(Side.TARGET, TARGET)
    reader.columns, reader.stored = 1, layout(Transform())
    row = encode(pg.DataRow((b"x",)))
    reader.feed(row)

    assert reader.next() == Rows(row, 1, is_storable=False)


def test_a_row_too_long_to_be_masked_for_storing_ends_it() -> None:
    reader = FrameReader(Side.TARGET, TARGET)
    reader.columns, reader.stored = 1, layout(Transform())
    reader.feed(b"D" + (MASKED + 1).to_bytes(4, "big"))

    with pytest.raises(TargetProtocolError, match="a row with masked columns"):
        reader.next()
