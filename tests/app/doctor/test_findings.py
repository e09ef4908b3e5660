"""Findings are made by their level's name."""

from __future__ import annotations

from vestibule.app.doctor.findings import fail, levels, ok, unreachable, warn


def test_a_finding_has_the_level_of_what_made_it() -> None:
    made = [ok("a", "b"), warn("a", "b", "c"), fail("a", "b", "c"), unreachable("a", "b", "c")]
    assert [finding.level for finding in made] == ["ok", "warn", "fail", "unreachable"]
    assert levels(made[:2]) == {"ok", "warn"}
    assert levels([]) == set()


def test_what_is_not_good_says_what_to_do() -> None:
    assert warn("a", "b", "mend it").advice == "mend it"
    assert ok("a", "b").advice == ""
