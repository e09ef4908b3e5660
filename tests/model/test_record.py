"""Every kind of record has its weight."""

from __future__ import annotations

from vestibule.model.record import WEIGHT, Kind


def test_every_kind_has_a_weight() -> None:
    assert set(WEIGHT) == set(Kind)


def test_what_must_be_durable_before_its_effect_is_a_decision() -> None:
    awaited = {kind for kind, weight in WEIGHT.items() if weight == "D"}
    assert {Kind.ACCESS_DECIDED, Kind.SESSION_OPENED, Kind.STATEMENT_DECIDED, Kind.EVIDENCE_VIEWED} <= awaited
    assert {Kind.STATEMENT_FINISHED, Kind.SESSION_CLOSED, Kind.AUDIT_FAULT}.isdisjoint(awaited)
