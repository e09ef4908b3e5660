"""Looking is evidence: a view of evidence is recorded before its first byte is served."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Literal
from uuid import UUID

from vestibule.gate.records import compact, cut, proof_json, who_json
from vestibule.model.identity import Identity
from vestibule.model.record import Kind, Record

Action = Literal["search", "open", "replay", "download", "api"]
Persist = Callable[[Record], Awaitable[object]]
QUERY_CHARACTERS = 1_024


class Viewing:
    """Records who looks at what; `persist` returns once the record is durable, or raises `EvidenceUnavailable`."""

    def __init__(self, persist: Persist) -> None:
        self._persist = persist

    async def record(self, viewer: Identity, action: Action, query: str = "", sessions: Sequence[UUID] = ()) -> None:
        """Make the view durable; only then may something be shown."""
        members = compact(
            {
                "viewer": who_json(viewer.who),
                "proof": proof_json(viewer.proof),
                "action": action,
                "query": cut(query, QUERY_CHARACTERS),
                "sessions": [str(session) for session in sessions],
            }
        )
        await self._persist(Record(Kind.EVIDENCE_VIEWED, members))
