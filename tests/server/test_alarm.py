import asyncio

import pytest

from vestibule.model.names import Instant
from vestibule.server.alarm import Alarm
from vestibule.server.clock import Clock

pytestmark = pytest.mark.asyncio

MS = 1_000


class Bell:
    def __init__(self) -> None:
        self.clock = Clock()
        self.rung: list[Instant] = []
        self.alarm = Alarm(self.clock, lambda: self.rung.append(self.clock.now()))

    def set(self, milliseconds: int) -> Instant:
        at = Instant(self.clock.now() + milliseconds * MS)
        self.alarm.set(at)
        return at


async def test_it_rings_once_and_never_early() -> None:
    bell = Bell()
    at = bell.set(20)
    await asyncio.sleep(0.08)
    assert len(bell.rung) == 1
    assert bell.rung[0] >= at


async def test_a_later_deadline_replaces_an_earlier_one() -> None:
    bell = Bell()
    bell.set(10)
    at = bell.set(60)
    await asyncio.sleep(0.03)
    assert bell.rung == []
    await asyncio.sleep(0.1)
    assert len(bell.rung) == 1
    assert bell.rung[0] >= at


async def test_an_earlier_deadline_replaces_a_later_one() -> None:
    bell = Bell()
    bell.set(60_000)
    bell.set(10)
    await asyncio.sleep(0.08)
    assert len(bell.rung) == 1


async def test_a_deadline_between_two_others_rings_in_time() -> None:
    bell = Bell()
    bell.set(10)
    bell.set(60_000)
    bell.set(30)
    await asyncio.sleep(0.1)
    assert len(bell.rung) == 1


async def test_a_deadline_that_has_passed_rings_in_the_next_round_of_the_loop() -> None:
    bell = Bell()
    bell.set(60_000)
    bell.set(-1)
    assert bell.rung == []
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert len(bell.rung) == 1


async def test_a_cancelled_alarm_is_silent_and_can_be_set_again() -> None:
    bell = Bell()
    bell.set(5)
    bell.alarm.cancel()
    await asyncio.sleep(0.03)
    assert bell.rung == []
    bell.set(5)
    await asyncio.sleep(0.05)
    assert len(bell.rung) == 1


async def test_moving_a_deadline_on_makes_no_timer(monkeypatch: pytest.MonkeyPatch) -> None:
    bell = Bell()
    bell.set(60_000)
    made: list[object] = []
    monkeypatch.setattr(bell.alarm, "_start", made.append)
    for minute in range(2, 50):
        bell.set(minute * 60_000)
    assert made == []
    bell.alarm.cancel()
