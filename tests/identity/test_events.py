import asyncio
from collections.abc import Callable, Sequence
from threading import Thread

import pytest

from tests.support.identities import CLIENT, START, Clock, MemoryJournal, Settled, login, token
from vestibule.evidence.kinds import BODY
from vestibule.identity import events
from vestibule.identity.events import Recorder
from vestibule.identity.failure import Failure
from vestibule.model.errors import EvidenceUnavailable
from vestibule.model.identity import Peer
from vestibule.model.record import Kind, Record

LOGIN = login()
TOKEN = token(LOGIN.who.login)
EVERY = {
    "login_ok": events.login_ok(LOGIN, CLIENT),
    "login_failed": events.login_failed(Failure.NONCE, CLIENT, 3),
    "token_issued": events.token_issued(LOGIN, TOKEN, CLIENT),
    "token_revoked": events.token_revoked(LOGIN, TOKEN, None, "admin"),
    "logout": events.logged_out(LOGIN, CLIENT),
    "revocation_received": events.revocation_received(LOGIN, None),
}


@pytest.mark.parametrize("event", EVERY)
def test_every_event_has_the_members_of_its_kind(event: str) -> None:
    record = EVERY[event]

    assert (record.kind, record.members["event"]) == (Kind.IDENTITY_EVENT, event)
    assert BODY[Kind.IDENTITY_EVENT](record.members)


def test_a_log_in_says_who_how_and_from_where() -> None:
    members = EVERY["login_ok"].members

    assert members["who"] == {
        "iss": "https://idp.example",
        "sub": "u-dev1",
        "name": "dev1",
        "type": "human",
        "login": str(LOGIN.who.login),
    }
    assert members["proof"] == {"method": "oidc", "credential": "corp", "amr": ("pwd",), "acr": "loa1"}
    assert members["client"] == {"ip": "192.0.2.7", "port": 50_000}


def test_a_token_is_named_by_its_id() -> None:
    assert EVERY["token_issued"].members["proof"] == {"method": "token", "credential": str(TOKEN.id)}


@pytest.mark.asyncio
async def test_what_gives_access_waits_until_it_is_durable() -> None:
    journal = MemoryJournal()

    await Recorder(journal).durable(EVERY["login_ok"], EVERY["token_issued"])
    assert journal.events == ["login_ok", "token_issued"]


@pytest.mark.asyncio
async def test_a_journal_that_fails_is_a_refusal() -> None:
    with pytest.raises(EvidenceUnavailable):
        await Recorder(MemoryJournal(is_down=True)).durable(EVERY["login_ok"])


@pytest.mark.asyncio
async def test_a_journal_that_never_answers_is_a_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "COMMIT_TIMEOUT", 0.05)

    with pytest.raises(EvidenceUnavailable, match="in time"):
        await Recorder(MemoryJournal(holds=True)).durable(EVERY["login_ok"])


@pytest.mark.asyncio
async def test_the_writer_may_answer_from_a_thread_of_its_own() -> None:
    class Threaded:
        def append(self, records: Sequence[Record], done: Callable[[Settled], None]) -> None:
            Thread(target=done, args=(Settled(),)).start()

    async with asyncio.timeout(5):
        await Recorder(Threaded()).durable(EVERY["login_ok"])


def test_what_ends_access_waits_for_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    Recorder(MemoryJournal(is_down=True)).note(EVERY["logout"])

    assert "identity_event_not_recorded" in "".join(capsys.readouterr())


def test_a_flood_of_the_same_failure_is_two_records() -> None:
    journal, clock = MemoryJournal(), Clock()
    recorder = Recorder(journal)
    for _ in range(1000):
        recorder.failed(Failure.STATE, CLIENT, clock())
    assert [record.members.get("count") for record in journal.records] == [None]

    clock.pass_seconds(60)
    recorder.flush(clock())
    assert [record.members.get("count") for record in journal.records] == [None, 999]


def test_a_failure_that_is_not_repeated_is_one_record() -> None:
    journal, clock = MemoryJournal(), Clock()
    recorder = Recorder(journal)
    recorder.failed(Failure.STATE, CLIENT, clock())
    clock.pass_seconds(60)
    recorder.flush(clock())

    assert len(journal.records) == 1


def test_other_failures_and_other_networks_are_told_apart() -> None:
    journal = MemoryJournal()
    recorder = Recorder(journal)
    for failure, ip in ((Failure.STATE, "192.0.2.1"), (Failure.CODE, "192.0.2.1"), (Failure.STATE, "192.0.2.2")):
        recorder.failed(failure, Peer(ip, 1), START)

    assert len(journal.records) == 3


def test_a_flood_from_everywhere_loses_no_count_and_no_bound() -> None:
    journal, clock = MemoryJournal(), Clock()
    recorder = Recorder(journal)
    for number in range(events.MAX_REPEATS + 500):
        recorder.failed(Failure.STATE, Peer(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}", 1), clock())
    clock.pass_seconds(60)
    recorder.flush(clock())

    counted = sum(record.members.get("count", 1) for record in journal.records)  # type: ignore[misc]
    assert counted == events.MAX_REPEATS + 500
    assert len(journal.records) == events.MAX_REPEATS + 1
