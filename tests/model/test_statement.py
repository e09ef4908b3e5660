"""Impacts and what a statement sums up to."""

from __future__ import annotations

from vestibule.model.statement import Analysis, Impact, Operation, Statement


def test_impacts_are_ordered_from_least_to_worst_and_doubt_is_worst() -> None:
    assert [impact.word for impact in sorted(Impact)] == ["read", "write", "schema", "admin", "unknown"]


def test_an_analysis_has_the_worst_impact_of_its_operations() -> None:
    analysis = Analysis("X", (Operation("a", "", Impact.READ), Operation("b", "", Impact.SCHEMA)), 0, 1)
    assert analysis.impact is Impact.SCHEMA
    assert Analysis("X", (), 0, 0).impact is Impact.READ


def test_a_statement_has_the_operations_of_all_its_parts() -> None:
    parts = tuple(Analysis("X", (Operation(verb, "", Impact.READ),), 0, 1) for verb in "ab")
    assert [operation.verb for operation in Statement(b"", parts).operations] == ["a", "b"]
