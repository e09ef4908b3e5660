"""One meaning of approval: a permit for these bytes, spent once, while policy and time allow it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from uuid import UUID

import pytest

from tests.support.gates import NOW, SESSION, admitted, holding_engine, holding_gate, statement
from tests.support.people import Approvals
from vestibule.evidence.canonical import encode_body
from vestibule.gate.approvals import Held, requested_name
from vestibule.gate.session import SessionGate
from vestibule.model.approval import ApprovalId, Grant, Written
from vestibule.model.effect import Ask, Persist, Seek, Spend, Withdraw
from vestibule.model.event import Answered, Asked, Sought, Spent
from vestibule.model.names import Instant
from vestibule.model.record import Json, Kind, Record, Reference
from vestibule.model.statement import Impact, Parameter, Statement, Unsupported

DELETE = statement("DELETE FROM loans WHERE id = 7", Impact.WRITE, "delete", "loans")
FIRST = ApprovalId("AR-0000000000")
MINUTE = 60_000_000
LOST = Unsupported("58030", "vestibule: evidence cannot be recorded; refused")


@dataclass
class Play:
    """Held statements of one identity, and the people who answer."""

    gate: SessionGate = field(default_factory=lambda: admitted(at=holding_gate()))
    people: Approvals = field(default_factory=Approvals)
    now: Instant = NOW
    records: list[Record] = field(default_factory=list)
    effects: list[object] = field(default_factory=list)
    #: The version of what the target's names mean now.
    catalog: str = ""

    def hold(self, asked: Statement = DELETE, *, is_live: bool = True, gate: SessionGate | None = None) -> Held:
        session = gate or self.gate
        held = Held(session, session.decide(asked, (), self.now), asked, is_live=is_live)
        self.go_on(held)
        return held

    def go_on(self, held: Held) -> None:
        if held.is_checking:
            held.check(self.catalog)
        while effects := held.take_effects():
            for effect in effects:
                self.effects.append(effect)
                match effect:
                    case Seek():
                        held.sought(self.people.seek(), self.now)
                    case Persist(record=record):
                        self.records.append(record)
                    case Ask(request=request):
                        self.people.open[request.approval] = request
                        held.asked(Asked(request.approval))
                    case Spend():
                        held.spent(self.people.spend(effect))
                    case Withdraw(approval=approval):
                        self.people.open.pop(approval, None)

    def grant(self, held: Held) -> None:
        self.people.granted.add(held.approval)
        self.answer(held, "granted")

    def answer(self, held: Held, answer: str, by: str = "mia", comment: str = "") -> None:
        held.answered(Answered(held.approval, answer, by, comment), self.now)  # type: ignore[arg-type] # of the model
        self.go_on(held)

    def kinds(self) -> list[str]:
        return [record.kind for record in self.records]


def told(held: Held) -> str:
    assert held.is_over
    assert held.decided.permit is None
    assert held.decided.unsupported is not None
    return held.decided.unsupported.message


def members(record: Record) -> dict[str, Json]:
    """The members as the writer would resolve them, accepted by the table of kinds."""
    reference: dict[str, Json] = {"id": str(SESSION), "leaf": "0" * 64}
    resolved = {name: reference if isinstance(value, Reference) else value for name, value in record.members.items()}
    encode_body(record.kind, resolved, bytes(16))
    return resolved


def test_a_held_statement_waits_and_travels_once_it_is_granted() -> None:
    play = Play()
    held = play.hold()
    assert (held.is_waiting, held.approval) == (True, FIRST)
    assert play.kinds() == [Kind.APPROVAL_REQUESTED]

    play.grant(held)

    assert held.is_over
    assert held.decided.permit is not None
    assert held.decided.permit.record == play.records[-1].name
    assert play.kinds() == [Kind.APPROVAL_REQUESTED, Kind.PERMIT_USED]


def test_the_request_and_the_use_say_the_same_commitment_and_refer_to_the_decision() -> None:
    play = Play()
    play.grant(play.hold())
    requested, used = map(members, play.records)
    assert (requested["bytes_mac"], requested["bind_key"]) == (used["bytes_mac"], used["bind_key"])
    assert (used["equal"], used["result"], used["uses_left"]) == (True, "spent", 0)
    assert play.records[0].members["decided"] == play.records[1].members["decided"] == Reference("decided/1")
    assert requested["approvers"] == ["dba-managers"]
    assert requested["text"] == "DELETE FROM loans WHERE id = 7"


def test_what_people_see_has_passed_the_storage_mask() -> None:
    play = Play()
    text = "DELETE FROM loans WHERE ssn = '078-05-1120'"
    play.hold(statement(text, Impact.WRITE, "delete", "loans"))
    (request,) = play.people.open.values()
    assert "078-05-1120" not in repr(request)
    assert "078-05-1120" not in repr(play.records)
    assert request.text_bytes == len(text)


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        ("refused", "vestibule: approval AR-0000000000 refused by mia"),
        ("expired", "vestibule: approval AR-0000000000 expired"),
        ("withdrawn", "vestibule: approval AR-0000000000 withdrawn"),
    ],
)
def test_what_is_not_granted_is_refused_in_words_that_say_why(answer: str, text: str) -> None:
    play = Play()
    held = play.hold()
    play.answer(held, answer, by="mia" if answer == "refused" else "")
    assert told(held) == text
    assert not play.people.spent


def test_an_answer_to_another_request_changes_nothing() -> None:
    play = Play()
    held = play.hold()
    held.answered(Answered(ApprovalId("AR-9999999999"), "granted"), play.now)
    assert held.is_waiting
    assert not held.take_effects()


def test_an_answer_before_the_word_that_people_were_asked_counts() -> None:
    play = Play()
    asked = DELETE
    held = Held(play.gate, play.gate.decide(asked, (), NOW), asked, is_live=True)
    held.take_effects()
    held.sought(play.people.seek(), NOW)
    held.answered(Answered(held.approval, "refused", "mia"), NOW)
    held.asked(Asked(held.approval))
    assert told(held).endswith("refused by mia")


def test_where_it_may_not_wait_it_is_refused_at_once_and_run_again_after_approval() -> None:
    play = Play()
    held = play.hold(is_live=False)
    url = "https://vestibule.bank.example/approvals/AR-0000000000"
    assert told(held) == f"vestibule: approval {FIRST} required: {url}; run it again after approval"
    assert held.decided.approval == FIRST

    play.people.granted.add(FIRST)
    again = play.hold(is_live=False)

    assert again.decided.permit is not None
    assert [spend.number for spend in play.people.spent] == [2]


def test_the_same_statement_while_people_are_still_asked_is_no_second_request() -> None:
    play = Play()
    play.hold(is_live=False)
    again = play.hold()
    assert f"approval {FIRST} required" in told(again)
    assert len(play.people.open) == 1


def test_a_permit_is_spent_once() -> None:
    play = Play()
    play.hold(is_live=False)
    play.people.granted.add(FIRST)
    assert play.hold().decided.permit is not None
    assert play.hold(is_live=False).approval != FIRST


def test_a_grant_that_another_connection_has_spent_is_refused() -> None:
    play = Play()
    held = play.hold()
    play.answer(held, "granted")
    assert "cannot be used: it is not granted" in told(held)


CHANGES = {
    "a literal": {"text": b"DELETE FROM loans WHERE id = 8"},
    "a comment": {"text": b"DELETE FROM loans WHERE id = 7 "},
    "a parameter": {"parameters": (Parameter(23, 0, b"8"),)},
    "no parameter": {"parameters": ()},
    "a null": {"parameters": (Parameter(23, 0, None),)},
    "a format": {"parameter_formats": (1,)},
    "a result format": {"result_formats": (1,)},
    "a declared type": {"parameter_types": (25,)},
    "what a name stands for": {"meaning": (b"DELETE FROM loans",)},
    "the target's catalog": {"catalog": "another"},
}


@pytest.mark.parametrize("what", CHANGES)
def test_a_single_changed_byte_is_not_approved(what: str) -> None:
    play = Play()
    approved = replace(DELETE, parameters=(Parameter(23, 0, b"7"),), parameter_formats=(0,), parameter_types=(23,))
    play.hold(approved, is_live=False)
    play.people.granted.add(FIRST)

    changed = play.hold(replace(approved, **CHANGES[what]), is_live=False)

    assert changed.decided.permit is None
    assert not play.people.spent
    assert play.hold(approved).decided.permit is not None


@pytest.mark.parametrize("change", [{"database": "reports"}, {"search_path": "other"}, {"protocol": "mysql"}])
def test_an_approval_is_good_for_its_place_alone(change: dict[str, str]) -> None:
    play = Play()
    play.hold(is_live=False)
    play.people.granted.add(FIRST)
    elsewhere = admitted(at=holding_gate())
    assert elsewhere.place is not None
    elsewhere.place = replace(elsewhere.place, **change)
    assert play.hold(gate=elsewhere, is_live=False).decided.permit is None


def test_an_approval_of_another_session_of_the_same_person_is_good() -> None:
    play = Play()
    play.hold(is_live=False)
    play.people.granted.add(FIRST)
    assert play.hold(gate=admitted(at=holding_gate())).decided.permit is not None


def test_an_approval_is_void_once_the_policy_has_changed() -> None:
    play = Play()
    held = play.hold()
    play.gate.gate.apply(holding_engine("# another version\n"))
    play.grant(held)
    assert "the policy has changed" in told(held)
    assert not play.people.spent

    assert play.hold(is_live=False).approval != FIRST


def test_an_approval_is_void_once_the_targets_names_mean_something_else() -> None:
    play = Play()
    held = play.hold()
    play.catalog = "another"
    play.grant(held)
    assert "not the one that was approved" in told(held)
    assert (play.records[-1].members["result"], play.records[-1].members["equal"]) == ("refused", False)
    assert not play.people.spent


def test_what_cannot_be_carried_out_any_more_is_void_and_withdrawn() -> None:
    play = Play()
    held = play.hold()
    held.void(LOST)
    play.go_on(held)
    assert held.decided.unsupported is LOST
    assert not play.people.open


def test_an_approval_is_void_once_its_time_is_over() -> None:
    play = Play()
    play.hold(is_live=False)
    play.people.granted.add(FIRST)
    play.now = Instant(NOW + 15 * MINUTE)
    assert play.hold(is_live=False).decided.permit is None


def test_a_word_that_never_comes_ends_the_waiting_a_little_after_its_time() -> None:
    play = Play()
    held = play.hold()
    held.check_time(Instant(NOW + 15 * MINUTE))
    assert held.is_waiting
    held.check_time(Instant(NOW + 15 * MINUTE + 5_000_000))
    play.go_on(held)
    assert told(held) == f"vestibule: approval {FIRST} expired"
    assert not play.people.open


def test_a_cancel_withdraws_the_request_and_is_told_as_the_server_tells_it() -> None:
    play = Play()
    held = play.hold()
    held.cancel()
    play.go_on(held)
    assert held.decided.unsupported == Unsupported("57014", "canceling statement due to user request")
    assert not play.people.open
    play.answer(held, "granted")
    assert held.decided.permit is None


def test_what_nobody_waits_for_any_more_is_withdrawn() -> None:
    play = Play()
    held = play.hold()
    held.abandon("client_closed")
    play.go_on(held)
    assert isinstance(play.effects[-1], Withdraw)
    play.grant(held)
    assert (held.decided.permit, play.people.spent) == (None, [])


def test_nobody_is_asked_where_nobody_can_be() -> None:
    play = Play(people=Approvals(cause="you have 32 open requests already"))
    assert told(play.hold()) == "vestibule: approval cannot be asked for: you have 32 open requests already"
    assert play.records == []


def test_a_request_that_could_not_be_put_before_people_is_refused() -> None:
    play = Play()
    held = Held(play.gate, play.gate.decide(DELETE, (), NOW), DELETE, is_live=True)
    held.sought(play.people.seek(), NOW)
    held.asked(Asked(held.approval, "approvals are not available now"))
    assert told(held).endswith("approvals are not available now")


@pytest.mark.parametrize("is_decision", [True, False])
def test_what_cannot_be_recorded_is_refused(is_decision: bool) -> None:
    play = Play()
    held = play.hold()
    held.undo(frozenset({"decided/1" if is_decision else requested_name(FIRST)}), LOST)
    assert held.decided.unsupported is LOST
    assert held.decided.is_recorded is not is_decision
    assert not held.is_waiting


def test_a_failure_of_other_records_is_not_its_own() -> None:
    play = Play()
    held = play.hold()
    held.undo(frozenset({"decided/9"}), LOST)
    assert held.is_waiting


def test_words_out_of_order_change_nothing() -> None:
    play = Play()
    held = play.hold()
    for stray in (lambda: held.sought(Sought(None), NOW), lambda: held.spent(Spent(FIRST, None))):
        stray()
    assert held.is_waiting
    play.grant(held)
    for stray in (lambda: held.sought(Sought(None), NOW), lambda: held.asked(Asked(FIRST, "no"))):
        stray()
    assert held.decided.permit is not None


def test_a_permit_that_may_not_be_used_is_evidence_too() -> None:
    play = Play()
    held = Held(play.gate, play.gate.decide(DELETE, (), NOW), DELETE, is_live=True)
    held.take_effects()
    held.sought(play.people.seek(), NOW)
    held.answered(Answered(held.approval, "granted"), NOW)
    held.check("")
    unused = Grant(UUID(int=8), Written(UUID(int=7), "a" * 64), (), 1)
    held.spent(Spent(held.approval, None, "it is spent already", unused))
    play.go_on(held)
    assert members(play.records[-1])["result"] == "refused"
    assert play.records[-1].kind is Kind.PERMIT_USED
    assert "it is spent already" in told(held)


@pytest.mark.parametrize(
    "asked",
    [
        statement("DELETE FROM loans WHERE id = 7 -- " + "x" * 16_384, Impact.WRITE, "delete", "loans"),
        statement("DELETE FROM loans WHERE name = '" + "x@" * 20_000 + "'", Impact.WRITE, "delete", "loans"),
        replace(DELETE, analyses=(replace(DELETE.analyses[0], operations=DELETE.operations * 65),)),
        replace(DELETE, parameters=tuple(Parameter(23, 0, b"7") for _ in range(300))),
    ],
)
def test_nobody_is_asked_about_what_cannot_be_shown_whole(asked: Statement) -> None:
    play = Play()
    shown = tuple((parameter.type, parameter.value) for parameter in asked.parameters)
    held = Held(play.gate, play.gate.decide(asked, shown, NOW), asked, is_live=True)
    play.go_on(held)
    assert "too long to be shown to people" in told(held)
    assert play.effects == []


def test_only_what_is_held_waits_for_people() -> None:
    play = Play()
    with pytest.raises(AssertionError):
        Held(play.gate, play.gate.decide(statement(), (), NOW), statement(), is_live=True)


def test_held_statements_are_counted_apart() -> None:
    play = Play()
    play.hold()
    counts = play.gate.counts
    assert (counts.statements, counts.allowed, counts.denied, counts.held) == (1, 0, 0, 1)
    assert UUID(str(play.gate.session)) == SESSION
