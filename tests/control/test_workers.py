"""Data processes are watched: real child processes, killed for real."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from vestibule.control.workers import Launch, WorkerFailed, Workers

CHILD = """
import asyncio, os, socket, sys
from vestibule.bus import Peer, connect

async def main(number, bus):
    peer = Peer()
    peer.on("ping", lambda params: {"number": number, "pid": os.getpid()})
    peer.on("hang", lambda params: asyncio.sleep(60))
    peer.on("drain", lambda params: {})
    await connect(socket.socket(fileno=bus), peer)
    answer = await peer.call("hello", {"worker": number, "pid": os.getpid()})
    if answer.get("behave") == "die":
        raise SystemExit(7)
    peer.notify("ready", {"worker": number})
    await peer.closed.wait()

asyncio.run(main(int(sys.argv[1]), int(sys.argv[2])))
"""


class Node:
    """A node's workers, and what became of them."""

    def __init__(self, behave: str = "well") -> None:
        self.behave = behave
        self.lost: list[int] = []
        self.workers = Workers(Launch(self.command, []), lambda _: {"hello": self.hello}, self.clean_up, 1.0)

    def command(self, number: int, bus: int, _: Sequence[int]) -> Sequence[str]:
        return [sys.executable, "-c", CHILD, str(number), str(bus)]

    def hello(self, _: object) -> dict[str, str]:
        return {"behave": self.behave}

    async def clean_up(self, number: int) -> None:
        self.lost.append(number)

    async def pids(self) -> list[int]:
        answers = await self.workers.tell("ping", {})
        return [answer["pid"] for answer in answers if isinstance(answer, dict)]  # type: ignore[misc] - the child's own numbers

    async def pid_other_than(self, old: int) -> int:
        async with asyncio.timeout(20):
            while True:
                found = await self.pids()
                if found and found[0] != old and self.workers.are_ready:
                    return found[0]
                await asyncio.sleep(0.02)


@asynccontextmanager
async def running(count: int = 1) -> AsyncIterator[Node]:
    node = Node()
    await node.workers.start(count)
    try:
        yield node
    finally:
        await node.workers.stop(1.0)


def test_every_data_process_is_told() -> None:
    async def scene() -> list[int]:
        async with running(2) as node:
            assert node.workers.are_ready
            return await node.pids()

    assert len(set(asyncio.run(scene()))) == 2


def test_one_that_is_killed_is_cleaned_up_after_and_started_again() -> None:
    async def scene() -> tuple[list[int], bool]:
        async with running() as node:
            [first] = await node.pids()
            os.kill(first, signal.SIGKILL)
            await node.pid_other_than(first)
            return node.lost, node.workers.are_ready

    lost, ready = asyncio.run(scene())
    assert lost == [0]
    assert ready


def test_one_that_does_not_answer_is_killed() -> None:
    async def scene() -> list[int]:
        async with running() as node:
            [first] = await node.pids()
            assert await node.workers.tell("hang", {}) == [None]
            await node.pid_other_than(first)
            return node.lost

    assert asyncio.run(scene()) == [0]


def test_one_that_does_not_start_is_an_error_and_not_a_wait() -> None:
    async def scene() -> None:
        await Node("die").workers.start(1)

    with pytest.raises(WorkerFailed, match="did not start"):
        asyncio.run(scene())


def test_all_end_when_the_node_stops() -> None:
    async def scene() -> int:
        async with running() as node:
            [pid] = await node.pids()
        return pid

    assert not Path(f"/proc/{asyncio.run(scene())}").exists()


@pytest.mark.asyncio
async def test_one_data_process_is_informed_and_one_that_has_gone_is_no_fault() -> None:
    async with running(2) as node:
        told: list[object] = []
        for number, worker in node.workers._workers.items():
            worker.peer.notify = lambda method, params, number=number: told.append((number, method, params))  # type: ignore[method-assign]
        node.workers.inform(1, "answered", {"answer": "granted"})
        node.workers.inform(7, "answered", {})
        assert told == [(1, "answered", {"answer": "granted"})]


def test_asking_kills_nobody_and_says_who_does_not_answer() -> None:
    async def scene() -> tuple[dict[int, object], dict[int, object], list[int], list[int]]:
        async with running(2) as node:
            before = await node.pids()
            hung = await node.workers.ask("hang", {}, 0.05)
            answered = await node.workers.ask("ping", {})
            return hung, {number: bool(answer) for number, answer in answered.items()}, before, await node.pids()

    hung, answered, before, after = asyncio.run(scene())
    assert hung == {0: None, 1: None}
    assert answered == {0: True, 1: True}
    assert before == after


def test_one_that_is_gone_is_asked_for_all_the_same() -> None:
    async def scene() -> dict[int, object]:
        async with running(2) as node:
            node.workers._workers.pop(1).process.kill()
            return await node.workers.ask("ping", {})

    answers = asyncio.run(scene())
    assert answers[0]
    assert answers[1] is None


@pytest.mark.parametrize("seconds", [0.0, 0.02, 0.11, 0.15, 0.2, 0.3])
def test_one_that_is_being_started_again_ends_with_the_others(seconds: float) -> None:
    async def scene() -> set[int]:
        before = children()
        async with running() as node:
            os.kill((await node.pids())[0], signal.SIGKILL)
            await asyncio.sleep(seconds)
        return children() - before

    assert asyncio.run(asyncio.wait_for(scene(), 20)) == set()


def children() -> set[int]:
    tasks = Path("/proc/self/task").glob("*/children")
    return {int(pid) for task in tasks for pid in task.read_text().split()}
