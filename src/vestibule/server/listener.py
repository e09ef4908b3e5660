"""The first door: accepts connections and brings each to its relay, or to its end.

1. Every connection is a task of its own, so none waits for another; how many may wait is bounded (`admission`).
2. From accept to the end of the opening there is one time limit, whatever arrives in between.
3. From a trusted proxy a header (PROXY protocol v2) must come first; the client that it names is the client from then
   on. From everybody else such a header is nothing but wrong first bytes.
4. A cancel request is looked up and never answered. TLS ends with close_notify, whoever ends it.
5. What goes wrong here anybody can cause as often as they like: the log has the first of an address and cause, and how
   many more there were.
"""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import Final, Protocol, assert_never

import structlog

from vestibule.model.event import Tls
from vestibule.model.identity import Peer
from vestibule.model.names import Instant
from vestibule.protocols.base import CancelRequested, Opening, Refused, Speak
from vestibule.server import sockets
from vestibule.server.admission import Admission, Slot, source_of
from vestibule.server.clock import Clock
from vestibule.server.opening import Connection, Handshake, OpeningFailed, Reader
from vestibule.server.repeats import Repeats

log = structlog.get_logger(__name__)

Network = IPv4Network | IPv6Network

#: Connections that are accepted before the loop does anything else.
_AT_ONCE: Final = 64
#: How long to wait when the process has no descriptor left.
_PAUSE: Final = 0.1
_EXHAUSTED: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
STARTUP_TIMEOUT: Final = "startup timeout"
EVICTED: Final = "too many connections wait"
_MANY: Final = ("", "several")


@dataclass(frozen=True, slots=True)
class ListenerLimits:
    """Bounds of what waits at the door."""

    startup_seconds: float = 10.0
    pending: int = 1_000
    pending_per_address: int = 200
    #: Whose word is taken for who the client is.
    trusted_proxies: tuple[Network, ...] = ()

    def trusts(self, ip: str) -> bool:
        """Tell whether connections from this address come through a proxy."""
        return bool(self.trusted_proxies) and any(ip_address(ip) in network for network in self.trusted_proxies)


@dataclass(frozen=True, slots=True)
class Arrival:
    """A client that is ready for a relay."""

    transport: asyncio.Transport
    reader: Reader
    ahead: bytes
    client: Peer
    tls: Tls | None
    started_at: Instant
    slot: Slot


class Reception(Protocol):
    """Who takes what the listener brings."""

    def arrived(self, arrival: Arrival) -> None:
        """Take over a client that is ready for a relay."""
        ...

    def cancel_requested(self, key: bytes, client: Peer) -> None:
        """Look up whose statement is to be stopped."""
        ...

    def turned_away(self, refused: Refused, client: Peer) -> None:
        """Note a connection that never came to a relay."""
        ...


class Listener:
    """Accepts on one listening socket, which other processes may share."""

    def __init__(
        self,
        listening: socket.socket,
        accept: Callable[[], Opening],
        handshake: Handshake,
        reception: Reception,
        clock: Clock,
        limits: ListenerLimits | None = None,
    ) -> None:
        """Start without accepting."""
        self._listening = listening
        self._accept = accept
        self._handshake = handshake
        self._reception = reception
        self._clock = clock
        self._limits = limits or ListenerLimits()
        self._admission = Admission(self._limits.pending, self._limits.pending_per_address)
        self._failed, self._broke = Repeats(_say_failed, _MANY), Repeats(_say_broke, _MANY)
        self._tasks: set[asyncio.Task[None]] = set()
        self._pause: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()

    @property
    def pending(self) -> int:
        """How many connections have not offered a proof yet."""
        return len(self._admission)

    def start(self) -> None:
        """Accept from now on."""
        self._pause = None
        self._listening.setblocking(False)
        self._loop.add_reader(self._listening, self._accept_some)

    def stop(self) -> None:
        """Accept nothing more, and let go of who still waits."""
        if self._pause is not None:
            self._pause.cancel()
        self._loop.remove_reader(self._listening)
        for task in self._tasks:
            task.cancel()
        self._failed.close()
        self._broke.close()

    def _accept_some(self) -> None:
        for _ in range(_AT_ONCE):
            try:
                sock, _ = self._listening.accept()
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                self._stumble(error)
                return
            self._welcome(sock)

    def _stumble(self, error: OSError) -> None:
        # A client that left before it was accepted is its own affair; without descriptors, and on a socket that the
        # control process has shut down, the loop would spin.
        if error.errno in _EXHAUSTED:
            log.error("accept_failed", error=error.strerror)
            self._loop.remove_reader(self._listening)
            self._pause = self._loop.call_later(_PAUSE, self.start)
        elif error.errno == errno.EINVAL:
            self._loop.remove_reader(self._listening)

    def _welcome(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        try:
            sockets.tune(sock)
            client = sockets.peer_of(sock)
        except OSError:
            sock.close()
            return
        is_proxy = self._limits.trusts(client.ip)
        visit = _Visit(Connection(sock, self._handshake), client, self._clock.now(), is_proxy)
        slot = self._admission.enter(client.ip, visit.evict, is_proxy)
        visit.task = task = self._loop.create_task(self._bring_in(visit, slot))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _bring_in(self, visit: _Visit, slot: Slot) -> None:
        is_handed_over = False
        try:
            is_handed_over = await self._open(visit, slot)
        except OpeningFailed as error:
            self._failed.note((source_of(visit.client.ip), error.cause), (visit.client.ip, error.cause))
            self._reception.turned_away(Refused(error.cause), visit.client)
        except asyncio.CancelledError:
            if visit.is_evicted:
                self._reception.turned_away(Refused(EVICTED), visit.client)
            raise
        except Exception as error:  # noqa: BLE001 - whatever one connection does, the others go on
            broken = type(error).__name__
            self._broke.note((source_of(visit.client.ip), broken), (visit.client.ip, broken))
        finally:
            if not is_handed_over:
                slot.release()
                visit.connection.abort()

    async def _open(self, visit: _Visit, slot: Slot) -> bool:
        connection = visit.connection
        try:
            async with asyncio.timeout(self._limits.startup_seconds):
                if visit.is_proxied and (client := await connection.proxied()) is not None:
                    visit.client = client
                    slot.move(client.ip)
                outcome = await connection.carry_out(self._accept())
                if isinstance(outcome, Speak):
                    await connection.hand_over()
        except TimeoutError:
            raise OpeningFailed(STARTUP_TIMEOUT) from None
        match outcome:
            case Speak(data=data):
                self._reception.arrived(visit.arrival(data, slot))
                return True
            case CancelRequested(key=key):
                self._reception.cancel_requested(key, visit.client)
                await connection.close()
            case Refused(data=data):
                # Whoever connects and says nothing (a balancer that looks whether we live) was refused nothing.
                if connection.has_spoken:
                    self._reception.turned_away(outcome, visit.client)
                await connection.close(data)
            case _:
                assert_never(outcome)
        return False


class _Visit:
    """One connection while the listener has it."""

    __slots__ = ("client", "connection", "is_evicted", "is_proxied", "started_at", "task")

    def __init__(self, connection: Connection, client: Peer, started_at: Instant, is_proxied: bool) -> None:
        self.connection = connection
        self.client = client
        self.started_at = started_at
        self.is_evicted = False
        self.is_proxied = is_proxied
        self.task: asyncio.Task[None] | None = None

    def arrival(self, ahead: bytes, slot: Slot) -> Arrival:
        connection = self.connection
        if connection.transport is None:
            raise AssertionError("a client that may speak was handed over")
        slot.evict = connection.transport.abort
        return Arrival(
            connection.transport, connection.reader, ahead, self.client, connection.tls, self.started_at, slot
        )

    def evict(self) -> None:
        self.is_evicted = True
        if self.task is not None:
            self.task.cancel()


def _say_failed(failed: tuple[str, str], count: int) -> None:
    ip, cause = failed
    log.info("opening_failed", ip=ip, cause=cause, count=count)


def _say_broke(broke: tuple[str, str], count: int) -> None:
    ip, error = broke
    log.error("opening_broke", ip=ip, error=error, count=count)
