"""What a process says of itself."""

from __future__ import annotations

import asyncio
import time

import pytest

from vestibule import vitals
from vestibule.metrics import FAMILIES
from vestibule.vitals import Vitals

PROCESS = ("3",)


def test_what_the_system_says_is_there_under_the_processs_name() -> None:
    snapshot = Vitals("3").snapshot()
    assert snapshot.counts["vestibule_process_cpu_seconds_total", PROCESS] > 0
    assert snapshot.gauges["vestibule_process_resident_memory_bytes", PROCESS] > 1 << 20
    assert snapshot.gauges["vestibule_process_open_fds", PROCESS] > 2
    assert {name for name, _ in (*snapshot.counts, *snapshot.gauges)} <= set(FAMILIES)


def test_another_run_has_another_life() -> None:
    assert Vitals("3").life != Vitals("3").life


def test_an_event_loop_that_is_held_up_is_late_and_that_is_forgotten_once_it_was_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(vitals, "LOOK_EVERY", 0.01)

    async def scene() -> tuple[float, float]:
        watched = Vitals("3")
        watched.start()
        await asyncio.sleep(0)
        time.sleep(0.2)  # noqa: ASYNC251 - what no process should do
        await asyncio.sleep(0.02)
        first = watched.snapshot().gauges["vestibule_process_loop_lag_seconds", PROCESS]
        second = watched.snapshot().gauges["vestibule_process_loop_lag_seconds", PROCESS]
        watched.stop()
        return first, second

    first, second = asyncio.run(scene())
    assert first > 0.1
    assert second < first
