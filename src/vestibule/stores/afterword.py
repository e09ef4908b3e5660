"""What is added when a refused record became durable after all.

Whoever asked was told that it is refused, so nothing followed from it. Without an afterword the log would show a
statement that may have run, or a session without an end. The name is spent by it, so nobody can say so twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from vestibule.model.record import Json, Kind, Record, Reference
from vestibule.stores.chain import Chain, Encoded


def afterword(chain: Chain, refused: Sequence[Encoded], batch: Sequence[Encoded]) -> list[Record]:
    """Say of refused records of a batch, written all the same, that nothing followed from them."""
    return [record for encoded in refused for record in _about(chain, encoded, batch)]


def _about(chain: Chain, encoded: Encoded, batch: Sequence[Encoded]) -> Iterable[Record]:
    record = encoded.record
    known = chain.knows(record.session, record.name)
    if record.kind is Kind.STATEMENT_DECIDED and record.members.get("decision") == "allow":
        if known or not any(_finishes(each.record, record) for each in batch):
            yield _not_reached(encoded, known=known)
    elif record.kind is Kind.SESSION_OPENED and known:
        members: dict[str, Json] = {
            "opened": Reference(record.name, last=True),
            "cause": "evidence_fault",
            "statements": 0,
            "recording_complete": True,
        }
        yield Record(Kind.SESSION_CLOSED, members, record.session, record.target)


def _finishes(record: Record, decided: Record) -> bool:
    if record.kind is not Kind.STATEMENT_FINISHED or record.session != decided.session:
        return False
    reference = record.members.get("decided")
    return isinstance(reference, Reference) and reference.name == decided.name


def _not_reached(encoded: Encoded, *, known: bool) -> Record:
    record = encoded.record
    plain: Json = {"id": str(encoded.id), "leaf": encoded.leaf.hex()}
    decided = Reference(record.name, last=True) if known else plain
    members: dict[str, Json] = {"decided": decided, "outcome": "not_reached", "forwarded": False}
    # A session that closed meanwhile has no chain to go on with.
    return Record(Kind.STATEMENT_FINISHED, members, record.session, record.target, sequenced=known)
