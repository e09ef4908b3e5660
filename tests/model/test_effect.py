"""Bytes and permits are one type."""

from __future__ import annotations

from uuid import UUID

import pytest

from vestibule.gate.permit import session_permit, statement_permit
from vestibule.model.effect import Send
from vestibule.model.event import Side

SESSION = UUID(int=7)


def test_bytes_for_a_target_cannot_be_made_without_a_permit() -> None:
    with pytest.raises(AssertionError):
        Send(Side.TARGET, b"Q")


def test_bytes_for_a_client_carry_no_permit() -> None:
    with pytest.raises(AssertionError):
        Send(Side.CLIENT, b"Z", session_permit(SESSION))


def test_a_send_names_the_record_that_must_be_durable_first() -> None:
    assert Send(Side.TARGET, b"Q", statement_permit(SESSION, 3)).record == "decided/3"
    assert Send(Side.CLIENT, b"Z", after="opened").record == "opened"
    assert Send(Side.CLIENT, b"Z").record == ""
