"""What excuses a case of the leak battery, and what does not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.support.canary_bank import Verdict
from tests.support.verdicts import SHORT, known, leaks, surprises

SAFE = Verdict("P001", "leak", "plain", "SAFE", ok=True, info="masked", closed=False)
BLOCKED = replace(SAFE, id="P002", status="OVERBLOCKED", ok=False, info="['denied']")
LEAKED = replace(SAFE, id="P003", status="LEAK", ok=False, info="[('D', '353-34-3540'), ('row', '353-34-3540')]")


@pytest.mark.parametrize(
    "status", ["LEAK", "UNCHANGED", "DIFF+CANARY", "SAME+CANARY", "DOWN", "RUNNER-ERROR", "CLOSED", "A-NEW-WORD"]
)
def test_a_leak_is_never_excused_and_cannot_be_listed(status: str) -> None:
    verdict = replace(LEAKED, status=status)

    assert len(leaks([SAFE, verdict])) == 1
    assert surprises([verdict], {"P003": status})


def test_what_falls_short_and_is_listed_is_neither_a_leak_nor_a_surprise() -> None:
    assert leaks([SAFE, BLOCKED]) == []
    assert surprises([SAFE, BLOCKED], {"P002": "OVERBLOCKED"}) == []


def test_what_falls_short_and_is_not_listed_is_a_surprise() -> None:
    [told] = surprises([SAFE, BLOCKED], {})
    assert told == "mend it: P002 (plain) OVERBLOCKED: ['denied']"


def test_what_falls_short_in_another_way_than_listed_is_a_surprise() -> None:
    assert len(surprises([BLOCKED], {"P002": "ROWCOUNT"})) == 1


def test_what_is_listed_and_mended_must_leave_the_list() -> None:
    [told] = surprises([SAFE], {"P001": "OVERBLOCKED"})
    assert told == "P001 is as it should be: remove it from leak_battery.json"


def test_what_is_listed_and_unknown_must_leave_the_list() -> None:
    assert len(surprises([SAFE], {"P999": "DIFF"})) == 1


def test_the_list_holds_only_what_may_be_listed() -> None:
    assert set(known().values()) <= SHORT


def test_only_a_fragment_in_an_error_is_doubtful() -> None:
    assert replace(LEAKED, info="[('E', '504-9'), ('E', '504-9')]").is_doubtful
    assert not LEAKED.is_doubtful
    assert not replace(LEAKED, info="[('E', '353-34-3540')]").is_doubtful
    assert not replace(LEAKED, info="[('E', '504-9'), ('D', '504-9')]").is_doubtful
    assert not replace(LEAKED, kind="oracle", info="got '353-34-3540' in 39 statements, 0 refused").is_doubtful
    assert not replace(SAFE, info="refused").is_doubtful


def test_only_an_oracle_that_told_nothing_is_late() -> None:
    assert replace(SAFE, kind="oracle", ok=False).is_late
    assert not replace(SAFE, kind="oracle").is_late
    assert not replace(SAFE, ok=False).is_late
