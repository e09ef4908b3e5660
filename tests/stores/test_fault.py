from __future__ import annotations

from uuid import UUID

from tests.support.evidence_records import access, decided, finished, heartbeat, opened
from tests.support.journals import START
from vestibule.evidence.canonical import encode_body
from vestibule.model.record import Kind
from vestibule.stores.fault import Fault

ADA = UUID(int=1)


def test_a_fault_is_two_records_and_the_second_says_what_was_refused() -> None:
    fault = Fault("journal_full", START, "No space left on device")
    started = fault.started()
    fault.count([access(ADA), opened(ADA), decided(ADA, 1), finished(ADA, 1), heartbeat()])
    fault.count([decided(ADA, 2)])
    ended = fault.ended()
    assert (started.kind, ended.kind) == (Kind.AUDIT_FAULT, Kind.AUDIT_FAULT)
    assert started.members == {
        "fault": "journal_full",
        "phase": "started",
        "since": "2026-07-01T10:00:00.000000Z",
        "detail": "No space left on device",
    }
    assert ended.members["phase"] == "ended"
    assert ended.members["refused"] == {"sessions": 2, "statements": 2}


def test_both_records_have_a_body() -> None:
    fault = Fault("journal_down", START, "Input/output error")
    for record in (fault.started(), fault.ended()):
        assert b"journal_down" in encode_body(record.kind, record.members, bytes(16))
