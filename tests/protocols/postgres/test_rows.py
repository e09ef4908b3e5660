import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scripts import setup
from tests.support.kernels import KERNELS
from tests.support.masks import FORMATS, TYPES, transforms, typmods, values
from vestibule.masking.steps import row_mask
from vestibule.masking.transforms import BPCHAR, JSONB, TEXT, VARCHAR, cell
from vestibule.model.errors import TargetProtocolError
from vestibule.model.plan import Transform
from vestibule.protocols.postgres import messages as pg
from vestibule.protocols.postgres import rows as installed
from vestibule.protocols.postgres.codec import decode_backend, encode

LARGEST = 65_536
ROW_HEADER = 7
MIB = 1 << 20
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


@pytest.fixture(scope="module", params=KERNELS)
def kernel(request):
    return KERNELS[request.param]


def test_the_build_that_set_up_was_asked_for_is_the_one_that_is_tested():
    assert setup.choose_build(os.environ.get("VESTIBULE_BUILD", "")) == installed.BUILD
    assert {name: each.BUILD for name, each in KERNELS.items()} == {name: name for name in {"pure", installed.BUILD}}


@given(rows)
def test_whole_rows_are_walked_to_their_end(kernel, case):
    columns, written = case
    data = b"".join(written)
    assert kernel.scan(data, 0, len(data), columns) == (len(data), len(written))


@given(rows, st.data())
def test_a_walk_ends_before_a_row_that_is_not_whole(kernel, case, data):
    columns, written = case
    whole = b"".join(written)
    cut = data.draw(st.integers(0, len(whole)))
    end, count = kernel.scan(whole[:cut], 0, cut, columns)
    assert whole[:end] == b"".join(written[:count])
    assert cut < len(b"".join(written[: count + 1])) or count == len(written)


@given(rows, st.data())
def test_what_a_walk_accepts_re_encodes_to_the_same_bytes(kernel, case, data):
    columns, written = case
    changed = bytearray(b"".join(written))
    changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))
    try:
        end, count = kernel.scan(bytes(changed), 0, len(changed), columns)
    except TargetProtocolError:
        return
    assert b"".join(walk(bytes(changed[:end]), columns)) == changed[:end]
    assert len(walk(bytes(changed[:end]), columns)) == count


def test_a_walk_starts_and_ends_where_it_is_told(kernel):
    row = encode(pg.DataRow((b"x", None)))
    data = b"junk" + row * 3
    assert kernel.scan(data, 4, len(data), 2) == (len(data), 3)
    assert kernel.scan(data, 4, len(data) - 1, 2) == (4 + 2 * len(row), 2)


def test_a_walk_ends_before_another_message(kernel):
    row, done = encode(pg.DataRow((b"x",))), encode(pg.CommandComplete("SELECT 1"))
    assert kernel.scan(row + done + row, 0, len(row + done + row), 1) == (len(row), 1)


def test_a_null_field_has_length_minus_one_and_no_bytes(kernel):
    data = encode(pg.DataRow((None, None, b""))) * 2
    assert kernel.scan(data, 0, len(data), 3) == (len(data), 2)


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
def test_a_row_whose_lengths_disagree_is_the_targets_fault(kernel, row):
    data = bytes.fromhex(row)
    for padding in (b"", bytes(40)):
        with pytest.raises(TargetProtocolError):
            kernel.scan(data + padding, 0, len(data), 1)


def test_a_row_of_another_column_count_is_the_targets_fault(kernel):
    data = encode(pg.DataRow((b"x",)))
    for columns in (0, 2, 65_535):
        with pytest.raises(TargetProtocolError, match="were described"):
            kernel.scan(data, 0, len(data), columns)


@given(st.binary(max_size=80), st.integers(0, 3))
def test_any_bytes_are_walked_or_refused(kernel, data, columns):
    try:
        end, count = kernel.scan(data, 0, len(data), columns)
    except TargetProtocolError:
        return
    assert len(walk(data[:end], columns)) == count


@given(st.lists(st.binary(max_size=9), max_size=5), st.binary(max_size=9))
def test_copy_data_is_walked_to_its_end(kernel, pieces, tail):
    data = b"".join(encode(pg.CopyData(piece)) for piece in pieces)
    assert kernel.scan_copy(data, 0, len(data), LARGEST) == (len(data), len(pieces))
    end, count = kernel.scan_copy(tail, 0, len(tail), LARGEST)
    assert end <= len(tail)
    assert end >= 5 * count


def test_copy_data_that_is_too_long_or_has_no_length_ends_the_walk(kernel):
    long = encode(pg.CopyData(bytes(LARGEST)))
    assert kernel.scan_copy(long, 0, len(long), LARGEST) == (0, 0)
    assert kernel.scan_copy(b"d\0\0\0\3" * 3, 0, 15, LARGEST) == (0, 0)


def pass_in_pieces(kernel, row: bytes, columns: int, size: int) -> bytes:
    long = kernel.LongRow(len(row) - 1, columns)
    passed, waiting = b"", b""
    for at in range(ROW_HEADER, len(row), size):
        waiting += row[at : at + size]
        end = long.advance(waiting, 0, len(waiting))
        passed, waiting = passed + waiting[:end], waiting[end:]
        assert len(waiting) < 4
    assert long.is_over
    return passed


@given(st.lists(st.none() | st.binary(max_size=30), min_size=1, max_size=5), st.integers(1, 40))
def test_a_long_row_passes_in_pieces_of_any_size(kernel, values, size):
    row = encode(pg.DataRow(tuple(values)))
    assert pass_in_pieces(kernel, row, len(values), size) == row[ROW_HEADER:]


@given(st.lists(st.none() | st.binary(max_size=9), min_size=1, max_size=4), st.data())
def test_a_long_row_that_passes_would_have_been_walked_as_well(kernel, values, data):
    row = bytearray(encode(pg.DataRow(tuple(values))))
    at = data.draw(st.integers(ROW_HEADER, len(row) - 1))
    row[at] = data.draw(st.integers(0, 255))
    long = kernel.LongRow(len(row) - 1, len(values))
    try:
        end = long.advance(bytes(row), ROW_HEADER, len(row))
        passes = long.is_over
    except TargetProtocolError:
        passes = False
    try:
        walked = kernel.scan(bytes(row), 0, len(row), len(values)) == (len(row), 1)
    except TargetProtocolError:
        walked = False
    assert passes == walked
    assert not passes or end == len(row)


def test_a_long_row_that_leaves_no_place_for_its_last_field_is_refused(kernel):
    row = bytearray(encode(pg.DataRow((b"x", None))))
    row[ROW_HEADER : ROW_HEADER + 4] = (5).to_bytes(4)
    with pytest.raises(TargetProtocolError):
        kernel.LongRow(len(row) - 1, 2).advance(bytes(row), ROW_HEADER, len(row))


# -- masks

masked_rows = st.integers(0, 5).flatmap(
    lambda columns: st.tuples(
        st.lists(
            st.tuples(st.none() | transforms, st.sampled_from(TYPES), st.sampled_from(FORMATS), typmods),
            min_size=columns,
            max_size=columns,
        ),
        st.lists(st.lists(values, min_size=columns, max_size=columns), min_size=1, max_size=5),
    )
)
HIDE = Transform()
LAST = Transform("keep", last=4)


def layout_of(described):
    return row_mask(*([each[part] for each in described] for part in range(4)))


def reference(described, row):
    """A row as `cell` shows it, and how many of its values are masked."""
    shown = [
        value if transform is None else cell(transform, value, *column)
        for value, (transform, *column) in zip(row, described, strict=True)
    ]
    masked = sum(each[0] is not None and value is not None for value, each in zip(row, described, strict=True))
    return encode(pg.DataRow(tuple(shown))), masked


def texts(*columns):
    return row_mask(columns, [TEXT] * len(columns), [0] * len(columns))


def outcome(work):
    """What a call gives, or how it fails."""
    try:
        return work()
    except (TargetProtocolError, ValueError) as failure:
        return type(failure), str(failure)


@given(masked_rows)
def test_masked_rows_are_what_the_reference_shows(kernel, case):
    described, written = case
    data = b"".join(encode(pg.DataRow(tuple(row))) for row in written)
    shown = [reference(described, row) for row in written]
    assert kernel.mask(b"junk" + data, 4, 4 + len(data), layout_of(described)) == (
        b"".join(row for row, _ in shown),
        4 + len(data),
        len(written),
        sum(masked for _, masked in shown),
    )


@given(masked_rows, st.data())
def test_both_builds_do_the_same_with_changed_bytes(case, data):
    described, written = case
    changed = bytearray(b"".join(encode(pg.DataRow(tuple(row))) for row in written))
    for _ in range(data.draw(st.integers(0, 3))):
        changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))
    offset, end = data.draw(st.integers(-1, 3)), len(changed) - data.draw(st.integers(-1, 9))
    layout = layout_of(described)
    for work in (
        lambda kernel: kernel.scan(bytes(changed), offset, end, layout.columns),
        lambda kernel: kernel.mask(bytes(changed), offset, end, layout),
    ):
        assert len({outcome(lambda kernel=kernel, work=work: work(kernel)) for kernel in KERNELS.values()}) == 1


@given(masked_rows, st.data())
def test_masking_accepts_what_a_walk_accepts(kernel, case, data):
    described, written = case
    changed = bytearray(b"".join(encode(pg.DataRow(tuple(row))) for row in written))
    changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))
    walked = outcome(lambda: kernel.scan(bytes(changed), 0, len(changed), len(described)))
    masked = outcome(lambda: kernel.mask(bytes(changed), 0, len(changed), layout_of(described)))
    assert walked == (masked[1:3] if len(masked) == 4 else masked)
    if len(masked) == 4:
        assert len(walk(masked[0], len(described))) == masked[2]


@given(st.binary(max_size=80), st.integers(0, 3))
def test_any_bytes_are_masked_or_refused(kernel, data, columns):
    try:
        shown, _, count, masked = kernel.mask(data, 0, len(data), texts(*[HIDE] * columns))
    except TargetProtocolError:
        return
    assert len(walk(shown, columns)) == count
    assert masked <= count * columns


def test_rows_cut_at_every_place_are_masked_as_far_as_they_are_whole(kernel):
    row, shown = encode(pg.DataRow((b"12345678", None, b"x"))), encode(pg.DataRow((b"***5678", None, b"x")))
    for cut in range(3 * len(row) + 1):
        whole = cut // len(row)
        masked = kernel.mask((row * 3)[:cut], 0, cut, texts(LAST, HIDE, None))
        assert masked == (shown * whole, len(row) * whole, whole, whole)


def test_masking_ends_before_another_message(kernel):
    row, done = encode(pg.DataRow((b"secret",))), encode(pg.CommandComplete("SELECT 1"))
    shown, end, count, masked = kernel.mask(row + done + row, 0, len(row + done + row), texts(HIDE))
    assert (shown, end, count, masked) == (encode(pg.DataRow((b"***",))), len(row), 1, 1)


@pytest.mark.parametrize("columns", [(HIDE, HIDE, None), (None, None, None), (None, HIDE, LAST)])
def test_null_is_passed_where_its_length_would_be_negative(kernel, columns):
    data = encode(pg.DataRow((None, None, None))) * 2
    assert kernel.mask(data, 0, len(data), texts(*columns)) == (data, len(data), 2, 0)


@pytest.mark.parametrize("length", ["fffffffe", "80000000", "7fffffff", "00000002", "ffffff00"])
def test_a_length_beyond_its_frame_is_refused_wherever_it_stands(kernel, length):
    for place in range(3):
        fields = ["0000000178"] * 3
        fields[place] = length + "78"
        frame = bytes.fromhex("44" + "00000015" + "0003" + "".join(fields))
        for padding in (b"", bytes(64)):
            for columns in ((HIDE,) * 3, (None,) * 3):
                with pytest.raises(TargetProtocolError):
                    kernel.mask(frame + padding, 0, len(frame), texts(*columns))


def test_a_row_of_more_columns_than_were_described_is_refused(kernel):
    data = encode(pg.DataRow((b"x", b"secret")))
    for columns in ((HIDE,), (None,), (), (HIDE,) * 3):
        with pytest.raises(TargetProtocolError, match=f"a row of 2 columns where {len(columns)} were described"):
            kernel.mask(data, 0, len(data), texts(*columns))


def test_rows_without_columns_are_passed(kernel):
    data = encode(pg.DataRow(())) * 5
    assert kernel.mask(data, 0, len(data), texts()) == (data, len(data), 5, 0)


@pytest.mark.parametrize("columns", [1_600, 65_535])
def test_as_many_columns_as_there_may_be_are_masked(kernel, columns):
    data = encode(pg.DataRow((b"",) * columns)) * 2
    shown = encode(pg.DataRow((b"***",) * columns)) * 2
    assert kernel.mask(data, 0, len(data), texts(*[HIDE] * columns)) == (shown, len(data), 2, 2 * columns)


def test_every_value_may_grow_as_much_as_a_literal_is_long(kernel):
    data = encode(pg.DataRow((b"",) * 9)) * 20_000
    layout = row_mask([HIDE] * 9, [JSONB] * 9, [1] * 9)
    shown = encode(pg.DataRow((b'\x01"***"',) * 9)) * 20_000
    assert kernel.mask(data, 0, len(data), layout) == (shown, len(data), 20_000, 180_000)


@pytest.mark.slow
@pytest.mark.parametrize("transform", [HIDE, LAST, Transform("null"), None])
def test_a_cell_of_64_megabytes_is_masked(kernel, transform):
    value = "é".encode() * (32 * MIB)
    described = [(transform, TEXT, 0, -1), (HIDE, TEXT, 0, -1)]
    data = encode(pg.DataRow((value, b"x")))
    shown, masked = reference(described, (value, b"x"))
    assert kernel.mask(data, 0, len(data), layout_of(described)) == (shown, len(data), 1, masked)


@pytest.mark.parametrize("value", ["12345678", "1234567\u00e9", "\U0001d11e" * 8])
@pytest.mark.parametrize("length", range(20))
def test_text_is_read_byte_for_byte_up_to_its_end(kernel, value, length):
    # What lies behind a field would make it text again, or make it long enough.
    field, behind = (value * 3).encode()[:length], (value * 3).encode()[length:]
    data = encode(pg.DataRow((field, behind)))
    shown, masked = reference([(LAST, TEXT, 0, -1), (None, TEXT, 0, -1)], (field, behind))
    assert kernel.mask(data, 0, len(data), texts(LAST, None)) == (shown, len(data), 1, masked)


def test_a_character_is_not_made_whole_by_what_lies_behind_the_row(kernel):
    for value in ("1234567é", "1234567€", "1234567𝄞"):
        whole = value.encode()
        for cut in range(8, len(whole)):
            data = encode(pg.DataRow((whole[:cut],)))
            masked = kernel.mask(data + whole[cut:], 0, len(data), texts(LAST))
            assert masked == (encode(pg.DataRow((b"***",))), len(data), 1, 1)


@pytest.mark.parametrize("type_oid", [VARCHAR, BPCHAR])
@pytest.mark.parametrize("n", range(1, 13))
def test_every_part_within_every_limit_is_what_the_reference_shows(kernel, type_oid, n):
    row = tuple(text.encode() for text in ("äb€d𝄞fghijklmn"[:length] for length in range(15)))
    data = encode(pg.DataRow(row))
    for first in range(5):
        for last in range(5):
            described = [(Transform("keep", first, last), type_oid, 0, 4 + n)] * len(row)
            shown, masked = reference(described, row)
            assert kernel.mask(data, 0, len(data), layout_of(described)) == (shown, len(data), 1, masked)


def test_every_two_bytes_and_every_lead_are_judged_as_utf_8(kernel):
    sequences = [bytes([one, other]) for one in range(0x80, 256) for other in range(0x70, 0xD0)]
    sequences += [
        bytes([lead, other, end]) + b"\x80"
        for lead in range(0xE0, 256)
        for other in (0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF)
        for end in (0x7F, 0x80, 0xBF, 0xC0)
    ]
    described = [(Transform("keep", first=1), TEXT, 0, -1)]
    for sequence in sequences:
        for value in (sequence + b"ab", sequence[:3] + b"ab"):
            data = encode(pg.DataRow((value,)))
            assert kernel.mask(data, 0, len(data), layout_of(described))[0] == reference(described, (value,))[0], value


def test_blanks_alone_are_no_text_of_a_char(kernel):
    described = [(LAST, BPCHAR, 0, 24)]
    for value in (b" " * 20, b"", b" ", b"1234567890".ljust(20)):
        data = encode(pg.DataRow((value,)))
        assert kernel.mask(data, 0, len(data), layout_of(described))[0] == reference(described, (value,))[0]


@pytest.mark.parametrize(("offset", "end"), [(0, 2), (-1, 1), (1, 0), (0, -1)])
def test_a_place_outside_of_the_buffer_is_never_read(kernel, offset, end):
    for work in (lambda: kernel.scan(b"D", offset, end, 1), lambda: kernel.mask(b"D", offset, end, texts(HIDE))):
        with pytest.raises(ValueError, match="in a buffer of 1 bytes"):
            work()


@given(st.integers(0, 6), st.integers(0, 4), st.text(max_size=9), st.text(max_size=9), st.text(max_size=9))
def test_rows_with_the_same_shown_ends_cannot_be_told_apart(kernel, first, last, ends, one, other):
    layout = texts(Transform("keep", first, last), HIDE)
    start, tail = ends.ljust(first, ".")[:first], ends.ljust(last, ".")[:last]
    data = [
        encode(pg.DataRow(((start + middle + "." * (first + last) + tail).encode(), middle.encode())))
        for middle in (one, other)
    ]
    shown = [kernel.mask(row, 0, len(row), layout)[0] for row in data]
    assert shown[0] == shown[1]


def test_rows_that_were_masked_stay_as_they_are_when_others_are(kernel):
    data = [encode(pg.DataRow((each * 8,))) for each in (b"a", b"b")]
    shown = [kernel.mask(row, 0, len(row), texts(LAST))[0] for row in data]
    assert shown == [encode(pg.DataRow((b"***aaaa",))), encode(pg.DataRow((b"***bbbb",)))]
