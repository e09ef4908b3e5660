from __future__ import annotations

import pytest

from tests.support.policies import sample
from vestibule.model.statement import Impact
from vestibule.policy.access import AccessEntry, Selector, SessionLimits, granted, granting, strictest

CORE = sample().targets["core-banking"]
READ = AccessEntry("r", frozenset({"a", "b"}), Selector(frozenset({"core-banking"})), frozenset({Impact.READ}))
WRITE = AccessEntry("w", frozenset({"b"}), Selector(labels={"env": "production"}), frozenset({Impact.WRITE}))


@pytest.mark.parametrize(
    ("selector", "selected"),
    [
        (Selector(names=frozenset({"core-banking", "x"})), True),
        (Selector(names=frozenset({"core"})), False),
        (Selector(labels={"env": "production"}), True),
        (Selector(labels={"env": "production", "data": "npi"}), True),
        (Selector(labels={"env": "production", "data": "public"}), False),
        (Selector(labels={"zone": "production"}), False),
        (Selector(), False),
    ],
)
def test_targets_are_selected_by_name_or_by_all_labels(selector: Selector, selected: bool) -> None:
    assert selector.selects(CORE) is selected


def test_an_entry_covers_whoever_is_in_one_of_its_groups() -> None:
    assert READ.covers(frozenset({"b", "z"}), CORE)
    assert not READ.covers(frozenset({"z"}), CORE)
    assert not READ.covers(frozenset(), CORE)


def test_an_impact_is_granted_by_its_own_word_only() -> None:
    assert granting((READ, WRITE), Impact.WRITE) is WRITE
    assert granting((WRITE,), Impact.READ) is None
    assert granting((READ, WRITE), Impact.UNKNOWN) is None
    assert granted((WRITE, READ)) == (Impact.READ, Impact.WRITE)


def test_the_strictest_limit_counts_each_by_itself() -> None:
    entries = [
        AccessEntry("a", frozenset(), Selector(), frozenset(), limits)
        for limits in (SessionLimits(8, None), SessionLimits(None, 3), SessionLimits(9, 5))
    ]
    assert strictest(entries) == SessionLimits(8, 3)
    assert strictest([]) == SessionLimits(None, None)
