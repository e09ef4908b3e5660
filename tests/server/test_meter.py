"""What a data process answers when it is asked for its metrics."""

from __future__ import annotations

import pytest

from tests.support.scripted import FakeJournal
from vestibule.metrics import from_json
from vestibule.server.meter import Meter

pytestmark = pytest.mark.asyncio

SIZES = {"vestibule_sessions_open": 2.0, "vestibule_spool_bytes": 7.0}


async def test_counts_journal_vitals_and_sizes_are_one_answer() -> None:
    meter = Meter(1, "postgres")
    meter.start(FakeJournal(), lambda: SIZES)
    meter.counting.refused("token expired")
    answer = meter.answer({})
    meter.stop()
    assert isinstance(answer, dict)
    snapshot = from_json(answer)
    assert snapshot.counts["vestibule_logins_total", ("token_expired",)] == 1
    assert snapshot.counts["vestibule_journal_records_total", ("1",)] == 0
    assert snapshot.counts["vestibule_process_cpu_seconds_total", ("1",)] > 0
    assert snapshot.gauges["vestibule_sessions_open", ()] == 2
    assert snapshot.gauges["vestibule_spool_bytes", ("1",)] == 7


async def test_two_processes_are_never_taken_for_one() -> None:
    lives = set()
    for _ in range(2):
        meter = Meter(1, "postgres")
        meter.start(FakeJournal(), lambda: SIZES)
        answer = meter.answer({})
        meter.stop()
        assert isinstance(answer, dict)
        lives.add(answer["life"])
    assert len(lives) == 2
