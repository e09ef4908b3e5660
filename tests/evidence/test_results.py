from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vestibule.evidence.errors import EvidenceFormatError
from vestibule.evidence.recording import Event, Part
from vestibule.evidence.results import OPEN_LIMIT, Column, Described, Ended, Results, Row
from vestibule.protocols.postgres import messages as pg
from vestibule.protocols.postgres.codec import encode

HEAD = encode(pg.RowDescription((pg.Field("id", 0, 0, 23, 4, -1, 1), pg.Field("name", 0, 0, 25, -1, -1, 0))))
ROWS = [encode(pg.DataRow((bytes([0, 0, 0, n]), b"x" * n if n else None))) for n in range(3)]
DONE = encode(pg.CommandComplete("SELECT 3"))
COLUMNS = (Column("id", 23, True), Column("name", 25, False))
READ = [Row(1, 0, ("0", None)), Row(1, 0, ("1", "x")), Row(1, 0, ("2", "xx"))]


def read(*events: tuple[Part, bytes], results: Results | None = None, statement: int = 1):
    reader = results or Results()
    return [item for part, data in events for item in reader.feed(Event(0, statement, part, data))]


def test_frames_become_columns_rows_and_an_end() -> None:
    found = read((Part.HEAD, HEAD), (Part.FRAMES, b"".join(ROWS)), (Part.FRAMES, DONE))

    assert found == [Described(1, 0, COLUMNS), *READ, Ended(1, 0, "SELECT 3")]


def test_a_row_in_pieces_is_one_row() -> None:
    data = b"".join(ROWS)
    borders = {len(ROWS[0]), len(ROWS[0] + ROWS[1])}
    for cut in set(range(1, len(data))) - borders:
        found = read((Part.HEAD, HEAD), (Part.FRAMES, data[:cut]), (Part.PIECE, data[cut:]))
        assert found[1:] == READ


def test_a_description_that_is_repeated_at_the_start_of_a_chunk_only_goes_on() -> None:
    found = read((Part.HEAD, HEAD), (Part.FRAMES, ROWS[0]), (Part.HEAD, HEAD), (Part.FRAMES, ROWS[1]))

    assert found == [Described(1, 0, COLUMNS), *READ[:2]]


def test_a_second_result_of_one_statement_is_described_again() -> None:
    found = read((Part.HEAD, HEAD), (Part.FRAMES, DONE), (Part.HEAD, HEAD))

    assert found == [Described(1, 0, COLUMNS), Ended(1, 0, "SELECT 3"), Described(1, 0, COLUMNS)]


def test_a_row_that_was_cut_off_is_left_out_and_what_is_behind_it_stands() -> None:
    found = read((Part.HEAD, HEAD), (Part.FRAMES, ROWS[2][:-1]), (Part.FRAMES, DONE))

    assert found == [Described(1, 0, COLUMNS), Ended(1, 0, "SELECT 3")]


def test_the_inside_of_a_frame_whose_beginning_is_not_here_is_left_out() -> None:
    assert read((Part.HEAD, HEAD), (Part.PIECE, ROWS[1]))[1:] == []


def test_statements_that_take_turns_do_not_mix() -> None:
    results = Results()
    read((Part.HEAD, HEAD), (Part.FRAMES, ROWS[0][:7]), results=results)

    assert read((Part.HEAD, HEAD), (Part.FRAMES, ROWS[1]), results=results, statement=2)[1:] == [Row(2, 0, ("1", "x"))]
    assert read((Part.PIECE, ROWS[0][7:]), results=results) == [READ[0]]


def test_a_copy_is_a_table_of_one_column() -> None:
    head = encode(pg.CopyOutResponse(0, (0,)))

    found = read((Part.HEAD, head), (Part.FRAMES, encode(pg.CopyData(b"1\tone\n")) + encode(pg.CopyDone())))

    assert found == [Described(1, 0, (Column("COPY"),)), Row(1, 0, ("1\tone",))]


def test_an_error_ends_a_result() -> None:
    error = encode(pg.ErrorResponse((("S", "ERROR"), ("C", "22012"), ("M", "division by zero"))))

    assert read((Part.FRAMES, error)) == [Ended(1, 0, error="22012 division by zero")]


@pytest.mark.parametrize("message", [pg.EmptyQueryResponse(), pg.PortalSuspended()])
def test_other_ends_have_no_tag(message) -> None:
    assert read((Part.FRAMES, encode(message))) == [Ended(1, 0)]


def test_results_that_never_end_are_bounded() -> None:
    results = Results()
    for number in range(OPEN_LIMIT + 10):
        read((Part.HEAD, HEAD), results=results, statement=number)

    assert len(results._open) == OPEN_LIMIT


@pytest.mark.parametrize(
    "events",
    [
        [(Part.HEAD, b"T\x00\x00\x00\x06\x00\x01")],
        [(Part.HEAD, HEAD), (Part.FRAMES, b"D\x00\x00\x00\x05\x00")],
        [(Part.HEAD, HEAD), (Part.FRAMES, b"D\x00\x00\x00\x07\x00\x00\x00")],
        [(Part.FRAMES, b"D\x00\x00\x00\x01")],
    ],
)
def test_frames_that_cannot_be_read_are_a_defined_error(events) -> None:
    with pytest.raises(EvidenceFormatError):
        read(*events)


@given(st.lists(st.tuples(st.sampled_from(Part), st.binary(max_size=60))))
def test_any_bytes_give_items_or_a_defined_error(events) -> None:
    with suppress(EvidenceFormatError):
        read((Part.HEAD, HEAD), *events)


def test_the_columns_of_a_result_are_known_while_it_goes_on() -> None:
    results = Results()
    assert results.columns(1) == ()
    read((Part.HEAD, HEAD), results=results)
    assert results.columns(1) == COLUMNS


def test_a_second_result_with_the_same_description_is_described_again_with_its_first_row() -> None:
    found = read((Part.HEAD, HEAD), (Part.FRAMES, ROWS[0] + DONE), (Part.FRAMES, ROWS[1] + DONE))

    assert found == [
        Described(1, 0, COLUMNS), READ[0], Ended(1, 0, "SELECT 3"),
        Described(1, 0, COLUMNS), READ[1], Ended(1, 0, "SELECT 3"),
    ]  # fmt: skip
