import asyncio

import pytest

from tests.support.doors import eventually
from vestibule.server import repeats as repeats_module
from vestibule.server.repeats import Repeats

pytestmark = pytest.mark.asyncio


class Told:
    def __init__(self, window: float = 3_600.0) -> None:
        self.told: list[tuple[str, int]] = []
        self.repeats = Repeats(lambda what, count: self.told.append((what, count)), "anything", window)


async def test_the_first_is_told_at_once_and_the_others_as_a_number_when_the_window_ends() -> None:
    told = Told(window=0.2)
    for number in range(1_000):
        told.repeats.note(("a",), f"what {number}")
    assert told.told == [("what 0", 1)]
    await eventually(lambda: len(told.told) == 2)
    assert told.told[1] == ("what 0", 999)
    told.repeats.note(("a",), "later")
    assert told.told[2:] == [("later", 1)]
    told.repeats.close()


async def test_kinds_beyond_the_bound_are_counted_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repeats_module, "OPEN", 10)
    told = Told()
    for number in range(500):
        told.repeats.note((str(number),), "what")
    assert told.told == [("what", 1)] * 10 + [("anything", 1)]
    told.repeats.close()
    assert told.told[11:] == [("anything", 489)]


async def test_closing_tells_what_was_counted_once_and_leaves_no_timer() -> None:
    told = Told(window=0.01)
    for kind in ("a", "a", "b"):
        told.repeats.note((kind,), kind)
    told.repeats.close()
    told.repeats.close()
    await asyncio.sleep(0.05)
    assert told.told == [("a", 1), ("b", 1), ("a", 1)]
