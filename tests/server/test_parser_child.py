from __future__ import annotations

import io
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.support.texts import deep
from vestibule.analysis.sql.analyse import analyse
from vestibule.analysis.sql.catalog import Catalog
from vestibule.gate import exchange
from vestibule.gate.reading import Knowledge
from vestibule.model.statement import Parsed, Unknown, Unsupported
from vestibule.server.parser_child import HEADER, KNOWLEDGE, READY, TEXT, serve

MEMORY = 1536 << 20
LIMITS = """
import json, os, resource, sys, threading
from vestibule.server import parser_child
parser_child.confine(os.getppid(), int(sys.argv[1]))
parser_child.allow(7)
names = ("RLIMIT_CORE", "RLIMIT_FSIZE", "RLIMIT_NOFILE", "RLIMIT_AS", "RLIMIT_CPU")
print(json.dumps({name: resource.getrlimit(getattr(resource, name))[0] for name in names}))
"""


def frame(kind: int, payload: bytes) -> bytes:
    return HEADER.pack(len(payload), kind) + payload


def answers(data: bytes) -> Iterator[Parsed | Unsupported | Unknown]:
    assert data.startswith(frame(READY, b""))
    data = data[HEADER.size :]
    while data:
        length, kind = HEADER.unpack_from(data)
        assert kind == TEXT
        yield exchange.decode_answer(data[HEADER.size : HEADER.size + length])
        data = data[HEADER.size + length :]


def ask(*frames: bytes, seconds: int = 10) -> list[Parsed | Unsupported | Unknown]:
    """Run the process over these frames and give all it answered before it ended."""
    arguments = [str(os.getpid()), str(MEMORY), str(seconds)]
    process = subprocess.run(
        [sys.executable, "-m", "vestibule.server.parser_child", *arguments],
        input=b"".join(frames),
        capture_output=True,
        timeout=60,
        check=False,
    )
    return list(answers(process.stdout))


@pytest.fixture
def unlimited() -> Iterator[None]:
    """Serving in this process limits its processor time; take that back."""
    before = resource.getrlimit(resource.RLIMIT_CPU)
    yield
    resource.setrlimit(resource.RLIMIT_CPU, before)


@pytest.mark.usefixtures("unlimited")
def test_texts_are_answered_in_order_each_by_the_knowledge_before_it() -> None:
    own = Catalog(user_functions=frozenset({"lower"}), version="1")
    text = b"SELECT lower('x')"
    sink = io.BytesIO()

    serve(
        io.BytesIO(frame(TEXT, text) + frame(KNOWLEDGE, exchange.encode_knowledge(Knowledge(own))) + frame(TEXT, text)),
        sink,
        10_000,
    )

    assert list(answers(sink.getvalue())) == [analyse(text, Catalog()), analyse(text, own)]


@pytest.mark.usefixtures("unlimited")
@pytest.mark.parametrize("data", [b"", b"\0", b"\0\0\0\x09"])
def test_it_stops_when_its_input_ends(data: bytes) -> None:
    sink = io.BytesIO()

    serve(io.BytesIO(data), sink, 10_000)

    assert sink.getvalue() == frame(READY, b"")


def test_a_chain_that_would_overflow_an_ordinary_stack_is_refused_and_the_process_goes_on() -> None:
    chain, last = ask(frame(TEXT, deep("plus", 160_000)), frame(TEXT, b"SELECT 1"))

    assert isinstance(chain, Unsupported)
    assert chain.code == "54001"
    assert isinstance(last, Parsed)


def test_texts_that_take_more_than_their_processor_time_end_the_process() -> None:
    # No time beyond the second that has begun, and four texts that take about a second each.
    slow = [frame(TEXT, deep("order", 1_500_000))] * 4

    assert len(ask(frame(TEXT, b"SELECT 1"), *slow, frame(TEXT, b"SELECT 1"), seconds=0)) < 6


def test_it_can_write_no_file_and_no_core_and_take_no_more_than_its_memory() -> None:
    program = subprocess.run(
        [sys.executable, "-c", LIMITS, str(MEMORY)], capture_output=True, text=True, check=True, timeout=30
    )

    assert '"RLIMIT_CORE": 0, "RLIMIT_FSIZE": 0, "RLIMIT_NOFILE": 16, "RLIMIT_AS": 1610612736' in program.stdout
    assert '"RLIMIT_CPU": 8' in program.stdout or '"RLIMIT_CPU": 9' in program.stdout


def test_it_does_not_start_for_a_parent_that_is_gone() -> None:
    arguments = ["1", str(MEMORY), "1"]

    process = subprocess.run(
        [sys.executable, "-m", "vestibule.server.parser_child", *arguments],
        input=frame(TEXT, b"SELECT 1"),
        capture_output=True,
        timeout=30,
        check=False,
    )

    assert process.returncode not in (0, -signal.SIGKILL)
    assert process.stdout == b""
