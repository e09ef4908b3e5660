"""The reference of the metrics is what the code has."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest

from vestibule.evidence.kinds import BODY
from vestibule.gate.outcome import Cause, Outcome
from vestibule.metrics import BUCKETS, FAMILIES, SERIES
from vestibule.model.approval import Answer
from vestibule.model.record import Kind
from vestibule.model.statement import Impact
from vestibule.server.counting import CAUSES, OK

PAGE = (Path(__file__).parents[2] / "docs/reference/metrics.md").read_text()


def test_the_table_is_the_code_s_in_both_directions() -> None:
    rows = re.findall(r"^\| `(vestibule_\w+)` \| (\w+) \| (.*?) ?\| (.+) \|$", PAGE, re.MULTILINE)
    documented = [(name, kind, tuple(re.findall(r"`(\w+)`", labels)), help_) for name, kind, labels, help_ in rows]
    assert documented == [(each.name, each.kind, each.labels, each.help) for each in FAMILIES.values()]


def test_every_metric_that_the_page_speaks_of_exists() -> None:
    assert set(re.findall(r"vestibule_[a-z_]+", PAGE)) <= set(FAMILIES)


def test_every_label_has_its_row() -> None:
    rows = set(re.findall(r"^\| `(\w+)`[^|]*\| ", PAGE.split("## Labels")[1].split("##")[0], re.MULTILINE))
    used = {label for family in FAMILIES.values() for label in family.labels} - {"version", "python", "build"}
    assert rows == used


def words(label: str) -> set[str]:
    [row] = re.findall(rf"^\| {re.escape(label)} \| (.*) \|$", PAGE, re.MULTILINE)
    return set(re.findall(r"`(\w+)`", row))


@pytest.mark.parametrize(
    ("label", "values"),
    [
        ("`outcome`", get_args(Outcome)),
        ("`cause` of closed sessions", get_args(Cause)),
        ("`result` of log-ins", {*CAUSES.values(), OK, "other"}),
        ("`answer`", get_args(Answer)),
        ("`impact`", {impact.word for impact in Impact}),
    ],
)
def test_the_values_of_a_label_are_the_code_s(label: str, values: object) -> None:
    assert words(label) == set(values)  # type: ignore[call-overload] - every kind of collection


def test_the_faults_that_it_names_are_faults() -> None:
    for fault in words("`fault`") - {"AuditFault"}:
        BODY[Kind.AUDIT_FAULT]({"fault": fault, "phase": "started"})


def test_the_numbers_that_it_states_are_the_code_s() -> None:
    assert f"beyond {SERIES} combinations" in PAGE
    assert (BUCKETS[0], BUCKETS[-1]) == (0.0001, 10.0)
