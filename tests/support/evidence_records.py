"""Records as a session writes them, with the fewest members that the tables allow."""

from __future__ import annotations

from uuid import UUID

from vestibule.model.names import TargetName
from vestibule.model.record import Json, Kind, Record, Reference

TARGET = TargetName("core-banking")
WHO: dict[str, Json] = {
    "iss": "https://idp.bank.example",
    "sub": "ada",
    "name": "ada",
    "type": "human",
    "login": "00000000-0000-4000-8000-000000000001",
}
KEY = "00000000-0000-4000-8000-0000000000aa"
RULE: dict[str, Json] = {"name": "engineers", "section": "access", "policy": "2" * 64}
PEER: dict[str, Json] = {"ip": "192.0.2.7", "port": 40_001}
PROOF: dict[str, Json] = {"method": "token", "credential": "vst_7f3a"}


def access(session: UUID | None, decision: str = "allow") -> Record:
    """Let somebody in, or not."""
    members: dict[str, Json] = {
        "attempted": "ada+core-banking",
        "client": PEER,
        "protocol": "postgres",
        "target": TARGET,
        "decision": decision,
        "rule": RULE,
    }
    return Record(Kind.ACCESS_DECIDED, members, session, TARGET, name="access")


def opened(session: UUID) -> Record:
    """Open a session whose access was allowed."""
    members: dict[str, Json] = {
        "access": Reference("access", last=True),
        "who": WHO,
        "proof": PROOF,
        "client": PEER,
        "protocol": "postgres",
        "target": TARGET,
        "target_account": "vestibule_rw",
        "policy": "2" * 64,
        "data_key": KEY,
        "ends_at": "2026-07-01T18:00:00.000000Z",
    }
    return Record(Kind.SESSION_OPENED, members, session, TARGET, name="opened")


def decided(session: UUID, no: int, decision: str = "allow", text: str = "SELECT 1") -> Record:
    """Decide statement `no`."""
    members: dict[str, Json] = {
        "statement": str(UUID(int=no)),
        "no": no,
        "dialect": "postgres",
        "text": text,
        "text_bytes": len(text.encode()),
        "text_mac": "0" * 64,
        "bytes_mac": "1" * 64,
        "bind_key": KEY,
        "decision": decision,
        "rule": RULE,
    }
    return Record(Kind.STATEMENT_DECIDED, members, session, TARGET, name=f"decided/{no}")


def released(session: UUID, no: int, result: str = "spent") -> Record:
    """Use the approval of a statement that was held."""
    reference: dict[str, Json] = {"id": str(UUID(int=5)), "leaf": "c" * 64}
    members: dict[str, Json] = {
        "permit": str(UUID(int=6)),
        "request": reference,
        "answers": [reference],
        "decided": Reference(f"decided/{no}"),
        "bytes_mac": "b" * 64,
        "bind_key": str(UUID(int=7)),
        "equal": result == "spent",
        "result": result,
        "uses_left": 0,
    }
    return Record(Kind.PERMIT_USED, members, session, TARGET)


def finished(session: UUID, no: int, outcome: str = "ok", rows: int = 1) -> Record:
    """Finish statement `no`."""
    members: dict[str, Json] = {
        "decided": Reference(f"decided/{no}", last=True),
        "outcome": outcome,
        "forwarded": outcome not in ("refused", "not_reached"),
        "rows": rows,
        "bytes_to_client": 64,
        "duration_us": 1_500,
    }
    return Record(Kind.STATEMENT_FINISHED, members, session, TARGET)


def closed(session: UUID, statements: int = 0) -> Record:
    """Close a session."""
    members: dict[str, Json] = {
        "opened": Reference("opened", last=True),
        "cause": "client_closed",
        "duration_us": 2_000_000,
        "statements": statements,
        "allowed": statements,
        "recording_complete": True,
    }
    return Record(Kind.SESSION_CLOSED, members, session, TARGET)


def heartbeat(beat: int = 0) -> Record:
    """Say that a writer lives."""
    return Record(Kind.HEARTBEAT, {"beat": beat, "sessions_open": 0, "sessions_digest": "e" * 64})


def node_started() -> Record:
    """Say that a process started."""
    return Record(Kind.NODE_STARTED, {"version": "0.1.0", "python": "3.11", "clean": True})


def conversation(session: UUID, statements: int) -> list[Record]:
    """Give a whole session, one append after the other."""
    between = [record for no in range(1, statements + 1) for record in (decided(session, no), finished(session, no))]
    return [access(session), opened(session), *between, closed(session, statements)]
