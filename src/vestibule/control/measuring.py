"""All metrics of a gateway: what its processes say of themselves, summed, and what only the control process knows.

1. Data processes are asked, not waited for: one that does not answer keeps its last counts, and its gauges are gone.
2. They are asked every `LOOK_EVERY` seconds, even if nobody scrapes: what one counts between the last look and its
   death is lost, and no more than that.
3. The wall clock is held against the monotonic one: a difference that jumps by more than `STEP` seconds is a step.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

import structlog
from cryptography import x509

from vestibule.metrics import Key, Snapshot, Sums, Tally, from_json
from vestibule.model.record import Record
from vestibule.wire.jsonrpc import Json

log = structlog.get_logger(__name__)

LOOK_EVERY: Final = 10.0
STEP: Final = 1.0


class Journal(Protocol):
    """Where the control process's records go."""

    def append(self, records: Sequence[Record], done: Callable[..., None] | None = None) -> object:
        """Queue records."""
        ...


class Noticing:
    """A journal that counts sign-ins on their way."""

    def __init__(self, journal: Journal, tally: Tally) -> None:
        """Hand everything to `journal`."""
        self._journal, self._tally = journal, tally

    def append(self, records: Sequence[Record], done: Callable[..., None] | None = None) -> object:
        """Queue records."""
        for record in records:
            self._note(record)
        return self._journal.append(records, done)

    def _note(self, record: Record) -> None:
        members = record.members
        match members.get("event"):
            case "login_ok":
                self._tally.add("vestibule_sign_ins_total", ("ok",))
            case "login_failed":
                count = members.get("count", 1)
                by = count if isinstance(count, int) else 1
                self._tally.add("vestibule_sign_ins_total", (str(members.get("failure", "")),), by)
            case _:
                pass


#: Gives every data process's snapshot by its number; None from one that does not answer.
Ask = Callable[[], Awaitable[Mapping[int, Json]]]
#: What the control process knows of itself now: its counts and gauges.
Own = Callable[[], Awaitable[Snapshot]]


@dataclass(frozen=True, slots=True)
class Look:
    """One look at everything."""

    summed: Snapshot
    answered: int
    asked: int


class Measuring:
    """Looks at all processes; `run` goes on looking."""

    def __init__(self, ask: Ask, own: Own) -> None:
        """Start at nothing."""
        self._ask, self._own = ask, own
        self._sums = Sums()
        self._lives: dict[int, str] = {}
        self._offset = time.time() - time.monotonic()
        #: What is counted in the control process.
        self.tally = Tally()

    async def run(self) -> None:
        """Look for ever."""
        while True:
            await asyncio.sleep(LOOK_EVERY)
            self.watch_clock()
            await self._look()

    async def snapshot(self) -> Snapshot:
        """Give all metrics as they are now."""
        gauges = await self._look()
        own, total, tally = await self._own(), self._sums.total(), self.tally.snapshot()
        return Snapshot(
            {**total.counts, **own.counts, **tally.counts},
            {**total.times, **own.times, **tally.times},
            {**gauges, **own.gauges},
        )

    async def _look(self) -> dict[Key, float]:
        gauges: dict[Key, float] = {}
        answers = await self._ask()
        for number, said in answers.items():
            try:
                life, snapshot = _read(said)
            except ValueError:
                if said is not None:
                    log.error("metrics_unreadable", worker=number)
                continue
            if self._lives.setdefault(number, life) != life:
                self._lives[number] = life
                self.tally.add("vestibule_data_process_restarts_total")
            self._sums.take(number, life, snapshot)
            for key, value in snapshot.gauges.items():
                gauges[key] = gauges.get(key, 0) + value
        answered = sum(said is not None for said in answers.values())
        gauges["vestibule_data_processes", ()] = len(answers)
        gauges["vestibule_data_processes_ready", ()] = answered
        return gauges

    def watch_clock(self) -> None:
        """Count, and say, that somebody has set the clock."""
        offset = time.time() - time.monotonic()
        if abs(offset - self._offset) > STEP:
            log.warning("clock_stepped", seconds=round(offset - self._offset, 3))
            self.tally.add("vestibule_clock_steps_total")
        self._offset = offset


def _read(said: Json) -> tuple[str, Snapshot]:
    if not isinstance(said, Mapping) or not isinstance(said.get("life"), str):
        raise ValueError("not the metrics of a data process")
    return str(said["life"]), from_json(said)


def expiry_of(certificate: Path) -> float | None:
    """Say in how many seconds a listener's certificate expires; None if the file cannot be read now."""
    try:
        leaf = x509.load_pem_x509_certificates(certificate.read_bytes())[0]
    except (OSError, ValueError, IndexError):
        return None
    return leaf.not_valid_after_utc.timestamp() - time.time()
