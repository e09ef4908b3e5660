"""The data processes: started, watched, told and asked by the control process.

1. Each is started by exec with the listening sockets and one end of a bus; it dies with its parent.
2. One that dies is written off first (`lost` recovers what it left), then started again, after a pause that grows
   while it keeps dying.
3. What must reach all is sent to all; one that does not answer in time is killed: it would go on deciding by what is
   no longer true.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import structlog

from vestibule.bus import BusError, Handler, Peer, connect
from vestibule.wire.jsonrpc import Json, Params

log = structlog.get_logger(__name__)

#: Seconds that a data process may take to say hello, and to end by itself.
HELLO_TIME: Final = 30.0
END_TIME: Final = 15.0
#: One that served for less than this has died of itself, and the next pause is longer.
SHORT_LIFE: Final = 1.0
_PAUSES: Final = (0.1, 0.5, 2.0, 5.0)


@dataclass(frozen=True, slots=True)
class Launch:
    """How a data process is started: the command, given its number and the descriptors that it inherits."""

    command: Callable[[int, int, Sequence[int]], Sequence[str]]
    listening: Sequence[socket.socket]


@dataclass(slots=True)
class _Worker:
    number: int
    process: asyncio.subprocess.Process
    peer: Peer
    is_ready: asyncio.Event


class Workers:
    """All data processes of this node."""

    def __init__(
        self,
        launch: Launch,
        handlers: Callable[[int], Mapping[str, Handler]],
        lost: Callable[[int], Awaitable[None]],
        patience: float = 10.0,
    ) -> None:
        """Start with none; `handlers` serve what each asks, `lost` cleans up after one that died.

        One that has not answered after `patience` seconds is killed.
        """
        self._patience = patience
        self._launch, self._handlers, self._lost = launch, handlers, lost
        self._workers: dict[int, _Worker] = {}
        self._keepers: dict[int, asyncio.Task[None]] = {}
        self._ending = asyncio.Event()
        self._count = 0

    async def start(self, count: int) -> None:
        """Start `count` data processes and wait until each serves."""
        self._count = count
        for number in range(count):
            worker = await self._begin(number)
            await self._hello(worker)
            self._keepers[number] = asyncio.create_task(self._keep(worker))

    @property
    def are_ready(self) -> bool:
        """Whether every data process serves."""
        return bool(self._workers) and all(worker.is_ready.is_set() for worker in self._workers.values())

    async def tell(self, method: str, params: Params) -> list[Json]:
        """Call `method` in every data process; one that does not answer is killed."""
        workers = list(self._workers.values())
        return list(await asyncio.gather(*(self._tell(each, method, params) for each in workers)))

    async def ask(self, method: str, params: Params, patience: float = 2.0) -> dict[int, Json]:
        """Call `method` in every data process that there is to be; None from one that does not serve or answer."""
        answers = await asyncio.gather(*(self._ask(number, method, params, patience) for number in range(self._count)))
        return dict(enumerate(answers))

    async def _ask(self, number: int, method: str, params: Params, patience: float) -> Json:
        worker = self._workers.get(number)
        if worker is None or not worker.is_ready.is_set():
            return None
        try:
            return await worker.peer.call(method, params, patience)
        except BusError:
            return None

    def inform(self, number: int, method: str, params: Params) -> None:
        """Notify one data process; one that has gone has nobody left to be told."""
        worker = self._workers.get(number)
        if worker is not None:
            with contextlib.suppress(BusError):
                worker.peer.notify(method, params)

    async def _tell(self, worker: _Worker, method: str, params: Params) -> Json:
        try:
            return await worker.peer.call(method, params, self._patience)
        except BusError as error:
            log.error("data_process_does_not_answer", worker=worker.number, method=method, error=str(error))
            _kill(worker.process)
            return None

    async def drain(self, deadline: float) -> None:
        """Let every session come to rest and end within `deadline` seconds; called again, a shorter one holds."""
        self._ending.set()
        await asyncio.gather(*(self._drain(worker, deadline) for worker in list(self._workers.values())))

    async def _drain(self, worker: _Worker, deadline: float) -> None:
        with contextlib.suppress(BusError):
            await worker.peer.call("drain", {"deadline": deadline}, deadline + END_TIME)

    async def stop(self, deadline: float) -> None:
        """Let every data process end its sessions within `deadline` seconds, then end it."""
        await self.drain(deadline)
        while keepers := [keeper for keeper in self._keepers.values() if not keeper.done()]:
            for worker in list(self._workers.values()):
                await self._end(worker)
            # One that is being started again at this moment is there a moment later.
            await asyncio.wait(keepers, timeout=_PAUSES[0])
        await asyncio.gather(*self._keepers.values())

    async def _end(self, worker: _Worker) -> None:
        with contextlib.suppress(ProcessLookupError):
            worker.process.terminate()
        try:
            async with asyncio.timeout(END_TIME):
                await worker.process.wait()
        except TimeoutError:
            log.error("data_process_does_not_end", worker=worker.number)
            _kill(worker.process)

    # --- one data process --------------------------------------------------------------------------------------------

    async def _begin(self, number: int) -> _Worker:
        ours, theirs = socket.socketpair()
        descriptors = [listening.fileno() for listening in self._launch.listening]
        command = self._launch.command(number, theirs.fileno(), descriptors)
        process = await asyncio.create_subprocess_exec(
            *command, stdin=asyncio.subprocess.DEVNULL, pass_fds=(theirs.fileno(), *descriptors)
        )
        theirs.close()
        worker = _Worker(number, process, Peer(), asyncio.Event())
        for method, handler in self._handlers(number).items():
            worker.peer.on(method, handler)
        worker.peer.on("ready", lambda _: worker.is_ready.set())
        await connect(ours, worker.peer)
        self._workers[number] = worker
        return worker

    async def _hello(self, worker: _Worker) -> None:
        ready = asyncio.create_task(worker.is_ready.wait())
        ended = asyncio.create_task(worker.process.wait())
        try:
            done, _ = await asyncio.wait((ready, ended), timeout=HELLO_TIME, return_when=asyncio.FIRST_COMPLETED)
        finally:
            ready.cancel()
            ended.cancel()
        if ready not in done:
            _kill(worker.process)
            await worker.process.wait()
            worker.peer.close()
            self._workers.pop(worker.number, None)
            raise WorkerFailed(f"data process {worker.number} did not start; its own messages say why")

    async def _keep(self, worker: _Worker | None) -> None:
        """Start a data process again whenever it ends."""
        fast = 0
        while worker is not None:
            began = asyncio.get_running_loop().time()
            status = await worker.process.wait()
            worker.peer.close()
            self._workers.pop(worker.number, None)
            if self._ending.is_set():
                return
            log.error("data_process_ended", worker=worker.number, status=status)
            fast = fast + 1 if asyncio.get_running_loop().time() - began < SHORT_LIFE else 0
            await self._pause(_PAUSES[min(fast, len(_PAUSES) - 1)])
            worker = await self._again(worker.number)

    async def _again(self, number: int) -> _Worker | None:
        while not self._ending.is_set():
            try:
                await self._lost(number)
                worker = await self._begin(number)
                await self._hello(worker)
                log.info("data_process_started_again", worker=number)
                return worker
            except Exception as error:  # noqa: BLE001 - the gateway keeps trying: without it nobody gets in
                log.error("data_process_does_not_start", worker=number, error=str(error))
                self._workers.pop(number, None)
                await self._pause(_PAUSES[-1])
        return None

    async def _pause(self, seconds: float) -> None:
        """Wait before another try, but not when all is to end."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._ending.wait()


class WorkerFailed(Exception):
    """A data process did not begin to serve."""


def _kill(process: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.kill()
