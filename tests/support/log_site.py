"""A data folder with the journals of two writers, a state database and an integrator that is started again at will."""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.support.evidence_records import conversation
from tests.support.journals import Clock, bodies, open_journal, stored, write_all
from tests.support.recordings import KEY, KEY_ID
from vestibule.control.integrator import Integrator, Settings
from vestibule.control.leftovers import Leftovers
from vestibule.control.recovery import Recovery
from vestibule.control.signer import FileSigner, Signer
from vestibule.evidence.checkpoint import Checkpoint, open_checkpoint
from vestibule.model.names import Instant
from vestibule.model.record import Kind, Record
from vestibule.stores.database import METADATA, open_database
from vestibule.stores.index import SessionIndex
from vestibule.stores.log import LogStore
from vestibule.stores.objects import Directory
from vestibule.stores.replays import ReplayIndex
from vestibule.stores.segments import Journal, Ticket
from vestibule.stores.unfinished import UnfinishedStore

ORIGIN = "vestibule.bank.example/log/1"
CONTROL = "n1.control"


class Site:
    """`journal` is the control process's own; `writers` are data processes."""

    def __init__(self, data: Path, clock: Callable[[], Instant] | None = None) -> None:
        """Use `data`; with `clock` all writers have one time."""
        self.data = data
        self.clock = clock or Clock()
        self._clocks: dict[str, Any] = {} if clock is None else {"clock": clock}
        self.writers: dict[str, Journal] = {}
        (data / "keys").mkdir(parents=True, exist_ok=True)
        self.journal = open_journal(
            data / "journal" / CONTROL,
            node=CONTROL,
            call=asyncio.get_running_loop().call_soon_threadsafe,
            **self._clocks,
        )

    def writer(self, node: str = "n1.w0") -> Journal:
        """Open the journal of a data process."""
        if node not in self.writers:
            self.writers[node] = open_journal(self.data / "journal" / node, node=node, **self._clocks)
        return self.writers[node]

    def stop_writer(self, node: str = "n1.w0") -> None:
        """Let a data process end."""
        self.writers.pop(node).close()

    def converse(self, number: int, statements: int = 3, node: str = "n1.w0") -> list[Ticket]:
        """Write a whole session."""
        return self.write(conversation(UUID(int=number), statements), node)

    def write(self, records: Sequence[Record], node: str = "n1.w0") -> list[Ticket]:
        """Write records, one append each."""
        tickets = write_all(self.writer(node), [[record] for record in records])
        assert [ticket.error for ticket in tickets] == [None] * len(tickets)
        return tickets

    @asynccontextmanager
    async def database(self) -> AsyncIterator[AsyncEngine]:
        """Open the state database."""
        engine = await open_database(self.data / "state.sqlite")
        try:
            yield engine
        finally:
            await engine.dispose()

    @asynccontextmanager
    async def integrator(self, signer: Signer | None = None, **settings: float) -> AsyncIterator[Integrator]:
        """Start an integrator; leaving it is a crash: nothing more is integrated or published."""
        async with self.database() as engine:
            made = self.integrator_on(engine, signer, **settings)
            await made.start()
            try:
                yield made
            finally:
                made._journals.close()

    def integrator_on(self, engine: AsyncEngine, signer: Signer | None = None, **settings: float) -> Integrator:
        """Make an integrator that is not started."""
        return Integrator(
            self.data, LogStore(engine), signer or self.signer(), self.journal, self.clock, Settings(**settings)
        )

    def recovery(self, engine: AsyncEngine, integrator: Integrator) -> Recovery:
        """Make a recovery."""
        leftovers = Leftovers(
            self.data / "spool", self.objects, self, ReplayIndex(engine), SessionIndex(engine), self.journal
        )
        return Recovery(self.data / "journal", integrator, UnfinishedStore(engine), leftovers, self.journal, self.clock)

    async def data_key(self, key_id: UUID) -> bytes | None:
        """Open the one data key that there is."""
        return KEY if key_id == KEY_ID else None

    @property
    def objects(self) -> Directory:
        """The object store."""
        return Directory(self.data / "objects")

    def signer(self) -> FileSigner:
        """Read the log's key."""
        return FileSigner(self.data / "keys", ORIGIN)

    def checkpoint(self) -> Checkpoint:
        """Read the published checkpoint, as a mirror would."""
        return open_checkpoint((self.data / "log" / "checkpoint").read_bytes(), self.signer().key)

    def files(self, under: str = "log") -> dict[str, str]:
        """Hash the files of a folder by path."""
        root = self.data / under
        return {
            str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in root.rglob("*")
            if path.is_file()
        }

    def delete_database(self) -> None:
        """Lose the state database."""
        for path in self.data.glob("state.sqlite*"):
            path.unlink()

    def copy_database(self, to: Path) -> None:
        """Make a backup."""
        to.mkdir(exist_ok=True)
        for path in self.data.glob("state.sqlite*"):
            shutil.copy2(path, to / path.name)

    def restore_database(self, of: Path) -> None:
        """Restore a backup."""
        self.delete_database()
        for path in of.iterdir():
            shutil.copy2(path, self.data / path.name)

    def verify(self) -> subprocess.CompletedProcess[str]:
        """Check the data folder as an outsider does."""
        program = Path(__file__).parents[2] / "src" / "vestibule" / "evidence" / "verify.py"
        return subprocess.run(
            [sys.executable, "-I", str(program), str(self.data)],
            capture_output=True,
            text=True,
            check=False,
            env={"PATH": os.environ["PATH"]},
        )

    def faults(self) -> list[tuple[str, str]]:
        """List the faults that the control process recorded: name and detail."""
        found = bodies(stored(self.data / "journal" / CONTROL), Kind.AUDIT_FAULT)
        return [(fault["fault"], fault["detail"]) for fault in found]

    def close(self) -> None:
        """End all writers."""
        for node in list(self.writers):
            self.stop_writer(node)
        self.journal.close()


async def until(claim: Callable[[], object]) -> None:
    """Wait for something that a task brings about."""
    deadline = time.monotonic() + 10
    while not claim():
        assert time.monotonic() < deadline, "waited in vain"
        await asyncio.sleep(0.01)


async def rows(engine: AsyncEngine, table: str) -> list[dict[str, Any]]:
    """Read a table, in the order of its key."""
    chosen = METADATA.tables[table]
    async with engine.connect() as connection:
        found = await connection.execute(select(chosen).order_by(*chosen.primary_key.columns))
        return [row._asdict() for row in found]
