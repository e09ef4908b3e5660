"""What stands in a gateway's journal, read straight from its segment files as an outsider would."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

from tests.support.waiting import wait_for
from vestibule.evidence.canonical import Header, decode_header
from vestibule.evidence.errors import TornSegment
from vestibule.evidence.segment import Frame, parse_segment_name, read_frames


@dataclass(frozen=True, slots=True)
class Evidence:
    """One record: its header, and its body as members."""

    header: Header
    body: Mapping[str, Any]

    @property
    def kind(self) -> str:
        """The record's kind."""
        return str(self.header.kind)

    @property
    def session(self) -> UUID | None:
        """The session that it belongs to."""
        return self.header.session

    def __getitem__(self, member: str) -> Any:
        """Give a member of the body, None where it is left out."""
        return self.body.get(member)


@dataclass(frozen=True, slots=True)
class Mark:
    """A place in every writer's chain; `Journal.since` gives what came behind it."""

    places: Mapping[str, tuple[int, int]]


@dataclass(frozen=True, slots=True)
class SessionEvidence:
    """The records of one session, in order."""

    id: UUID
    records: Sequence[Evidence]

    def all(self, kind: str) -> list[Evidence]:
        """Give the records of one kind."""
        return [record for record in self.records if record.kind == kind]

    def one(self, kind: str) -> Evidence:
        """Give the only record of a kind."""
        (found,) = self.all(kind)
        return found

    @property
    def decisions(self) -> list[tuple[str, str]]:
        """Say of each statement what was decided, and its text as it is stored."""
        return [(record["decision"], record["text"]) for record in self.all("StatementDecided")]

    @property
    def outcomes(self) -> list[str]:
        """Say how each statement ended, in the order of the statements; `open` where that is not recorded."""
        ends = {record["decided"]["id"]: record["outcome"] for record in self.all("StatementFinished")}
        return [ends.get(str(decided.header.id), "open") for decided in self.all("StatementDecided")]

    def check(self) -> None:
        """Check what holds of every session that has ended: who, where, and one outcome for each decision."""
        access, opened = self.one("AccessDecided"), self.one("SessionOpened")
        assert access["decision"] == "allow"
        assert access["who"] == opened["who"]
        assert access["target"] == opened["target"] == opened.header.target
        decided = [str(record.header.id) for record in self.all("StatementDecided")]
        finished = [record["decided"]["id"] for record in self.all("StatementFinished")]
        assert sorted(decided) == sorted(finished), "each decision has one outcome"
        # What another process has recorded of a session that died has no number in it.
        numbers = [record.header.sn for record in self.records if record.header.sn is not None]
        assert numbers == list(range(len(numbers)))

    @property
    def is_closed(self) -> bool:
        """Tell whether its last record is written."""
        return bool(self.all("SessionClosed"))


@dataclass(frozen=True, slots=True)
class Journal:
    """The journal below a data folder, all writers."""

    data: Path

    def records(self, kind: str = "") -> list[Evidence]:
        """Read everything, or one kind, writer by writer in order."""
        return list(self._since(Mark({}), kind))

    @property
    def beginning(self) -> Mark:
        """The place before everything."""
        return Mark({})

    def mark(self) -> Mark:
        """Remember this moment."""
        places: dict[str, tuple[int, int]] = {}
        for record in self.records():
            places[record.header.node] = (record.header.epoch, record.header.n)
        return Mark(places)

    def since(self, mark: Mark, kind: str = "") -> list[Evidence]:
        """Read what was written behind `mark`."""
        return self._since(mark, kind)

    def wait_for(self, mark: Mark, kind: str, *, count: int = 1, timeout: float = 20.0, **members: object) -> Evidence:
        """Wait for the `count`th record of a kind behind `mark` whose body has these members; give the last of them."""

        def found() -> list[Evidence]:
            fitting = [
                record
                for record in self.since(mark, kind)
                if all(record[name] == value for name, value in members.items())
            ]
            return fitting if len(fitting) >= count else []

        return wait_for(found, f"{count} {kind} {members} in the journal", timeout)[-1]

    def session(self, application: str) -> SessionEvidence:
        """Give the only session whose client named itself so."""
        (opened,) = [record for record in self.records("SessionOpened") if record["client_banner"] == application]
        return self.session_of(opened.session)

    def session_of(self, session: UUID | None) -> SessionEvidence:
        """Give a session by its id."""
        if session is None:
            raise ValueError("a record without a session")
        wanted = f'"session":"{session}"'.encode()
        records = [_evidence(frame) for frame in self._frames() if wanted in frame.header]
        return SessionEvidence(session, sorted(records, key=_place))

    def closed_session(self, application: str, timeout: float = 60.0) -> SessionEvidence:
        """Give the only session whose client named itself so, once its end is recorded."""

        def found() -> SessionEvidence | None:
            opened = [record for record in self.records("SessionOpened") if record["client_banner"] == application]
            if not opened:
                return None
            session = self.session(application)
            return session if session.is_closed else None

        session = wait_for(found, f"the end of the session of {application!r} in the journal", timeout)
        if session is None:
            raise AssertionError("waited for a session and got none")
        session.check()
        return session

    def _since(self, mark: Mark, kind: str) -> list[Evidence]:
        start = f'{{"v":1,"kind":"{kind}"'.encode()
        found = []
        for frame in self._frames():
            if kind and not frame.header.startswith(start):
                continue
            header = decode_header(frame.header)
            if (header.epoch, header.n) > mark.places.get(header.node, (-1, -1)):
                found.append(_evidence(frame))
        return found

    def _frames(self) -> list[Frame]:
        frames: list[Frame] = []
        for folder in sorted((self.data / "journal").glob("*")):
            for segment in sorted(folder.glob("*.seg"), key=lambda path: parse_segment_name(path.name)):
                try:
                    frames.extend(read_frames(segment.read_bytes(), whole=False))
                except TornSegment:
                    # It is being written right now; what is whole was given.
                    continue
        return frames


def _place(record: Evidence) -> tuple[bool, int]:
    return record.header.sn is None, record.header.sn or 0


def _evidence(frame: Frame) -> Evidence:
    return Evidence(decode_header(frame.header), json.loads(frame.body))


def records(data: Path, kind: str = "") -> list[Evidence]:
    """Read the records of one kind, or all, below a gateway's data folder."""
    return Journal(data).records(kind)
