"""Counting, and adding up what processes have counted."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vestibule.metrics import BUCKETS, FAMILIES, OTHER, SERIES, Histogram, Snapshot, Sums, Tally, from_json, to_json

CLOSED = "vestibule_sessions_closed_total"
DECISION = "vestibule_decision_seconds"


@pytest.mark.parametrize("name", FAMILIES)
def test_names_follow_the_conventions_of_prometheus(name: str) -> None:
    family = FAMILIES[name]
    assert re.fullmatch(r"vestibule_[a-z_]+", name)
    assert (family.kind == "counter") is name.endswith("_total")
    assert family.kind != "histogram" or name.endswith("_seconds")
    assert "_ms" not in name
    assert "_kb" not in name
    assert family.help.endswith(".")


def test_no_label_is_about_a_person_or_a_place_that_somebody_comes_from() -> None:
    labels = {label for family in FAMILIES.values() for label in family.labels}
    assert not labels & {"user", "name", "subject", "login", "session", "ip", "client", "database", "rule", "group"}


def test_counts_go_up_by_what_is_added() -> None:
    tally = Tally()
    tally.add(CLOSED, ("core", "idle"))
    tally.add(CLOSED, ("core", "idle"), 4)
    tally.add("vestibule_commits_failed_total")
    assert tally.snapshot().counts == {(CLOSED, ("core", "idle")): 5, ("vestibule_commits_failed_total", ()): 1}


def test_however_many_targets_there_are_the_series_are_bounded_and_nothing_is_lost() -> None:
    tally = Tally()
    for number in range(SERIES + 100):
        tally.add(CLOSED, (f"target-{number}", "idle"))
    counts = tally.snapshot().counts
    assert len(counts) == SERIES + 1
    assert counts[CLOSED, (OTHER, OTHER)] == 100


def test_an_observation_is_in_the_first_bucket_that_holds_it() -> None:
    histogram = Histogram()
    for seconds in (0.0, BUCKETS[0], BUCKETS[0] * 1.01, 11.0):
        histogram.observe(seconds)
    assert histogram.counts[:2] == [2, 1]
    assert histogram.counts[-1] == 1
    assert sum(histogram.counts) == 4


def counted(number: int, seconds: float = 0.001) -> Snapshot:
    tally = Tally()
    tally.add(CLOSED, ("core", "idle"), number)
    tally.histogram(DECISION).observe(seconds)
    return tally.snapshot()


def test_processes_are_added_up() -> None:
    sums = Sums()
    sums.take(0, "a", counted(3))
    sums.take(1, "b", counted(4))
    total = sums.total()
    assert total.counts == {(CLOSED, ("core", "idle")): 7}
    assert sum(total.times[DECISION, ()][0]) == 2


def test_a_look_replaces_the_one_before_of_the_same_life() -> None:
    sums = Sums()
    for number in (1, 2, 5):
        sums.take(0, "a", counted(number))
    assert sums.total().counts[CLOSED, ("core", "idle")] == 5


@given(st.lists(st.tuples(st.integers(0, 2), st.booleans(), st.integers(0, 50)), max_size=40))
def test_no_counter_falls_however_processes_die_and_come_back(events: list[tuple[int, bool, int]]) -> None:
    sums, lives, now = Sums(), dict.fromkeys(range(3), 0), dict.fromkeys(range(3), 0)
    expected = before = 0.0
    for number, dies, more in events:
        if dies:
            lives[number], now[number] = lives[number] + 1, 0
        now[number] += more
        expected += more
        sums.take(number, str(lives[number]), counted(now[number]))
        total = sums.total().counts[CLOSED, ("core", "idle")]
        assert before <= total == expected
        before = total


def test_a_snapshot_comes_over_the_bus_as_it_was() -> None:
    snapshot = Snapshot(counted(3).counts, counted(3).times, {("vestibule_sessions_open", ()): 2.0})
    assert from_json(json.loads(json.dumps(to_json(snapshot)))) == snapshot


GOOD = to_json(counted(1))


@pytest.mark.parametrize(
    "said",
    [
        None,
        [],
        {},
        {**GOOD, "counts": 1},
        {**GOOD, "counts": [["vestibule_made_up_total", [], 1]]},
        {**GOOD, "counts": [[CLOSED, ["core"], 1]]},
        {**GOOD, "counts": [[CLOSED, ["core", "idle"], "many"]]},
        {**GOOD, "counts": [[CLOSED, ["core", "idle"]]]},
        {**GOOD, "times": [[DECISION, [], [1, 2], 0.5]]},
        {**GOOD, "gauges": [["vestibule_sessions_open", "x", 1]]},
    ],
)
def test_what_is_no_snapshot_is_refused(said: object) -> None:
    with pytest.raises(ValueError):
        from_json(said)  # type: ignore[arg-type] - anything may come


def test_the_largest_snapshot_fits_a_line_of_the_bus() -> None:
    tally = Tally()
    for family in FAMILIES.values():
        if family.labels[:1] == ("target",):
            for number in range(SERIES + 1):
                tally.add(family.name, tuple(f"{number:030}" for _ in family.labels))
    assert len(json.dumps(to_json(tally.snapshot()), separators=(",", ":"))) < 1 << 20
