"""What people see of a request."""

from __future__ import annotations

import dataclasses
import hashlib
import json

import pytest

from tests.support.approvals import REQUEST, request
from vestibule.control.approval_view import shown_bytes, shown_hash, view
from vestibule.model.approval import Request
from vestibule.model.identity import Peer
from vestibule.model.names import Instant

HIDDEN = {"key_id", "bytes_mac", "fingerprint"}
CHANGES = {
    "text": "DELETE FROM customers",
    "text_bytes": 32,
    "parameters": (),
    "operations": (),
    "target": "payments",
    "account": "postgres",
    "database": "other",
    "search_path": "evil, public",
    "client": Peer("10.1.2.4", 50_000),
    "quorum": 2,
    "number": 8,
    "expires_at": Instant(REQUEST.expires_at + 1),
    "live": False,
}


def test_neither_commitment_nor_key_is_shown() -> None:
    shown = shown_bytes(view(REQUEST)).decode()
    assert REQUEST.bytes_mac not in shown
    assert REQUEST.key_id not in shown


def test_everything_else_of_a_request_is_shown() -> None:
    members = {field.name for field in dataclasses.fields(Request)} - HIDDEN
    assert members - set(view(REQUEST)) == {"client"}
    assert (view(REQUEST)["ip"], view(REQUEST)["port"]) == ("10.1.2.3", 50_000)


@pytest.mark.parametrize("name", CHANGES)
def test_another_request_has_another_hash(name: str) -> None:
    assert shown_hash(request(**{name: CHANGES[name]})) != shown_hash(REQUEST)


def test_anybody_can_compute_the_hash_from_what_is_shown() -> None:
    shown = json.loads(json.dumps(view(request(text="DELETE \u2013 “zwei”\n"))))
    written = json.dumps(dict(reversed(shown.items())), sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    assert hashlib.sha256(written.encode()).hexdigest() == shown_hash(request(text="DELETE \u2013 “zwei”\n"))
