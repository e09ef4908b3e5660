import asyncio
import socket
from typing import Any
from uuid import UUID, uuid4

import pytest

from tests.support.scripted import SOMEBODY
from vestibule.bus import CallFailed, Peer, connect
from vestibule.evidence.heartbeat import sessions_digest
from vestibule.model.approval import ApprovalId
from vestibule.model.errors import ConfigurationError
from vestibule.model.event import Answered
from vestibule.server.clock import Clock
from vestibule.server.orders import Orders
from vestibule.wire.jsonrpc import INVALID_PARAMS, Params

pytestmark = pytest.mark.asyncio

FIRST, SECOND = UUID(int=1), UUID(int=2)


class FakeDriver:
    """Remembers what it is told."""

    def __init__(self, session: UUID) -> None:
        self.told: list[tuple[str, str]] = []
        self.answers: list[Answered] = []
        self.conversation = type("Facts", (), {"session": session})

    def tell(self, what: str, by: str = "") -> None:
        self.told.append((what, by))

    def fail(self, during: str, error: Exception) -> None:
        self.told.append((during, type(error).__name__))

    def answered(self, answered: Answered) -> None:
        self.answers.append(answered)


class FakeSessions:
    """Two sessions; the first belongs to somebody and has a key."""

    def __init__(self) -> None:
        self.first, self.second = FakeDriver(FIRST), FakeDriver(SECOND)

    def all(self) -> list[FakeDriver]:
        return [self.first, self.second]

    def find(self, session: UUID) -> FakeDriver | None:
        return {FIRST: self.first, SECOND: self.second}.get(session)

    def of_login(self, login: UUID, token: str | None = None) -> list[FakeDriver]:
        return [self.first] if login == SOMEBODY.who.login and token in (None, SOMEBODY.proof.credential) else []

    def by_key(self, key: bytes) -> FakeDriver | None:
        return self.first if key == b"12345678" else None

    @property
    def open_ids(self) -> list[UUID]:
        return [FIRST, SECOND]


class Post:
    """The control process's end of a bus whose other end carries out its orders."""

    def __init__(self) -> None:
        self.sessions = FakeSessions()
        self.policies: list[Params] = []
        self.drained: list[float] = []
        self.peer, self._other = Peer(), Peer()
        orders = Orders(self.sessions, Clock(), lambda: {"queue_depth": 7}, self._apply, self._drain)  # type: ignore[arg-type] # as far as orders look
        orders.serve(self._other)

    def _apply(self, policy: Params) -> None:
        if "broken" in policy:
            raise ConfigurationError("policy.yaml:3: broken")
        self.policies.append(policy)

    async def _drain(self, seconds: float) -> None:
        await asyncio.sleep(0)
        self.drained.append(seconds)

    async def call(self, method: str, **params: Any) -> Any:
        ours, theirs = socket.socketpair()
        await connect(ours, self.peer)
        await connect(theirs, self._other)
        try:
            return await self.peer.call(method, params)
        finally:
            self.peer.close()
            self._other.close()
            await asyncio.sleep(0.01)


async def test_a_policy_takes_effect_before_the_sessions_look_at_it() -> None:
    post = Post()
    assert await post.call("policy", text="version: 1") == {}
    assert post.policies == [{"text": "version: 1"}]
    assert post.sessions.first.told == post.sessions.second.told == [("policy", "")]


async def test_a_policy_that_cannot_be_read_is_told_back_and_changes_nothing() -> None:
    post = Post()
    with pytest.raises(CallFailed, match=r"policy\.yaml:3: broken") as caught:
        await post.call("policy", broken=True)
    assert caught.value.code == INVALID_PARAMS
    assert post.sessions.first.told == []


async def test_a_revoked_login_ends_its_sessions_and_no_others() -> None:
    post = Post()
    answer = await post.call("revoked", login=str(SOMEBODY.who.login), cause="revoked by an administrator")
    assert answer == {"sessions": [str(FIRST)]}
    assert post.sessions.first.told == [("revoke", "revoked by an administrator")]
    assert post.sessions.second.told == []
    assert await Post().call("revoked", login=str(uuid4()), cause="x") == {"sessions": []}


async def test_a_revoked_token_ends_its_own_sessions_and_not_those_of_the_logins_other_tokens() -> None:
    login, own = str(SOMEBODY.who.login), SOMEBODY.proof.credential
    assert await Post().call("revoked", login=login, cause="x", token=own) == {"sessions": [str(FIRST)]}
    assert await Post().call("revoked", login=login, cause="x", token=str(uuid4())) == {"sessions": []}


async def test_one_session_is_killed_by_name() -> None:
    post = Post()
    assert await post.call("kill", session=str(SECOND), by="admin") == {"killed": True}
    assert post.sessions.second.told == [("kill", "admin")]
    assert await Post().call("kill", session=str(uuid4()), by="admin") == {"killed": False}


async def test_a_cancel_from_another_process_finds_its_session() -> None:
    post = Post()
    assert await post.call("cancel", key=b"12345678".hex()) == {"cancelled": True}
    assert post.sessions.first.told == [("cancel", "")]
    assert await Post().call("cancel", key=b"87654321".hex()) == {"cancelled": False}


async def test_a_drain_is_answered_when_it_is_over() -> None:
    post = Post()
    assert await post.call("drain", deadline=2.5) == {}
    assert post.drained == [2.5]


async def test_a_report_says_what_is_open() -> None:
    report = await Post().call("report")
    assert report.pop("mono_us") >= 0
    assert report == {
        "sessions": [str(FIRST), str(SECOND)],
        "sessions_open": 2,
        "sessions_digest": sessions_digest([FIRST, SECOND]),
        "queue_depth": 7,
    }


async def test_the_state_of_the_process_is_told_without_its_sessions() -> None:
    assert await Post().call("state") == {"queue_depth": 7}


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("revoked", {"login": "no uuid", "cause": "x"}),
        ("revoked", {"login": str(FIRST)}),
        ("kill", {"session": 7, "by": "x"}),
        ("kill", {"by": "x"}),
        ("kill", {"session": str(FIRST)}),
        ("cancel", {"key": "zz"}),
        ("cancel", {}),
        ("drain", {}),
        ("drain", {"deadline": "soon"}),
        ("drain", {"deadline": True}),
        ("drain", {"deadline": -1}),
    ],
)
async def test_wrong_parameters_are_told_back_and_do_nothing(method: str, params: dict[str, Any]) -> None:
    post = Post()
    with pytest.raises(CallFailed) as caught:
        await post.call(method, **params)
    assert caught.value.code == INVALID_PARAMS
    assert post.sessions.first.told == post.drained == []


async def test_many_sessions_are_told_without_holding_up_the_loop() -> None:
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    counting = asyncio.create_task(count())
    drivers = [FakeDriver(UUID(int=number)) for number in range(1_000)]
    orders = Orders(FakeSessions(), Clock(), dict, lambda _: None, lambda _: asyncio.sleep(0))  # type: ignore[arg-type] # as far as orders look
    await orders.tell(drivers, "drain")  # type: ignore[arg-type] # as far as orders look
    counting.cancel()
    assert all(driver.told == [("drain", "")] for driver in drivers)
    assert turns > 20


async def test_what_people_answered_reaches_the_session_that_waits() -> None:
    post = Post()
    said = {"approval": "AR-7Q2M4V0XKD", "answer": "refused", "by": "mia", "comment": "not today"}
    assert await post.call("answered", session=str(SECOND), **said) == {}
    assert post.sessions.second.answers == [Answered(ApprovalId("AR-7Q2M4V0XKD"), "refused", "mia", "not today")]
    assert post.sessions.first.answers == []
    assert await Post().call("answered", session=str(uuid4()), **said) == {}


@pytest.mark.parametrize("wrong", [{"answer": "perhaps"}, {"approval": "7"}, {"session": "x"}, {"by": 1}])
async def test_an_answer_that_cannot_be_read_changes_nothing(wrong: dict[str, object]) -> None:
    post = Post()
    said = {"session": str(FIRST), "approval": "AR-7Q2M4V0XKD", "answer": "granted", "by": "mia", "comment": ""}
    with pytest.raises(CallFailed) as caught:
        await post.call("answered", **{**said, **wrong})
    assert caught.value.code == INVALID_PARAMS
    assert post.sessions.first.answers == []


async def test_a_session_that_cannot_be_told_keeps_nothing_from_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    post = Post()
    monkeypatch.setattr(post.sessions.first, "tell", lambda *_: 1 / 0)
    await post.call("policy")
    assert post.sessions.first.told == [("Told", "ZeroDivisionError")]
    assert post.sessions.second.told == [("policy", "")]
