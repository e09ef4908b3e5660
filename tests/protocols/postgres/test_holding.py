"""Transcripts of held statements: what the client is told, what waits, what travels and what never does."""

from __future__ import annotations

import json

import pytest

from tests.support.gates import holding_engine, holding_gate
from tests.support.pg_play import is_question, knowledge, session
from tests.support.playbook import Did, Playbook, ToTarget, recorded
from tests.support.raw_client import codes
from vestibule.gate.gate import Gate
from vestibule.model.effect import Cancel, Pause, Resume, Seek, Spend, Withdraw
from vestibule.model.event import Side
from vestibule.model.names import SECOND
from vestibule.protocols.postgres import messages as pg

DELETE = b"DELETE FROM loans WHERE id = 7"
URL = "https://vestibule.bank.example/approvals/AR-0000000000"
MINUTE = 60 * SECOND
DONE = (pg.CommandComplete("DELETE 1"), pg.ReadyForQuery("I"))
EXTENDED = (pg.Parse("", DELETE), pg.Bind("", ""), pg.Execute("", 0), pg.Sync())


class Knowing:
    """A target that answers the gateway's own questions, and nothing else by itself."""

    def __init__(self) -> None:
        self.rows: list[tuple[bytes, ...]] = []
        self.status: pg.TransactionStatus = "I"

    def __call__(self, message: object) -> bytes:
        return knowledge(*self.rows, status=self.status) if is_question(message) else b""


def started(gate: Gate | None = None, target: Knowing | None = None) -> Playbook:
    return session(at=gate or holding_gate(), target=target or Knowing())


def held(play: Playbook | None = None) -> Playbook:
    """A session whose DELETE waits for people."""
    play = play or started()
    play.client(pg.Query(DELETE))
    (notice,) = play.to(Side.CLIENT)
    assert isinstance(notice, pg.NoticeResponse)
    return play


def told(play: Playbook) -> list[str]:
    return codes(play.to(Side.CLIENT))  # type: ignore[arg-type] # whatever a client is told is of the back-end


def asked(play: Playbook) -> list[object]:
    return [message for message in play.to(Side.TARGET) if not is_question(message)]


def kinds(play: Playbook) -> list[str]:
    return [record.kind for record in play.records[2:]]


def test_the_client_is_told_at_once_where_people_answer_and_again_while_they_think() -> None:
    play = started()
    play.client(pg.Query(DELETE))
    (notice,) = play.to(Side.CLIENT)
    assert isinstance(notice, pg.NoticeResponse)
    text = f"vestibule: held for approval AR-0000000000: {URL}"
    assert [notice.text(key) for key in "SVCM"] == ["NOTICE", "NOTICE", "00000", text]

    play.pass_time(24 * SECOND)
    assert told(play) == []
    play.pass_time(61 * SECOND)
    assert told(play) == ["NoticeResponse"] * 3


def test_nothing_travels_before_it_is_granted_and_then_the_record_of_its_use_comes_first() -> None:
    play = started()
    play.client(pg.Query(DELETE))
    assert asked(play) == []
    play.people("granted")
    seen = [item for item in play.take() if not (isinstance(item, ToTarget) and is_question(item.message))]
    play.seen = seen
    play.expect(Did(Spend), recorded("PermitUsed", {"result": "spent"}), ToTarget(pg.Query(DELETE)))


def test_the_row_count_arrives_in_the_same_session_and_the_record_says_all() -> None:
    play = held()
    play.people("granted")
    play.target(*DONE)
    assert told(play) == ["DELETE 1", "Z I"]
    assert kinds(play) == ["StatementDecided", "ApprovalRequested", "PermitUsed", "StatementFinished"]
    decided, *_, finished = play.records[2:]
    assert (decided.members["decision"], finished.members["outcome"], finished.members["rows"]) == ("hold", "ok", 1)


def test_a_use_that_cannot_be_recorded_carries_nothing_out_and_the_session_stays_usable() -> None:
    play = held()
    play.journal = "failing"
    play.people("granted")
    assert asked(play) == []
    play.journal = "prompt"
    play.client(pg.Query(b"SELECT 1"))
    assert pg.Query(b"SELECT 1") in asked(play)


def test_a_use_that_cannot_be_recorded_is_told() -> None:
    play = held()
    play.journal = "failing"
    play.people("granted")
    assert told(play) == ["ERROR 58030", "Z I"]


def test_a_decision_that_cannot_be_recorded_asks_nobody() -> None:
    play = started()
    play.journal = "failing"
    play.client(pg.Query(DELETE))
    assert told(play) == ["ERROR 58030", "Z I"]
    assert play.world.approvals.open == {}
    play.journal = "prompt"
    assert kinds(play) == [], "what is not recorded has no outcome"


@pytest.mark.parametrize("answer", ["refused", "expired", "withdrawn"])
def test_what_people_do_not_grant_is_an_error_of_a_session_that_goes_on(answer: str) -> None:
    play = held()
    play.people(answer)  # type: ignore[arg-type] # one of the words
    (error, ready) = play.to(Side.CLIENT)
    assert isinstance(error, pg.ErrorResponse)
    assert (error.text("C"), ready) == ("42501", pg.ReadyForQuery("I"))
    assert error.text("M").startswith(f"vestibule: approval AR-0000000000 {answer}")
    assert json.loads(error.text("D"))["approval"] == "AR-0000000000"
    assert kinds(play)[-1] == "StatementFinished"
    assert play.records[-1].members["outcome"] == "refused"
    play.client(pg.Query(b"SELECT 1"))
    assert asked(play) == [pg.Query(b"SELECT 1")]


def test_a_cancel_withdraws_the_request_and_a_later_approval_carries_nothing_out() -> None:
    play = held()
    play.tell("cancel")
    assert told(play) == ["ERROR 57014", "Z I"]
    assert [effect.approval for effect in play.world.approvals.withdrawn] == ["AR-0000000000"]
    assert kinds(play)[-1] == "StatementFinished"
    play.client(pg.Query(DELETE))
    play.take()
    assert list(play.world.approvals.open) == ["AR-0000000001"], "the same statement asks anew"


def test_a_cancel_of_what_waits_is_not_passed_on() -> None:
    play = held()
    play.tell("cancel")
    assert not [seen for seen in play.seen if isinstance(getattr(seen, "effect", None), Cancel)]


@pytest.mark.parametrize("what", ["client", "target", "kill", "revoke", "finish", "drain", "evidence"])
def test_when_the_session_ends_the_request_is_withdrawn(what: str) -> None:
    play = held()
    match what:
        case "client":
            play.end(Side.CLIENT)
        case "target":
            play.end(Side.TARGET)
        case _:
            play.tell(what)  # type: ignore[arg-type] # one of the words
    assert play.closed
    assert len(play.world.approvals.withdrawn) == 1
    assert kinds(play)[-2:] == ["StatementFinished", "SessionClosed"]
    assert play.records[-1].members["held"] == 1


def test_what_is_said_behind_a_held_statement_waits_for_it() -> None:
    play = held()
    play.client(pg.Query(b"SELECT 1"), pg.Query(b"SELECT 2"))
    assert asked(play) == []
    play.people("granted")
    assert asked(play) == [pg.Query(DELETE), pg.Query(b"SELECT 1"), pg.Query(b"SELECT 2")]


def test_a_client_that_says_ever_more_behind_a_held_statement_is_read_no_further() -> None:
    play = held()
    piece = pg.Query(b"SELECT '" + b"x" * 100_000 + b"'")
    for _ in range(10):
        play.client(piece)
    assert Side.CLIENT not in play.paused
    play.client(piece)
    assert Side.CLIENT in play.paused
    play.people("refused")
    assert Side.CLIENT not in play.paused
    effects = [seen.effect for seen in play.seen if isinstance(seen, Did)]
    assert Pause(Side.CLIENT, is_watched=True) in effects
    assert Resume(Side.CLIENT) in effects


def test_a_client_that_is_not_read_is_told_what_it_knows_so_that_its_end_shows() -> None:
    play = held()
    play.client(*[pg.Query(b"SELECT '" + b"x" * 100_000 + b"'")] * 11)
    known = pg.ParameterStatus("client_encoding", "UTF8")
    assert play.to(Side.CLIENT) == [known]
    play.pass_time(7 * SECOND)
    assert play.to(Side.CLIENT) == [known, known]


def test_a_statement_that_waits_is_no_silence_of_the_client() -> None:
    play = held()
    play.pass_time(14 * MINUTE)
    assert not play.closed
    play.people("expired")
    play.pass_time(31 * MINUTE)
    assert play.closed == "idle"


def test_inside_a_transaction_it_is_refused_at_once_and_the_same_statement_spends_the_approval() -> None:
    play = started()
    begin(play)
    play.client(pg.Query(DELETE))
    poison = asked(play)
    assert pg.Query(DELETE) not in poison
    fail(play)
    (error, _) = play.to(Side.CLIENT)
    assert isinstance(error, pg.ErrorResponse)
    assert error.text("M") == f"vestibule: approval AR-0000000000 required: {URL}; run it again after approval"

    play.world.approvals.granted.add(next(iter(play.world.approvals.open)))
    play.client(pg.Query(b"ROLLBACK"))
    play.target(pg.CommandComplete("ROLLBACK"), pg.ReadyForQuery("I"))
    begin(play)
    play.client(pg.Query(DELETE))
    assert asked(play) == [pg.Query(DELETE)]


def begin(play: Playbook) -> None:
    play.client(pg.Query(b"BEGIN"))
    play.target(pg.CommandComplete("BEGIN"), pg.ReadyForQuery("T"))
    play.take()


def fail(play: Playbook) -> None:
    """Let the target fail at the poison."""
    play.target(pg.ErrorResponse((("S", "ERROR"), ("C", "34000"), ("M", "no such portal"))), pg.ReadyForQuery("E"))


def test_in_the_extended_protocol_it_is_refused_at_once_and_spent_by_the_next_bind() -> None:
    play = started()
    play.client(*EXTENDED)
    assert pg.Bind("", "") not in asked(play)
    play.target(
        pg.ParseComplete(),
        pg.ErrorResponse((("S", "ERROR"), ("C", "34000"), ("M", "no such portal"))),
        pg.ReadyForQuery("I"),
    )
    assert told(play)[1] == "ERROR 42501"

    play.world.approvals.granted.add(next(iter(play.world.approvals.open)))
    play.client(*EXTENDED)
    assert [type(message) for message in asked(play)] == [pg.Parse, pg.Bind, pg.Describe, pg.Execute, pg.Sync]
    assert kinds(play)[-1] == "PermitUsed"


def test_a_bind_of_a_statement_prepared_before_may_wait_in_its_session() -> None:
    play = started()
    play.client(pg.Parse("s", DELETE), pg.Sync())
    play.target(pg.ParseComplete(), pg.ReadyForQuery("I"))
    play.take()
    play.client(pg.Bind("", "s"), pg.Execute("", 0), pg.Sync())
    assert told(play) == ["NoticeResponse"]
    play.people("granted")
    assert [type(message) for message in asked(play)] == [pg.Bind, pg.Describe, pg.Execute, pg.Sync]


def test_a_portal_that_people_approved_runs_once() -> None:
    play = started()
    play.client(pg.Parse("s", DELETE), pg.Sync())
    play.target(pg.ParseComplete(), pg.ReadyForQuery("I"))
    play.client(pg.Bind("p", "s"), pg.Execute("p", 0), pg.Execute("p", 0), pg.Sync())
    play.take()
    play.people("granted")
    executes = [message for message in asked(play) if isinstance(message, pg.Execute) and message.portal == "p"]
    assert len(executes) in (1, 2)
    assert len(play.world.approvals.spent) == 1


def test_what_an_execute_names_belongs_to_what_is_approved() -> None:
    play = started()
    prepare(play, b"PREPARE p AS DELETE FROM loans WHERE id = 7")
    begin(play)
    play.client(pg.Query(b"EXECUTE p"))
    fail(play)
    (request,) = play.world.approvals.open.values()
    play.world.approvals.granted.add(request.approval)
    for text, tag in ((b"ROLLBACK", "ROLLBACK"), (b"DEALLOCATE p", "DEALLOCATE")):
        play.client(pg.Query(text))
        play.target(pg.CommandComplete(tag), pg.ReadyForQuery("I"))
    spent = len(play.world.approvals.spent)
    del play.world.approvals.open[request.approval]
    prepare(play, b"PREPARE p AS DELETE FROM loans")
    play.world.approvals.open[request.approval] = request
    play.take()

    play.client(pg.Query(b"EXECUTE p"))

    assert pg.Query(b"EXECUTE p") not in asked(play)
    assert len(play.world.approvals.spent) == spent + 1, "only the second PREPARE was carried out"


def prepare(play: Playbook, text: bytes) -> None:
    """Let SQL prepare what is held, which people grant."""
    play.client(pg.Query(text))
    play.people("granted")
    play.target(pg.CommandComplete("PREPARE"), pg.ReadyForQuery("I"))


def test_a_policy_that_changes_while_people_think_makes_their_approval_void() -> None:
    gate = holding_gate()
    play = held(started(gate))
    gate.apply(holding_engine("# another version\n"))
    play.tell("policy")
    play.people("granted")
    assert told(play) == ["ERROR 42501", "Z I"]
    assert play.world.approvals.spent == []


@pytest.mark.case("E-20")
def test_a_function_that_changes_while_people_think_makes_their_approval_void() -> None:
    target = Knowing()
    play = held(started(target=target))
    target.rows.append((b"function", b"public", b"audit", b"plpgsql", b"v", b"f"))
    play.people("granted")
    assert told(play) == ["ERROR 42501", "Z I"]
    assert play.world.approvals.spent == []
    (used,) = [record for record in play.records if record.kind == "PermitUsed"]
    assert (used.members["result"], used.members["equal"]) == ("refused", False)
    play.client(pg.Query(b"SELECT 1"))
    assert asked(play) == [pg.Query(b"SELECT 1")]


def test_a_held_statement_that_is_refused_after_all_leaves_nothing_to_the_next() -> None:
    target = Knowing()
    play = held(started(target=target))
    target.rows.append((b"function", b"public", b"lower", b"plpgsql", b"v", b"f"))
    play.people("granted")
    play.take()
    play.client(pg.Query(DELETE))
    assert asked(play) == []
    assert len(play.world.approvals.open) >= 1


def test_a_cancel_in_the_middle_of_seeking_ends_the_waiting() -> None:
    play = started()
    play.holds.add(Seek)
    play.client(pg.Query(DELETE))
    play.tell("cancel")
    assert told(play) == ["ERROR 57014", "Z I"]
    play.answer()
    assert play.world.approvals.open == {}
    assert not [seen for seen in play.seen if isinstance(getattr(seen, "effect", None), Withdraw)]


def test_one_statement_that_is_held_holds_its_whole_message() -> None:
    play = started()
    play.client(pg.Query(b"SELECT 1; " + DELETE))
    assert asked(play) == []
    play.people("granted")
    assert asked(play) == [pg.Query(b"SELECT 1; " + DELETE)]


def test_whoever_leaves_with_a_farewell_while_people_think_is_gone_when_its_connection_is() -> None:
    play = held()
    play.client(pg.Terminate())
    assert not play.closed
    play.end(Side.CLIENT)
    assert play.closed == "client_closed"


def test_in_a_failed_transaction_nobody_is_asked_and_the_session_lives() -> None:
    play = started()
    play.client(pg.Query(b"BEGIN"))
    play.target(pg.CommandComplete("BEGIN"), pg.ReadyForQuery("T"))
    play.client(pg.Query(b"SET search_path TO public"))
    error = pg.ErrorResponse((("S", "ERROR"), ("V", "ERROR"), ("C", "3F000"), ("M", "the server's words")))
    play.target(error, pg.ReadyForQuery("E"))
    play.client(pg.Query(DELETE))
    assert not any(isinstance(each, pg.Query) for each in asked(play)[-2:])
    play.target(error, pg.ReadyForQuery("E"))
    assert told(play)[-1] == "Z E"
    assert not play.closed
