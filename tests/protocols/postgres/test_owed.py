"""What a statement has disclosed is recorded, however it ends."""

import pytest

from tests.support.pg_play import session
from tests.support.playbook import Playbook
from vestibule.model.event import Side
from vestibule.model.record import Kind
from vestibule.protocols.postgres import messages as pg

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
