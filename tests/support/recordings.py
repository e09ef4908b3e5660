"""Recordings for tests: their means on a real folder, somebody who is recorded, and what came of it."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import UUID

from tests.support.scripted import FakeJournal
from vestibule.evidence.recording import Event, Part, Place, decode_events, stored, unseal
from vestibule.model.effect import Keep
from vestibule.model.names import Instant, TargetName
from vestibule.model.record import Kind, Record
from vestibule.server.clock import Clock
from vestibule.server.commits import Commits
from vestibule.server.recorder import Recorder
from vestibule.server.recording import Ending, Recording
from vestibule.server.sealing import Subject
from vestibule.stores.disk import Disk
from vestibule.stores.objects import Directory
from vestibule.stores.spool import Spool

KEY = bytes(range(32))
KEY_ID = UUID(int=9)
SESSION = UUID("018f0000-0000-7000-8000-000000000001")
START = Instant(1_700_000_000_000_000)


class Studio:
    """A recorder with its folder and journal; it is also whoever is recorded."""

    def __init__(self, folder: Path, journal: str = "soon", limit: int = 1 << 30, disk: Disk | None = None) -> None:
        """Record under `folder`."""
        self.folder = folder
        self.journal = FakeJournal(journal)
        self.store = Directory(folder / "objects")
        self.spool = Spool(folder / "spool", limit, disk)
        self.recorder = Recorder(self.spool, self.store, Commits(self.journal, lambda: None), Clock())
        self.pressures = 0
        self.faults = 0
        self.endings: list[Ending] = []
        self.recording = self.begin()

    def begin(self, session: UUID = SESSION) -> Recording:
        """Begin to record a session."""
        return self.recorder.begin(Subject(session, TargetName("core")), (KEY_ID, KEY), self, START)

    def on_pressure(self) -> None:
        """Count."""
        self.pressures += 1

    def on_unrecordable(self) -> None:
        """Count."""
        self.faults += 1

    def keep(self, data: bytes, number: int = 1, at_us: int = 0, head: bytes = b"", goes_on: bool = False) -> None:
        """Show something."""
        self.recording.keep(Keep(number, data, head, goes_on), Instant(START + at_us))

    async def finish(self) -> Ending:
        """End the session, and wait for how its recording ended."""
        done = asyncio.Event()

        def ended(ending: Ending) -> None:
            self.endings.append(ending)
            done.set()

        self.recording.finish(ended)
        async with asyncio.timeout(20):
            await done.wait()
        return self.endings[-1]

    @property
    def chunks(self) -> list[Record]:
        """The records of chunks."""
        return [record for record in self.journal.records if record.kind is Kind.CHUNK_SEALED]

    def events(self, session: UUID = SESSION) -> list[Event]:
        """Everything in the chunks of a session, in order."""
        return [event for chunk in self.chunks if chunk.session == session for event in self.opened(chunk)]

    def opened(self, chunk: Record) -> list[Event]:
        """What is in one chunk."""
        about = stored(chunk.members["object"])  # type: ignore[arg-type] # as it was made
        assert chunk.session is not None
        place = Place(chunk.session, KEY_ID, int(str(chunk.members["seq"])))
        plain = unseal(self.store.get(about.sha256), place, KEY, about)
        return [event for _, event in decode_events(plain)]

    def shown(self, session: UUID = SESSION) -> bytes:
        """What was recorded of a session, without the descriptions."""
        return b"".join(event.data for event in self.events(session) if event.part is not Part.HEAD)

    def parts(self) -> list[str]:
        """The names of what is in the spool."""
        return sorted(path.name for path in (self.folder / "spool").iterdir())

    def close(self) -> None:
        """Leave no thread behind."""
        self.recorder.close()


def threads(count: int = 1) -> ThreadPoolExecutor:
    """Threads for one test."""
    return ThreadPoolExecutor(count)
