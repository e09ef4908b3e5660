from uuid import uuid4

import pytest
import structlog

from tests.support.scripted import SOMEBODY, FakeJournal, FakeSecrets, ScriptedRelay, services
from vestibule.model.identity import Peer
from vestibule.model.names import Instant
from vestibule.protocols.base import Conversation
from vestibule.server.dialer import Dialer
from vestibule.server.driver import Driver
from vestibule.server.sessions import Sessions

pytestmark = pytest.mark.asyncio


def driver(sessions: Sessions, key: bytes | None = None) -> Driver:
    key = sessions.new_key() if key is None else key
    facts = Conversation(uuid4(), Peer("192.0.2.7", 1), None, Instant(1), b"s" * 16, key)
    around = services(FakeJournal(), Dialer(lambda *_: iter(()), FakeSecrets()))  # type: ignore[arg-type,return-value] # nobody dials
    made = Driver(ScriptedRelay(), facts, around)
    sessions.add(made)
    return made


def opened(sessions: Sessions) -> Driver:
    made = driver(sessions)
    sessions.open(made, made.conversation.cancel_key)
    return made


async def test_a_key_finds_its_session_and_no_other_key_does() -> None:
    sessions = Sessions(3)
    first, second = opened(sessions), opened(sessions)
    assert sessions.by_key(first.conversation.cancel_key) is first
    assert sessions.by_key(second.conversation.cancel_key) is second
    key = first.conversation.cancel_key
    for place in range(8):
        wrong = bytes(byte ^ (number == place) for number, byte in enumerate(key))
        assert sessions.by_key(wrong) is None
    for wrong in (b"", key[:4], key[:7], key + b"\0", bytes(8)):
        assert sessions.by_key(wrong) is None


async def test_a_conversation_that_is_no_session_yet_has_no_key() -> None:
    sessions = Sessions(0)
    waiting = driver(sessions)
    assert sessions.by_key(waiting.conversation.cancel_key) is None
    assert sessions.open_ids == []
    assert sessions.all() == [waiting]


async def test_a_key_says_which_process_made_it_and_keeps_the_process_id_positive() -> None:
    for worker in (0, 5, 127):
        key = Sessions(worker).new_key()
        assert len(key) == 8
        assert Sessions(worker).leads_here(key)
        assert not Sessions((worker + 1) % 128).leads_here(key)
        assert int.from_bytes(key[:4], "big", signed=True) > 0
    with pytest.raises(ValueError):
        Sessions(128)


async def test_two_living_sessions_never_share_a_process_id() -> None:
    answers = [bytes(7), b"\1\2\3aaaa", b"\1\2\3bbbb", b"\4\5\6cccc"]
    sessions = Sessions(0, lambda _: answers.pop(0))
    first = opened(sessions)
    assert first.conversation.cancel_key == b"\0\1\2\3aaaa"
    assert sessions.new_key() == b"\0\4\5\6cccc"


async def test_a_session_that_has_gone_cannot_be_found() -> None:
    sessions = Sessions(0)
    gone, other = opened(sessions), opened(sessions)
    assert sessions.remove(gone)
    assert not sessions.remove(gone)
    assert sessions.by_key(gone.conversation.cancel_key) is None
    assert sessions.find(gone.conversation.session) is None
    assert sessions.all() == [other]
    assert sessions.by_key(other.conversation.cancel_key) is other


async def test_the_sessions_of_a_login_are_those_that_its_proof_opened() -> None:
    sessions = Sessions(0)
    proven, unproven = opened(sessions), driver(sessions)
    proven.identity = SOMEBODY
    assert sessions.of_login(SOMEBODY.who.login) == [proven]
    assert sessions.of_login(SOMEBODY.who.login, SOMEBODY.proof.credential) == [proven]
    assert sessions.of_login(SOMEBODY.who.login, "another token") == []
    assert sessions.of_login(uuid4()) == []
    assert unproven.identity is None


async def test_what_fails_with_one_conversation_ends_that_one_alone_and_never_logs_its_words() -> None:
    sessions = Sessions(0)
    first, broken, last = opened(sessions), opened(sessions), opened(sessions)
    reached: list[Driver] = []

    def act(one: Driver) -> None:
        if one is broken:
            raise LookupError("hunter2")
        reached.append(one)

    with structlog.testing.capture_logs() as logs:
        sessions.each("LookAfter", act)
    assert reached == [first, last]
    (line,) = logs
    assert (line["event"], line["during"], line["error"]) == ("relay_failed", "LookAfter", "LookupError")
    assert line["session"] == str(broken.conversation.session)
    assert "hunter2" not in str(line)
    assert [is_ended(one) for one in (first, broken, last)] == [False, True, False]


async def test_a_conversation_whose_farewell_fails_too_holds_up_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    sessions = Sessions(0)
    broken, last = opened(sessions), opened(sessions)
    monkeypatch.setattr(broken, "fail", lambda *_: 1 / 0)
    monkeypatch.setattr(broken, "look_after", lambda: 1 / 0)
    reached: list[Driver] = []
    sessions.each("LookAfter", lambda one: (one.look_after(), reached.append(one)))
    assert reached == [last]


def is_ended(one: Driver) -> bool:
    return one._stage.value != "open"
