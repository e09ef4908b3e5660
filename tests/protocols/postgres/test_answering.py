"""The target's half: each answer is matched with what is owed, passed on, replaced or refused."""

from __future__ import annotations

import pytest

from tests.support.pg_play import session, written
from tests.support.playbook import Playbook, ToClient, recorded
from vestibule.model.event import Side
from vestibule.protocols.postgres import messages as pg

COLUMN = pg.Field("n", 0, 0, 25, -1, -1, 0)
SHAPE = pg.RowDescription((COLUMN,))
IDLE = pg.ReadyForQuery("I")
QUERY = pg.Query(b"SELECT 1")


def failure(code: str, severity: str = "ERROR") -> pg.ErrorResponse:
    return pg.ErrorResponse((("S", severity), ("V", severity), ("C", code), ("M", "the server's words")))


def asked(*messages: pg.FrontendMessage) -> Playbook:
    """A session in which the client has said something, and nobody has answered."""
    play = session()
    play.client(*messages)
    play.take()
    return play


def outcomes(play: Playbook) -> list[tuple[object, ...]]:
    """Outcome, rows and error code of each finished statement."""
    return [
        (record.members["outcome"], record.members["rows"], record.members.get("error", {}).get("code"))
        for record in play.attempted
        if record.kind == "StatementFinished"
    ]


LOST = [
    ([], IDLE),
    ([], SHAPE),
    ([], pg.DataRow(())),
    ([], pg.CommandComplete("SELECT 1")),
    ([], pg.CopyData(b"x")),
    ([], pg.CopyDone()),
    ([], pg.ParseComplete()),
    ([], pg.CopyInResponse(0, ())),
    ([], pg.CopyOutResponse(0, ())),
    ([], failure("42P01")),
    ([], pg.AuthenticationOk()),
    ([], pg.BackendKeyData(1, b"abcd")),
    ([], pg.CopyBothResponse(0, ())),
    ([], pg.FunctionCallResponse(None)),
    ([QUERY], pg.ParseComplete()),
    ([QUERY], pg.DataRow((b"1",))),
    ([QUERY], pg.CopyInResponse(0, (0,))),
    ([QUERY], pg.CopyData(b"x")),
    ([QUERY], pg.PortalSuspended()),
    ([QUERY], pg.ParameterDescription(())),
    ([pg.Sync()], pg.CommandComplete("SELECT 1")),
    ([pg.Parse("", b"SELECT 1")], IDLE),
    ([pg.Parse("", b"SELECT 1")], pg.BindComplete()),
    ([pg.Parse("", b"SELECT 1")], SHAPE),
]


@pytest.mark.parametrize(("said", "answer"), LOST, ids=lambda value: type(value).__name__)
def test_an_answer_that_nothing_owes_ends_the_session(said, answer):
    play = asked(*said)
    play.target(answer)
    assert play.closed == "protocol_error"
    (error,) = play.to(Side.CLIENT)
    assert (error.text("V"), error.text("C")) == ("FATAL", "08006")
    assert error.text("M") == "vestibule: target core-banking is not available"


def test_a_row_of_another_shape_than_described_ends_the_session():
    play = asked(QUERY)
    play.target(SHAPE, pg.DataRow((b"1", b"2")))
    assert play.closed == "protocol_error"
    assert pg.DataRow((b"1", b"2")) not in play.to(Side.CLIENT)


def test_each_result_of_a_query_has_its_own_shape():
    play = asked(pg.Query(b"SELECT 1; SELECT 2, 3"))
    one = (SHAPE, pg.DataRow((b"1",)), pg.CommandComplete("SELECT 1"))
    two = (pg.RowDescription((COLUMN, COLUMN)), pg.DataRow((b"2", None)), pg.CommandComplete("SELECT 1"), IDLE)
    play.target(*one, *two)
    assert play.to(Side.CLIENT) == [*one, *two]
    assert outcomes(play) == [("ok", 2, None)]


def test_rows_between_two_portals_are_judged_by_the_portal_that_runs():
    one = (pg.Parse("a", b"SELECT 1"), pg.Bind("a", "a"), pg.Execute("a"))
    two = (pg.Parse("b", b"SELECT 2, 3"), pg.Bind("b", "b"), pg.Execute("b"), pg.Sync())
    play = asked(*one, *two)
    first = (pg.ParseComplete(), pg.BindComplete(), SHAPE, pg.DataRow((b"1",)), pg.CommandComplete("SELECT 1"))
    shape = pg.RowDescription((COLUMN, COLUMN))
    second = (pg.ParseComplete(), pg.BindComplete(), shape, pg.DataRow((b"2", b"3")), pg.CommandComplete("SELECT 1"))
    play.target(*first, *second, IDLE)
    assert not play.closed
    assert outcomes(play) == [("ok", 1, None), ("ok", 1, None)]


def test_a_row_of_many_megabytes_passes_in_pieces():
    play = asked(QUERY)
    row = written(pg.DataRow((b"x" * 3_000_000,)))
    play.target(SHAPE)
    for at in range(0, len(row), 65_536):
        play.target(row[at : at + 65_536])
    play.target(pg.CommandComplete("SELECT 1"), IDLE)
    assert play.to(Side.CLIENT)[1] == pg.DataRow((b"x" * 3_000_000,))
    assert outcomes(play) == [("ok", 1, None)]


def test_in_the_middle_of_a_row_nothing_else_is_said_to_the_client():
    play = asked(QUERY)
    play.target(SHAPE, written(pg.DataRow((b"x" * 100_000,)))[:70_000])
    play.take()
    play.tell("kill")
    assert play.closed == "killed"
    assert play.to(Side.CLIENT) == []
    assert bytes(play.bytes[Side.CLIENT]).endswith(b"x" * 60_000)


def test_notices_notifications_and_settings_pass_at_any_point():
    anytime = (
        pg.NoticeResponse((("S", "NOTICE"), ("M", "hello"))),
        pg.NotificationResponse(4712, "channel", "payload"),
        pg.ParameterStatus("TimeZone", "UTC"),
    )
    play = session()
    play.target(*anytime)
    assert play.to(Side.CLIENT) == list(anytime)
    play.client(QUERY)
    play.take()
    row = pg.DataRow((b"1",))
    play.target(SHAPE, row, *anytime, row, pg.CommandComplete("SELECT 2"), IDLE)
    assert play.to(Side.CLIENT) == [SHAPE, row, *anytime, row, pg.CommandComplete("SELECT 2"), IDLE]


def test_a_setting_that_is_none_of_the_clients_business_is_not_passed_on():
    play = session()
    play.target(pg.ParameterStatus("vestibule.key", "x"))
    assert play.take() == []


@pytest.mark.parametrize(("name", "value"), [("client_encoding", "LATIN1"), ("standard_conforming_strings", "off")])
def test_a_pin_that_is_gone_ends_the_session(name, value):
    play = session()
    play.target(pg.ParameterStatus(name, value))
    assert play.closed == "protocol_error"
    play = session()
    play.target(pg.ParameterStatus(name, {"client_encoding": "UTF8"}.get(name, "on")))
    assert not play.closed


def test_a_failed_statement_is_recorded_with_the_servers_code():
    play = asked(QUERY)
    play.target(failure("42P01"), IDLE)
    play.expect(
        recorded("StatementFinished", {"outcome": "error", "transaction": "I"}),
        ToClient(failure("42P01")),
        ToClient(IDLE),
    )
    assert outcomes(play) == [("error", 0, "42P01")]


def test_a_cancelled_statement_is_recorded_as_that():
    play = asked(QUERY)
    play.target(SHAPE, pg.DataRow((b"1",)), failure("57014"), IDLE)
    assert outcomes(play) == [("cancelled", 1, "57014")]


def test_a_commit_that_is_refused_at_sync_fails_the_statement_before_it():
    play = asked(pg.Parse("", b"INSERT INTO t VALUES (1)"), pg.Bind("", ""), pg.Execute(""), pg.Sync())
    play.target(pg.ParseComplete(), pg.BindComplete(), pg.NoData(), pg.CommandComplete("INSERT 0 1"))
    play.target(failure("23503"), IDLE)
    assert outcomes(play) == [("error", 1, "23503")]


def test_what_is_behind_an_error_is_recorded_as_not_reached():
    one = (pg.Parse("", b"SELECT 1"), pg.Bind("", ""), pg.Execute(""))
    play = asked(*one, *one, pg.Sync())
    play.target(pg.ParseComplete(), pg.BindComplete(), SHAPE, failure("22012"), IDLE)
    assert outcomes(play) == [("error", 0, "22012"), ("not_reached", 0, None)]


@pytest.mark.parametrize("severity", ["FATAL", "PANIC"])
def test_a_fatal_error_of_the_target_passes_and_ends_the_session(severity):
    play = asked(QUERY)
    play.target(failure("57P01", severity))
    assert play.closed == "target_closed"
    assert play.to(Side.CLIENT) == [failure("57P01", severity)]
    assert outcomes(play) == [("unknown", 0, "57P01")]


def test_a_copy_to_the_client_passes_and_its_bytes_are_counted():
    play = asked(pg.Query(b"COPY loans TO STDOUT"))
    data = (pg.CopyOutResponse(0, (0, 0)), pg.CopyData(b"1\t2\n"), pg.CopyData(b"3\t4\n"), pg.CopyDone())
    play.target(*data, pg.CommandComplete("COPY 2"), IDLE)
    assert play.to(Side.CLIENT) == [*data, pg.CommandComplete("COPY 2"), IDLE]
    (finished,) = [record for record in play.attempted if record.kind == "StatementFinished"]
    assert (finished.members["rows"], finished.members["bytes_to_client"]) == (2, len(written(*data[1:3])))


def test_sql_prepared_names_are_known_once_the_target_has_made_them():
    play = session()
    play.client(pg.Query(b"PREPARE p AS SELECT 1"))
    play.target(pg.CommandComplete("PREPARE"), IDLE)
    play.client(pg.Bind("", "p"), pg.Sync())
    assert pg.Bind("", "p") in play.to(Side.TARGET)
    play.target(pg.BindComplete(), IDLE)
    play.client(pg.Query(b"DEALLOCATE ALL"))
    play.target(pg.CommandComplete("DEALLOCATE ALL"), IDLE)
    play.take()
    play.client(pg.Bind("", "p"), pg.Sync())
    assert pg.Bind("", "p") not in play.to(Side.TARGET)


def test_names_that_the_target_did_not_make_stay_unknown():
    play = session()
    play.client(pg.Query(b"PREPARE p AS SELECT 1"))
    play.target(failure("42P05"), IDLE)
    play.take()
    play.client(pg.Bind("", "p"), pg.Sync())
    assert pg.Bind("", "p") not in play.to(Side.TARGET)


def test_portals_end_with_their_transaction():
    play = asked(pg.Parse("", b"SELECT 1"), pg.Bind("p", ""), pg.Sync())
    play.target(pg.ParseComplete(), pg.BindComplete(), IDLE)
    assert outcomes(play) == [("ok", 0, None)]
    play.take()
    play.client(pg.Execute("p"), pg.Sync())
    assert pg.Execute("p") not in play.to(Side.TARGET)
