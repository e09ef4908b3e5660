"""The control process: it records that it starts, lets the policy take effect, then opens the doors.

The order of `serve` is the order of promises: the journal and what an earlier run left open, the policy as evidence,
then those who serve. The end is the same backwards.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import signal
import socket
import sys
import time
from collections.abc import Collection, Coroutine, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Any, Final
from uuid import UUID

import structlog
import uvloop
from fastapi import FastAPI

from vestibule.app import measured, supervised
from vestibule.app.data import open_journal, started, wall_clock, writer
from vestibule.app.identities import provider_of
from vestibule.bus import Handler
from vestibule.control.api.service import Service, application
from vestibule.control.api.sessions import AUDITOR, Sessions
from vestibule.control.api.sign_in import SignIn
from vestibule.control.api.targets import Targets
from vestibule.control.approval_desk import ApprovalDesk, Gateway
from vestibule.control.approvals import Approvals, Port
from vestibule.control.desk import Desk
from vestibule.control.health import Readiness, Watched
from vestibule.control.https import Web
from vestibule.control.integrator import Integrator
from vestibule.control.integrator import Settings as LogSettings
from vestibule.control.leftovers import Leftovers
from vestibule.control.measuring import Measuring, Noticing
from vestibule.control.places import PlaceLimits, Places
from vestibule.control.policy import PolicyKeeper
from vestibule.control.recovery import Recovered, Recovery
from vestibule.control.replaying import Replayer
from vestibule.control.signer import FileSigner
from vestibule.control.user_authority import open_authority
from vestibule.control.viewing import Viewing
from vestibule.control.workers import Launch, Workers
from vestibule.evidence.heartbeat import EVERY, heartbeat
from vestibule.evidence.literals import mask_words
from vestibule.gate.gate import StorageKey
from vestibule.identity.fetch import Fetcher
from vestibule.identity.login import LoginService
from vestibule.identity.oidc import RelyingParty
from vestibule.identity.proving import Prover
from vestibule.logs import configure
from vestibule.model.identity import Identity
from vestibule.model.names import SECOND
from vestibule.model.record import Json, Kind, Record, Written
from vestibule.policy.document import Policy
from vestibule.policy.engine import Engine
from vestibule.policy.reading import suggestion
from vestibule.server import sockets
from vestibule.server.tls import ServerTls
from vestibule.settings import Settings, read_policy
from vestibule.stores import restore
from vestibule.stores.approvals import ApprovalStore
from vestibule.stores.data_keys import open_data_keys
from vestibule.stores.database import STATE, open_database, refuse_newer
from vestibule.stores.index import SessionIndex
from vestibule.stores.log import LogStore
from vestibule.stores.logins import LoginStore
from vestibule.stores.objects import Directory
from vestibule.stores.replays import ReplayIndex
from vestibule.stores.unfinished import UnfinishedStore
from vestibule.vault import Vault
from vestibule.vitals import Vitals
from vestibule.wire.jsonrpc import Params

log = structlog.get_logger(__name__)

CONTROL: Final = "control"
SWEEP_EVERY: Final = 5.0
#: Seconds that sessions get to end when the gateway stops without having drained.
DRAIN: Final = 10.0
#: Seconds that what works in the background may take to end.
END_TASKS: Final = 5.0
#: Seconds that are left of a drain when somebody asks a second time.
HURRY: Final = 3.0


def run(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT."""
    configure(settings.log_format, CONTROL)
    os.umask(0o077)
    # A core file would hold keys, tokens and what passes through; the data processes inherit this.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    uvloop.run(ControlProcess(settings).serve())


class ControlProcess:
    """Everything that the control process holds."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._began = time.monotonic()
        self._vault = Vault()
        self._measuring = Measuring(lambda: self._workers.ask("metrics", {}), lambda: self._sources.snapshot())
        self._stop, self._hurry = asyncio.Event(), asyncio.Event()

    async def serve(self) -> None:
        """Start, serve, and stop when told to."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._signalled)
        async with AsyncExitStack() as stack:
            await self._open_evidence(stack)
            await self._open_identity(stack)
            await self._open_approvals()
            listening = stack.enter_context(self._listen())
            await self._open_doors(stack, listening)
            log.info("serving", postgres=str(self._settings.listeners.postgres.address), url=self._settings.public_url)
            supervised.tell(supervised.READY)
            await self._stop.wait()
            self._readiness.stop()
            await self._drain(listening[0])
            log.info("stopping")
            supervised.tell(supervised.STOPPING)

    def _signalled(self) -> None:
        (self._hurry if self._stop.is_set() else self._stop).set()

    async def _drain(self, listening: socket.socket) -> None:
        """Let nobody in, and those who are in finish; the control plane serves meanwhile."""
        seconds = self._settings.drain
        log.info("draining", sessions=len(self._desk.live), seconds=seconds)
        # For all processes that share it: from here on a new connection is refused, so a balancer takes another node.
        with contextlib.suppress(OSError):
            listening.shutdown(socket.SHUT_RDWR)
        draining = asyncio.create_task(self._workers.drain(seconds))
        hurry = asyncio.create_task(self._hurry.wait())
        await asyncio.wait((draining, hurry), return_when=asyncio.FIRST_COMPLETED)
        if not draining.done():
            log.info("draining_in_a_hurry", sessions=len(self._desk.live), seconds=HURRY)
            await self._workers.drain(min(HURRY, seconds))
        hurry.cancel()
        await draining

    # --- evidence ----------------------------------------------------------------------------------------------------

    async def _open_evidence(self, stack: AsyncExitStack) -> None:
        settings = self._settings
        refuse_newer(settings.data)
        self._restored = restore.restored(settings.data)
        for folder in (settings.data, *(settings.data / name for name in ("journal", "keys", "spool"))):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._journal = open_journal(settings, CONTROL, asyncio.get_running_loop().call_soon_threadsafe)
        stack.push_async_callback(asyncio.to_thread, self._journal.close)
        self._engine = await open_database(settings.data / STATE)
        stack.push_async_callback(self._engine.dispose)
        self._index = SessionIndex(self._engine)
        self._objects = Directory(settings.data / "objects")
        self._keys = await open_data_keys(self._engine, settings.data / "keys" / "kek")
        await self._open_log(stack)
        await self._record_start(await self._recovery.recover())
        stack.push_async_callback(self._record_stop)
        await self._open_policy()

    async def _record_start(self, recovered: Recovered) -> None:
        journal = self._journal
        found: dict[str, Json] = {"clean": journal.clean and not recovered.sessions}
        if (previous := journal.previous) is not None:
            found["previous"] = {"epoch": previous.epoch, "n": previous.n, "leaf": previous.leaf.hex()}
        members = {**started(self._settings), **found, "recovered": recovered.members()}
        await journal.commit(Record(Kind.NODE_STARTED, members))
        if self._restored is not None:
            since, detail = self._restored
            fault: dict[str, Json] = {"fault": "rolled_back", "phase": "ended", "since": since, "detail": detail}
            await journal.commit(Record(Kind.AUDIT_FAULT, fault))
            log.warning("restored", since=since, detail=detail)
            restore.forget(self._settings.data)

    async def _open_log(self, stack: AsyncExitStack) -> None:
        data = self._settings.data
        self._log = Integrator(
            data,
            LogStore(self._engine),
            FileSigner(data / "keys", self._settings.origin),
            self._journal,
            wall_clock,
            LogSettings(publish_every=self._settings.log.publish_every),
        )
        stack.push_async_callback(self._log.close)
        await self._log.start()
        self._objects.drop_unfinished()
        leftovers = Leftovers(
            data / "spool", self._objects, self._keys, ReplayIndex(self._engine), self._index, self._journal
        )
        self._recovery = Recovery(
            data / "journal", self._log, UnfinishedStore(self._engine), leftovers, self._journal, wall_clock
        )

    async def _open_policy(self) -> None:
        read_policy(self._settings)
        self._policy = PolicyKeeper(self._settings.policy, self._persist, wall_clock)
        policy = await self._policy.begin(await self._index.last_policy())
        self._policy_engine = Engine(policy)
        self._look_at_limits(policy)
        self._storage_key_id, self._storage_key = await self._keys.token_key()

    async def _persist(self, record: Record) -> None:
        await self._journal.commit(record)

    async def _write(self, record: Record) -> Written:
        (written,) = await self._journal.commit(record)
        return written

    async def _record_stop(self) -> None:
        members: dict[str, Json] = {"cause": "operator", "open_sessions": 0, "queue_empty": True}
        # A journal that is gone answers nothing: the end does not wait for it.
        with contextlib.suppress(Exception):
            async with asyncio.timeout(self._settings.journal.commit_timeout):
                await self._journal.commit(Record(Kind.NODE_STOPPED, members))

    # --- identity ----------------------------------------------------------------------------------------------------

    async def _open_identity(self, stack: AsyncExitStack) -> None:
        logins = LoginStore(self._engine)
        parties = {party.provider.name: party for party in self._parties(self._policy.policy)}
        journal = Noticing(self._journal, self._measuring.tally)
        self._logins = LoginService(parties, logins, journal, wall_clock, self._settings.public_url)
        self._logins.on_revoked(self._revoked)
        stack.push_async_callback(self._logins.close)
        settings = self._settings
        self._authority = (
            open_authority(settings.data / "keys", settings.origin) if settings.client_certificates else None
        )
        self._prover = Prover(logins, wall_clock, authority=self._authority)

    def _parties(self, policy: Policy) -> Iterator[RelyingParty]:
        for provider in policy.providers:
            known = provider_of(provider, self._settings, self._vault)
            fetcher = Fetcher(known.ca, insecure_loopback_http=known.insecure_loopback_http)
            redirect = f"{self._settings.public_url}/login/callback/{provider.name}"
            yield RelyingParty(known, redirect, fetcher, wall_clock, time.monotonic)

    def _revoked(self, login: object, cause: str, token: object = None) -> None:
        params = {"login": str(login), "cause": cause, "token": None if token is None else str(token)}
        self._spawn(self._workers.tell("revoked", params))
        if token is None and isinstance(login, UUID):
            self._approvals.end_watches(login)

    # --- approvals ---------------------------------------------------------------------------------------------------

    async def _open_approvals(self) -> None:
        self._approval_store = ApprovalStore(self._engine)
        port = Port(self._write, self._mask, wall_clock, self._is_auditor)
        self._approvals = Approvals(self._approval_store, self._keys, port)
        self._approvals.on_ended(
            lambda _, answer, *__: self._measuring.tally.add("vestibule_approvals_answered_total", (answer,))
        )
        await self._approvals.start()

    async def _end_approvals(self) -> None:
        """Withdraw what waited in the sessions that have just ended; what cannot be recorded is, at the next start."""
        with contextlib.suppress(Exception):
            async with asyncio.timeout(self._settings.journal.commit_timeout):
                await self._approvals.sweep()

    def _mask(self, words: str) -> str:
        return mask_words(words, self._storage_key, self._storage_key_id)

    def _is_auditor(self, identity: Identity) -> bool:
        return AUDITOR in self._policy_engine.roles_of(identity)

    # --- doors -------------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _listen(self) -> Iterator[tuple[socket.socket, socket.socket]]:
        listeners = self._settings.listeners
        with sockets.listen(listeners.postgres.address) as data, sockets.listen(listeners.control.address) as control:
            yield data, control

    async def _open_doors(self, stack: AsyncExitStack, listening: tuple[socket.socket, socket.socket]) -> None:
        data, control = listening
        self._tasks: set[asyncio.Task[Any]] = set()
        self._desk = Desk(
            self._prover,
            self._keys,
            self._policy_json,
            self._may_open,
            self._cancel,
            self._places(),
            "" if self._authority is None else self._authority.pem,
        )
        self._approval_desk = ApprovalDesk(
            self._approvals,
            self._approval_store,
            self._keys,
            Gateway(self._settings.public_url, wall_clock, self._desk.find, self._inform),
        )
        self._desk.on_closed(self._approval_desk.session_closed)
        self._workers = Workers(Launch(self._command, [data]), self._handlers, self._lost)
        self._readiness = Readiness(
            Watched(
                self._journal,
                self._log,
                lambda: self._workers.ask("state", {}),
                lambda: self._policy.policy.digest,
            )
        )
        stack.push_async_callback(self._end_approvals)
        stack.push_async_callback(self._workers.stop, DRAIN)
        await self._workers.start(self._settings.workers)
        shown = self._settings.listeners.control
        tls = ServerTls(shown.certificate, shown.key)
        web = Web(self._application(), shown.certificate, shown.key, lambda: tls.context(""))
        await web.start(control)
        stack.push_async_callback(web.stop)
        await self._open_metrics(stack)
        stack.push_async_callback(self._end_tasks)
        # Open streams would hold up the end of the web server.
        stack.callback(self._approvals.close)
        for work in (
            self._log.run(),
            self._policy.watch(self._apply),
            self._beat(),
            self._sweep(),
            self._approvals.run(),
            self._measuring.run(),
            tls.watch(),
        ):
            self._spawn(work)

    async def _open_metrics(self, stack: AsyncExitStack) -> None:
        listeners, vitals = self._settings.listeners, Vitals(measured.PROCESS)
        self._sources = measured.Sources(
            listeners,
            self._journal,
            self._log,
            self._policy,
            self._approval_store,
            self._readiness,
            vitals,
            wall_clock,
        )
        vitals.start()
        stack.callback(vitals.stop)
        if listeners.metrics is not None:
            listening = stack.enter_context(sockets.listen(listeners.metrics.address))
            web = measured.web(listeners.metrics, self._measuring)
            await web.start(listening)
            stack.push_async_callback(web.stop)

    def _places(self) -> Places:
        limits = self._settings.limits
        bounds = PlaceLimits(limits.sessions_per_person, limits.sessions_per_address, limits.sessions_per_target)
        return Places(bounds, self._lead)

    def _lead(self, identity: Identity, attempted: str, wanted: str) -> str:
        """Name the target that a log-in leads to, as the data process will find it."""
        found = self._policy_engine.target(identity, wanted)
        if found is None and "+" not in attempted:
            granted = self._policy_engine.targets_of(identity)
            found = granted[0] if len(granted) == 1 else None
        return "" if found is None else found.name

    def _handlers(self, worker: int) -> Mapping[str, Handler]:
        return {**self._desk.handlers(worker), **self._approval_desk.handlers(worker)}

    def _inform(self, worker: int, method: str, params: Params) -> None:
        self._workers.inform(worker, method, params)

    def _command(self, worker: int, bus: int, listening: Sequence[int]) -> Sequence[str]:
        settings = str(self._settings.path)
        return [sys.executable, "-m", "vestibule.app.data", settings, str(worker), str(bus), *map(str, listening)]

    def _application(self) -> FastAPI:
        return application(
            Service(
                SignIn(
                    self._logins,
                    self._prover,
                    self._settings.public_url,
                    self._may_use,
                    self._ports(),
                    self._authority,
                ),
                Sessions(
                    self._index,
                    Viewing(self._persist, StorageKey(self._storage_key_id, self._storage_key)),
                    lambda who: self._policy_engine.roles_of(who),
                    self._kill,
                    Replayer(ReplayIndex(self._engine), self._objects, self._keys, self._settings.data / "spool"),
                ),
                Targets(
                    lambda who: self._policy_engine.targets_of(who), self._settings.listeners.postgres.address.port
                ),
                self._approvals,
                self._readiness.problems,
                wall_clock,
            )
        )

    def _ports(self) -> Mapping[str, int]:
        return {"postgres": self._settings.listeners.postgres.address.port}

    async def _kill(self, session: UUID, by: str) -> bool:
        answers = await self._workers.tell("kill", {"session": str(session), "by": by})
        return any(isinstance(answer, Mapping) and answer.get("killed") is True for answer in answers)

    def _may_use(self, identity: Identity) -> Collection[str]:
        return [target.name for target in self._policy_engine.targets_of(identity)]

    def _may_open(self) -> bool:
        return self._journal.admits_sessions and self._log.rolled_back is None and not self._stop.is_set()

    async def _cancel(self, key: str) -> object:
        return await self._workers.tell("cancel", {"key": key})

    async def _lost(self, worker: int) -> None:
        """Clean up after a data process that has died."""
        self._desk.forget(worker)
        await self._approval_desk.lost(worker)
        await self._recovery.recover([writer(self._settings, str(worker))[1]])

    # --- policy ------------------------------------------------------------------------------------------------------

    def _policy_json(self) -> Mapping[str, str]:
        policy = self._policy.policy
        return {
            "text": policy.text.decode(),
            "digest": policy.digest,
            "storage_key_id": self._storage_key_id,
            "storage_key": self._storage_key.hex(),
        }

    async def _apply(self, policy: Policy) -> None:
        self._policy_engine = Engine(policy)
        self._look_at_limits(policy)
        self._logins.serve({party.provider.name: party for party in self._parties(policy)})
        await self._workers.tell("policy", self._policy_json())

    def _look_at_limits(self, policy: Policy) -> None:
        # No refusal: the policy is changed by others, and a target that goes must not keep a gateway from starting.
        for name in self._settings.limits.without_target(policy.targets):
            log.warning("limit_without_target", target=name, advice=suggestion(name, policy.targets))

    # --- what recurs -------------------------------------------------------------------------------------------------

    async def _beat(self) -> None:
        beat = 0
        while True:
            measured: dict[str, Json] = {
                "tree_size": self._log.size,
                "published_size": self._log.published_size,
                "queue_depth": self._journal.waiting,
                "journal_free_bytes": self._journal.free_bytes,
                "mono_us": int((time.monotonic() - self._began) * SECOND),
            }
            self._journal.append([heartbeat(beat, (), measured)])
            beat += 1
            await asyncio.sleep(EVERY)

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_EVERY)
            try:
                await self._logins.sweep()
            except Exception as error:  # noqa: BLE001 - the next sweep tries again
                log.error("sweep_failed", error=type(error).__name__)

    def _spawn(self, work: Coroutine[Any, Any, Any]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _end_tasks(self) -> None:
        """End what works in the background, before what it works with is closed."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=END_TASKS)
