import asyncio

import pytest

from tests.support.doors import eventually
from tests.support.scripted import FakeJournal, record
from vestibule.model.errors import EvidenceUnavailable
from vestibule.server.commits import Commit, Commits

pytestmark = pytest.mark.asyncio

FAILED = EvidenceUnavailable("told to")


class Office:
    def __init__(self, mode: str = "told", commit_seconds: float = 60.0, fault_seconds: float = 60.0) -> None:
        self.journal = FakeJournal(mode)
        self.loop = asyncio.get_running_loop()
        #: When each fault was reported.
        self.faults: list[float] = []
        self.settled: list[Commit] = []
        self.commits = Commits(self.journal, self.fault, commit_seconds, fault_seconds)

    def fault(self) -> None:
        self.faults.append(self.loop.time())

    def append(self, *names: str) -> Commit:
        return self.commits.append([record(name) for name in names], self.settled.append)


async def test_a_batch_is_undecided_until_the_journal_says() -> None:
    office = Office()
    commit = office.append("decided/1", "", "decided/2")
    assert commit.durable is None
    assert commit.names == ("decided/1", "decided/2")
    assert office.commits.depth == 1
    office.journal.tickets[0].settle()
    assert commit.durable is True
    assert office.settled == [commit]
    assert office.commits.depth == 0


async def test_a_batch_that_fails_is_told_as_failed() -> None:
    office = Office()
    commit = office.append("decided/1")
    office.journal.tickets[0].settle(FAILED)
    assert commit.durable is False
    assert office.settled == [commit]


@pytest.mark.parametrize(
    ("mode", "durable"), [("at once", True), ("called back", True), ("refused", False), ("raising", False)]
)
async def test_what_is_decided_on_return_is_not_told_again(mode: str, durable: bool) -> None:
    office = Office(mode)
    commit = office.append("decided/1")
    assert commit.durable is durable
    assert office.settled == []
    for ticket in office.journal.tickets:
        ticket.settle(ticket.error)
    assert office.settled == []
    assert commit.durable is durable


async def test_a_silent_journal_fails_each_batch_in_time_and_a_late_answer_changes_nothing() -> None:
    office = Office(commit_seconds=0.1)
    first = office.append("decided/1")
    await asyncio.sleep(0.03)
    second = office.append("decided/2")
    began = office.loop.time()
    await eventually(lambda: second.durable is not None)
    # Not before its own time, whatever became of the one before it.
    assert office.loop.time() - began >= 0.09
    assert (first.durable, second.durable) == (False, False)
    assert office.settled == [first, second]
    for ticket in office.journal.tickets:
        ticket.settle()
    assert first.durable is False
    assert office.settled == [first, second]
    office.commits.close()


async def test_evidence_that_cannot_be_kept_for_the_fault_time_is_reported_until_it_can() -> None:
    office = Office("refused", fault_seconds=0.05)
    began = office.loop.time()
    office.append("decided/1")
    await eventually(lambda: len(office.faults) >= 2)
    assert office.faults[0] - began >= 0.04
    assert office.faults[1] - began >= 0.09
    office.journal.mode = "at once"
    office.append("decided/2")
    assert office.commits.failures == 0
    before = len(office.faults)
    await asyncio.sleep(0.2)
    assert len(office.faults) == before


async def test_one_batch_that_becomes_durable_in_between_is_no_fault() -> None:
    office = Office("refused", fault_seconds=0.1)
    office.append("decided/1")
    await asyncio.sleep(0.03)
    office.journal.mode = "at once"
    office.append("")
    office.journal.mode = "refused"
    office.faults.clear()
    began = office.loop.time()
    office.append("decided/2")
    await eventually(lambda: office.faults)
    # The time begins anew.
    assert office.faults[0] - began >= 0.09
    office.commits.close()


async def test_a_batch_that_is_durable_late_ends_the_fault() -> None:
    office = Office(commit_seconds=0.01, fault_seconds=0.06)
    office.append("decided/1")
    await eventually(lambda: office.commits.failures == 1)
    office.journal.tickets[0].settle()
    assert office.commits.failures == 0
    before = len(office.faults)
    await asyncio.sleep(0.2)
    assert len(office.faults) == before
