"""Processes that try inputs, and whoever watches them: an exception is told, a crash or a hang costs one process.

1. Each process works through its blocks and tells by a pipe what it found and how far it is.
2. Where it is stands in memory that is shared, so a process that dies or hangs in C is known to have died of one input;
   another one goes on behind that.
3. Time is the process's own, so that a busy machine makes no hang.
"""

from __future__ import annotations

import json
import os
import resource
import selectors
import signal
import struct
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from mmap import mmap
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Final, Self

#: Processor time that one input may take, in Python and, where only a watcher can tell, in C.
SECONDS: Final = 4.0
SECONDS_IN_C: Final = 20.0
#: Memory that a process may take beyond what it begins with.
MEMORY: Final = 1 << 30

_TICK: Final = 0.5
_PLACE: Final = struct.Struct("=QQ")
_OURS: Final = ("/src/vestibule/", "/tests/fuzz/readers/")

Read = Callable[[bytes], bool]
Block = Callable[[str, int], Iterator[bytes]]


class Hung(BaseException):
    """One input has taken too long; nothing that reads it may catch this."""


@dataclass(frozen=True, slots=True)
class Unit:
    """Inputs `start` to before `stop` of a block of a reader."""

    name: str
    block: int
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class Found:
    """An input that ended in something undefined: `what` names the defect, the same for all inputs that show it."""

    name: str
    index: int
    what: str
    words: str

    def __str__(self) -> str:
        """Write it for people."""
        return f"{self.name}:{self.index} {self.what}: {self.words}"


@dataclass(frozen=True, slots=True)
class Tried:
    """So many inputs of a reader are done."""

    name: str
    tried: int
    accepted: int


@dataclass(slots=True)
class _Process:
    pid: int
    pipe: int
    units: Sequence[Unit]
    shared: mmap
    unread: bytes = b""
    place: bytes = b""
    #: Its processor time when it was last seen to move.
    moved_at: float = 0.0
    done: int = 0


class Crew:
    """Tries inputs in processes of its own."""

    def __init__(self, reads: Mapping[str, Read], block: Block, size: int) -> None:
        """Know what reads, what makes the inputs of a block, and how many that are."""
        self._reads, self._block, self._size = reads, block, size
        self._processes: dict[int, _Process] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in self._processes.values():
            os.kill(process.pid, signal.SIGKILL)
            os.waitpid(process.pid, 0)
            os.close(process.pipe)
        self._processes.clear()

    def work(self, units: Sequence[Unit], processes: int) -> Iterator[Found | Tried]:
        """Do all of it; give what is found, and what is done."""
        with selectors.DefaultSelector() as selector:
            for number in range(processes):
                self._start(selector, units[number::processes])
            while self._processes:
                for key, _ in selector.select(timeout=1.0):
                    yield from self._hear(selector, self._processes[key.fd])
                for process in list(self._processes.values()):
                    self._watch(process)

    def _start(self, selector: selectors.BaseSelector, units: Sequence[Unit]) -> None:
        if not units:
            return
        pipe, end = os.pipe()
        shared = mmap(-1, _PLACE.size)
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                os.close(pipe)
                _Labour(self._reads, self._block, self._size, shared, end).go(units)
                status = 0
            except KeyboardInterrupt:
                pass
            except BaseException:  # noqa: BLE001 - told, and then the process ends
                traceback.print_exc()
            finally:
                os._exit(status)
        os.close(end)
        self._processes[pipe] = _Process(pid, pipe, units, shared)
        selector.register(pipe, selectors.EVENT_READ)

    def _hear(self, selector: selectors.BaseSelector, process: _Process) -> Iterator[Found | Tried]:
        data = os.read(process.pipe, 1 << 16)
        *lines, process.unread = (process.unread + data).split(b"\n")
        for line in lines:
            news = json.loads(line)
            if "what" in news:
                yield Found(**news)
            else:
                process.done += 1
                yield Tried(**news)
        if data:
            return
        selector.unregister(process.pipe)
        os.close(process.pipe)
        del self._processes[process.pipe]
        _, status = os.waitpid(process.pid, 0)
        if status:
            yield from self._bury(selector, process, status)

    def _bury(self, selector: selectors.BaseSelector, process: _Process, status: int) -> Iterator[Found | Tried]:
        """Say what a process died of, and let another one go on behind that input."""
        if not os.WIFSIGNALED(status):
            raise RuntimeError(f"a process of the fuzzer itself has failed: status {status}")
        number, at = _PLACE.unpack(process.shared[:])
        unit = process.units[number]
        words = signal.strsignal(os.WTERMSIG(status)) or "a signal"
        yield Found(unit.name, unit.block * self._size + at, f"{unit.name} ended the process", words)
        yield Tried(unit.name, at + 1 - unit.start, 0)
        rest = [replace(unit, start=at + 1)] if at + 1 < unit.stop else []
        self._start(selector, [*rest, *process.units[number + 1 :]])

    def _watch(self, process: _Process) -> None:
        """End a process that does not move although it works: Python cannot interrupt what hangs in C."""
        place, spent = process.shared[:], _spent(process.pid)
        if place != process.place:
            process.place, process.moved_at = place, spent
        elif spent - process.moved_at > SECONDS_IN_C:
            os.kill(process.pid, signal.SIGKILL)
            process.moved_at = spent


def _spent(pid: int) -> float:
    """Give the processor time of a process."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class _Labour:
    """What one process does."""

    def __init__(self, reads: Mapping[str, Read], block: Block, size: int, shared: mmap, pipe: int) -> None:
        self._reads, self._block, self._size, self._shared, self._pipe = reads, block, size, shared, pipe
        self._seen, self._ticks = b"", 0

    def go(self, units: Sequence[Unit]) -> None:
        """Do all units."""
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        most = pages * resource.getpagesize() + MEMORY
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        signal.signal(signal.SIGPROF, self._tick)
        signal.setitimer(signal.ITIMER_PROF, _TICK, _TICK)
        for number, unit in enumerate(units):
            accepted = self._do(number, unit)
            self._tell({"name": unit.name, "tried": unit.stop - unit.start, "accepted": accepted})

    def _do(self, number: int, unit: Unit) -> int:
        made, read, accepted = self._block(unit.name, unit.block), self._reads[unit.name], 0
        for _ in range(unit.start):
            next(made)
        for at in range(unit.start, unit.stop):
            data = next(made)
            _PLACE.pack_into(self._shared, 0, number, at)
            try:
                accepted += read(data)
            except KeyboardInterrupt:
                raise
            except BaseException as error:  # noqa: BLE001 - whatever a reader lets out is what is looked for
                what = f"{type(error).__name__} at {_place_of(error)}"
                index = unit.block * self._size + at
                self._tell({"name": unit.name, "index": index, "what": what, "words": str(error)[:300]})
        return accepted

    def _tick(self, signal_number: int, frame: FrameType | None) -> None:
        place = self._shared[:]
        self._ticks = self._ticks + 1 if place == self._seen else 0
        self._seen = place
        if self._ticks * _TICK >= SECONDS:
            self._ticks = 0
            raise Hung(f"more than {SECONDS:g} s for one input")

    def _tell(self, news: dict[str, Any]) -> None:
        data = json.dumps(news).encode() + b"\n"
        while data:
            data = data[os.write(self._pipe, data) :]


def _place_of(error: BaseException) -> str:
    """Name the line of ours in which an exception was raised; of endless recursion that is no help."""
    frames = traceback.extract_tb(error.__traceback__, limit=-60)
    ours = [frame for frame in frames if any(part in frame.filename for part in _OURS)] or frames
    last = ours[-1]
    return f"{last.filename.rpartition('/src/')[2].rpartition('/tests/')[2]}:{last.lineno}"
