"""Analysis of large texts, in a process that may die of them.

1. One long-lived parser process; one text after another, first come, first served. A conversation asks for one at a
   time, so none can keep the others out.
2. A text that ends the process, or takes longer than its time, is refused with 54001. The next one gets a new process.
3. What waits is bounded, in bytes and in time; beyond that a text is refused with 54000.
4. Small texts are analysed where they arrive, and need a stack for it: without one the process does not start.
"""

from __future__ import annotations

import asyncio
import os
import resource
import sys
from asyncio.subprocess import PIPE, Process
from typing import Final

import structlog

from vestibule.analysis.sql import parser
from vestibule.gate import exchange
from vestibule.gate.reading import Knowledge
from vestibule.model.errors import ConfigurationError
from vestibule.model.statement import Parsed, Unknown, Unsupported
from vestibule.server import parser_child
from vestibule.server.parser_child import HEADER, KNOWLEDGE, READY, TEXT

log = structlog.get_logger(__name__)

MEMORY: Final = 1536 << 20
SECONDS: Final = 10
STARTING: Final = 30
PATIENCE: Final = 60
WAITING: Final = 64 << 20

#: What of the environment a Python needs to start; all else may hold secrets.
_ENVIRONMENT: Final = ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH", "LANG", "LC_ALL")

_PARTS: Final = "Send it in parts, or load rows with COPY ... FROM STDIN."
_TOO_MUCH: Final = Unsupported(
    "54001", "vestibule: the statement could not be understood within the limits of time and memory", _PARTS
)
_BUSY: Final = Unsupported("54000", "vestibule: too many large statements wait to be understood", "Try again.")


def _require_stack() -> None:
    """Refuse to run where a small text could overflow the stack of the main thread."""
    limit, _ = resource.getrlimit(resource.RLIMIT_STACK)
    if limit != resource.RLIM_INFINITY and limit < parser.STACK:
        raise ConfigurationError(
            f"the stack may have {limit >> 10} KiB, which a hostile statement can overflow; "
            f"start vestibule with a limit of at least {parser.STACK >> 10} KiB (ulimit -s 8192)"
        )


class ParserProcess:
    """Analyses texts in a process of its own."""

    def __init__(
        self, *, seconds: int = SECONDS, memory: int = MEMORY, patience: float = PATIENCE, waiting: int = WAITING
    ) -> None:
        """Allow each text `seconds`, the process `memory` bytes, the queue `waiting` bytes and `patience` seconds."""
        _require_stack()
        self._seconds, self._memory, self._patience, self._limit = seconds, memory, patience, waiting
        self._turn = asyncio.Lock()
        self._waiting = 0
        self._process: Process | None = None
        self._version: str | None = None

    async def analyse(self, text: bytes, knowledge: Knowledge) -> Parsed | Unsupported | Unknown:
        """Say what `text` does, or why it never travels."""
        problem = parser.refuse(text)
        if problem is not None:
            return problem
        if self._waiting + len(text) > self._limit:
            return _BUSY
        self._waiting += len(text)
        try:
            async with asyncio.timeout(self._patience):
                await self._turn.acquire()
        except TimeoutError:
            return _BUSY
        finally:
            self._waiting -= len(text)
        try:
            return await self._ask(text, knowledge)
        finally:
            self._turn.release()

    async def close(self) -> None:
        """End the process."""
        async with self._turn:
            await self._end()

    async def _ask(self, text: bytes, knowledge: Knowledge) -> Parsed | Unsupported | Unknown:
        """Ask the process, and end it unless it answers: what it would say later is nobody's answer."""
        is_answered = False
        try:
            if self._process is None or self._process.returncode is not None:
                async with asyncio.timeout(STARTING):
                    await self._start()
            async with asyncio.timeout(self._seconds):
                answer = await self._exchange(text, knowledge)
            is_answered = True
            return answer
        except (OSError, EOFError, exchange.Garbled, TimeoutError) as error:
            log.warning("parser_process_ended", cause=type(error).__name__, text_bytes=len(text))
            return _TOO_MUCH
        finally:
            if not is_answered:
                await self._end()

    async def _exchange(self, text: bytes, knowledge: Knowledge) -> Parsed | Unsupported | Unknown:
        source, sink = self._pipes()
        if self._version != knowledge.version:
            data = exchange.encode_knowledge(knowledge)
            sink.writelines((HEADER.pack(len(data), KNOWLEDGE), data))
            self._version = knowledge.version
        sink.writelines((HEADER.pack(len(text), TEXT), text))
        await sink.drain()
        length, _ = HEADER.unpack(await source.readexactly(HEADER.size))
        if length > exchange.FRAME:
            raise exchange.Garbled("an answer larger than a frame")
        return exchange.decode_answer(await source.readexactly(length))

    async def _start(self) -> None:
        """Start a process that has nothing of ours but its pipes, and wait until it is ready."""
        arguments = (os.getpid(), self._memory, self._seconds)
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", parser_child.__name__, *map(str, arguments)),
            stdin=PIPE,
            stdout=PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env={name: os.environ[name] for name in _ENVIRONMENT if name in os.environ},
        )
        self._version = None
        source, _ = self._pipes()
        if await source.readexactly(HEADER.size) != HEADER.pack(0, READY):
            raise exchange.Garbled("a process that does not say that it is ready")

    def _pipes(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Give what the process says, and where it listens."""
        process = self._process
        if process is None or process.stdout is None or process.stdin is None:
            raise EOFError
        return process.stdout, process.stdin

    async def _end(self) -> None:
        process, self._process = self._process, None
        if process is not None and process.returncode is None:
            process.kill()
        if process is not None:
            await process.wait()
