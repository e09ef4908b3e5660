"""Listener, driver and dialer together, with real TLS at both doors."""

import asyncio
import select
import socket
import ssl
import threading
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from uuid import UUID

import pytest

from tests.support.doors import PATIENCE, eventually, opening, secured
from tests.support.little_authority import Leaf, LittleAuthority
from tests.support.scripted import CopyingRelay, FakeDesk, FakeJournal, FakeSecrets, services, target
from vestibule.model.effect import Close, Effect, Send
from vestibule.model.event import Event, Received, Side
from vestibule.model.identity import Peer
from vestibule.model.names import Instant
from vestibule.model.record import Kind
from vestibule.model.target import Address, TargetTls
from vestibule.protocols.base import Conversation, Opening, Refused, StartTls
from vestibule.server import sockets
from vestibule.server.dialer import Dialer
from vestibule.server.driver import Driver
from vestibule.server.listener import Arrival, Listener
from vestibule.server.tls import ServerTls

pytestmark = pytest.mark.asyncio


def straight_to_tls(*_: object) -> Opening:
    return opening(StartTls(""))


class EchoTarget:
    """Sends back what it gets over TLS, without reading on while that finds no room; a thread."""

    def __init__(self, leaf: Leaf) -> None:
        self.sock = socket.create_server(("127.0.0.1", 0))
        self._context = leaf.server_context(())
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while not self._end.is_set():
            with suppress(OSError):
                sock, _ = self.sock.accept()
                sock.settimeout(PATIENCE)
                threading.Thread(target=self._echo, args=(sock,), daemon=True).start()

    def _echo(self, sock: socket.socket) -> None:
        with suppress(OSError), self._context.wrap_socket(sock, server_side=True) as secure:
            while data := secure.recv(1 << 16):
                secure.sendall(data)

    def stop(self) -> None:
        self._end.set()
        with suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)
        self.sock.close()
        self._thread.join(PATIENCE)


class TalkingRelay(CopyingRelay):
    """Copies; `K` ends the session after some words."""

    def handle(self, event: Event, now: Instant) -> Sequence[Effect]:
        if isinstance(event, Received) and event.data == b"K":
            return Send(Side.CLIENT, b"last words" * 50_000), Close("killed")
        return super().handle(event, now)


class Gateway:
    """A reception that gives every client a copying relay."""

    def __init__(self, authority: LittleAuthority) -> None:
        leaf = authority.issue()
        self.target = EchoTarget(leaf)
        self.listening = sockets.listen(Address("127.0.0.1", 0))
        self.desk, self.journal = FakeDesk(), FakeJournal()
        self._context = authority.client_context()
        self._to = target(self.target.sock.getsockname(), tls=TargetTls(ca=str(authority.ca)))
        self.services = services(self.journal, Dialer(straight_to_tls, FakeSecrets()), self.desk)
        tls = ServerTls(leaf.certificate, leaf.key)
        self.listener = Listener(self.listening, straight_to_tls, tls, self, self.services.clock)
        self.drivers: list[Driver] = []
        self._count = 0

    def arrived(self, arrival: Arrival) -> None:
        self._count += 1
        facts = Conversation(
            UUID(int=self._count), arrival.client, arrival.tls, arrival.started_at, b"s" * 16, b"\0" * 8
        )
        driver = Driver(TalkingRelay(facts.session, self._to), facts, self.services)
        self.drivers.append(driver)
        driver.start(arrival.transport, arrival.reader, arrival.ahead)

    def cancel_requested(self, key: bytes, client: Peer) -> None:
        raise AssertionError("nobody cancels")

    def turned_away(self, refused: Refused, client: Peer) -> None:
        raise AssertionError(refused.cause)

    async def client(self) -> ssl.SSLSocket:
        return await asyncio.to_thread(self._connect)

    def _connect(self) -> ssl.SSLSocket:
        return secured(socket.create_connection(self.listening.getsockname(), PATIENCE), self._context)


@asynccontextmanager
async def gateway(authority: LittleAuthority) -> AsyncIterator[Gateway]:
    made = Gateway(authority)
    made.listener.start()
    try:
        yield made
    finally:
        made.listener.stop()
        for driver in made.drivers:
            driver.abort()
        made.services.commits.close()
        made.listening.close()
        await asyncio.to_thread(made.target.stop)
        await asyncio.sleep(0.01)


def both_ways(sock: ssl.SSLSocket, total: int) -> int:
    """Send and receive at the same time, as fast as either goes; return the bytes that came back."""
    sock.setblocking(False)
    piece, sent, received = b"x" * 65_536, 0, 0
    deadline = time.monotonic() + 60
    while received < total and time.monotonic() < deadline:
        moved = 0
        with suppress(ssl.SSLWantReadError, ssl.SSLWantWriteError):
            moved = len(sock.recv(1 << 18))
            received += moved
        if sent < total:
            with suppress(ssl.SSLWantReadError, ssl.SSLWantWriteError):
                step = sock.send(piece)
                sent, moved = sent + step, moved + step
        if not moved:
            select.select([sock], [sock] if sent < total else [], [], 1.0)
    sock.setblocking(True)
    return received


async def test_a_pipeline_that_fills_both_ways_at_once_never_stands_still(little_authority: LittleAuthority) -> None:
    async with gateway(little_authority) as made:
        client = await made.client()
        total = 64 << 20
        assert await asyncio.to_thread(both_ways, client, total) == total
        client.close()


async def test_a_reader_that_stops_costs_bounded_memory(little_authority: LittleAuthority) -> None:
    async with gateway(little_authority) as made:
        client = await made.client()
        client.settimeout(0.5)
        sent = 0
        with suppress(TimeoutError):
            while True:
                await asyncio.to_thread(client.sendall, b"x" * 65_536)
                sent += 65_536
        door = made.drivers[0]._client
        assert door._transport is not None
        assert door._queued + door._transport.get_write_buffer_size() < 1 << 20
        assert sent < 32 << 20
        client.close()


async def test_a_closed_session_ends_with_close_notify_after_its_last_words(little_authority: LittleAuthority) -> None:
    async with gateway(little_authority) as made:
        client = await made.client()
        await asyncio.to_thread(client.sendall, b"!")
        assert await asyncio.to_thread(client.recv, 1) == b"!"
        await asyncio.to_thread(client.sendall, b"K")

        def rest() -> bytes:
            words = b""
            while data := client.recv(1 << 16):
                words += data
            client.unwrap().close()
            return words

        assert await asyncio.to_thread(rest) == b"last words" * 50_000
        await eventually(lambda: made.desk.closed_reasons == ["killed"])
        assert made.journal.kinds()[-1] is Kind.SESSION_CLOSED


async def test_last_words_arrive_though_the_client_still_sends(little_authority: LittleAuthority) -> None:
    async with gateway(little_authority) as made:
        client = await made.client()
        await asyncio.to_thread(client.sendall, b"!")
        assert await asyncio.to_thread(client.recv, 1) == b"!"
        await asyncio.to_thread(client.sendall, b"K")
        with suppress(OSError):
            for _ in range(50):
                await asyncio.to_thread(client.sendall, b"still talking" * 1_000)

        def rest() -> int:
            count = 0
            while count < 500_000 and (data := client.recv(1 << 16)):
                count += len(data)
            return count

        assert await asyncio.to_thread(rest) == 500_000
        client.close()


@pytest.mark.parametrize("how", ["close_notify", "end without it", "reset"])
async def test_a_client_that_leaves_ends_its_session_however_it_leaves(
    little_authority: LittleAuthority, how: str
) -> None:
    async with gateway(little_authority) as made:
        client = await made.client()
        await asyncio.to_thread(client.sendall, b"!")
        assert await asyncio.to_thread(client.recv, 1) == b"!"
        if how == "close_notify":
            with suppress(OSError):
                await asyncio.to_thread(client.unwrap)
        elif how == "reset":
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        client.close()
        await eventually(lambda: made.desk.closed_reasons)
        assert made.desk.closed_reasons == ["client closed"]


async def test_a_client_that_ends_tcp_below_tls_and_leaves_its_answers_unread_is_noticed(
    little_authority: LittleAuthority,
) -> None:
    async with gateway(little_authority) as made:
        client = await made.client()
        await asyncio.to_thread(client.sendall, b"!")
        assert await asyncio.to_thread(client.recv, 1) == b"!"
        (driver,) = made.drivers
        for _ in range(40):
            driver._client.push(b"x" * (1 << 20), None)
            driver._client.flush()
        await asyncio.sleep(0.05)
        driver.look_after()
        assert not driver._client.closed
        client.shutdown(socket.SHUT_WR)

        def is_noticed() -> bool:
            driver.look_after()
            return made.desk.closed_reasons == ["client closed"]

        await eventually(is_noticed)
        client.close()


async def test_many_conversations_at_once_each_get_their_own_bytes(little_authority: LittleAuthority) -> None:
    async with gateway(little_authority) as made:
        clients = [await made.client() for _ in range(20)]

        def talk(number: int) -> bool:
            words = bytes([number]) * 10_000
            clients[number].sendall(words)
            answer = b""
            while len(answer) < len(words):
                answer += clients[number].recv(1 << 16)
            return answer == words

        assert all(await asyncio.gather(*(asyncio.to_thread(talk, number) for number in range(20))))
        for client in clients:
            client.close()
