"""Proof of life."""

from __future__ import annotations

from hashlib import sha256
from uuid import UUID

from vestibule.evidence.heartbeat import heartbeat, sessions_digest
from vestibule.model.record import Kind

ONE, TWO = UUID(int=1), UUID(int=2)


def test_the_digest_does_not_depend_on_the_order_of_the_sessions() -> None:
    assert sessions_digest([TWO, ONE]) == sessions_digest([ONE, TWO]) == sha256(ONE.bytes + TWO.bytes).hexdigest()


def test_another_session_gives_another_digest() -> None:
    assert sessions_digest([ONE]) != sessions_digest([ONE, TWO]) != sessions_digest([])


def test_a_heartbeat_counts_and_names_the_open_sessions() -> None:
    record = heartbeat(7, [ONE, TWO], {"queue_depth": 3})
    assert record.kind is Kind.HEARTBEAT
    assert record.members["beat"] == 7
    assert record.members["sessions_open"] == 2
    assert record.members["queue_depth"] == 3
