"""What the verifier says of approvals: whole ones, and each rule broken in a log that is whole as a tree."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from tests.support.data_folder import (
    HEX,
    PROOF,
    START,
    WHO,
    OpenSession,
    WriterChain,
    findings,
    published_folder,
)
from vestibule.evidence import verify
from vestibule.model.names import stamp
from vestibule.model.record import Kind

SECOND = 1_000_000
UNTIL = stamp(START + 900 * SECOND)
LONG_AGO = stamp(START - 60 * SECOND)
KEY, OTHER_KEY = str(UUID(int=11)), str(UUID(int=12))
PERMIT, OTHER_PERMIT = str(UUID(int=21)), str(UUID(int=22))
MAC, OTHER_MAC = "ab" * 32, "cd" * 32


def who(subject: str) -> dict[str, Any]:
    return {**WHO, "sub": subject, "name": subject}


@dataclass
class Story:
    """A gate and a control process; what is told is as it should be but for the changes."""

    gate: WriterChain = field(default_factory=lambda: WriterChain("gate1.0", random.Random(7)))
    control: WriterChain = field(default_factory=lambda: WriterChain("gate1.control", random.Random(8)))

    def __post_init__(self) -> None:
        self.control.start()
        self.gate.start()
        self.session = self.gate.open_session()

    def ask(self, decided: dict[str, Any] | None = None, name: str = "AR-7Q2M4V0XKD", **changes: Any) -> dict[str, Any]:
        members = {
            "approval": name,
            "decided": self.session.decide("hold") if decided is None else decided,
            "scope": "statement",
            "requester": WHO,
            "text": "DELETE FROM loans",
            "bytes_mac": MAC,
            "bind_key": KEY,
            "approvers": ["dba"],
            "quorum": 1,
            "expires_at": UNTIL,
        }
        return self.gate.write(Kind.APPROVAL_REQUESTED, members | changes, self.session.id)

    def answer(self, request: dict[str, Any], subject: str = "bea", gives: str = PERMIT, **changes: Any) -> Any:
        members = {
            "request": request,
            "answer": "granted",
            "approver": who(subject),
            "proof": PROOF,
            "four_eyes": {"not_requester": True, "not_sponsor": True, "not_agent_owner": True, "group": "dba"},
            "granted_so_far": 1,
            "channel": "cli",
            "shown_mac": HEX,
            "permit": {"id": gives, "uses": 1, "expires_at": UNTIL},
            "latency_ms": 5,
        }
        return self.control.write(Kind.APPROVAL_ANSWERED, members | changes, self.session.id, sequenced=False)

    def use(
        self, decided: Any, request: Any, answers: list[Any], session: OpenSession | None = None, **changes: Any
    ) -> None:
        members = {
            "permit": PERMIT,
            "request": request,
            "answers": answers,
            "decided": decided,
            "bytes_mac": MAC,
            "bind_key": KEY,
            "equal": True,
            "result": "spent",
            "uses_left": 0,
        }
        self.gate.write(Kind.PERMIT_USED, members | changes, (session or self.session).id)

    def run(
        self,
        asked: dict[str, Any] | None = None,
        answered: dict[str, Any] | None = None,
        used: dict[str, Any] | None = None,
    ) -> None:
        """Ask, answer, use and run, with changes to each record."""
        decided = self.session.decide("hold")
        request = self.ask(decided, **(asked or {}))
        self.use(decided, request, [self.answer(request, **(answered or {}))], **(used or {}))
        self.session.finish(decided)

    def verify(self, folder: Path) -> tuple[dict[str, list[str]], str]:
        found = findings(folder, published_folder([self.control, self.gate]))
        return found, verify.verify(str(folder), None)[1]["V12"]


@pytest.fixture
def story() -> Story:
    return Story()


# --- whole stories


def test_approvals_that_were_used_as_they_were_given_pass_with_their_numbers(story: Story, tmp_path: Path) -> None:
    story.run()
    # One is refused, and what was approved for a statement is used by the same statement run again, in another session.
    story.answer(story.ask(name="AR-0000000001"), answer="refused")
    request = story.ask(name="AR-0000000002", quorum=2)
    answers = [
        story.answer(request, "bea", permit={}),
        story.answer(request, "cay", gives=OTHER_PERMIT),
    ]
    story.session.close()
    again = story.gate.open_session()
    decided = again.decide("hold")
    story.use(decided, request, answers, again, permit=OTHER_PERMIT)
    again.finish(decided)
    assert story.verify(tmp_path) == ({}, "3 requests, 2 used, all commitments equal, 0 self-approved")


def test_writers_may_be_read_in_any_order(tmp_path: Path) -> None:
    for order in (1, -1):
        story = Story()
        story.run()
        assert findings(tmp_path / str(order), published_folder([story.control, story.gate][::order])) == {}


def test_a_refused_use_is_no_use(story: Story, tmp_path: Path) -> None:
    decided = story.session.decide("hold")
    request = story.ask(decided)
    story.use(
        decided, request, [story.answer(request)], result="refused", equal=False, bytes_mac=OTHER_MAC, uses_left=1
    )
    story.session.finish(decided, forwarded=False, outcome="refused")
    assert story.verify(tmp_path) == ({}, "1 requests, 0 used, all commitments equal, 0 self-approved")


def test_requests_that_ended_without_a_person_are_no_fault(story: Story, tmp_path: Path) -> None:
    for number, answer in enumerate(("expired", "withdrawn")):
        request = story.ask(name=f"AR-000000000{number}")
        nobody: dict[str, Any] = {"approver": None, "proof": None, "four_eyes": {}, "channel": None, "shown_mac": None}
        story.answer(request, answer=answer, **nobody, permit={})
    assert story.verify(tmp_path) == ({}, "2 requests, 0 used, all commitments equal, 0 self-approved")


def test_a_use_that_is_recorded_a_moment_late_is_no_fault(story: Story, tmp_path: Path) -> None:
    story.run(asked={"expires_at": stamp(START - 9 * SECOND)})
    assert story.verify(tmp_path)[0] == {}


def test_a_statement_that_ran_when_its_process_died_is_no_fault(story: Story, tmp_path: Path) -> None:
    decided = story.session.decide("hold")
    request = story.ask(decided)
    story.use(decided, request, [story.answer(request)])
    unknown: dict[str, Any] = {"decided": decided, "outcome": "unknown", "forwarded": True}
    story.control.write(Kind.STATEMENT_FINISHED, unknown, story.session.id, sequenced=False)
    assert story.verify(tmp_path)[0] == {}


# --- broken rules


def _two_uses(story: Story) -> None:
    first = story.session.decide("hold")
    request = story.ask(first)
    answers = [story.answer(request)]
    second = story.session.decide("hold")
    for decided in (first, second):
        story.use(decided, request, answers)
        story.session.finish(decided)


def _one_use_for_two_statements(story: Story) -> None:
    decided = story.session.decide("hold")
    request = story.ask(decided)
    for _ in range(2):
        story.use(decided, request, [story.answer(request)])


def _swapped_answers(story: Story) -> None:
    first, second = story.session.decide("hold"), story.session.decide("hold")
    one, two = story.ask(first), story.ask(second, name="AR-0000000002", bind_key=OTHER_KEY)
    answers = [story.answer(one), story.answer(two, gives=OTHER_PERMIT)]
    story.use(first, one, [answers[1]])
    story.use(second, two, [answers[0]], permit=OTHER_PERMIT, bind_key=OTHER_KEY)


def _same_person_twice(story: Story) -> None:
    decided = story.session.decide("hold")
    request = story.ask(decided, quorum=2)
    answers = [story.answer(request, permit={}), story.answer(request, approver={**who("bea"), "name": "other"})]
    story.use(decided, request, answers)


def _refused_by_another(story: Story) -> None:
    decided = story.session.decide("hold")
    request = story.ask(decided)
    answers = [story.answer(request)]
    story.answer(request, "cay", answer="refused", permit={})
    story.use(decided, request, answers)


def _withdrawn(story: Story) -> None:
    decided = story.session.decide("hold")
    request = story.ask(decided)
    answers = [story.answer(request)]
    story.answer(request, answer="withdrawn", approver=None, permit={})
    story.use(decided, request, answers)


def _refused_only(story: Story) -> None:
    story.run(answered={"answer": "refused"})


def _unknown_request(story: Story) -> None:
    decided = story.session.decide("hold")
    request = story.ask(decided)
    story.use(decided, {"id": KEY, "leaf": MAC}, [story.answer(request)])


def _wrong_id_of_a_request(story: Story) -> None:
    decided = story.session.decide("hold")
    request = story.ask(decided)
    story.use(decided, {**request, "id": KEY}, [story.answer(request)])


def _unknown_answer(story: Story) -> None:
    decided = story.session.decide("hold")
    request = story.ask(decided)
    story.use(decided, request, [story.answer(request), {"id": KEY, "leaf": MAC}])


def _no_answer(story: Story) -> None:
    decided = story.session.decide("hold")
    request = story.ask(decided)
    story.answer(request)
    story.use(decided, request, [])


def _lonely_answer(story: Story) -> None:
    story.answer({"id": KEY, "leaf": MAC})


def _for_what_was_allowed(story: Story) -> None:
    request = story.ask()
    decided = story.session.decide("allow")
    story.use(decided, request, [story.answer(request)])
    story.session.finish(decided)


def _for_what_was_denied(story: Story) -> None:
    request = story.ask()
    story.use(story.session.decide("deny"), request, [story.answer(request)])


def _for_another_session(story: Story) -> None:
    request = story.ask()
    decided = story.gate.open_session().decide("hold")
    story.use(decided, request, [story.answer(request)])


def _asked_for_what_was_denied(story: Story) -> None:
    story.ask(story.session.decide("deny"))


def _an_id_twice(story: Story) -> None:
    story.ask()
    story.ask()


BROKEN: list[tuple[Callable[[Story], None], str]] = [
    (lambda story: story.run(used={"bytes_mac": OTHER_MAC}), "for other bytes"),
    (lambda story: story.run(used={"bind_key": OTHER_KEY}), "for other bytes"),
    (lambda story: story.run(used={"equal": False}), "for other bytes"),
    (lambda story: story.run(answered={"approver": WHO}), "by its own requester or sponsor"),
    (lambda story: story.run(answered={"approver": {**WHO, "name": "bea"}}), "by its own requester or sponsor"),
    (lambda story: story.run(answered={"approver": None}), "or by nobody"),
    (lambda story: story.run(asked={"sponsor": who("bea")}), "by its own requester or sponsor"),
    (lambda story: story.run(asked={"quorum": 2}), "too few approvers"),
    (lambda story: story.run(asked={"approvers": ["leads"]}), "of another group"),
    (lambda story: story.run(asked={"requester": who("ada2")}), "by another person"),
    (lambda story: story.run(asked={"expires_at": LONG_AGO}), "too late"),
    (
        lambda story: story.run(answered={"permit": {"id": PERMIT, "uses": 1, "expires_at": LONG_AGO}}),
        "too late",
    ),
    (lambda story: story.run(used={"permit": OTHER_PERMIT}), "given by none of its answers"),
    (lambda story: story.run(answered={"permit": {}}), "given by none of its answers"),
    (lambda story: story.run(answered={"permit": {"id": PERMIT, "uses": 0, "expires_at": UNTIL}}), "more often"),
    (_two_uses, "more often"),
    (_one_use_for_two_statements, "a statement that its session does not hold"),
    (_swapped_answers, "no approval of its request"),
    (_same_person_twice, "too few approvers"),
    (_refused_by_another, "was refused, withdrawn or expired"),
    (_withdrawn, "was refused, withdrawn or expired"),
    (_refused_only, "no approval of its request"),
    (_unknown_request, "refers to no request"),
    (_wrong_id_of_a_request, "refers to no request"),
    (_unknown_answer, "no approval of its request"),
    (_no_answer, "too few approvers"),
    (_lonely_answer, "an answer refers to no request"),
    (_for_what_was_allowed, "a statement that its session does not hold"),
    (_for_what_was_denied, "a statement that its session does not hold"),
    (_for_another_session, "a statement that its session does not hold"),
    (_asked_for_what_was_denied, "asks for a statement that its session does not hold"),
    (_an_id_twice, "an id that is used twice"),
]


@pytest.mark.case("E-38")
@pytest.mark.parametrize(("tell", "said"), BROKEN)
def test_each_broken_rule_of_approvals_is_found_and_named(
    story: Story, tmp_path: Path, tell: Callable[[Story], None], said: str
) -> None:
    tell(story)
    found, _ = story.verify(tmp_path)
    assert set(found) == {"V12"}
    assert any(said in text for text in found["V12"]), found
    assert all(text.startswith("leaf ") for text in found["V12"])


def test_a_self_approval_is_counted(story: Story, tmp_path: Path) -> None:
    story.run(answered={"approver": WHO})
    assert story.verify(tmp_path)[1] == "1 requests, 1 used, all commitments equal, 1 self-approved"


def test_unequal_commitments_are_counted(story: Story, tmp_path: Path) -> None:
    story.run(used={"bytes_mac": OTHER_MAC})
    assert story.verify(tmp_path)[1] == "1 requests, 1 used, 0 commitments equal, 0 self-approved"


@pytest.mark.parametrize("answer", ["granted", None])
def test_a_held_statement_runs_by_a_permit_alone(story: Story, tmp_path: Path, answer: str | None) -> None:
    decided = story.session.decide("hold")
    request = story.ask(decided)
    if answer is not None:
        story.answer(request)
    story.session.finish(decided)
    found, _ = story.verify(tmp_path)
    assert any("neither a decision nor a permit allows" in text for text in found["V11"])


def test_a_permit_comes_before_what_runs_by_it(story: Story, tmp_path: Path) -> None:
    decided = story.session.decide("hold")
    request = story.ask(decided)
    answers = [story.answer(request)]
    story.session.finish(decided)
    story.use(decided, request, answers)
    found, _ = story.verify(tmp_path)
    assert found["V11"]
    assert found["V12"]


@pytest.mark.parametrize("member", ["request", "answers", "permit", "decided", "bytes_mac", "result"])
@pytest.mark.parametrize("value", [None, 7, [], {}, [[]], {"leaf": []}])
def test_a_use_that_makes_no_sense_is_a_finding_and_no_crash(member: str, value: Any, tmp_path: Path) -> None:
    writer = Story()
    recordings = verify.Recordings(tmp_path, lambda text: failures.append(("V10", text)))
    count: Any = verify.Records(lambda check, text: failures.append((check, text)), recordings)
    failures: list[tuple[str, str]] = []
    content = {
        "permit": PERMIT,
        "request": {"id": KEY, "leaf": MAC},
        "answers": [],
        "decided": {"id": KEY, "leaf": MAC},
        "bytes_mac": MAC,
        "bind_key": KEY,
        "equal": True,
        "result": "spent",
    }
    header = {"kind": "PermitUsed", "session": str(writer.session.id), "id": KEY, "t": UNTIL, "sn": 1, "node": "g"}
    count.read(header, MAC, verify.json.dumps(content | {member: value}).encode(), "here")
    count.approvals.check()
    assert failures
