from uuid import uuid4

import pytest

from tests.support.scripted import FakeJournal, record
from vestibule.evidence.kinds import BODY
from vestibule.model.names import Instant
from vestibule.model.record import Kind, Record, Reference
from vestibule.server.commits import Commits
from vestibule.server.ledger import Ledger

pytestmark = pytest.mark.asyncio

SESSION = uuid4()


class Book:
    def __init__(self, mode: str = "at once") -> None:
        self.journal = FakeJournal(mode)
        self.ledger = Ledger(Commits(self.journal, lambda: None), lambda _: None)

    def persist(self, *records: Record, now: int = 0) -> None:
        self.ledger.persist(records, Instant(now))

    def end(self, cause: str, now: Instant, to_client: int, to_target: int) -> None:
        ending = self.ledger.end(cause, now, to_client, to_target)
        if ending is not None:
            self.persist(ending, now=now)

    def known(self, name: str) -> bool:
        try:
            self.ledger.batch(name)
        except LookupError:
            return False
        return True


async def test_all_records_of_a_handle_are_one_batch() -> None:
    book = Book()
    book.persist(record("decided/1"), record("decided/2"))
    assert len(book.journal.tickets) == 1
    assert book.ledger.batch("decided/1") is book.ledger.batch("decided/2")


async def test_a_name_that_was_never_recorded_is_an_error() -> None:
    with pytest.raises(LookupError):
        Book().ledger.batch("decided/1")


@pytest.mark.parametrize("value", [Reference("decided/1", last=True), [Reference("decided/1", last=True)]])
async def test_a_name_is_free_after_the_handle_that_refers_to_it_for_the_last_time(value: object) -> None:
    book = Book()
    book.persist(record("decided/1"), record("decided/2"))
    book.persist(record(kind=Kind.STATEMENT_FINISHED, decided=value))
    assert book.known("decided/1")
    book.ledger.forget_spent()
    assert not book.known("decided/1")
    assert book.known("decided/2")


async def test_a_reference_that_is_not_the_last_keeps_the_name() -> None:
    book = Book()
    book.persist(record("opened"))
    book.persist(record(kind=Kind.STATEMENT_FINISHED, opened=Reference("opened")))
    book.ledger.forget_spent()
    assert book.known("opened")


async def test_the_end_of_the_session_frees_every_name() -> None:
    book = Book()
    book.persist(record("opened", Kind.SESSION_OPENED), record("decided/1"))
    book.persist(record(kind=Kind.SESSION_CLOSED))
    assert book.known("decided/1")
    book.ledger.forget_spent()
    assert not book.known("opened")
    assert not book.known("decided/1")


async def test_names_of_a_failed_batch_can_be_freed() -> None:
    book = Book("refused")
    book.persist(record("decided/1"))
    assert book.ledger.batch("decided/1").durable is False
    book.ledger.forget_failed(["decided/1"])
    assert not book.known("decided/1")


async def test_an_opened_session_that_nobody_closed_is_closed_with_what_is_known() -> None:
    book = Book()
    opened = Record(Kind.SESSION_OPENED, {}, session=SESSION, name="opened")
    book.persist(opened, now=1_000)
    book.persist(record(kind=Kind.STATEMENT_DECIDED, decision="allow"))
    book.persist(record(kind=Kind.STATEMENT_DECIDED, decision="deny"))
    book.end("protocol_error", Instant(5_000), to_client=7, to_target=9)
    closing = book.journal.records[-1]
    assert closing.kind is Kind.SESSION_CLOSED
    assert closing.session == SESSION
    assert closing.members == {
        "opened": Reference("opened", last=True),
        "cause": "protocol_error",
        "duration_us": 4_000,
        "statements": 2,
        "allowed": 1,
        "held": 0,
        "denied": 1,
        "bytes_to_client": 7,
        "bytes_to_target": 9,
        "recording_complete": False,
    }
    written = {**closing.members, "opened": {"id": str(uuid4()), "leaf": "0" * 64}}
    BODY[Kind.SESSION_CLOSED](written)


async def test_a_session_is_closed_once_and_only_if_it_was_opened() -> None:
    book = Book()
    book.end("crash", Instant(1), 0, 0)
    assert book.journal.records == []
    book.persist(record("opened", Kind.SESSION_OPENED))
    book.persist(record(kind=Kind.SESSION_CLOSED))
    book.end("crash", Instant(1), 0, 0)
    assert book.journal.kinds() == [Kind.SESSION_OPENED, Kind.SESSION_CLOSED]


async def test_an_end_that_its_relay_has_made_is_not_made_again_while_it_waits() -> None:
    book = Book()
    book.persist(record("opened", Kind.SESSION_OPENED), now=7)
    assert book.ledger.opened_at == 7
    book.ledger.ending()
    assert book.ledger.end("crash", Instant(1), 0, 0) is None
