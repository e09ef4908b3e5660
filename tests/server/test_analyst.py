from __future__ import annotations

import asyncio
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.support.texts import deep
from vestibule.analysis.sql import parser
from vestibule.analysis.sql.analyse import analyse
from vestibule.analysis.sql.catalog import Catalog
from vestibule.gate.reading import Knowledge
from vestibule.model.errors import ConfigurationError
from vestibule.model.statement import Impact, Parsed, Unknown, Unsupported
from vestibule.server import analyst as module
from vestibule.server.analyst import ParserProcess

EMPTY = Knowledge(Catalog())
INSERT = b"INSERT INTO t VALUES " + b",".join(b"(%d, 'a text of some length', %d.5)" % (at, at) for at in range(25_000))

PARENT = """
import asyncio, sys
from vestibule.analysis.sql.catalog import Catalog
from vestibule.gate.reading import Knowledge
from vestibule.server.analyst import ParserProcess
async def main():
    process = ParserProcess()
    await process.analyse(b"SELECT 1", Knowledge(Catalog()))
    print(process._process.pid, flush=True)
    await asyncio.sleep(60)
asyncio.run(main())
"""


@pytest_asyncio.fixture
async def process() -> AsyncIterator[ParserProcess]:
    """A parser process that is ended whatever happens."""
    made = ParserProcess()
    yield made
    await made.close()


def pid(process: ParserProcess) -> int:
    assert process._process is not None
    return process._process.pid


def stop(number: int) -> None:
    """Stop a process, all its threads: the signal alone lets one of them go on for a while."""
    os.kill(number, signal.SIGSTOP)
    threads = Path(f"/proc/{number}/task")
    until = time.monotonic() + 10
    while any((each / "stat").read_text().rpartition(")")[2].split()[0] != "T" for each in threads.iterdir()):
        assert time.monotonic() < until
        time.sleep(0.001)


def refused(answer: Parsed | Unsupported | Unknown) -> str:
    assert isinstance(answer, Unsupported), answer
    return answer.code


def is_alive(number: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False


@pytest.mark.asyncio
async def test_a_large_insert_is_understood(process: ParserProcess) -> None:
    assert len(INSERT) > 1_000_000

    answer = await process.analyse(INSERT, EMPTY)

    assert isinstance(answer, Parsed)
    assert answer.statements[0].impact is Impact.WRITE
    assert answer.statements[0].end == len(INSERT)


@pytest.mark.asyncio
async def test_the_answer_is_the_one_that_analysis_gives_with_the_catalog(process: ParserProcess) -> None:
    own = Knowledge(Catalog(user_functions=frozenset({"lower"}), version="1"))
    text = b"SELECT lower('x') /* " + b"x" * 40_000 + b" */"

    for catalog in (EMPTY, own, own, EMPTY):
        assert await process.analyse(text, catalog) == analyse(text, catalog.catalog)


@pytest.mark.asyncio
async def test_a_chain_of_80_000_terms_is_refused_and_the_process_lives(process: ParserProcess) -> None:
    await process.analyse(b"SELECT 1", EMPTY)
    before = pid(process)

    assert refused(await process.analyse(deep("plus", 160_000), EMPTY)) == "54001"

    assert isinstance(await process.analyse(b"SELECT 1", EMPTY), Parsed)
    assert pid(process) == before


@pytest.mark.asyncio
async def test_a_text_of_more_than_two_mebibytes_starts_no_process(process: ParserProcess) -> None:
    assert refused(await process.analyse(b"x" * (parser.LARGEST + 1), EMPTY)) == "54000"
    assert refused(await process.analyse(b"SELECT 1\0", EMPTY)) == "22021"

    assert process._process is None


@pytest.mark.asyncio
async def test_a_text_that_needs_more_memory_than_there_is_is_refused_and_the_next_one_answered() -> None:
    process = ParserProcess(memory=500 << 20)
    try:
        assert refused(await process.analyse(deep("order", 1_000_000), EMPTY)) == "54001"
        assert isinstance(await process.analyse(b"SELECT 1", EMPTY), Parsed)
    finally:
        await process.close()


@pytest.mark.asyncio
async def test_a_text_that_takes_longer_than_its_time_is_refused_and_its_process_ended() -> None:
    process = ParserProcess(seconds=1)
    try:
        await process.analyse(b"SELECT 1", EMPTY)
        before = pid(process)
        stop(before)

        started = time.monotonic()
        assert refused(await process.analyse(b"SELECT 1", EMPTY)) == "54001"

        assert time.monotonic() - started < 5
        assert not is_alive(before)
        assert isinstance(await process.analyse(b"SELECT 1", EMPTY), Parsed)
    finally:
        await process.close()


@pytest.mark.asyncio
async def test_a_process_that_dies_is_a_refusal_and_the_next_text_gets_a_new_one(process: ParserProcess) -> None:
    await process.analyse(b"SELECT 1", EMPTY)
    before = pid(process)
    stop(before)
    asked = asyncio.create_task(process.analyse(b"SELECT 1", EMPTY))
    await asyncio.sleep(0.05)
    os.kill(before, signal.SIGKILL)

    assert refused(await asked) == "54001"
    assert isinstance(await process.analyse(b"SELECT 1", EMPTY), Parsed)
    assert pid(process) != before


@pytest.mark.asyncio
async def test_a_process_that_died_while_nobody_asked_is_replaced(process: ParserProcess) -> None:
    await process.analyse(b"SELECT 1", EMPTY)
    os.kill(pid(process), signal.SIGKILL)
    assert process._process is not None
    await process._process.wait()

    assert isinstance(await process.analyse(b"SELECT 1", EMPTY), Parsed)


@pytest.mark.asyncio
async def test_a_conversation_that_gives_up_does_not_leave_its_answer_to_another(process: ParserProcess) -> None:
    await process.analyse(b"SELECT 1", EMPTY)
    asked = asyncio.create_task(process.analyse(b"DELETE FROM t", EMPTY))
    await asyncio.sleep(0)
    asked.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asked

    answer = await process.analyse(b"SELECT 1", EMPTY)

    assert answer == analyse(b"SELECT 1", EMPTY.catalog)


@pytest.mark.asyncio
async def test_texts_are_answered_in_turn(process: ParserProcess) -> None:
    order: list[int] = []

    async def ask(number: int) -> None:
        answer = await process.analyse(b"SELECT %d" % number, EMPTY)
        assert isinstance(answer, Parsed)
        order.append(number)

    await asyncio.gather(*(ask(number) for number in range(20)))

    assert order == list(range(20))


@pytest.mark.asyncio
async def test_what_waits_is_bounded_in_bytes() -> None:
    process = ParserProcess(waiting=100_000)
    try:
        answers = await asyncio.gather(*(process.analyse(b"SELECT '" + b"x" * 40_000 + b"'", EMPTY) for _ in range(6)))
    finally:
        await process.close()

    codes = [answer.code if isinstance(answer, Unsupported) else "" for answer in answers]
    assert codes == ["", "", "", "54000", "54000", "54000"]  # one is answered, two wait


@pytest.mark.asyncio
async def test_what_waits_is_bounded_in_time() -> None:
    process = ParserProcess(seconds=2, patience=0.2)
    try:
        await process.analyse(b"SELECT 1", EMPTY)
        stop(pid(process))
        first = asyncio.create_task(process.analyse(b"SELECT 1", EMPTY))
        await asyncio.sleep(0.05)

        assert refused(await process.analyse(b"SELECT 1", EMPTY)) == "54000"
        assert refused(await first) == "54001"
    finally:
        await process.close()


@pytest.mark.asyncio
async def test_the_process_has_nothing_of_the_environment_that_may_be_secret(
    process: ParserProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[dict[str, str]] = []
    start = asyncio.create_subprocess_exec

    async def watch(*arguments: str, env: dict[str, str], **more: int) -> asyncio.subprocess.Process:
        started.append(env)
        return await start(*arguments, env=env, **more)

    monkeypatch.setenv("VAULT_TOKEN", "a secret")
    monkeypatch.setattr(asyncio, "create_subprocess_exec", watch)

    await process.analyse(b"SELECT 1", EMPTY)

    assert [set(environment) - set(module._ENVIRONMENT) for environment in started] == [set()]


@pytest.mark.asyncio
async def test_close_ends_the_process_and_may_be_called_twice(process: ParserProcess) -> None:
    await process.analyse(b"SELECT 1", EMPTY)
    before = pid(process)

    await process.close()
    await process.close()

    assert not is_alive(before)


def test_the_process_dies_with_its_parent_even_if_that_is_killed() -> None:
    parent = subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    with parent.stdout:
        child = int(parent.stdout.readline())
    assert is_alive(child)

    parent.kill()
    parent.wait()

    deadline = time.monotonic() + 10
    while is_alive(child) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not is_alive(child)


def test_a_process_without_enough_stack_for_small_texts_does_not_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda which: (1 << 20, 1 << 20))

    with pytest.raises(ConfigurationError, match="ulimit -s"):
        ParserProcess()


def test_it_works_under_uvloop_too() -> None:
    import uvloop

    async def ask() -> Parsed | Unsupported | Unknown:
        process = ParserProcess()
        try:
            return await process.analyse(INSERT, EMPTY)
        finally:
            await process.close()

    assert isinstance(uvloop.run(ask()), Parsed)
