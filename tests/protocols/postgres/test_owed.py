"""What is owed, what becomes of it, and that what a statement has disclosed is recorded however it ends."""

import pytest

from tests.support.gates import NOW, admitted, statement
from tests.support.pg_play import session
from tests.support.playbook import Playbook
from vestibule.model.event import Side
from vestibule.model.record import Kind
from vestibule.protocols.postgres import messages as pg
from vestibule.protocols.postgres.names import Names
from vestibule.protocols.postgres.owed import Answer, Owed, Portal, Prepared, Renaming, Running, Shape

COLUMN = pg.Field("column1", 0, 0, 25, -1, -1, 0)
ROW = pg.DataRow((b"1",))
ROW_BYTES = 12


@pytest.fixture
def play() -> Playbook:
    """An open session whose client may read."""
    return session("engineering")


def finished(play: Playbook) -> list[dict]:
    """The outcomes recorded so far."""
    return [dict(record.members) for record in play.records if record.kind is Kind.STATEMENT_FINISHED]


@pytest.mark.parametrize("side", Side)
def test_the_rows_of_a_statement_that_was_cut_off_are_counted(play, side):
    play.client(pg.Query(b"VALUES ('1')"))
    play.target(pg.RowDescription((COLUMN,)), ROW, ROW)

    play.end(side)

    (end,) = finished(play)
    assert (end["outcome"], end["rows"], end["bytes_to_client"]) == ("unknown", 2, 2 * ROW_BYTES)
    assert [result["rows"] for result in end["results"]] == [2]


def test_the_rows_of_a_suspended_portal_that_is_closed_are_counted(play):
    play.client(pg.Parse("", b"VALUES ('1'), ('2')"), pg.Bind("p", ""), pg.Describe("P", "p"), pg.Execute("p", 1))
    play.client(pg.Flush(), pg.Close("P", "p"), pg.Sync())
    play.target(pg.ParseComplete(), pg.BindComplete(), pg.RowDescription((COLUMN,)), ROW, pg.PortalSuspended())

    play.target(pg.CloseComplete(), pg.ReadyForQuery("I"))

    (end,) = finished(play)
    assert (end["outcome"], end["rows"], len(end["results"])) == ("ok", 1, 1)


def test_a_result_that_ended_is_counted_once(play):
    play.client(pg.Query(b"VALUES ('1')"))
    play.target(pg.RowDescription((COLUMN,)), ROW, pg.CommandComplete("SELECT 1"), pg.ReadyForQuery("I"))

    (end,) = finished(play)
    assert (end["outcome"], end["rows"], len(end["results"])) == ("ok", 1, 1)


def running() -> Running:
    return Running(admitted().decide(statement(), (), NOW))


def test_the_first_outcome_of_a_statement_stands():
    one = running()
    one.end("error", ("42P01", "no table"))
    one.end("ok")
    assert (one.summary("E").outcome, one.summary("E").error_code) == ("error", "42P01")
    assert one.summary("E").transaction == "E"


def test_a_statement_without_an_outcome_is_unknown():
    assert running().summary("").outcome == "unknown"


def test_an_outcome_takes_back_the_names_that_the_target_did_not_make():
    names: Names[Prepared] = Names(10, 1 << 20, lambda prepared: prepared.weight)
    one = running()
    one.changes.append(Renaming("PREPARE", (names.offer("p", Prepared(b"SELECT 1", ()), 0),)))
    one.end("not_reached")
    assert names.find("p", 0) is None
    assert not one.changes


def test_a_statement_that_has_ended_and_is_run_again_leaves_no_name_in_doubt():
    names: Names[Prepared] = Names(10, 1 << 20, lambda prepared: prepared.weight)
    one = running()
    one.end("ok")
    one.changes.append(Renaming("PREPARE", (names.offer("p", Prepared(b"SELECT 1", ()), 0),)))
    one.end("error", ("55000", "portal cannot be run"))
    assert names.find("p", 1) is None
    assert one.outcome == "ok"


def test_an_answer_that_never_comes_takes_back_the_name_and_the_description():
    names: Names[Prepared] = Names(10, 1 << 20, lambda prepared: prepared.weight)
    parse = Owed(Answer.PARSE, 0, change=names.offer("p", Prepared(b"SELECT 1", ()), 0))
    parse.withdraw()
    assert names.find("p", 0) is None
    shape = Shape(is_asked=True)
    Owed(Answer.DESCRIBE, 0, shape=shape).withdraw()
    assert not shape.is_asked


def test_what_is_kept_has_a_weight():
    prepared = Prepared(b"x" * 1_000, ())
    bound = Portal(prepared, pg.Bind("", "", (), (b"y" * 500, None)), running(), Shape(), "")
    assert prepared.weight >= 1_000
    assert bound.weight >= 500


def read_by_the_protocol_what_sql_declared(play: Playbook) -> None:
    """Declare a cursor, and fetch one row of it by the protocol's own Execute."""
    play.client(pg.Query(b"DECLARE c CURSOR WITH HOLD FOR VALUES ('1'), ('2')"))
    play.target(pg.CommandComplete("DECLARE CURSOR"), pg.ReadyForQuery("I"))
    play.client(pg.Describe("P", "c"), pg.Execute("c", 1), pg.Sync())
    play.target(pg.RowDescription((COLUMN,)), ROW, pg.PortalSuspended(), pg.ReadyForQuery("I"))


@pytest.mark.parametrize(
    ("text", "tag"),
    [("CLOSE c", "CLOSE CURSOR"), ("CLOSE ALL", "CLOSE CURSOR ALL"), ("DISCARD ALL", "DISCARD ALL")],
)
def test_what_was_fetched_of_a_cursor_is_recorded_when_the_cursor_goes(play, text, tag):
    read_by_the_protocol_what_sql_declared(play)
    assert [end["rows"] for end in finished(play)] == [0]

    play.client(pg.Query(text.encode()))
    play.target(pg.CommandComplete(tag), pg.ReadyForQuery("I"))

    assert [(end["outcome"], end["rows"]) for end in finished(play)] == [("ok", 0), ("ok", 1), ("ok", 0)]


@pytest.mark.parametrize("side", Side)
def test_what_was_fetched_of_a_cursor_is_recorded_when_the_session_ends(play, side):
    read_by_the_protocol_what_sql_declared(play)

    play.end(side)

    assert [(end["outcome"], end["rows"]) for end in finished(play)] == [("ok", 0), ("unknown", 1)]


@pytest.mark.parametrize(("end", "tag"), [("CLOSE c", "CLOSE CURSOR"), ("CLOSE ALL", "CLOSE CURSOR ALL")])
def test_a_text_that_declares_a_cursor_and_closes_it_is_one_statement(play, end, tag):
    play.client(pg.Query(f"DECLARE c CURSOR WITH HOLD FOR VALUES ('1'); {end}; VALUES ('1')".encode()))
    play.target(pg.CommandComplete("DECLARE CURSOR"), pg.CommandComplete(tag))
    assert finished(play) == []

    play.target(pg.RowDescription((COLUMN,)), ROW, pg.CommandComplete("SELECT 1"), pg.ReadyForQuery("I"))

    assert [(end["outcome"], end["rows"]) for end in finished(play)] == [("ok", 1)]
