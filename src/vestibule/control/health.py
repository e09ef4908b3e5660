"""Whether this gateway can take new sessions, and if not, what is wrong, in words for operators.

1. The words name no person, quote nothing that somebody sent, and hold no secret: nobody signs in to read them.
2. Data processes are asked at most once in `LOOK_EVERY` seconds, however many people and balancers look.
3. A data process that does not answer does not serve. It is not killed for that: looking changes nothing.
4. A gateway that was told to stop is not ready from that moment on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from vestibule.wire.jsonrpc import Json

LOOK_EVERY: Final = 1.0

STOPPING: Final = "the gateway is stopping; open new sessions elsewhere"
NO_ROOM: Final = (
    "the control process's journal admits no session: its volume has less room than journal.min_free, or it cannot be "
    "written; look at the volume and at the log's journal_full and journal_down"
)
STOPPED_LOG: Final = (
    "the evidence log does not continue what was published, and nothing is signed until a person has decided; "
    "the log's log_stopped says what was found"
)


class Journal(Protocol):
    """The control process's own journal."""

    @property
    def admits_sessions(self) -> bool:
        """Whether there is room enough for new sessions."""
        ...


class Log(Protocol):
    """The evidence log."""

    @property
    def rolled_back(self) -> str | None:
        """Why nothing is integrated or signed; None while it is."""
        ...


@dataclass(frozen=True, slots=True)
class Watched:
    """What is looked at: `ask` gives every data process's state by its number, None from one that does not answer.

    `policy` is the digest of the policy in force.
    """

    journal: Journal
    log: Log
    ask: Callable[[], Awaitable[Mapping[int, Json]]]
    policy: Callable[[], str]


class Readiness:
    """Says what stands in the way of new sessions."""

    def __init__(self, watched: Watched) -> None:
        """Look at `watched` when somebody asks."""
        self._watched = watched
        self._lock = asyncio.Lock()
        self._known: tuple[str, ...] = ()
        self._until = 0.0
        self._is_stopping = False

    def stop(self) -> None:
        """Be not ready from now on: the gateway stops, and new sessions belong elsewhere."""
        self._is_stopping = True

    async def problems(self) -> tuple[str, ...]:
        """Say what is wrong; nothing if new sessions are let in."""
        if self._is_stopping:
            return (STOPPING,)
        loop = asyncio.get_running_loop()
        async with self._lock:
            if loop.time() >= self._until:
                self._known = tuple(self._own()) + tuple(_of_data_processes(await self._reports(), self._policy()))
                self._until = loop.time() + LOOK_EVERY
            return (STOPPING,) if self._is_stopping else self._known

    def _own(self) -> Iterator[str]:
        if not self._watched.journal.admits_sessions:
            yield NO_ROOM
        if self._watched.log.rolled_back is not None:
            yield STOPPED_LOG

    async def _reports(self) -> Mapping[int, Json]:
        return await self._watched.ask()

    def _policy(self) -> str:
        return self._watched.policy()


def _of_data_processes(reports: Mapping[int, Json], policy: str) -> Iterator[str]:
    for number, report in sorted(reports.items()):
        who = f"data process {number}"
        if not isinstance(report, Mapping):
            yield f"{who} does not serve: it is being started, or does not answer"
            continue
        if report.get("draining") is True:
            yield f"{who} accepts nobody more: it was told to end its sessions"
        if report.get("admits_sessions") is not True:
            yield (
                f"{who} admits no session: its journal or its spool has no room or cannot be written; "
                "look at the volume and at the log's journal_full, journal_down and recording_fault"
            )
        if report.get("policy") != policy:
            yield f"{who} does not decide by the policy in force yet"
