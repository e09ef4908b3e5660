"""Proof of life: every 30 seconds each writer says that it is there, and which sessions are open.

The digest of the open sessions lets a verifier tell a session that was left out from one that never was.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256
from typing import Final
from uuid import UUID

from vestibule.model.record import Json, Kind, Record

EVERY: Final = 30.0


def sessions_digest(sessions: Iterable[UUID]) -> str:
    """Hash the sorted ids of the open sessions."""
    return sha256(b"".join(sorted(session.bytes for session in sessions))).hexdigest()


def heartbeat(beat: int, sessions: Iterable[UUID], measured: dict[str, Json]) -> Record:
    """Make one heartbeat; `measured` are the figures that this writer knows."""
    open_now = tuple(sessions)
    members: dict[str, Json] = {
        "beat": beat,
        "sessions_open": len(open_now),
        "sessions_digest": sessions_digest(open_now),
        **measured,
    }
    return Record(Kind.HEARTBEAT, members)
