from __future__ import annotations

from uuid import UUID

from tests.support.evidence_records import access, closed, decided, finished, opened
from tests.support.journals import NODE, START, same_random
from vestibule.evidence.canonical import ZERO_LEAF
from vestibule.model.record import Kind, Record, Reference
from vestibule.stores.afterword import afterword
from vestibule.stores.chain import Chain, Encoded

ADA = UUID(int=1)


def written(chain: Chain, *records: Record) -> list[Encoded]:
    draft = chain.draft()
    for record in records:
        draft.add([record], START)
    chain.accept(draft)
    return draft.encoded


def chain() -> Chain:
    return Chain(NODE, 1, ZERO_LEAF, same_random())


def test_of_an_allowed_statement_it_is_said_that_it_was_not_reached() -> None:
    to = chain()
    encoded = written(to, access(ADA), opened(ADA), decided(ADA, 1))
    (said,) = afterword(to, encoded[2:], encoded)
    assert said.kind is Kind.STATEMENT_FINISHED
    assert said.members == {
        "decided": Reference("decided/1", last=True),
        "outcome": "not_reached",
        "forwarded": False,
    }
    assert said.sequenced
    written(to, said)
    assert not to.knows(ADA, "decided/1")


def test_of_a_denied_statement_and_of_what_ends_things_nothing_is_said() -> None:
    to = chain()
    encoded = written(to, access(ADA), opened(ADA), decided(ADA, 1, "deny"), finished(ADA, 1, "refused"))
    assert afterword(to, [encoded[0], *encoded[2:]], encoded) == []


def test_of_a_session_it_is_said_that_it_ended() -> None:
    to = chain()
    encoded = written(to, access(ADA), opened(ADA))
    (said,) = afterword(to, encoded, encoded)
    assert (said.kind, said.members["cause"]) == (Kind.SESSION_CLOSED, "evidence_fault")
    written(to, said)
    assert not to.knows(ADA, "opened")


def test_of_a_session_that_closed_by_itself_nothing_is_said_but_of_its_statement() -> None:
    to = chain()
    encoded = written(to, access(ADA), opened(ADA), decided(ADA, 1), closed(ADA))
    (said,) = afterword(to, encoded, encoded)
    assert said.kind is Kind.STATEMENT_FINISHED
    assert said.members["decided"] == {"id": str(encoded[2].id), "leaf": encoded[2].leaf.hex()}
    assert not said.sequenced
    assert written(to, said)


def test_of_a_statement_that_was_finished_in_the_same_batch_nothing_more_is_said() -> None:
    to = chain()
    encoded = written(to, access(ADA), opened(ADA), decided(ADA, 1), finished(ADA, 1, "not_reached"))
    assert afterword(to, encoded[2:3], encoded) == []
    encoded = written(to, decided(ADA, 2), finished(ADA, 2, "not_reached"), closed(ADA))
    assert afterword(to, encoded[:1], encoded) == []
