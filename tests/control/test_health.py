"""Whether the gateway is ready, and what is said if it is not."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from vestibule.control import health
from vestibule.control.health import NO_ROOM, STOPPED_LOG, STOPPING, Readiness, Watched

pytestmark = pytest.mark.asyncio

SERVES: dict[str, Any] = {"admits_sessions": True, "draining": False, "policy": "p1"}


class Node:
    """What a control process knows; everything is well until a test says otherwise."""

    def __init__(self) -> None:
        self.admits_sessions = True
        self.rolled_back: str | None = None
        self.reports: dict[int, Any] = {0: dict(SERVES), 1: dict(SERVES)}
        self.asked = 0
        self.policy = "p1"
        self.readiness = Readiness(Watched(self, self, self.ask, lambda: self.policy))

    async def ask(self) -> dict[int, Any]:
        self.asked += 1
        await asyncio.sleep(0)
        return self.reports


async def test_it_is_ready_when_all_serve() -> None:
    assert await Node().readiness.problems() == ()


async def test_each_thing_that_is_wrong_is_said() -> None:
    node = Node()
    node.admits_sessions, node.rolled_back = False, "alice's tree is smaller"
    assert await node.readiness.problems() == (NO_ROOM, STOPPED_LOG), "and not in the words that were found"


@pytest.mark.parametrize(
    ("report", "said"),
    [
        (None, "data process 1 does not serve"),
        ("nonsense", "data process 1 does not serve"),
        ({**SERVES, "admits_sessions": False}, "data process 1 admits no session"),
        ({"policy": "p1"}, "data process 1 admits no session"),
        ({**SERVES, "draining": True}, "data process 1 accepts nobody more"),
        ({**SERVES, "policy": "p0"}, "data process 1 does not decide by the policy in force"),
    ],
)
async def test_a_data_process_that_lets_nobody_in_is_named(report: Any, said: str) -> None:
    node = Node()
    node.reports[1] = report
    [problem] = await node.readiness.problems()
    assert problem.startswith(said)


async def test_however_many_look_data_processes_are_asked_once_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "LOOK_EVERY", 3600.0)
    node = Node()
    await asyncio.gather(*(node.readiness.problems() for _ in range(100)))
    assert node.asked == 1


async def test_what_is_wrong_is_seen_again_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "LOOK_EVERY", 0.0)
    node = Node()
    assert not await node.readiness.problems()
    node.reports[0] = None
    assert await node.readiness.problems()
    node.reports[0] = dict(SERVES)
    assert not await node.readiness.problems()


async def test_once_it_is_told_to_stop_it_is_not_ready_whatever_was_known() -> None:
    node = Node()
    assert not await node.readiness.problems()
    node.readiness.stop()
    assert await node.readiness.problems() == (STOPPING,)
    assert node.asked == 1
