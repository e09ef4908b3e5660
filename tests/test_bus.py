import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vestibule.bus import BusBusy, BusClosed, BusLimits, BusTimeout, CallFailed, Peer, connect
from vestibule.wire.jsonrpc import LINE_LIMIT, METHOD_NOT_FOUND, Params

pytestmark = pytest.mark.asyncio


@asynccontextmanager
async def pair(limits: BusLimits | None = None) -> AsyncIterator[tuple[Peer, Peer]]:
    ours, theirs = socket.socketpair()
    near, far = Peer(limits), Peer(limits)
    await connect(ours, near)
    await connect(theirs, far)
    try:
        yield near, far
    finally:
        near.close()
        far.close()
        await asyncio.wait_for(asyncio.gather(near.closed.wait(), far.closed.wait()), 5)


@asynccontextmanager
async def stranger(limits: BusLimits | None = None) -> AsyncIterator[tuple[Peer, socket.socket]]:
    ours, theirs = socket.socketpair()
    near = Peer(limits)
    await connect(ours, near)
    theirs.setblocking(False)
    try:
        yield near, theirs
    finally:
        near.close()
        theirs.close()
        await asyncio.wait_for(near.closed.wait(), 5)


async def test_both_ends_call_and_get_results() -> None:
    async with pair() as (near, far):
        far.on("double", lambda params: {"value": int(str(params["value"])) * 2})
        near.on("name", lambda _: "near")
        assert await near.call("double", {"value": 21}) == {"value": 42}
        assert await far.call("name", {}) == "near"


async def test_answers_may_come_in_any_order() -> None:
    async with pair() as (near, far):
        gate = asyncio.Event()

        async def slow(_: Params) -> str:
            await gate.wait()
            return "slow"

        far.on("slow", slow)
        far.on("fast", lambda _: "fast")
        waiting = asyncio.create_task(near.call("slow", {}))
        assert await near.call("fast", {}) == "fast"
        gate.set()
        assert await waiting == "slow"


async def test_notifications_arrive_in_order_and_are_not_answered() -> None:
    async with pair() as (near, far):
        seen: list[object] = []
        far.on("n", lambda params: seen.append(params["i"]))
        far.on("sync", lambda _: None)
        for number in range(100):
            near.notify("n", {"i": number})
        await near.call("sync", {})
        assert seen == list(range(100))


async def test_an_unknown_method_is_the_specified_error() -> None:
    async with pair() as (near, _):
        with pytest.raises(CallFailed) as caught:
            await near.call("nothing", {})
        assert caught.value.code == METHOD_NOT_FOUND


async def test_a_failing_handler_answers_without_its_reason_and_the_bus_goes_on() -> None:
    async with pair() as (near, far):

        def fail(_: Params) -> None:
            raise RuntimeError("vst_secret")

        far.on("fail", fail)
        far.on("ok", lambda _: True)
        with pytest.raises(CallFailed) as caught:
            await near.call("fail", {})
        assert "vst_secret" not in str(caught.value)
        assert await near.call("ok", {}) is True


async def test_wrong_parameters_are_told_to_the_caller() -> None:
    async with pair() as (near, far):

        def pick(_: Params) -> None:
            raise ValueError("session is not a string")

        far.on("pick", pick)
        with pytest.raises(CallFailed, match="session is not a string"):
            await near.call("pick", {})


async def test_a_result_that_does_not_fit_a_line_is_an_error_not_silence() -> None:
    async with pair() as (near, far):
        far.on("big", lambda _: "x" * LINE_LIMIT)
        with pytest.raises(CallFailed, match="at most"):
            await near.call("big", {})


async def test_a_call_without_an_answer_ends_in_time() -> None:
    async with pair() as (near, far):
        far.on("never", lambda _: asyncio.Event().wait())
        with pytest.raises(BusTimeout):
            await near.call("never", {}, timeout=0.05)


async def test_the_number_of_open_calls_is_bounded() -> None:
    async with pair(BusLimits(waiting=2)) as (near, far):
        far.on("never", lambda _: asyncio.Event().wait())
        waiting = [asyncio.create_task(near.call("never", {})) for _ in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(BusBusy):
            await near.call("never", {})
        for task in waiting:
            task.cancel()
        await asyncio.wait(waiting)


async def test_the_number_of_served_calls_is_bounded() -> None:
    async with pair(BusLimits(served=1)) as (near, far):
        gate = asyncio.Event()
        far.on("hold", lambda _: gate.wait())
        first = asyncio.create_task(near.call("hold", {}))
        await asyncio.sleep(0.01)
        with pytest.raises(CallFailed, match="too many"):
            await near.call("hold", {})
        gate.set()
        assert await first is True


async def test_a_dead_peer_ends_every_open_call_and_refuses_new_ones() -> None:
    async with stranger() as (near, theirs):
        waiting = asyncio.create_task(near.call("anything", {}))
        await asyncio.sleep(0.01)
        theirs.close()
        with pytest.raises(BusClosed):
            await waiting
        await near.closed.wait()
        with pytest.raises(BusClosed):
            await near.call("anything", {})
        with pytest.raises(BusClosed):
            near.notify("anything", {})


async def test_a_peer_that_does_not_read_is_given_up() -> None:
    async with stranger(BusLimits(unread=LINE_LIMIT)) as (near, _):
        for _ in range(3):
            near.notify("n", {"text": "x" * 500_000})
        await asyncio.wait_for(near.closed.wait(), 5)
        with pytest.raises(BusClosed):
            near.notify("n", {})


@given(st.binary(min_size=1, max_size=300))
@settings(max_examples=40, deadline=None)
async def test_arbitrary_bytes_end_the_bus_or_are_ignored(data: bytes) -> None:
    async with stranger() as (near, theirs):
        waiting = asyncio.create_task(near.call("anything", {}))
        await asyncio.sleep(0)
        theirs.send(data + b"\n")
        theirs.close()
        with pytest.raises((BusClosed, CallFailed)):
            await waiting
