"""How started programs are ended, with everything that they started; standard library only."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

#: The environment variable that marks whatever a run has started.
TAG = "VESTIBULE_SANDBOX"


def is_alive(pid: int) -> bool:
    """Tell whether `pid` runs (a zombie does not)."""
    return _state(pid) not in ("", "Z", "X")


def descendants(pid: int) -> list[int]:
    """List the processes below `pid`."""
    children: dict[int, list[int]] = {}
    for other in _all():
        children.setdefault(_parent(other), []).append(other)
    found: list[int] = []
    todo = [pid]
    while todo:
        below = children.get(todo.pop(), [])
        found += below
        todo += below
    return found


def tagged(tag: str) -> list[int]:
    """List the processes that carry `tag` in their environment: what a run started, also where its parent is gone."""
    wanted = f"{TAG}={tag}".encode()
    return [pid for pid in _all() if pid != os.getpid() and wanted in _environment(pid)]


def end(pid: int, first: signal.Signals = signal.SIGTERM, grace: float = 10.0) -> None:
    """Ask `pid` to end, and after `grace` seconds end it and everything below it."""
    family = {member: _birth(member) for member in (pid, *descendants(pid))}
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, first)
    wait_gone([pid], grace)
    # A number may meanwhile belong to somebody else's process: its birth tells.
    kill_all(member for member, birth in family.items() if _birth(member) == birth)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def kill_all(pids: Iterable[int]) -> None:
    """End processes at once."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def wait_gone(pids: Iterable[int], timeout: float) -> bool:
    """Wait until none of `pids` runs any more."""
    deadline = time.monotonic() + timeout
    left = [pid for pid in pids if is_alive(pid)]
    while left and time.monotonic() < deadline:
        time.sleep(0.02)
        left = [pid for pid in left if is_alive(pid)]
    return not left


def _all() -> Iterator[int]:
    return (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())


def _stat(pid: int) -> list[str]:
    # The name in brackets may hold anything, so the fields are those behind the last bracket.
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (OSError, UnicodeDecodeError):
        return []


def _state(pid: int) -> str:
    fields = _stat(pid)
    return fields[0] if fields else ""


def _birth(pid: int) -> str:
    fields = _stat(pid)
    return fields[19] if fields else "gone"


def _parent(pid: int) -> int:
    fields = _stat(pid)
    return int(fields[1]) if fields else 0


def _environment(pid: int) -> list[bytes]:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return []
