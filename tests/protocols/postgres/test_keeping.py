"""What a session that is recorded keeps: the bytes that the client is sent, read back as tables."""

from __future__ import annotations

import pytest

from tests.support.gates import gate
from tests.support.pg_play import session, written
from tests.support.playbook import Did, Playbook, ToClient
from vestibule.evidence.recording import Event, Part
from vestibule.evidence.results import Column, Described, Ended, Results, Row
from vestibule.gate.kept import Recording
from vestibule.model.effect import Keep
from vestibule.protocols.postgres import messages as pg
from vestibule.protocols.postgres.codec import encode
from vestibule.protocols.postgres.frames import PIECE

TEXT = pg.Field("n", 0, 0, 25, -1, -1, 0)
SHAPE = pg.RowDescription((TEXT,))
IDLE = pg.ReadyForQuery("I")
ROWS = (pg.DataRow((b"1",)), pg.DataRow((None,)))
DONE = pg.CommandComplete("SELECT 2")
TABLE = [Described(1, 0, (Column("n"),)), Row(1, 0, ("1",)), Row(1, 0, (None,)), Ended(1, 0, "SELECT 2")]


def recorded(**limits) -> Playbook:
    at = gate()
    at.recording = Recording(lambda _: True, **limits)
    return session(at=at)


def keeps(play: Playbook) -> list[Keep]:
    return [seen.effect for seen in play.seen if isinstance(seen, Did) and isinstance(seen.effect, Keep)]


def tables(play: Playbook) -> list[object]:
    """What was kept, read as a replay reads it."""
    results, items, head = Results(), list[object](), (0, b"")
    for keep in keeps(play):
        if keep.head and head != (keep.number, keep.head):
            head = (keep.number, keep.head)
            items += results.feed(Event(0, keep.number, Part.HEAD, keep.head))
        items += results.feed(Event(0, keep.number, Part.PIECE if keep.goes_on else Part.FRAMES, keep.data))
    return items


def test_a_querys_rows_are_kept_as_they_are_sent_and_before_they_are_sent() -> None:
    play = recorded()
    play.client(pg.Query(b"SELECT 1"))
    play.target(SHAPE, *ROWS, DONE, IDLE)

    assert tables(play) == TABLE
    kept = [seen for seen in play.seen if seen == Did(keeps(play)[0])]
    assert keeps(play)[0].data == written(*ROWS)
    assert play.seen.index(kept[0]) < play.seen.index(ToClient(ROWS[0]))


def test_a_session_that_is_not_recorded_keeps_nothing() -> None:
    play = session()
    play.client(pg.Query(b"SELECT 1"))
    play.target(SHAPE, *ROWS, DONE, IDLE)

    assert keeps(play) == []


def test_rows_of_a_portal_have_the_columns_that_the_gateway_asked_for() -> None:
    play = recorded()
    play.client(pg.Parse("", b"SELECT 1", ()), pg.Bind("", "", (), (), ()), pg.Execute("", 0), pg.Sync())
    play.target(pg.ParseComplete(), pg.BindComplete(), SHAPE, *ROWS, DONE, IDLE)

    assert tables(play) == TABLE


@pytest.mark.parametrize("formats", [(1,), (0, 1)])
def test_a_statement_that_was_described_has_the_formats_of_its_bind(formats) -> None:
    number = pg.Field("i", 0, 0, 23, 4, -1, 0)
    shape = pg.RowDescription((TEXT, number))
    row = pg.DataRow((b"a", b"\x00\x00\x00\x07"))
    play = recorded()
    play.client(pg.Parse("s", b"SELECT 1", ()), pg.Describe("S", "s"), pg.Sync())
    play.target(pg.ParseComplete(), pg.ParameterDescription(()), shape, IDLE)
    play.client(pg.Bind("", "s", (), (), formats), pg.Execute("", 0), pg.Sync())
    play.target(pg.BindComplete(), row, pg.CommandComplete("SELECT 1"), IDLE)

    assert tables(play)[1] == Row(1, 0, ("a", "7"))


def test_two_portals_of_one_statement_keep_their_own_formats() -> None:
    number = pg.RowDescription((pg.Field("i", 0, 0, 23, 4, -1, 0),))
    play = recorded()
    play.client(pg.Parse("s", b"SELECT 1", ()), pg.Describe("S", "s"), pg.Sync())
    play.target(pg.ParseComplete(), pg.ParameterDescription(()), number, IDLE)
    for formats, value in (((1,), b"\x00\x00\x00\x07"), ((), b"8")):
        play.client(pg.Bind("", "s", (), (), formats), pg.Execute("", 0), pg.Sync())
        play.target(pg.BindComplete(), pg.DataRow((value,)), pg.CommandComplete("SELECT 1"), IDLE)

    assert [item.cells for item in tables(play) if isinstance(item, Row)] == [("7",), ("8",)]


def test_a_portal_that_is_read_in_batches_is_one_table_after_the_other() -> None:
    play = recorded()
    play.client(pg.Parse("", b"SELECT 1", ()), pg.Bind("", "", (), (), ()), pg.Execute("", 1), pg.Execute("", 1))
    play.client(pg.Sync())
    play.target(pg.ParseComplete(), pg.BindComplete(), SHAPE, ROWS[0], pg.PortalSuspended(), ROWS[1], DONE, IDLE)

    assert [item for item in tables(play) if isinstance(item, Row | Ended)] == [
        TABLE[1], Ended(1, 0), TABLE[2], Ended(1, 0, "SELECT 2"),
    ]  # fmt: skip


def test_two_results_of_one_message_have_columns_of_their_own() -> None:
    other = pg.RowDescription((pg.Field("m", 0, 0, 25, -1, -1, 0),))
    play = recorded()
    play.client(pg.Query(b"SELECT 1; SELECT 2"))
    play.target(SHAPE, *ROWS, DONE, other, ROWS[0], pg.CommandComplete("SELECT 1"), IDLE)

    assert [item.columns[0].name for item in tables(play) if isinstance(item, Described)] == ["n", "m"]


def test_a_long_row_is_kept_in_pieces_and_read_as_one() -> None:
    value = b"x" * (3 * PIECE)
    data = encode(pg.DataRow((value,)))
    play = recorded()
    play.client(pg.Query(b"SELECT 1"))
    play.target(SHAPE)
    for at in range(0, len(data), 50_000):
        play.target(data[at : at + 50_000])
    play.target(DONE, IDLE)

    assert [keep.goes_on for keep in keeps(play)][:3] == [False, True, True]
    assert tables(play)[1] == Row(1, 0, (value.decode(),))


def test_a_copy_is_kept_line_by_line() -> None:
    play = recorded()
    play.client(pg.Query(b"COPY loans TO STDOUT"))
    play.target(pg.CopyOutResponse(0, (0,)), pg.CopyData(b"1\n"), pg.CopyDone(), pg.CommandComplete("COPY 1"), IDLE)

    assert tables(play) == [Described(1, 0, (Column("COPY"),)), Row(1, 0, ("1",)), Ended(1, 0, "COPY 1")]


def test_an_error_is_kept_masked_and_without_its_detail() -> None:
    error = (("S", "ERROR"), ("C", "23505"), ("M", "key 078051120 exists"), ("D", "Key (ssn)=(078051120)."))
    play = recorded()
    play.client(pg.Query(b"SELECT 1"))
    play.target(pg.ErrorResponse(error), IDLE)

    assert b"078051120" not in b"".join(keep.data for keep in keeps(play))
    [ended] = tables(play)
    assert ended.error.startswith("23505 key <")


def test_what_does_not_fit_is_sent_and_not_kept_but_the_end_is() -> None:
    play = recorded(rows=1)
    play.client(pg.Query(b"SELECT 1"))
    play.target(SHAPE)
    play.target(ROWS[0])
    play.target(ROWS[1])
    play.target(DONE, IDLE)

    assert tables(play) == [TABLE[0], TABLE[1], TABLE[3]]
    assert ToClient(ROWS[1]) in play.seen


def test_what_the_gateway_asks_for_itself_is_not_kept() -> None:
    assert keeps(recorded()) == []
