import asyncio
from dataclasses import dataclass, field

import pytest

from vestibule.identity.cached import FORCED_EVERY, RETRY_AFTER, Cached
from vestibule.identity.failure import Failure, LoginRefused

pytestmark = pytest.mark.asyncio
LIFE, STALE = 600.0, 3600.0


@dataclass
class Remote:
    """A document that counts how often it is fetched, can be down, and can be slow."""

    now: float = 1000.0
    fetched: int = 0
    is_down: bool = False
    gate: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.gate.set()
        self.cached: Cached[int] = Cached(self.fetch, lambda: self.now, STALE)

    async def fetch(self) -> tuple[int, float]:
        self.fetched += 1
        await self.gate.wait()
        if self.is_down:
            raise LoginRefused(Failure.PROVIDER, "down")
        return self.fetched, LIFE

    async def value(self) -> int:
        return (await self.cached.get()).value


async def test_a_document_is_fetched_once_and_again_when_it_is_due() -> None:
    remote = Remote()

    assert [await remote.value(), await remote.value()] == [1, 1]
    remote.now += LIFE - 1
    assert await remote.value() == 1
    remote.now += 1
    assert await remote.value() == 2


async def test_many_who_ask_at_once_cause_one_fetch() -> None:
    remote = Remote()
    remote.gate.clear()
    asking = [asyncio.create_task(remote.value()) for _ in range(20)]
    await asyncio.sleep(0)
    remote.gate.set()

    assert await asyncio.gather(*asking) == [1] * 20


async def test_the_old_document_goes_on_while_the_provider_is_down_and_then_fails_closed() -> None:
    remote = Remote()
    await remote.value()
    remote.is_down = True

    remote.now += LIFE + STALE - 1
    assert await remote.value() == 1
    remote.now += 1
    with pytest.raises(LoginRefused, match="down"):
        await remote.value()


async def test_a_provider_that_is_down_is_not_asked_again_at_once() -> None:
    remote = Remote(is_down=True)
    for _ in range(5):
        with pytest.raises(LoginRefused):
            await remote.value()
    assert remote.fetched == 1

    remote.now += RETRY_AFTER
    remote.is_down = False
    assert await remote.value() == 2


async def test_who_misses_something_gets_a_newer_document() -> None:
    remote = Remote()
    old = await remote.cached.get()

    assert (await remote.cached.newer_than(old)).value == 2


async def test_a_newer_document_is_fetched_at_most_once_a_minute() -> None:
    remote = Remote()
    held = await remote.cached.newer_than(await remote.cached.get())

    assert await remote.cached.newer_than(held) is held
    remote.now += FORCED_EVERY - 0.5
    assert await remote.cached.newer_than(held) is held
    remote.now += 0.5
    assert (await remote.cached.newer_than(held)).value == 3


async def test_many_who_miss_something_cause_one_fetch() -> None:
    remote = Remote()
    old = await remote.cached.get()
    remote.gate.clear()
    asking = [asyncio.create_task(remote.cached.newer_than(old)) for _ in range(20)]
    await asyncio.sleep(0)
    remote.gate.set()

    assert {held.value for held in await asyncio.gather(*asking)} == {2}


async def test_a_failed_forced_fetch_leaves_the_old_document_and_counts() -> None:
    remote = Remote()
    old = await remote.cached.get()
    remote.is_down = True

    assert await remote.cached.newer_than(old) is old
    assert await remote.cached.newer_than(old) is old
    assert remote.fetched == 2
