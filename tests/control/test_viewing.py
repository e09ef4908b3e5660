"""Looking is evidence."""

from __future__ import annotations

import asyncio
from uuid import UUID

import pytest

from tests.support.policies import identity
from vestibule.control.viewing import Viewing
from vestibule.evidence.canonical import encode_body
from vestibule.gate.gate import StorageKey
from vestibule.model.errors import EvidenceUnavailable
from vestibule.model.record import Kind, Record

KEY = StorageKey("k", bytes(32))


def test_a_view_names_the_viewer_and_what_was_seen() -> None:
    records: list[Record] = []

    async def persist(record: Record) -> None:
        records.append(record)

    asyncio.run(Viewing(persist, KEY).record(identity("internal-audit"), "replay", sessions=[UUID(int=3)]))
    [record] = records
    assert record.kind is Kind.EVIDENCE_VIEWED
    assert record.members["action"] == "replay"
    assert record.members["sessions"] == [str(UUID(int=3))]
    encode_body(record.kind, record.members, bytes(16))


def test_a_view_that_cannot_be_recorded_is_refused() -> None:
    async def persist(_: Record) -> None:
        raise EvidenceUnavailable("full")

    with pytest.raises(EvidenceUnavailable):
        asyncio.run(Viewing(persist, KEY).record(identity(), "search"))
