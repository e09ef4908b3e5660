"""The data process: one listener, one journal, all its conversations, and its end of the bus.

1. It listens only after its start is durable in the journal and the control process has given it a policy.
2. It ends with its parent: when the bus closes or SIGTERM comes, sessions are told to end, and its own end is recorded.
   A drain lets each session come to rest first; a second one with less time hurries the first.
3. Whoever cannot be asked refuses: no bus, no journal, too many sessions.
"""

from __future__ import annotations

import asyncio
import ctypes
import logging
import os
import signal
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, Protocol
from uuid import UUID, uuid4

import structlog
import uvloop

from vestibule.bus import BusError, Peer, connect
from vestibule.evidence.heartbeat import EVERY, heartbeat
from vestibule.metrics import Snapshot
from vestibule.model import identity as who
from vestibule.model.effect import Prove
from vestibule.model.event import Admission
from vestibule.model.identity import Refusal
from vestibule.model.record import Json, Kind, Record
from vestibule.model.target import Target
from vestibule.protocols.base import Conversation, Opening, Refused, Relay
from vestibule.server.admission import Slot
from vestibule.server.approvals import BusApprovals
from vestibule.server.cancels import Cancels
from vestibule.server.clock import Clock
from vestibule.server.commits import COMMIT_SECONDS, Commits, Journal
from vestibule.server.dialer import DIAL_SECONDS, Dialer, Secrets
from vestibule.server.driver import Driver
from vestibule.server.listener import Arrival, Listener, ListenerLimits
from vestibule.server.meter import Meter
from vestibule.server.orders import Orders
from vestibule.server.recorder import Recorder
from vestibule.server.refusals import Refusals
from vestibule.server.services import Analyst, Services
from vestibule.server.sessions import Sessions
from vestibule.server.tls import ServerTls
from vestibule.stores.segments import Position
from vestibule.wire.identity import answer_from_json
from vestibule.wire.jsonrpc import Params

log = structlog.get_logger(__name__)

LOOK_AFTER_SECONDS: Final = 10.0
#: How long sessions that were told to end may take to say so and close.
FAREWELL_SECONDS: Final = 5.0

_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)
_PR_SET_PDEATHSIG: Final = 1

StopCause = Literal["operator", "upgrade", "fault"]


class WorkerJournal(Journal, Protocol):
    """The journal that this process alone writes."""

    @property
    def previous(self) -> Position | None:
        """Say where the last epoch ended."""
        ...

    @property
    def clean(self) -> bool:
        """Tell whether the last epoch was closed."""
        ...

    @property
    def torn_bytes(self) -> int:
        """Say how much of a torn batch was cut."""
        ...

    @property
    def admits_sessions(self) -> bool:
        """Tell whether there is room for new sessions."""
        ...

    @property
    def free_bytes(self) -> int:
        """Say how much room there is."""
        ...

    @property
    def waiting(self) -> int:
        """Say how many records wait."""
        ...

    def measured(self, process: str) -> Snapshot:
        """Give what was written so far, and how things are."""
        ...

    def close(self) -> None:
        """Write what waits and let go of the folder; blocks."""
        ...


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """What the operator decides."""

    worker: int
    protocol: str
    certificate: Path
    key: Path
    #: What `NodeStarted` says besides the state of the journal: `version`, `python`, `config_sha256`, `build`.
    started: Mapping[str, Json]
    sessions: int = 1_000
    listener: ListenerLimits = field(default_factory=ListenerLimits)
    dial_seconds: float = DIAL_SECONDS
    commit_seconds: float = COMMIT_SECONDS


@dataclass(frozen=True, slots=True)
class Wiring:
    """What the application hands in; `open_journal` takes the way to call back on the event loop."""

    open_journal: Callable[[Callable[[Callable[[], None]], object]], WorkerJournal]
    accept: Callable[[], Opening]
    reach: Callable[[Target, bytes], Opening]
    make_relay: Callable[[Conversation], Relay]
    apply_policy: Callable[[Params], None]
    secrets: Secrets
    analyst: Analyst
    #: Makes what records the sessions; without it none is recorded.
    make_recorder: Callable[[Commits, Clock], Recorder] | None = None


class WorkerFailed(Exception):
    """The process cannot serve; the text says why."""


def run_worker(listening: Sequence[int], bus: int, settings: WorkerSettings, wiring: Wiring) -> None:
    """Serve on inherited descriptors until the control process says, or ceases to say, otherwise."""
    _die_with_parent()
    sockets = [socket.socket(fileno=descriptor) for descriptor in listening]
    uvloop.run(Worker(settings, wiring).serve(sockets, socket.socket(fileno=bus)))


class Worker:
    """Everything that one data process holds."""

    def __init__(self, settings: WorkerSettings, wiring: Wiring) -> None:
        """Start with nothing open."""
        self._settings, self._wiring = settings, wiring
        self._clock = Clock()
        self._sessions = Sessions(settings.worker)
        self._bus = Peer()
        self._slots: dict[UUID, Slot] = {}
        self._admitted: set[UUID] = set()
        self._listeners: list[Listener] = []
        self._stop_cause: StopCause = "operator"
        self._is_draining = False
        self._policy: Params = {}
        self._meter = Meter(settings.worker, settings.protocol)
        self._farewell_seconds = FAREWELL_SECONDS
        self._recorder: Recorder | None = None
        self._ended, self._empty = asyncio.Event(), asyncio.Event()

    async def serve(self, listening: Sequence[socket.socket], bus: socket.socket) -> None:
        """Start, serve and stop."""
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(_report)
        # uvloop warns of each write to a peer that has just gone; the end of the peer is reported by itself.
        logging.getLogger("asyncio").setLevel(logging.ERROR)
        self._journal = self._wiring.open_journal(loop.call_soon_threadsafe)
        try:
            await self._start(listening, bus)
            async with asyncio.TaskGroup() as group:
                recurring = (self._beat(), self._look_after(), self._watch_bus(), self._tls.watch())
                tasks = [group.create_task(work) for work in recurring]
                await self._ended.wait()
                for task in tasks:
                    task.cancel()
            await self._stop()
        finally:
            for listener in self._listeners:
                listener.stop()
            self._meter.stop()
            await asyncio.to_thread(self._journal.close)
            self._bus.close()
            bus.close()
            for number in _SIGNALS:
                loop.remove_signal_handler(number)

    # --- start and stop ----------------------------------------------------------------------------------------------

    async def _start(self, listening: Sequence[socket.socket], bus: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        counting = self._meter.counting
        self._commits = Commits(self._journal, self._evidence_fault, self._settings.commit_seconds, counting=counting)
        self._refusals = Refusals(self._settings.protocol, self._note)
        self._dialer = Dialer(self._wiring.reach, self._wiring.secrets, self._settings.dial_seconds)
        make = self._wiring.make_recorder
        self._recorder = None if make is None else make(self._commits, self._clock)
        approvals = BusApprovals(self._bus)
        self._services = Services(
            self._clock,
            self._commits,
            self._dialer,
            self,
            self._wiring.analyst,
            approvals,
            self,
            self._recorder,
            counting,
        )
        self._cancels = Cancels(loop.time)
        await self._record_start()
        self._orders = Orders(self._sessions, self._clock, self._state, self._apply_policy, self._drain)
        self._orders.serve(self._bus)
        self._meter.start(self._journal, self._sizes)
        self._bus.on("metrics", self._meter.answer)
        await connect(bus, self._bus)
        authority = await self._hello()
        for number in _SIGNALS:
            loop.add_signal_handler(number, self._signalled, number)
        self._tls = tls = ServerTls(self._settings.certificate, self._settings.key, authority)
        for sock in listening:
            self._listeners += [Listener(sock, self._wiring.accept, tls, self, self._clock, self._settings.listener)]
            self._listeners[-1].start()
        self._bus.notify("ready", {"worker": self._settings.worker})

    async def _record_start(self) -> None:
        durable: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        members = {**self._settings.started, **_found(self._journal)}
        record = Record(Kind.NODE_STARTED, members)
        commit = self._commits.append([record], lambda commit: durable.set_result(commit.durable is True))
        if not (await durable if commit.durable is None else commit.durable):
            raise WorkerFailed("the start could not be recorded; look at the journal's folder and its volume")

    async def _hello(self) -> str:
        """Get the policy; give the authority of people's certificates, empty without one."""
        try:
            answer = await self._bus.call("hello", {"worker": self._settings.worker, "pid": os.getpid()})
        except BusError as error:
            raise WorkerFailed(f"the control process gave no policy: {error}") from error
        if not isinstance(answer, Mapping) or not isinstance(policy := answer.get("policy"), Mapping):
            raise WorkerFailed("the control process gave no policy")
        self._apply_policy(policy)
        return str(answer.get("authority", ""))

    def _apply_policy(self, policy: Params) -> None:
        self._wiring.apply_policy(policy)
        self._policy = {"policy": policy.get("digest")}

    def _state(self) -> Params:
        """Say how the process is doing, for `report`."""
        return {
            "queue_depth": self._journal.waiting,
            "admits_sessions": self._admits_sessions,
            "draining": self._is_draining,
            **self._policy,
        }

    def _sizes(self) -> dict[str, float]:
        """Say how much there is, for `metrics`."""
        return {
            "vestibule_sessions_open": len(self._sessions.open_ids),
            "vestibule_connections_pending": sum(listener.pending for listener in self._listeners),
            "vestibule_spool_bytes": 0 if self._recorder is None else self._recorder.spool_bytes,
        }

    def _signalled(self, number: int) -> None:
        # SIGINT comes to the whole group from a terminal: the control process ends us in its own time.
        if number == signal.SIGTERM:
            self._ended.set()

    async def _watch_bus(self) -> None:
        await self._bus.closed.wait()
        log.error("control_process_is_gone")
        self._stop_cause = "fault"
        self._ended.set()

    async def _drain(self, seconds: float) -> None:
        self._is_draining = True
        for listener in self._listeners:
            listener.stop()
        await self._orders.tell(self._sessions.all(), "finish")
        if await self._are_gone_in(seconds):
            return
        await self._orders.tell(self._sessions.all(), "drain")
        if await self._are_gone_in(self._farewell_seconds):
            return
        self._sessions.each("Shutdown", lambda driver: driver.end("the gateway is shutting down", "shutdown"))
        self._sessions.each("Shutdown", Driver.abort)

    async def _are_gone_in(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                while self._sessions.all():
                    self._empty.clear()
                    await self._empty.wait()
        except TimeoutError:
            return False
        return True

    async def _stop(self) -> None:
        await self._drain(0.0)
        self._refusals.close()
        self._cancels.close()
        if self._recorder is not None:
            self._recorder.close()
        members: dict[str, Json] = {
            "cause": self._stop_cause,
            "open_sessions": len(self._sessions.open_ids),
            "queue_empty": self._journal.waiting == 0,
        }
        self._note(Record(Kind.NODE_STOPPED, members))
        self._commits.close()

    # --- what recurs -------------------------------------------------------------------------------------------------

    async def _beat(self) -> None:
        beat = 0
        while True:
            measured: dict[str, Json] = {
                "queue_depth": self._journal.waiting,
                "journal_free_bytes": self._journal.free_bytes,
                "spool_bytes": 0 if self._recorder is None else self._recorder.spool_bytes,
                "mono_us": self._clock.elapsed_us(),
            }
            self._note(heartbeat(beat, self._sessions.open_ids, measured))
            beat += 1
            await asyncio.sleep(EVERY)

    async def _look_after(self) -> None:
        while True:
            await asyncio.sleep(LOOK_AFTER_SECONDS)
            self._sessions.each("LookAfter", Driver.look_after)

    def _note(self, record: Record) -> None:
        """Record what nobody waits for."""
        self._commits.append([record], lambda _: None)

    def _evidence_fault(self) -> None:
        log.critical("evidence_cannot_be_kept", failures=self._commits.failures)
        self._sessions.each("Told", lambda driver: driver.tell("evidence"))

    # --- the listener's reception ------------------------------------------------------------------------------------

    def arrived(self, arrival: Arrival) -> None:
        """Give a client its relay."""
        conversation = Conversation(
            session=uuid4(),
            client=arrival.client,
            tls=arrival.tls,
            started_at=arrival.started_at,
            seed=os.urandom(16),
            cancel_key=self._sessions.new_key(),
        )
        driver = Driver(self._wiring.make_relay(conversation), conversation, self._services)
        arrival.slot.evict = driver.abort
        self._slots[conversation.session] = arrival.slot
        self._sessions.add(driver)
        driver.start(arrival.transport, arrival.reader, arrival.ahead)

    def turned_away(self, refused: Refused, client: who.Peer) -> None:
        """Record a connection that never came to a relay."""
        self._meter.counting.refused(refused.cause)
        self._refusals.note(refused, client)

    def cancel_requested(self, key: bytes, client: who.Peer) -> None:
        """Stop a session's statement, here or in the process that the key leads to."""
        if not self._cancels.allows(client.ip):
            return
        if not self._sessions.leads_here(key):
            self._tell_control("cancel", {"key": key.hex()})
            return
        driver = self._sessions.by_key(key)
        if driver is not None:
            driver.tell("cancel")

    # --- the drivers' desk and prover --------------------------------------------------------------------------------

    def admitted(self, driver: Driver) -> None:
        """Give back the place at the door."""
        slot = self._slots.pop(driver.conversation.session, None)
        if slot is not None:
            slot.release()

    def opened(self, driver: Driver, cancel_key: bytes) -> None:
        """List a session."""
        self._sessions.open(driver, cancel_key)
        conversation, identity, target = driver.conversation, driver.identity, driver.target
        if identity is None or target is None:
            raise AssertionError("a session has an identity and a target")
        self._tell_control(
            "session_opened",
            {
                "session": str(conversation.session),
                "login": str(identity.who.login),
                "iss": identity.who.issuer,
                "sub": identity.who.subject,
                "name": identity.who.name,
                "target": target.name,
                "ip": conversation.client.ip,
                "port": conversation.client.port,
                "started_at": conversation.started_at,
            },
        )

    def refused(self, driver: Driver, record: Record) -> None:
        """Record, or count, that a log-in was refused."""
        self._meter.counting.refused(record.members.get("cause"))
        self._refusals.count(record, driver.conversation.client)

    def closed(self, driver: Driver, reason: str) -> None:
        """Forget a conversation."""
        self.admitted(driver)
        session = driver.conversation.session
        # One that never became a session holds a place at the control process all the same, from its proof on.
        had_place = session in self._admitted
        self._admitted.discard(session)
        if self._sessions.remove(driver) or had_place:
            self._tell_control("session_closed", {"session": str(session), "reason": reason})
        self._empty.set()

    async def prove(self, proof: Prove, conversation: Conversation) -> Admission | Refusal:
        """Ask the control process who somebody is."""
        if len(self._admitted) >= self._settings.sessions:
            return Refusal.TOO_MANY
        if self._is_draining or not self._admits_sessions:
            return Refusal.UNAVAILABLE
        self._admitted.add(conversation.session)
        answer = await self._asked(proof, conversation)
        if isinstance(answer, Refusal):
            self._admitted.discard(conversation.session)
            if answer is Refusal.UNAVAILABLE:
                # Whatever the control process answers later, nobody waits for it.
                self._tell_control("session_closed", {"session": str(conversation.session), "reason": "refused"})
        return answer

    @property
    def _admits_sessions(self) -> bool:
        """Whether there is room for the records of new sessions, and for what they show."""
        return self._journal.admits_sessions and (self._recorder is None or self._recorder.admits_sessions)

    async def _asked(self, proof: Prove, conversation: Conversation) -> Admission | Refusal:
        try:
            shown = proof.secret.decode() if proof.method == "token" else proof.secret.hex()
        except UnicodeDecodeError:
            return Refusal.UNKNOWN
        params: Params = {
            "method": proof.method,
            proof.method: shown,
            "attempted": proof.attempted,
            "wanted": proof.wanted,
            "ip": conversation.client.ip,
            "port": conversation.client.port,
            "session": str(conversation.session),
        }
        try:
            return answer_from_json(await self._bus.call("prove", params))
        except (BusError, ValueError) as error:
            log.error("proof_not_answered", session=str(conversation.session), error=type(error).__name__)
            return Refusal.UNAVAILABLE

    def _tell_control(self, method: str, params: Params) -> None:
        try:
            self._bus.notify(method, params)
        except BusError:
            log.warning("control_process_not_told", method=method)


def _found(journal: WorkerJournal) -> dict[str, Json]:
    found: dict[str, Json] = {"clean": journal.clean}
    if (previous := journal.previous) is not None:
        found["previous"] = {"epoch": previous.epoch, "n": previous.n, "leaf": previous.leaf.hex()}
    if journal.torn_bytes:
        found["recovered"] = {"torn_bytes": journal.torn_bytes}
    return found


def _report(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Log what nobody caught, without the words of the exception: they may quote what a person typed."""
    error = context.get("exception")
    log.error("event_loop_error", message=context.get("message"), error=type(error).__name__)


def _die_with_parent() -> None:
    library = ctypes.CDLL(None, use_errno=True)
    if library.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM) != 0:
        log.warning("not_bound_to_parent", errno=ctypes.get_errno())
