"""The programs of `benchmarks/` run on the code as it is; their figures are nobody's business here."""

from __future__ import annotations

import pytest

from benchmarks import __main__ as benchmarks
from benchmarks import analysis, statement
from benchmarks.figures import Figure, paired, quantile


@pytest.mark.parametrize("kind", ["prepared", "simple"])
def test_each_part_of_a_statement_is_timed(kind: str) -> None:
    found = statement.measure(kind, 3)
    assert list(found) == [f"{kind}: {part}" for part in ("client", "target", "records")]
    assert all(value > 0 for value in found.values())


def test_a_remembered_statement_is_timed_beside_one_that_is_read_anew() -> None:
    found = analysis.measure("point query", analysis.STATEMENTS["point query"].encode(), 2)
    assert 0 < found.cached < found.uncached


def test_a_figure_is_held_against_its_aim() -> None:
    least, most = Figure("g", "a", 0.95, "x", 0.9, "at least"), Figure("g", "b", 2.5, "x", 2.0)
    stated = Figure("g", "c", 1.0, "x")
    assert [each.is_met for each in (least, most, stated)] == [True, False, None]
    assert benchmarks.table([least, most, stated]).splitlines()[2:] == [
        "| a |  | 0.95 x | at least 0.9 x | yes |",
        "| b |  | 2.5 x | at most 2 x | no |",
        "| c |  | 1 x | stated |  |",
    ]


def test_ratios_are_of_rounds_that_ran_side_by_side() -> None:
    assert paired([10, 20, 300], [20, 40, 30]) == 0.5
    assert quantile(range(100), 0.99) == 99
