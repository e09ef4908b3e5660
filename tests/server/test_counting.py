"""What a data process counts of records, refusals and bytes."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from vestibule.metrics import FAMILIES
from vestibule.model.effect import Persist, Send
from vestibule.model.event import Side
from vestibule.model.identity import Refusal
from vestibule.model.record import Kind, Record
from vestibule.protocols.postgres.login import CAUSES
from vestibule.server import counting
from vestibule.server.counting import Counting, Pace, cause_of

SESSION = UUID(int=1)


def record(kind: Kind, session: UUID | None = SESSION, **members: Any) -> Record:
    return Record(kind, members, session=session, target="core")


def counts(*records: Record) -> dict[str, float]:
    made = Counting("postgres")
    made.note(records)
    snapshot = made.snapshot()
    assert all(len(labels) == len(FAMILIES[name].labels) for name, labels in snapshot.counts)
    return {"/".join((name.removeprefix("vestibule_"), *labels)): n for (name, labels), n in snapshot.counts.items()}


def rule(section: str, name: str = "no dropping") -> dict[str, str]:
    return {"section": section, "name": name, "policy": "p"}


def test_a_decision_is_counted_by_the_worst_of_what_the_statement_does() -> None:
    decided = record(
        Kind.STATEMENT_DECIDED,
        decision="allow",
        rule=rule("access"),
        ops=[{"verb": "select", "impact": "read"}, {"verb": "drop", "impact": "schema"}],
    )
    assert counts(decided) == {"statements_decided_total/core/postgres/allow/schema": 1}


@pytest.mark.parametrize(("decision", "impact"), [("allow", "read"), ("deny", "unknown")])
def test_what_does_nothing_that_is_known_reads_if_it_is_allowed(decision: str, impact: str) -> None:
    found = counts(record(Kind.STATEMENT_DECIDED, decision=decision, rule=rule("access")))
    assert found[f"statements_decided_total/core/postgres/{decision}/{impact}"] == 1


def test_an_impact_that_nobody_knows_is_the_worst() -> None:
    decided = record(Kind.STATEMENT_DECIDED, decision="allow", rule=rule("access"), ops=[{"impact": "mild"}])
    assert counts(decided) == {"statements_decided_total/core/postgres/allow/unknown": 1}


@pytest.mark.parametrize(
    ("denied_by", "cause"),
    [
        (rule("guardrails"), "guardrails"),
        (rule("access"), "access"),
        (rule("masks"), "masks"),
        (rule("default", "unsupported"), "unsupported"),
        (rule("default", "no access entry"), "access"),
    ],
)
def test_a_denial_is_counted_by_the_part_of_the_policy_and_never_by_a_rules_name(denied_by: Any, cause: str) -> None:
    found = counts(record(Kind.STATEMENT_DECIDED, decision="deny", rule=denied_by))
    assert found[f"statements_denied_total/core/{cause}"] == 1


def test_what_clients_are_sent_is_added_up() -> None:
    finished = record(Kind.STATEMENT_FINISHED, outcome="ok", rows=7, bytes_to_client=70)
    assert counts(finished, finished) == {
        "statements_finished_total/core/ok": 2,
        "rows_sent_total/core": 14,
        "sent_bytes_total/core": 140,
    }


def test_a_refusal_is_counted_by_the_code_of_its_answer_and_a_targets_own_error_is_not() -> None:
    refused = record(Kind.STATEMENT_FINISHED, outcome="refused", error={"code": "42501", "text": "vestibule: no"})
    failed = record(Kind.STATEMENT_FINISHED, outcome="error", error={"code": "22012", "text": "division by zero"})
    assert counts(refused, failed) == {
        "statements_finished_total/core/refused": 1,
        "statements_finished_total/core/error": 1,
        "statements_refused_total/core/42501": 1,
    }


def test_sessions_are_counted_as_they_open_and_close() -> None:
    opened, closed = record(Kind.SESSION_OPENED), record(Kind.SESSION_CLOSED, cause="idle", values_masked=9)
    assert counts(opened, closed) == {
        "sessions_opened_total/core": 1,
        "sessions_closed_total/core/idle": 1,
        "masked_values_total/core": 9,
    }


def test_a_log_in_that_found_no_target_is_the_targets_failure() -> None:
    admitted = record(Kind.ACCESS_DECIDED, decision="allow")
    unreached = record(Kind.ACCESS_DECIDED, decision="deny", cause="target not available: refused")
    refused = record(Kind.ACCESS_DECIDED, session=None, decision="deny", cause="token unknown")
    assert counts(admitted, unreached, refused) == {"logins_total/ok": 1, "target_failures_total/core": 1}, (
        "refused ones are counted where they come in, as most have no record of their own"
    )


def test_a_session_that_its_target_ended_is_the_target_s_fault() -> None:
    made = Counting("postgres")
    made.target_failed("core")
    assert made.snapshot().counts == {("vestibule_target_faults_total", ("core",)): 1}


def test_approvals_and_faults_are_counted_when_they_begin() -> None:
    asked = record(Kind.APPROVAL_REQUESTED)
    begun, over = (record(Kind.AUDIT_FAULT, fault="spool_full", phase=phase) for phase in ("started", "ended"))
    assert counts(asked, begun, over) == {"approvals_asked_total/core": 1, "audit_faults_total/spool_full": 1}


@pytest.mark.parametrize("kind", Kind)
def test_a_record_without_its_members_is_counted_as_something(kind: Kind) -> None:
    assert all(
        "None" not in name
        for name in counts(record(kind), record(kind, ops=[{"impact": []}, 7], rule=7, error=7, rows="x"))
    )


@pytest.mark.parametrize("refusal", Refusal)
def test_every_refusal_of_a_proof_has_a_word(refusal: Refusal) -> None:
    assert cause_of(CAUSES.get(refusal, f"token {refusal.value}")) != "other"


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("the token is alice's", "name_differs"),
        ("protocol error: 'hunter2'", "protocol_error"),
        ("tls handshake failed: NO_SHARED_CIPHER", "tls"),
        ("something that alice typed", "other"),
        ("", "other"),
    ],
)
def test_a_cause_becomes_one_of_a_few_words_whatever_it_quotes(text: str, word: str) -> None:
    assert cause_of(text) == word


class Watch:
    """A clock that is moved by hand, in milliseconds."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ms = 1_000
        monkeypatch.setattr(counting, "perf_counter", lambda: self.ms / 1_000)
        self.counting = Counting("postgres")
        self.pace = Pace(self.counting)

    def after(self, ms: int) -> Pace:
        self.ms += ms
        return self.pace

    def times(self) -> dict[str, tuple[int, int]]:
        """How many observations, and their sum in milliseconds, of each."""
        counting = self.counting
        named = {
            "to_target": counting.to_target,
            "wait": counting.target_wait,
            "to_client": counting.to_client,
            "decision": counting.decision,
        }
        return {name: (sum(each.counts), round(each.sum * 1_000)) for name, each in named.items() if any(each.counts)}


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> Watch:
    return Watch(monkeypatch)


def test_a_statements_time_is_split_into_its_way_there_the_targets_and_the_way_back(watch: Watch) -> None:
    watch.after(0).came(Side.CLIENT)
    watch.after(3).left(Side.TARGET)
    watch.after(50).came(Side.TARGET)
    watch.after(2).left(Side.CLIENT)
    assert watch.times() == {"to_target": (1, 3), "wait": (1, 50), "to_client": (1, 2)}


def test_what_the_gateway_answers_itself_is_not_added_to_the_next_statement(watch: Watch) -> None:
    watch.after(0).came(Side.CLIENT)
    watch.after(4).left(Side.CLIENT)
    watch.after(60_000).came(Side.CLIENT)
    watch.after(1).left(Side.TARGET)
    assert watch.times() == {"to_target": (1, 1)}


def test_the_time_that_people_think_is_not_what_the_gateway_adds(watch: Watch) -> None:
    watch.after(0).came(Side.CLIENT)
    watch.after(1).asked_people()
    watch.after(600_000).left(Side.TARGET)
    assert watch.times() == {}


def test_an_answer_in_many_pieces_is_one_wait(watch: Watch) -> None:
    watch.after(0).came(Side.CLIENT)
    watch.after(1).left(Side.TARGET)
    for _ in range(3):
        watch.after(10).came(Side.TARGET)
        watch.after(1).left(Side.CLIENT)
    assert watch.times() == {"to_target": (1, 1), "wait": (1, 10), "to_client": (3, 3)}


def test_only_what_decides_is_a_decision(watch: Watch) -> None:
    watch.after(0).handles()
    watch.after(5).handled((Send(Side.CLIENT, b"x"),))
    watch.after(0).handles()
    watch.after(7).handled((Persist(record(Kind.STATEMENT_DECIDED)),))
    assert watch.times() == {"decision": (1, 7)}
