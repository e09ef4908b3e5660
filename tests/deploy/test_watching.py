"""The dashboard and the alert rules name what there is, and lead to words that are there."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from vestibule.metrics import FAMILIES

CHECKOUT = Path(__file__).parents[2]
ALERTS = yaml.safe_load((CHECKOUT / "deploy/prometheus/alerts.yaml").read_text())
DASHBOARD = json.loads((CHECKOUT / "deploy/grafana/vestibule.json").read_text())
RULES = [rule for group in ALERTS["groups"] for rule in group["rules"]]
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
QUERIES = [target["expr"] for panel in PANELS for target in panel["targets"]]


def samples() -> set[str]:
    """The names of all samples that a scrape may have."""
    names = set(FAMILIES)
    for family in FAMILIES.values():
        if family.kind == "histogram":
            names |= {f"{family.name}_{end}" for end in ("bucket", "sum", "count")}
    return names


def metrics(expression: str) -> set[str]:
    return set(re.findall(r"\bvestibule_\w+", expression))


def labels(expression: str) -> Iterator[tuple[str, set[str]]]:
    """Each metric of an expression with the labels that are selected, and those of the aggregation around it."""
    for by, inner in re.findall(r"by \(([^)]*)\) \(((?:rate|increase)?\(?vestibule_[^)]*)", expression):
        for name in metrics(inner):
            yield name, set(re.split(r",\s*", by))
    for name, inner in re.findall(r"(vestibule_\w+)\{([^}]*)\}", expression):
        yield name, set(re.findall(r"(\w+)\s*(?:=~|!=|!~|=)", inner))


@pytest.mark.parametrize("expression", [*QUERIES, *(rule["expr"] for rule in RULES)])
def test_every_metric_and_every_label_that_is_asked_for_exists(expression: str) -> None:
    assert metrics(expression) <= samples()
    for name, asked in labels(expression):
        family = FAMILIES[re.sub(r"_(bucket|sum|count)$", "", name)]
        assert asked - {"instance", "le"} <= set(family.labels), name


@pytest.mark.parametrize("expression", [*QUERIES, *(rule["expr"] for rule in RULES)])
def test_a_counter_is_asked_for_its_rate_alone(expression: str) -> None:
    for name in metrics(expression):
        family = FAMILIES[re.sub(r"_(bucket|sum|count)$", "", name)]
        if family.kind != "gauge":
            assert re.findall(rf"\b{name}\b", expression) == re.findall(
                rf"(?<=rate\(){name}\b|(?<=increase\(){name}\b", expression
            )


def test_the_dashboard_shows_every_metric() -> None:
    shown = {name for query in QUERIES for name in metrics(query)}
    assert {name for name in FAMILIES if name not in shown and f"{name}_bucket" not in shown} == set()


def test_the_panels_of_the_dashboard_do_not_lie_on_one_another() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        cells = {
            (place["x"] + x, place["y"] + y)
            for x in range(place["w"])
            for y in range(place["h"])
            if place["x"] + x < 24
        }
        assert len(cells) == place["w"] * place["h"]
        assert not cells & taken, panel["title"]
        taken |= cells
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(ids) == len(set(ids))


def sections(page: Path) -> set[str]:
    titles = re.findall(r"^## (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_an_alert_says_how_bad_it_is_and_leads_to_what_to_do(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in ("critical", "warning")
    assert re.fullmatch(r"\d+[sm]", rule["for"])
    assert rule["annotations"]["summary"]
    page, _, section = rule["annotations"]["runbook_url"].partition("#")
    assert section in sections(CHECKOUT / page)
    assert f"*{rule['alert']}.*" in (CHECKOUT / page).read_text()


def test_every_section_of_the_page_is_some_alert_s() -> None:
    led_to = {rule["annotations"]["runbook_url"].partition("#")[2] for rule in RULES}
    assert sections(CHECKOUT / "docs/guide/alerts.md") == led_to


def test_what_an_operator_must_hear_of_has_an_alert() -> None:
    asked = {name for rule in RULES for name in metrics(rule["expr"])}
    assert {
        "vestibule_journal_fault",
        "vestibule_journal_free_bytes",
        "vestibule_log_checkpoint_age_seconds",
        "vestibule_data_process_restarts_total",
        "vestibule_certificate_expiry_seconds",
        "vestibule_logins_total",
        "vestibule_target_failures_total",
        "vestibule_approvals_oldest_seconds",
        "vestibule_clock_steps_total",
    } <= asked
