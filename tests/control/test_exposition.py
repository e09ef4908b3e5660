"""Metrics as Prometheus reads them."""

from __future__ import annotations

import httpx2
import pytest
from prometheus_client.parser import text_string_to_metric_families

from vestibule.control.exposition import application, write
from vestibule.metrics import FAMILIES, Snapshot, Tally


def samples(snapshot: Snapshot) -> dict[str, float]:
    families = text_string_to_metric_families(write(snapshot).decode())
    return {
        f"{sample.name}{sorted(sample.labels.items())}": sample.value
        for family in families
        for sample in family.samples
    }


def test_every_family_is_there_with_its_help_and_type() -> None:
    text = write(Snapshot()).decode()
    for family in FAMILIES.values():
        assert f"# HELP {family.name} {family.help}\n" in text
        assert f"# TYPE {family.name} {family.kind}\n" in text


def test_a_counter_without_labels_begins_at_nothing_and_a_gauge_that_nobody_knows_is_not_there() -> None:
    found = samples(Snapshot())
    assert found == {
        f"{family.name}[]": 0.0 for family in FAMILIES.values() if family.kind == "counter" and not family.labels
    }


def test_values_have_their_labels() -> None:
    counts = {("vestibule_sessions_closed_total", ("core", "idle")): 3.0}
    found = samples(Snapshot(counts, {}, {("vestibule_ready", ()): True}))
    assert found["vestibule_sessions_closed_total[('cause', 'idle'), ('target', 'core')]"] == 3
    assert found["vestibule_ready[]"] == 1


def test_a_bucket_holds_the_ones_below_it() -> None:
    tally = Tally()
    for seconds in (0.0002, 0.02, 100.0):
        tally.histogram("vestibule_added_seconds", ("to_target",)).observe(seconds)
    found = samples(tally.snapshot())
    assert found["vestibule_added_seconds_bucket[('le', '0.0001'), ('leg', 'to_target')]"] == 0
    assert found["vestibule_added_seconds_bucket[('le', '0.00025'), ('leg', 'to_target')]"] == 1
    assert found["vestibule_added_seconds_bucket[('le', '10.0'), ('leg', 'to_target')]"] == 2
    assert found["vestibule_added_seconds_bucket[('le', '+Inf'), ('leg', 'to_target')]"] == 3
    assert found["vestibule_added_seconds_count[('leg', 'to_target')]"] == 3
    assert found["vestibule_added_seconds_sum[('leg', 'to_target')]"] == pytest.approx(100.0202)


@pytest.mark.asyncio
async def test_the_listener_serves_metrics_and_nothing_else() -> None:
    async def now() -> Snapshot:
        return Snapshot({("vestibule_clock_steps_total", ()): 2})

    transport = httpx2.ASGITransport(application(now))
    async with httpx2.AsyncClient(transport=transport, base_url="http://v") as client:
        answer = await client.get("/metrics")
        assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
        assert "vestibule_clock_steps_total 2.0" in answer.text
        for path in ("/", "/openapi.json", "/api/v1/sessions", "/readyz"):
            assert (await client.get(path)).status_code == 404
