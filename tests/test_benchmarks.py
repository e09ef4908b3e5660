"""The programs of `benchmarks/` run on the code as it is; their figures are nobody's business here."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from xml.etree import ElementTree

import pytest

from benchmarks import __main__ as benchmarks
from benchmarks import analysis, bulk, decision, idle, page, statement, volume
from benchmarks.figures import Figure, paired, quantile
from benchmarks.stage import Stage
from tests.support.certificates import Authority
from tests.support.masked import BANK
from tests.support.postgres import PostgresFactory
from tests.support.providers import LightProvider
from tests.support.sandbox import Sandbox
from vestibule.gate.reading import Reader

CHECKOUT = Path(__file__).resolve().parent.parent
REFERENCE = CHECKOUT / "docs" / "reference"
RUN = CHECKOUT / "benchmarks.json"

LEAST, MOST = Figure("CPU", "a", 0.95, "x", 0.9, "at least"), Figure("CPU", "b", 2.5, "x", 2.0)
STATED = Figure("idle", "c", 12_345.6, "/s", parts={"of <these>": 1.5})


def document(*figures: Figure, **failed: str) -> page.Document:
    """What a run of these figures would have written."""
    return {
        "date": "2026-01-02 03:04 UTC",
        "machine": {"processor": "Abacus", "cores": 2},
        "method": {"idle sessions": 10_000},
        "figures": [asdict(each) for each in figures],
        "failed": failed,
        "seconds": {"point": 120},
    }


@pytest.mark.parametrize("kind", ["prepared", "simple"])
def test_each_part_of_a_statement_is_timed(kind: str) -> None:
    found = statement.measure(kind, 3)
    assert list(found) == [f"{kind}: {part}" for part in ("client", "target", "records")]
    assert all(value > 0 for value in found.values())


def test_a_remembered_statement_is_timed_beside_one_that_is_read_anew() -> None:
    found = analysis.measure("point query", analysis.STATEMENTS["point query"].encode(), 2)
    assert 0 < found.cached < found.uncached


def test_every_statement_of_the_battery_is_decided() -> None:
    listed = decision.texts()
    assert len(listed) > 290
    assert not [text for text in listed if b"{" in text and b"{pos}" in text]
    deciding = decision.Deciding([("session", "search_path", "public", "", "", "")], list(BANK))
    answers = [deciding.decide(text, Reader()) for text in listed]
    assert 0 < sum(answer is None for answer in answers) < len(answers)


def test_a_decision_is_timed_uncached_and_cached() -> None:
    deciding = decision.Deciding([("session", "search_path", "public", "", "", "")], list(BANK))
    assert min(decision.timed(deciding, b"SELECT id, ssn FROM customers WHERE id = 1", 2)) > 0


def test_a_figure_is_held_against_its_aim() -> None:
    assert [each.is_met for each in (LEAST, MOST, STATED)] == [True, False, None]
    assert page.table([LEAST, MOST, STATED]).splitlines()[2:] == [
        "| a |  | 0.95 x | at least 0.90 x | met |",
        "| b |  | 2.50 x | at most 2 x | **missed** by 25% |",
        "| c |  | 12,346 /s |  | stated |",
    ]


def test_ratios_are_of_rounds_that_ran_side_by_side() -> None:
    assert paired([10, 20, 300], [20, 40, 30]) == 0.5
    assert quantile(range(100), 0.99) == 99


# --- one run ---------------------------------------------------------------------------------------------------------


def good(_: argparse.Namespace) -> Iterator[Figure]:
    yield LEAST


def bad(_: argparse.Namespace) -> Iterator[Figure]:
    yield MOST
    raise RuntimeError("no disk\nand more")


def test_a_measure_that_fails_costs_nothing_but_its_own_figures(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = benchmarks.arguments().parse_args(["--json", str(tmp_path / "found.json")])
    found = benchmarks.run({"bad": bad, "good": good}, options)
    assert (found.figures, found.failed) == ([MOST, LEAST], {"bad": "RuntimeError: no disk"})
    assert benchmarks.report(found) == 1
    assert "failed: bad: RuntimeError: no disk" in capsys.readouterr().out
    kept = page.read(tmp_path / "found.json")
    assert page.figures(kept) == [MOST, LEAST]
    assert "This run is not whole" in page.page(kept)


def test_a_run_in_which_nothing_fails_ends_well(tmp_path: Path) -> None:
    options = benchmarks.arguments().parse_args([])
    found = benchmarks.run({"good": good}, options)
    assert benchmarks.report(found) == 0
    assert {"processor", "cores", "memory", "kernel", "PostgreSQL", "PgBouncer", "Python"} <= set(found.machine)
    assert "This run is not whole" not in page.page(json.loads(json.dumps(found.document())))


# --- with servers ----------------------------------------------------------------------------------------------------


@pytest.fixture
def made(
    sandbox: Sandbox, authority: Authority, light_provider: LightProvider, postgres_factory: PostgresFactory
) -> Iterator[Stage]:
    """A stage on the servers of the run."""
    server = postgres_factory.make(15)
    stage = Stage(sandbox, authority, light_provider, server)
    yield stage
    stage.close()
    server.stop()


@pytest.mark.timeout(400)
def test_sessions_are_opened_through_a_gateway_to_a_simulated_target_and_its_memory_is_looked_at(made: Stage) -> None:
    answers = idle.recorded(made)
    crowd = idle.gathered(made, 20, answers, has_tls=True, text=idle.STATEMENT)
    assert crowd.sessions == [2, 8, 14, 20]
    assert min(crowd.bytes) > 50 << 20
    assert crowd.logins_per_second > 0


@pytest.mark.timeout(400)
def test_large_answers_and_copies_are_timed_beside_the_direct_way(made: Stage) -> None:
    found = list(bulk.measure(made, bulk.Sizes(small=100, wide=10, copied=10_000), 1))
    assert [each.name.partition(",")[0] for each in found][:2] == ["SELECT of 100 small rows", "SELECT of 10 wide rows"]
    assert [each.name.split(" of ")[0] for each in found[3:]] == ["COPY OUT", "COPY IN"]
    assert all(set(each.parts) == {"direct s", "Vestibule s"} for each in found)


@pytest.mark.timeout(400)
def test_what_statements_leave_is_counted(made: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(volume, "SETTLED", 0.5)
    made.pgbench(made.direct(), "-i", "-q", "-s", "1")
    found = {each.name.partition(",")[0]: each for each in volume.measure(made, 80)}
    assert list(found) == ["journal", "recordings", "log", "index"]
    assert found["journal"].parts["bytes a statement"] > 1_000


# --- the page --------------------------------------------------------------------------------------------------------


def test_the_page_says_what_was_measured_where_and_how_many_aims_are_met() -> None:
    text = page.page(document(STATED, MOST, LEAST))
    assert "**1 of 2 aims are met.**" in text
    assert "| processor | Abacus |" in text
    assert "| idle sessions | 10,000 |" in text
    assert text.index("| a |") < text.index("| c |"), "figures stand with their kind"
    assert f"]({page.STORY})" in text


def test_the_chart_is_a_picture_that_tells_each_aim_by_words_too() -> None:
    found = ElementTree.fromstring(page.chart(document(LEAST, MOST, STATED)))
    words = ["".join(each.itertext()) for each in found.iter("{http://www.w3.org/2000/svg}text")]
    assert "0.95 x, at least 0.90: met" in words
    assert "2.50 x, at most 2: missed" in words
    assert "c" not in words, "what is only stated has no place beside an aim"


@pytest.mark.parametrize(("value", "times"), [(2.0, 1.0), (4.0, 2.0), (1.0, 0.5), (0.0, 1.0)])
def test_a_bar_shows_how_much_worse_than_its_aim_a_figure_is(value: float, times: float) -> None:
    assert page.worse(Figure("CPU", "b", value, "x", 2.0)) == times
    assert page.worse(Figure("CPU", "b", value, "x", 2.0, "at least")) == (1 / times if value else 1.0)


def test_the_committed_page_and_chart_are_what_the_committed_run_gives() -> None:
    run = page.read(RUN)
    assert (REFERENCE / page.PAGE).read_text() == page.page(run)
    assert (REFERENCE / page.CHART).read_text() == page.chart(run)


def test_the_committed_run_is_whole() -> None:
    run = page.read(RUN)
    assert run["failed"] == {}
    assert set(run["seconds"]) == set(benchmarks.MEASURES)
