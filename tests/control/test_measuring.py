"""All processes' metrics as one, whatever becomes of the processes."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from tests.support.little_authority import LittleAuthority
from vestibule.control import measuring
from vestibule.control.measuring import Measuring, Noticing, expiry_of
from vestibule.metrics import Snapshot, Tally, to_json
from vestibule.model.record import Kind, Record

pytestmark = pytest.mark.asyncio

OPENED = ("vestibule_sessions_opened_total", ("core",))
OPEN = ("vestibule_sessions_open", ())


def says(life: str, opened: int, open_now: int = 0) -> dict[str, Any]:
    return {"life": life, **to_json(Snapshot({OPENED: opened}, {}, {OPEN: open_now}))}


class Node:
    def __init__(self) -> None:
        self.answers: dict[int, Any] = {}
        self.measuring = Measuring(self.ask, self.own)

    async def ask(self) -> dict[int, Any]:
        return self.answers

    async def own(self) -> Snapshot:
        return Snapshot({}, {}, {("vestibule_log_records", ()): 9})

    async def look(self, **answers: Any) -> Snapshot:
        self.answers = {int(name.removeprefix("n")): said for name, said in answers.items()}
        return await self.measuring.snapshot()


async def test_counts_and_gauges_of_all_processes_are_added_up() -> None:
    found = await Node().look(n0=says("a", 3, 1), n1=says("b", 4, 2))
    assert found.counts[OPENED] == 7
    assert found.gauges[OPEN] == 3
    assert found.gauges["vestibule_log_records", ()] == 9
    assert found.gauges["vestibule_data_processes_ready", ()] == 2


async def test_a_process_that_is_gone_keeps_its_counts_and_has_no_gauges() -> None:
    node = Node()
    await node.look(n0=says("a", 3, 1))
    found = await node.look(n0=None)
    assert found.counts[OPENED] == 3
    assert OPEN not in found.gauges
    assert found.gauges["vestibule_data_processes", ()] == 1
    assert found.gauges["vestibule_data_processes_ready", ()] == 0


async def test_counters_go_on_when_a_process_is_replaced_and_that_is_counted() -> None:
    node = Node()
    await node.look(n0=says("a", 3))
    found = await node.look(n0=says("b", 1))
    assert found.counts[OPENED] == 4
    assert found.counts["vestibule_data_process_restarts_total", ()] == 1
    found = await node.look(n0=says("b", 2))
    assert found.counts[OPENED] == 5
    assert found.counts["vestibule_data_process_restarts_total", ()] == 1


async def test_an_answer_that_cannot_be_read_is_said_and_changes_nothing() -> None:
    node = Node()
    await node.look(n0=says("a", 3))
    with capture_logs() as logs:
        found = await node.look(n0={"life": "a", "counts": "many"})
    assert found.counts[OPENED] == 3
    assert [line["event"] for line in logs] == ["metrics_unreadable"]


async def test_a_clock_that_is_set_is_noticed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    node = Node()
    real = measuring.time.time
    node.measuring.watch_clock()
    monkeypatch.setattr(measuring.time, "time", lambda: real() - 3_600)
    with capture_logs() as logs:
        node.measuring.watch_clock()
        node.measuring.watch_clock()
    assert [(line["event"], line["seconds"] < -3_599) for line in logs] == [("clock_stepped", True)]
    found = await node.look()
    assert found.counts["vestibule_clock_steps_total", ()] == 1


async def test_sign_ins_are_counted_on_their_way_to_the_journal() -> None:
    class Journal:
        def __init__(self) -> None:
            self.seen: list[Record] = []

        def append(self, records: Any, done: Any = None) -> str:
            self.seen += records
            return "ticket"

    journal, tally = Journal(), Tally()
    noticing = Noticing(journal, tally)
    events = [
        {"event": "login_ok"},
        {"event": "login_failed", "failure": "nonce"},
        {"event": "login_failed", "failure": "nonce", "count": 5},
        {"event": "logout"},
    ]
    assert noticing.append([Record(Kind.IDENTITY_EVENT, members) for members in events]) == "ticket"
    assert len(journal.seen) == 4
    assert tally.snapshot().counts == {
        ("vestibule_sign_ins_total", ("ok",)): 1,
        ("vestibule_sign_ins_total", ("nonce",)): 6,
    }


async def test_the_time_that_a_certificate_has_left_is_read_from_its_file(tmp_path: Path) -> None:
    leaf = LittleAuthority(tmp_path).issue()
    seconds = expiry_of(leaf.certificate)
    assert seconds is not None
    assert 0 < seconds < datetime.timedelta(days=3650).total_seconds()
    leaf.certificate.write_text("no certificate")
    assert expiry_of(leaf.certificate) is None
    assert expiry_of(tmp_path / "nothing") is None
