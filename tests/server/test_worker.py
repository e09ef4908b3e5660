import asyncio
import os
import signal
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any
from uuid import UUID

import pytest

from tests.support.doors import PATIENCE, End, eventually, opening, speak_at_once
from tests.support.little_authority import LittleAuthority
from tests.support.scripted import SOMEBODY, CopyingRelay, FakeAnalyst, FakeJournal, FakeSecrets, target
from vestibule.bus import Peer, connect
from vestibule.evidence.kinds import BODY
from vestibule.gate.permit import OPENED
from vestibule.model.effect import Close, Effect, Persist, Send
from vestibule.model.event import Admission, Event, Proven, Side, Told
from vestibule.model.identity import Refusal
from vestibule.model.names import Instant
from vestibule.model.record import Kind, Record, Reference
from vestibule.protocols.base import CancelRequested, Conversation, Exactly, Opening, Refused
from vestibule.server import sockets
from vestibule.server import worker as worker_module
from vestibule.server.cancels import Cancels
from vestibule.server.driver import Driver
from vestibule.server.worker import Wiring, Worker, WorkerFailed, WorkerSettings
from vestibule.stores.segments import Position
from vestibule.wire.identity import answer_to_json
from vestibule.wire.jsonrpc import Params

pytestmark = pytest.mark.asyncio


class WorkerRelay(CopyingRelay):
    """Copies both ways; says what it is told, and ends when it is told to."""

    refused: list[Refusal]

    def handle(self, event: Event, now: Instant) -> Sequence[Effect]:
        match event:
            case Proven(answer=Refusal() as refusal):
                self.refused.append(refusal)
                return Send(Side.CLIENT, f"refused: {refusal}".encode()), Close("refused")
            case Told(what="cancel" | "policy" as what):
                return (Send(Side.CLIENT, what.encode()),)
            case Told(what=what, by=by):
                closed = Record(
                    Kind.SESSION_CLOSED,
                    {"opened": Reference(OPENED, last=True), "cause": "shutdown"},
                    session=self._session,
                )
                return Persist(closed), Send(Side.CLIENT, f"ended: {what} {by}".encode()), Close(what)
            case _:
                return super().handle(event, now)


class FullJournal(FakeJournal):
    """A journal as the worker sees it."""

    clean = True
    torn_bytes = 0
    previous: Position | None = Position(1, 6, b"\1" * 32)


class Gateway:
    """A worker, its control process and its target, in one event loop."""

    def __init__(self, authority: LittleAuthority, journal: str = "soon", **settings: Any) -> None:
        leaf = authority.issue()
        self.journal = FullJournal(journal)
        self.listening = sockets.listen(target_address())
        self.target = socket.create_server(("127.0.0.1", 0))
        self.target.setblocking(False)
        self.control = Peer()
        self.policies: list[Params] = []
        self.notices: list[tuple[str, Params]] = []
        self.proofs: list[Params] = []
        self.answer: Admission | Refusal = Admission(SOMEBODY, "key-1", b"k" * 32)
        self.refused: list[Refusal] = []
        self.hello: Any = {"policy": {"text": "version: 1"}}
        self.opening: Opening | None = None
        self.conversations: list[Conversation] = []
        self.settings = WorkerSettings(
            worker=3,
            protocol="postgres",
            certificate=leaf.certificate,
            key=leaf.key,
            started={"version": "0.1", "python": "3.11"},
            **settings,
        )
        self.worker = Worker(self.settings, self._wiring())
        self.running: asyncio.Task[None] | None = None
        self.ends: list[End] = []

    def _wiring(self) -> Wiring:
        return Wiring(
            open_journal=lambda call: self.journal,  # type: ignore[arg-type,return-value] # as far as a worker looks
            accept=lambda: self.opening or speak_at_once(),
            reach=speak_at_once,
            make_relay=self._relay,
            apply_policy=self.policies.append,
            secrets=FakeSecrets(),
            analyst=FakeAnalyst(),
        )

    def _relay(self, conversation: Conversation) -> WorkerRelay:
        self.conversations.append(conversation)
        relay = WorkerRelay(conversation.session, target(self.target.getsockname()))
        relay.key = conversation.cancel_key
        relay.refused = self.refused
        return relay

    async def start(self) -> None:
        ours, theirs = socket.socketpair()
        for name in ("ready", "session_opened", "session_closed", "cancel"):
            self.control.on(name, lambda params, name=name: self.notices.append((name, params)))
        self.control.on("hello", lambda _: self.hello)
        self.control.on("prove", self._prove)
        await connect(ours, self.control)
        self.running = asyncio.create_task(self.worker.serve([self.listening], theirs))

    def _prove(self, params: Params) -> Any:
        self.proofs.append(params)
        return answer_to_json(self.answer)

    async def ready(self) -> None:
        await eventually(lambda: self.told("ready") or (self.running and self.running.done()))

    def told(self, name: str) -> list[Params]:
        return [params for told, params in self.notices if told == name]

    def recorded(self, kind: Kind) -> list[Record]:
        return [record for record in self.journal.records if record.kind is kind]

    async def client(self, data: bytes = b"!") -> End:
        end = End(socket.socket())
        self.ends.append(end)
        await asyncio.get_running_loop().sock_connect(end.sock, self.listening.getsockname())
        await end.send(data)
        return end

    async def session(self) -> End:
        count = len(self.told("session_opened"))
        end = await self.client()
        sock, _ = await asyncio.wait_for(asyncio.get_running_loop().sock_accept(self.target), PATIENCE)
        self.far = End(sock)
        self.ends.append(self.far)
        assert await self.far.take(1) == b"!"
        await eventually(lambda: len(self.told("session_opened")) > count)
        return end

    async def stop(self) -> None:
        """Hang up, and wait for the worker to end by itself."""
        for end in self.ends:
            end.leave()
        self.control.close()
        assert self.running is not None
        await asyncio.wait_for(asyncio.wait([self.running]), PATIENCE)
        self.listening.close()
        self.target.close()


def target_address() -> Any:
    return target(("127.0.0.1", 0)).hosts[0]


@asynccontextmanager
async def gateway(authority: LittleAuthority, **settings: Any) -> AsyncIterator[Gateway]:
    made = Gateway(authority, **settings)
    await made.start()
    await made.ready()
    try:
        yield made
    finally:
        await made.stop()


# --- start -----------------------------------------------------------------------------------------------------------


async def test_nobody_is_let_in_before_the_start_is_durable_and_a_policy_is_in_force(
    little_authority: LittleAuthority,
) -> None:
    made = Gateway(little_authority, journal="told")
    await made.start()
    await eventually(lambda: made.journal.tickets)
    end = await made.client()
    assert await end.nothing()
    assert made.policies == []
    made.journal.mode = "soon"
    made.journal.tickets[0].settle()
    await made.ready()
    assert made.policies == [{"text": "version: 1"}]
    assert made.told("ready") == [{"worker": 3}]
    started = made.journal.records[0]
    assert started.members["clean"] is True
    assert started.members["previous"] == {"epoch": 1, "n": 6, "leaf": "01" * 32}
    BODY[Kind.NODE_STARTED](started.members)
    await made.stop()


@pytest.mark.parametrize(
    ("journal", "hello", "why"),
    [
        ("refused", {"policy": {}}, "start could not be recorded"),
        ("soon", {}, "gave no policy"),
        ("soon", None, "gave no policy"),
    ],
)
async def test_a_start_that_cannot_be_recorded_or_has_no_policy_fails(
    little_authority: LittleAuthority, journal: str, hello: Any, why: str
) -> None:
    made = Gateway(little_authority, journal=journal)
    made.hello = hello
    await made.start()
    assert made.running is not None
    with pytest.raises(WorkerFailed, match=why):
        await made.running
    assert made.journal.closed
    await made.stop()


# --- sessions --------------------------------------------------------------------------------------------------------


async def test_a_session_is_proven_listed_and_struck_off(little_authority: LittleAuthority) -> None:
    async with gateway(little_authority) as made:
        end = await made.session()
        (facts,) = made.conversations
        proof = made.proofs[0]
        assert proof == {
            "method": "token",
            "token": "vst_x",
            "attempted": "dev1+core",
            "wanted": "",
            "ip": "127.0.0.1",
            "port": end.sock.getsockname()[1],
            "session": str(facts.session),
        }
        (opened,) = made.told("session_opened")
        assert opened["session"] == str(facts.session)
        assert (opened["login"], opened["name"], opened["target"]) == (str(SOMEBODY.who.login), "dev1", "core")
        await end.send(b"hello")
        assert await made.far.take(5) == b"hello"
        end.leave()
        made.far.leave()
        await eventually(lambda: made.told("session_closed"))
        (closed,) = made.told("session_closed")
        assert closed["session"] == str(facts.session)
        assert len(facts.seed) == 16


async def test_a_proof_that_was_refused_leaves_no_session(little_authority: LittleAuthority) -> None:
    async with gateway(little_authority) as made:
        made.answer = Refusal.EXPIRED
        assert await (await made.client()).rest() == b"refused: expired"
        assert made.told("session_opened") == made.told("session_closed") == []


@pytest.mark.parametrize("answer", ["nonsense", "slow", "not a token"])
async def test_a_proof_that_cannot_be_asked_about_is_refused(
    little_authority: LittleAuthority, monkeypatch: pytest.MonkeyPatch, answer: str
) -> None:
    async with gateway(little_authority) as made:
        expected = "unavailable"
        match answer:
            case "nonsense":
                made.control.on("prove", lambda _: {"identity": "everybody"})
            case "slow":
                made.control.on("prove", lambda _: asyncio.Event().wait())
                monkeypatch.setattr(made.worker._bus, "call", _impatient(made.worker._bus))
            case _:
                expected = "unknown"
                monkeypatch.setattr(CopyingRelay, "token", b"\xff\xfe", raising=False)
        end = await made.client()
        assert await end.rest() == f"refused: {expected}".encode()
        assert (answer == "not a token") is (made.proofs == [] and expected == "unknown")


def _impatient(bus: Peer) -> Any:
    call = bus.call

    async def impatient(method: str, params: Params) -> Any:
        return await call(method, params, 0.05)

    return impatient


async def test_there_are_only_so_many_sessions_and_a_closed_one_makes_room(little_authority: LittleAuthority) -> None:
    async with gateway(little_authority, sessions=2) as made:
        first, _ = await made.session(), await made.session()
        assert await (await made.client()).rest() == b"refused: too_many"
        first.leave()
        for far in made.ends:
            far.leave()
        await eventually(lambda: made.told("session_closed"))
        await made.session()


async def test_no_new_session_begins_while_room_for_evidence_is_short(little_authority: LittleAuthority) -> None:
    async with gateway(little_authority) as made:
        running = await made.session()
        made.journal.admits_sessions = False
        assert await (await made.client()).rest() == b"refused: unavailable"
        await running.send(b"goes on")
        assert await made.far.take(7) == b"goes on"


async def test_a_session_that_cannot_be_looked_after_ends_alone(
    little_authority: LittleAuthority, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[Driver] = []

    def stumble(driver: Driver) -> None:
        looked.append(driver)
        if driver.conversation is made.conversations[0]:
            raise LookupError

    monkeypatch.setattr(worker_module, "LOOK_AFTER_SECONDS", 0.01)
    async with gateway(little_authority) as made:
        broken, other = await made.session(), await made.session()
        monkeypatch.setattr(Driver, "look_after", stumble)
        assert await broken.rest() == b""
        looked.clear()
        await eventually(lambda: len(looked) > 3)
        assert [record.session for record in made.recorded(Kind.SESSION_CLOSED)] == [made.conversations[0].session]
        await other.send(b"goes on")
        assert await made.far.take(7) == b"goes on"


# --- cancels ---------------------------------------------------------------------------------------------------------


def cancel(key: bytes) -> Opening:
    return opening(Exactly(1), outcome=CancelRequested(key))


async def test_a_cancel_finds_its_session_here_or_goes_to_the_process_that_has_it(
    little_authority: LittleAuthority,
) -> None:
    async with gateway(little_authority) as made:
        end = await made.session()
        made.opening = cancel(made.conversations[0].cancel_key)
        assert await (await made.client()).rest() == b""
        assert await end.take(6) == b"cancel"
        for key in (b"\3" + bytes(7), b"\4" + bytes(7)):
            made.opening = cancel(key)
            assert await (await made.client()).rest() == b""
        await eventually(lambda: made.told("cancel"))
        assert made.told("cancel") == [{"key": "04" + "00" * 7}]
        assert await end.nothing()


async def test_cancel_requests_of_one_address_are_limited(
    little_authority: LittleAuthority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_module, "Cancels", partial(Cancels, burst=2, rate=0.0))
    async with gateway(little_authority) as made:
        end = await made.session()
        for _ in range(4):
            made.opening = cancel(made.conversations[0].cancel_key)
            assert await (await made.client()).rest() == b""
        assert await end.take(12) == b"cancelcancel"
        assert await end.nothing()


# --- orders and ends -------------------------------------------------------------------------------------------------


async def test_the_control_process_reaches_every_session(little_authority: LittleAuthority) -> None:
    async with gateway(little_authority) as made:
        end = await made.session()
        assert await made.control.call("policy", {"text": "version: 2"}) == {}
        assert await end.take(6) == b"policy"
        assert made.policies[-1] == {"text": "version: 2"}
        session = str(made.conversations[0].session)
        assert await made.control.call("kill", {"session": session, "by": "admin"}) == {"killed": True}
        assert await end.rest() == b"ended: kill admin"


async def test_a_revoked_login_ends_its_session(little_authority: LittleAuthority) -> None:
    async with gateway(little_authority) as made:
        end = await made.session()
        answer = await made.control.call("revoked", {"login": str(UUID(int=1)), "cause": "logout"})
        assert answer == {"sessions": [str(made.conversations[0].session)]}
        assert await end.rest() == b"ended: revoke logout"


async def test_a_drain_ends_all_sessions_accepts_nobody_and_is_recorded(little_authority: LittleAuthority) -> None:
    async with gateway(little_authority) as made:
        end = await made.session()
        draining = asyncio.create_task(made.control.call("drain", {"deadline": 5}))
        assert await end.rest() == b"ended: finish "
        end.leave()
        made.far.leave()
        assert await draining == {}
        late = await made.client()
        assert await late.nothing()
        os.kill(os.getpid(), signal.SIGTERM)
        assert made.running is not None
        await asyncio.wait_for(asyncio.wait([made.running]), PATIENCE)
        stopped = made.recorded(Kind.NODE_STOPPED)[0]
        assert stopped.members == {"cause": "operator", "open_sessions": 0, "queue_empty": True}
        BODY[Kind.NODE_STOPPED](stopped.members)
        assert made.journal.kinds()[-1] is Kind.NODE_STOPPED
        assert made.journal.closed


async def test_a_session_that_does_not_end_in_time_is_cut_off_and_recorded(
    little_authority: LittleAuthority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(WorkerRelay, "handle", CopyingRelay.handle)
    async with gateway(little_authority) as made:
        end = await made.session()
        made.worker._farewell_seconds = 0.1
        assert await made.control.call("drain", {"deadline": 0.1}) == {}
        assert await end.rest() == b""
        closed = made.recorded(Kind.SESSION_CLOSED)
        assert [record.members["cause"] for record in closed] == ["shutdown"]


async def test_a_session_that_does_not_come_to_rest_is_told_to_end_at_the_deadline_or_when_somebody_hurries(
    little_authority: LittleAuthority, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = WorkerRelay.handle

    def busy(relay: WorkerRelay, event: Event, now: Instant) -> Sequence[Effect]:
        return () if event == Told("finish") else usual(relay, event, now)

    monkeypatch.setattr(WorkerRelay, "handle", busy)
    async with gateway(little_authority) as made:
        end = await made.session()
        long = asyncio.create_task(made.control.call("drain", {"deadline": 3600}, 3600))
        assert await end.nothing(0.2)
        short = asyncio.create_task(made.control.call("drain", {"deadline": 0.1}))
        assert await end.rest() == b"ended: drain "
        end.leave()
        made.far.leave()
        assert await long == await short == {}


async def test_a_process_whose_control_process_has_gone_ends_itself(little_authority: LittleAuthority) -> None:
    async with gateway(little_authority) as made:
        end = await made.session()
        made.control.close()
        assert await end.rest() == b"ended: finish "
        end.leave()
        made.far.leave()
        assert made.running is not None
        await asyncio.wait_for(asyncio.wait([made.running]), PATIENCE)
        assert made.recorded(Kind.NODE_STOPPED)[0].members["cause"] == "fault"


async def test_evidence_that_cannot_be_kept_ends_every_session(
    little_authority: LittleAuthority, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with gateway(little_authority) as made:
        end = await made.session()
        made.worker._commits._fault_seconds = 0.05
        made.journal.mode = "refused"
        made.worker._note(Record(Kind.HEARTBEAT, {}))
        assert await end.rest() == b"ended: evidence "


async def test_a_heartbeat_says_what_is_open(
    little_authority: LittleAuthority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_module, "EVERY", 0.05)
    async with gateway(little_authority) as made:
        await made.session()
        count = len(made.recorded(Kind.HEARTBEAT))
        await eventually(lambda: len(made.recorded(Kind.HEARTBEAT)) > count + 1)
        beats = made.recorded(Kind.HEARTBEAT)
        assert [beat.members["beat"] for beat in beats] == list(range(len(beats)))
        last = beats[-1].members
        assert (last["sessions_open"], last["journal_free_bytes"]) == (1, 1 << 40)
        assert last["sessions_digest"] != beats[0].members["sessions_digest"]
        BODY[Kind.HEARTBEAT](last)


async def test_a_connection_that_was_turned_away_is_recorded(little_authority: LittleAuthority) -> None:
    async with gateway(little_authority) as made:
        made.opening = opening(Exactly(1), outcome=Refused("no TLS", "dev1+core", b"words"))
        assert await (await made.client()).rest() == b"words"
        (record,) = made.recorded(Kind.ACCESS_DECIDED)
        assert record.members["attempted"] == "dev1+core"


async def test_a_waiting_client_gives_its_place_back_when_it_offers_a_proof(little_authority: LittleAuthority) -> None:
    async with gateway(little_authority) as made:
        await made.session()
        assert made.worker._listeners[0].pending == 0
        assert made.worker._slots == {}
