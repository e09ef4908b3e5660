"""Permits name the record that must be durable first."""

from __future__ import annotations

from uuid import UUID

from vestibule.gate.permit import access_permit, refusal_permit, session_permit, statement_name, statement_permit

SESSION = UUID(int=1)


def test_each_permit_names_its_record() -> None:
    assert access_permit(SESSION).record == "access"
    assert session_permit(SESSION).record == "opened"
    assert refusal_permit(SESSION).record == "opened"
    assert refusal_permit(SESSION, statement_name(7)).record == statement_name(7)
    assert statement_permit(SESSION, 7).record == statement_name(7) == "decided/7"


def test_purposes_are_told_apart() -> None:
    purposes = [make(SESSION).purpose for make in (access_permit, session_permit, refusal_permit)] + [
        statement_permit(SESSION, 1).purpose
    ]
    assert purposes == ["access", "session", "refusal", "statement"]
