"""Looking is evidence: a view of evidence is recorded before its first byte is served."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Literal
from urllib.parse import urlencode
from uuid import UUID

from vestibule.evidence.literals import mask_words
from vestibule.gate.gate import StorageKey
from vestibule.gate.records import compact, cut, proof_json, who_json
from vestibule.model.identity import Identity
from vestibule.model.record import Kind, Record

Action = Literal["search", "open", "replay", "download", "api"]
Persist = Callable[[Record], Awaitable[object]]
QUERY_CHARACTERS = 1_024


class Viewing:
    """Records who looks at what; `persist` returns once the record is durable, or raises `EvidenceUnavailable`."""

    def __init__(self, persist: Persist, key: StorageKey) -> None:
        self._persist, self._key = persist, key

    async def record(
        self,
        viewer: Identity,
        action: Action,
        *,
        words: Mapping[str, str | None] | None = None,
        facts: Mapping[str, str | None] | None = None,
        sessions: Sequence[UUID] = (),
    ) -> None:
        """Make the view durable; only then may something be shown.

        What was asked for is `words`, which pass the storage mask, and `facts`, whose form the caller has checked.
        """
        asked = {name: mask_words(text, self._key.key, self._key.id) for name, text in (words or {}).items() if text}
        asked |= {name: text for name, text in (facts or {}).items() if text}
        members = compact(
            {
                "viewer": who_json(viewer.who),
                "proof": proof_json(viewer.proof),
                "action": action,
                "query": cut(urlencode(asked, safe=":/<>"), QUERY_CHARACTERS),
                "sessions": [str(session) for session in sessions],
            }
        )
        await self._persist(Record(Kind.EVIDENCE_VIEWED, members))
