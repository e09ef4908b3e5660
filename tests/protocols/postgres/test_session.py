"""What both halves share: refusals in every state, time, and the end."""

from __future__ import annotations

import pytest

from tests.support.pg_play import session
from tests.support.playbook import Did, Playbook
from vestibule.model.effect import Cancel
from vestibule.model.event import Received, Side
from vestibule.model.names import SECOND
from vestibule.model.record import Kind
from vestibule.protocols.postgres import messages as pg
from vestibule.protocols.postgres.codec import encode
from vestibule.protocols.postgres.session import spell

SELECT = pg.Query(b"SELECT 1")
DROP = pg.Query(b"DROP TABLE customers")
READY = pg.ReadyForQuery("I")
GHOST = pg.ErrorResponse((("S", "ERROR"), ("C", "34000"), ("M", "portal does not exist")))


def fatal(play: Playbook) -> pg.ErrorResponse:
    return next(each for each in play.to(Side.CLIENT) if isinstance(each, pg.ErrorResponse))


def causes(play: Playbook) -> list[object]:
    return [record.members["cause"] for record in play.records if record.kind is Kind.SESSION_CLOSED]


def test_a_refusal_inside_a_block_is_made_by_the_target_so_that_the_block_fails() -> None:
    play = session()
    play.client(pg.Query(b"BEGIN"))
    play.target(pg.CommandComplete("BEGIN"), pg.ReadyForQuery("T"))
    play.take()
    play.client(DROP)
    [poison, sync] = play.to(Side.TARGET)
    assert isinstance(poison, pg.Execute)
    assert sync == pg.Sync()
    play.target(GHOST, pg.ReadyForQuery("E"))
    error, ready = play.to(Side.CLIENT)
    assert isinstance(error, pg.ErrorResponse)
    assert (error.text("C"), ready) == ("42501", pg.ReadyForQuery("E"))


def test_the_clients_own_notifications_carry_the_process_that_it_was_told_and_others_their_own() -> None:
    play = session()
    play.target(pg.NotificationResponse(4711, "channel", "own"), pg.NotificationResponse(4712, "channel", "other"))
    assert play.to(Side.CLIENT) == [
        pg.NotificationResponse(7, "channel", "own"),
        pg.NotificationResponse(4712, "channel", "other"),
    ]


def test_a_notification_of_another_session_is_never_taken_for_the_client_s_own() -> None:
    play = session()
    play.target(pg.NotificationResponse(7, "channel", "of a process that happens to have the number we gave out"))
    [told] = play.to(Side.CLIENT)
    assert isinstance(told, pg.NotificationResponse)
    assert told.process_id == 0


def test_a_refusal_behind_a_running_query_is_answered_in_its_turn() -> None:
    play = session()
    play.client(SELECT, DROP)
    play.take()
    play.target(pg.CommandComplete("SELECT 1"), READY)
    assert play.to(Side.CLIENT) == [pg.CommandComplete("SELECT 1"), READY]
    play.target(GHOST, READY)
    assert [type(each) for each in play.to(Side.CLIENT)] == [pg.ErrorResponse, pg.ReadyForQuery]


def test_the_poison_has_another_name_in_every_session_and_no_text_of_the_client() -> None:
    play = session()
    play.client(pg.Parse("", b"DROP TABLE customers"))
    [poison] = play.to(Side.TARGET)
    assert isinstance(poison, pg.Execute)
    assert len(poison.portal) == len("vestibule_") + 16


def test_a_session_ends_when_its_login_does_even_while_a_statement_runs() -> None:
    play = session("dba")
    play.client(SELECT)
    play.take()
    play.pass_time(12 * 3600 * SECOND)
    seen = play.take()
    assert any(isinstance(item, Did) and isinstance(item.effect, Cancel) for item in seen)
    assert causes(play) == ["login_expired"]


def test_the_policys_maximum_ends_a_session_before_its_login() -> None:
    play = session()
    play.client(SELECT)
    play.target(pg.CommandComplete("SELECT 1"), READY)
    for _ in range(17):
        play.pass_time(29 * 60 * SECOND)
        if not play.closed:
            play.client(SELECT)
            play.target(pg.CommandComplete("SELECT 1"), READY)
    assert causes(play) == ["max_time"]
    assert "maximum 8h" in fatal_of_all(play)


def fatal_of_all(play: Playbook) -> str:
    errors = [each for each in play.to(Side.CLIENT) if isinstance(each, pg.ErrorResponse)]
    return errors[-1].text("M")


def test_a_silent_session_ends_and_a_busy_one_does_not() -> None:
    play = session()
    play.client(SELECT)
    play.pass_time(31 * 60 * SECOND)
    assert not play.closed, "a statement that runs is no silence"
    play.target(pg.CommandComplete("SELECT 1"), READY)
    play.take()
    play.pass_time(62 * 60 * SECOND)
    assert causes(play) == ["idle"]
    assert fatal(play).text("M") == "vestibule: session ended: idle 30m"


def test_silence_begins_with_the_answer_however_long_it_was_waited_for() -> None:
    play = session()
    play.client(SELECT)
    play.pass_time(59 * 60 * SECOND)
    play.target(pg.CommandComplete("SELECT 1"), READY)
    play.pass_time(29 * 60 * SECOND)
    assert not play.closed
    play.pass_time(2 * 60 * SECOND)
    assert causes(play) == ["idle"]


@pytest.mark.parametrize(
    ("what", "cause", "code"),
    [
        ("kill", "killed", "57P01"),
        ("revoke", "revoked", "57P01"),
        ("drain", "shutdown", "57P01"),
        ("evidence", "evidence_fault", "58030"),
    ],
)
def test_an_end_from_outside_cancels_tells_closes_and_records(what: str, cause: str, code: str) -> None:
    play = session()
    play.client(SELECT)
    play.take()
    play.tell(what)  # type: ignore[arg-type] - one of its words
    seen = play.take()
    assert any(isinstance(item, Did) and isinstance(item.effect, Cancel) for item in seen)
    errors = [item.message for item in seen if isinstance(getattr(item, "message", None), pg.ErrorResponse)]
    assert [error.text("C") for error in errors] == [code]
    assert causes(play) == [cause]
    outcome = [record.members["outcome"] for record in play.records if record.kind is Kind.STATEMENT_FINISHED]
    assert outcome == ["unknown"]


def test_a_session_at_rest_finishes_at_once() -> None:
    play = session()
    play.tell("finish")
    assert causes(play) == ["shutdown"]
    assert fatal(play).text("C") == "57P01"


def test_a_session_finishes_behind_the_answer_of_what_runs() -> None:
    play = session()
    play.client(SELECT)
    play.take()
    play.tell("finish")
    assert play.take() == []
    assert not play.closed
    play.target(pg.CommandComplete("SELECT 1"), READY)
    said = [type(message) for message in play.to(Side.CLIENT)]
    assert said[-2:] == [pg.ReadyForQuery, pg.ErrorResponse]
    assert causes(play) == ["shutdown"]
    outcome = [record.members["outcome"] for record in play.records if record.kind is Kind.STATEMENT_FINISHED]
    assert outcome == ["ok"]


@pytest.mark.parametrize("status", ["T", "E"])
def test_a_session_finishes_behind_its_transaction(status: pg.TransactionStatus) -> None:
    play = session()
    play.client(pg.Query(b"BEGIN"))
    play.target(pg.CommandComplete("BEGIN"), pg.ReadyForQuery(status))
    play.tell("finish")
    assert not play.closed
    play.client(pg.Query(b"ROLLBACK"))
    play.target(pg.CommandComplete("ROLLBACK"), READY)
    assert causes(play) == ["shutdown"]


def test_a_session_does_not_finish_inside_a_message() -> None:
    play = session()
    whole = encode(SELECT)
    play.deliver(Received(Side.CLIENT, whole[:5]))
    play.tell("finish")
    assert not play.closed
    play.deliver(Received(Side.CLIENT, whole[5:]))
    play.target(pg.CommandComplete("SELECT 1"), READY)
    assert causes(play) == ["shutdown"]


def test_a_late_cancel_does_not_hit_the_next_statement() -> None:
    play = session()
    play.tell("cancel")
    assert play.take() == []
    play.client(SELECT)
    play.take()
    play.tell("cancel")
    assert [type(item.effect) for item in play.take() if isinstance(item, Did)] == [Cancel]


def test_a_client_that_is_gone_stops_its_statement() -> None:
    play = session()
    play.client(SELECT)
    play.take()
    play.end(Side.CLIENT)
    assert any(isinstance(item, Did) and isinstance(item.effect, Cancel) for item in play.take())
    assert causes(play) == ["client_closed"]


def test_sums_are_stated_at_the_end() -> None:
    play = session()
    play.client(SELECT)
    play.target(pg.CommandComplete("SELECT 5"), READY)
    play.client(DROP, pg.Terminate())
    [closed] = [record for record in play.records if record.kind is Kind.SESSION_CLOSED]
    counted = {name: closed.members[name] for name in ("statements", "allowed", "denied", "rows")}
    assert counted == {"statements": 2, "allowed": 1, "denied": 1, "rows": 5}


@pytest.mark.parametrize(("micros", "text"), [(8 * 3600, "8h"), (90 * 60, "90m"), (45, "45s"), (3601, "3601s")])
def test_durations_are_written_as_the_policy_has_them(micros: int, text: str) -> None:
    assert spell(micros * SECOND) == text
