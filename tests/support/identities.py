"""Logins, tokens and a journal for tests of what stands on them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID, uuid4

from sqlalchemy.ext.asyncio import AsyncEngine

from vestibule.model.errors import EvidenceUnavailable
from vestibule.model.identity import Peer, Who
from vestibule.model.login import Login, Token, TokenKind
from vestibule.model.names import SECOND, GroupName, Instant, LoginName, TargetName
from vestibule.model.record import Record
from vestibule.stores.database import open_database

HOUR = 3600 * SECOND
START = Instant(1_800_000_000 * SECOND)
CLIENT = Peer("192.0.2.7", 50_000)
ISSUER = "https://idp.example"


@dataclass
class Clock:
    """A wall clock that tests move."""

    now: int = START

    def __call__(self) -> Instant:
        """Read it."""
        return Instant(self.now)

    def pass_seconds(self, seconds: float) -> None:
        """Let time pass."""
        self.now += int(seconds * SECOND)


@dataclass
class Settled:
    """A ticket that is decided."""

    error: Exception | None = None


@dataclass
class MemoryJournal:
    """Keeps records; `is_down` fails them, `holds` keeps them waiting."""

    records: list[Record] = field(default_factory=list)
    is_down: bool = False
    holds: bool = False

    def append(self, records: Sequence[Record], done: Callable[[Settled], None]) -> None:
        """Take records and decide at once."""
        if self.holds:
            return
        if self.is_down:
            done(Settled(EvidenceUnavailable("disk full")))
            return
        self.records += records
        done(Settled())

    @property
    def events(self) -> list[object]:
        """The events that were recorded, in order."""
        return [record.members["event"] for record in self.records]


def login(
    name: str = "dev1",
    *,
    sub: str | None = None,
    issuer: str = ISSUER,
    groups: Sequence[str] = ("engineering",),
    created: int = START,
    life: int = 8 * HOUR,
) -> Login:
    """A login of somebody."""
    who = Who(issuer, sub or f"u-{name}", LoginName(name), "human", uuid4())
    return Login(
        who,
        "corp",
        frozenset(GroupName(group) for group in groups),
        ("pwd",),
        "loa1",
        None,
        CLIENT.ip,
        Instant(created),
        Instant(created + life),
    )


def token(
    of: UUID,
    *,
    kind: TokenKind = "gateway",
    created: int = START,
    life: int = HOUR,
    targets: Sequence[str] | None = None,
) -> Token:
    """A token of a login."""
    scope = None if targets is None else frozenset(TargetName(target) for target in targets)
    return Token(uuid4(), of, kind, Instant(created), Instant(created + life), scope)


async def fresh_database(folder: Path) -> AsyncEngine:
    """A state database with every table that is declared."""
    return await open_database(folder / "state.db")


def bytes_in(folder: Path, pattern: str = "*") -> bytes:
    """Everything that the files of a folder hold."""
    return b"".join(path.read_bytes() for path in sorted(folder.glob(pattern)) if path.is_file())
