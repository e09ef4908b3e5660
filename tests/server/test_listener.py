import asyncio
import errno
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

import pytest
import structlog
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.doors import PATIENCE, End, eventually, secured, speak_at_once
from tests.support.little_authority import LittleAuthority
from vestibule.model.identity import Peer
from vestibule.model.target import Address
from vestibule.protocols.base import Opening, Refused
from vestibule.protocols.postgres.opening import accept
from vestibule.server import listener as listener_module
from vestibule.server import sockets
from vestibule.server.clock import Clock
from vestibule.server.listener import EVICTED, STARTUP_TIMEOUT, Arrival, Listener, ListenerLimits
from vestibule.server.tls import ServerTls

pytestmark = pytest.mark.asyncio

SSL_REQUEST = struct.pack("!II", 8, 80877103)
GSSENC_REQUEST = struct.pack("!II", 8, 80877104)
CANCEL = struct.pack("!II", 16, 80877102) + b"pid-key-"
STARTUP = struct.pack("!II", 17, 196608) + b"user\0a\0\0\0"[:9]


class Desk:
    """Lets everybody in with a word, and remembers."""

    def __init__(self) -> None:
        self.arrivals: list[Arrival] = []
        self.cancels: list[tuple[bytes, Peer]] = []
        self.refusals: list[tuple[Refused, Peer]] = []
        self.error: Exception | None = None

    def arrived(self, arrival: Arrival) -> None:
        if self.error is not None:
            raise self.error
        self.arrivals.append(arrival)
        arrival.transport.write(b"welcome")
        arrival.slot.release()

    def cancel_requested(self, key: bytes, client: Peer) -> None:
        self.cancels.append((key, client))

    def turned_away(self, refused: Refused, client: Peer) -> None:
        self.refusals.append((refused, client))

    @property
    def causes(self) -> list[str]:
        return [refused.cause for refused, _ in self.refusals]


class House:
    def __init__(self, authority: LittleAuthority, steps: Callable[[], Opening], limits: ListenerLimits) -> None:
        leaf = authority.issue()
        self._authority = authority
        self.desk = Desk()
        self.listening = sockets.listen(Address("127.0.0.1", 0))
        self.listener = Listener(
            self.listening, steps, ServerTls(leaf.certificate, leaf.key), self.desk, Clock(), limits
        )
        self.ends: list[socket.socket] = []

    async def connect(self, data: bytes = b"") -> End:
        sock = socket.socket()
        self.ends.append(sock)
        end = End(sock)
        await asyncio.get_running_loop().sock_connect(sock, self.listening.getsockname())
        if data:
            await end.send(data)
        return end

    async def secure(self, end: End, *alpn: str) -> ssl.SSLSocket:
        secure = await asyncio.to_thread(secured, end.sock, self._authority.client_context(alpn))
        self.ends.append(secure)
        return secure

    async def log_in(self) -> None:
        """Log in over TLS."""
        end = await self.connect(SSL_REQUEST)
        assert await end.take(1) == b"S"
        secure = await self.secure(end)
        await asyncio.to_thread(secure.sendall, STARTUP)
        assert await asyncio.to_thread(secure.recv, 7) == b"welcome"


@asynccontextmanager
async def open_house(
    authority: LittleAuthority, steps: Callable[[], Opening] = accept, **limits: object
) -> AsyncIterator[House]:
    house = House(authority, steps, ListenerLimits(**limits))  # type: ignore[arg-type] # seconds and counts
    house.listener.start()
    try:
        yield house
    finally:
        house.listener.stop()
        for arrival in house.desk.arrivals:
            arrival.transport.abort()
        for sock in house.ends:
            sock.close()
        house.listening.close()
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("before", [SSL_REQUEST, GSSENC_REQUEST], ids=["SSLRequest", "GSSENCRequest first"])
async def test_a_client_reaches_its_relay_over_tls(little_authority: LittleAuthority, before: bytes) -> None:
    async with open_house(little_authority) as house:
        end = await house.connect()
        if before is GSSENC_REQUEST:
            await end.send(GSSENC_REQUEST)
            assert await end.take(1) == b"N"
        await end.send(SSL_REQUEST)
        assert await end.take(1) == b"S"
        secure = await house.secure(end)
        await asyncio.to_thread(secure.sendall, STARTUP)
        assert await asyncio.to_thread(secure.recv, 7) == b"welcome"
        arrival = house.desk.arrivals[0]
        assert arrival.ahead == STARTUP
        assert arrival.tls is not None
        assert arrival.client == Peer("127.0.0.1", secure.getsockname()[1])
        assert house.listener.pending == 0


@pytest.mark.case("PG-09")
async def test_direct_tls_needs_its_protocol_name_or_ends_before_a_byte_is_read(
    little_authority: LittleAuthority,
) -> None:
    async with open_house(little_authority) as house:
        secure = await house.secure(await house.connect(), "postgresql")
        await asyncio.to_thread(secure.sendall, STARTUP)
        assert await asyncio.to_thread(secure.recv, 7) == b"welcome"
        for alpn in ((), ("http/1.1",)):
            nameless = await house.secure(await house.connect(), *alpn)
            with suppress(OSError):
                await asyncio.to_thread(nameless.sendall, STARTUP)
            with suppress(ConnectionError):
                assert await asyncio.to_thread(nameless.recv, 1) == b""
        assert house.desk.causes == ["direct TLS without ALPN postgresql"] * 2
        assert len(house.desk.arrivals) == 1


@pytest.mark.case("PG-10")
@pytest.mark.parametrize("behind", [b"\0", b"Q\0\0\0\x0dDROP ALL\0", STARTUP, SSL_REQUEST])
async def test_bytes_behind_an_ssl_request_close_the_connection(
    little_authority: LittleAuthority, behind: bytes
) -> None:
    async with open_house(little_authority) as house:
        end = await house.connect(SSL_REQUEST + behind)
        with suppress(ConnectionResetError):
            assert await end.rest() == b""
        assert house.desk.causes == ["tls injection"]
        assert house.desk.arrivals == []


@pytest.mark.case("PG-11")
@pytest.mark.parametrize("length", [0, 4, 7, 10_001, 2**31 - 1, 2**31, 2**32 - 1])
async def test_a_startup_length_that_cannot_be_is_closed_without_a_byte(
    little_authority: LittleAuthority, length: int
) -> None:
    async with open_house(little_authority) as house:
        end = await house.connect(struct.pack("!II", length, 196608) + b"x" * 200)
        assert await end.rest() == b""
        end.leave()
        assert len(house.desk.refusals) == 1


async def dribble(end: End) -> None:
    """Send one byte at a time, and never a whole message."""
    with suppress(ConnectionError):
        for byte in SSL_REQUEST[:-1]:
            await end.send(bytes([byte]))
            await asyncio.sleep(0.05)
        await end.rest()


@pytest.mark.case("PG-11")
async def test_whoever_sends_one_byte_at_a_time_is_cut_off_in_time(little_authority: LittleAuthority) -> None:
    async with open_house(little_authority, startup_seconds=0.6, pending=500, pending_per_address=500) as house:
        dribbling = [asyncio.create_task(dribble(await house.connect())) for _ in range(300)]
        async with asyncio.timeout(PATIENCE):
            await asyncio.gather(*dribbling)
        await eventually(lambda: house.listener.pending == 0)
        assert house.desk.causes == [STARTUP_TIMEOUT] * 300


@pytest.mark.case("PG-11")
async def test_whoever_sends_one_byte_at_a_time_delays_nobody(little_authority: LittleAuthority) -> None:
    async with open_house(little_authority, startup_seconds=3_600, pending=500, pending_per_address=500) as house:
        dribbling = [asyncio.create_task(dribble(await house.connect())) for _ in range(300)]
        await eventually(lambda: house.listener.pending == 300)
        # They wait for an hour; who logs in among them does not.
        await house.log_in()
        assert house.listener.pending == 300
        assert house.desk.causes == []
        for task in dribbling:
            task.cancel()
        await asyncio.gather(*dribbling, return_exceptions=True)


async def test_a_handshake_that_stands_still_is_cut_off_in_time(little_authority: LittleAuthority) -> None:
    async with open_house(little_authority, startup_seconds=0.2) as house:
        end = await house.connect(b"\x16\x03\x01\x02\x00")
        assert await end.rest() == b""
        assert house.desk.causes == [STARTUP_TIMEOUT]


async def test_a_flood_of_idle_connections_costs_the_oldest_of_them_and_no_log_in(
    little_authority: LittleAuthority,
) -> None:
    async with open_house(little_authority, pending=20, pending_per_address=10) as house:
        ends = [await house.connect(b"\0") for _ in range(50)]
        await eventually(lambda: len(house.desk.causes) == 40)
        assert house.listener.pending == 10
        await house.log_in()
        with suppress(ConnectionResetError):
            assert await ends[0].rest() == b""
        assert await ends[-1].nothing()
        await eventually(lambda: len(house.desk.causes) == 41)
        assert house.desk.causes == [EVICTED] * 41


async def test_a_startup_in_the_clear_is_refused_in_words_that_arrive(little_authority: LittleAuthority) -> None:
    async with open_house(little_authority) as house:
        body = struct.pack("!I", 196608) + b"user\0dev1+core\0\0"
        end = await house.connect(struct.pack("!I", len(body) + 4) + body)
        words = await end.rest()
        assert words.startswith(b"E")
        assert b"TLS required" in words
        refused, client = house.desk.refusals[0]
        assert (refused.attempted, client.ip) == ("dev1+core", "127.0.0.1")
        end.leave()
        await eventually(lambda: house.listener.pending == 0)


async def test_whoever_says_nothing_was_refused_nothing(little_authority: LittleAuthority) -> None:
    async with open_house(little_authority) as house:
        for how in ("leave", "reset"):
            end = await house.connect()
            await eventually(lambda: house.listener.pending == 1)
            getattr(end, how)()
            await eventually(lambda: house.listener.pending == 0)
        assert house.desk.refusals == []


async def test_a_cancel_request_in_the_clear_is_looked_up_and_never_answered(little_authority: LittleAuthority) -> None:
    async with open_house(little_authority) as house:
        end = await house.connect(CANCEL)
        assert await end.rest() == b""
        assert [key for key, _ in house.desk.cancels] == [b"pid-key-"]
        assert house.desk.refusals == []


@pytest.mark.case("PG-13")
async def test_a_cancel_request_over_tls_ends_with_close_notify(little_authority: LittleAuthority) -> None:
    async with open_house(little_authority) as house:
        end = await house.connect(SSL_REQUEST)
        await end.take(1)
        secure = await house.secure(end)
        await asyncio.to_thread(secure.sendall, CANCEL)
        assert await asyncio.to_thread(secure.recv, 1) == b""
        assert [key for key, _ in house.desk.cancels] == [b"pid-key-"]


async def test_an_error_behind_the_door_closes_that_connection_alone(little_authority: LittleAuthority) -> None:
    async with open_house(little_authority, speak_at_once) as house:
        house.desk.error = RuntimeError("secret")
        with structlog.testing.capture_logs() as logs:
            assert await (await house.connect()).rest() == b""
        assert "secret" not in repr(logs)
        house.desk.error = None
        assert await (await house.connect()).take(7) == b"welcome"


async def test_a_scan_is_two_lines_of_the_log_however_long_it_is(little_authority: LittleAuthority) -> None:
    with structlog.testing.capture_logs() as logs:
        async with open_house(little_authority) as house:
            for _ in range(30):
                with suppress(ConnectionResetError):
                    assert await (await house.connect(SSL_REQUEST + b"\0")).rest() == b""
            await eventually(lambda: len(house.desk.refusals) == 30)
            assert [line["count"] for line in logs] == [1]
    assert [(line["event"], line["ip"], line["cause"], line["count"]) for line in logs] == [
        ("opening_failed", "127.0.0.1", "tls injection", 1),
        ("opening_failed", "127.0.0.1", "tls injection", 29),
    ]


async def test_a_defect_that_anybody_can_reach_is_two_lines_too(little_authority: LittleAuthority) -> None:
    with structlog.testing.capture_logs() as logs:
        async with open_house(little_authority, speak_at_once) as house:
            house.desk.error = RuntimeError("secret")
            for _ in range(30):
                assert await (await house.connect()).rest() == b""
    assert [(line["event"], line["error"], line["count"]) for line in logs] == [
        ("opening_broke", "RuntimeError", 1),
        ("opening_broke", "RuntimeError", 29),
    ]


async def test_a_process_without_descriptors_waits_and_goes_on(
    little_authority: LittleAuthority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listener_module, "_PAUSE", 0.05)
    async with open_house(little_authority, speak_at_once) as house:
        real, tries = house.listening, 0

        class Exhausted:
            def accept(self) -> tuple[socket.socket, object]:
                nonlocal tries
                tries += 1
                if tries < 4:
                    raise OSError(errno.EMFILE, "Too many open files")
                return real.accept()

            def __getattr__(self, name: str) -> object:
                return getattr(real, name)

        monkeypatch.setattr(house.listener, "_listening", Exhausted())
        assert await (await house.connect()).take(7) == b"welcome"
        assert tries < 20


async def test_a_listener_that_stops_accepts_nobody_and_lets_go_of_who_waits(little_authority: LittleAuthority) -> None:
    async with open_house(little_authority) as house:
        waiting = await house.connect(b"\0")
        await eventually(lambda: house.listener.pending == 1)
        house.listener.stop()
        with suppress(ConnectionResetError):
            assert await waiting.rest() == b""
        late = await house.connect()
        assert await late.nothing()
        assert house.desk.refusals == []


@given(data=st.lists(st.binary(max_size=60), max_size=4))
@settings(max_examples=60)
async def test_no_bytes_whatever_break_the_listener(little_authority: LittleAuthority, data: list[bytes]) -> None:
    async with open_house(little_authority, startup_seconds=0.05) as house:
        with structlog.testing.capture_logs() as logs:
            end = await house.connect()
            with suppress(ConnectionError):
                for piece in data:
                    await end.send(piece)
                end.sock.shutdown(socket.SHUT_WR)
                await end.rest()
            await eventually(lambda: house.listener.pending == 0)
        assert house.desk.arrivals == []
        assert not [entry for entry in logs if entry["log_level"] == "error"]
