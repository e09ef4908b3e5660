import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import pytest_asyncio

from tests.support.doors import PATIENCE, End, opening, secured, speak_at_once, tcp_pair
from tests.support.little_authority import LittleAuthority
from vestibule.protocols.base import Exactly, Opening, Outcome, Peek, Refused, Reply, Speak, StartTls
from vestibule.server import sockets
from vestibule.server.opening import AHEAD, Connection, OpeningFailed
from vestibule.server.sockets import DRAIN_BYTES
from vestibule.server.tls import ServerTls

pytestmark = pytest.mark.asyncio


class Hall:
    """A connection with the test at its other end."""

    def __init__(self, authority: LittleAuthority) -> None:
        leaf = authority.issue()
        self.authority = authority
        near, far = tcp_pair()
        self.peer = End(near)
        self.connection = Connection(far, ServerTls(leaf.certificate, leaf.key))

    def carry_out(self, steps: Opening) -> asyncio.Task[Outcome]:
        return asyncio.create_task(asyncio.wait_for(self.connection.carry_out(steps), PATIENCE))

    async def secured(self, *alpn: str) -> ssl.SSLSocket:
        """Do the client's part of a handshake in a thread, and give the socket for more of the same."""
        secure = await asyncio.to_thread(self._secured, alpn)
        self.peer.sock = secure
        return secure

    def _secured(self, alpn: tuple[str, ...]) -> ssl.SSLSocket:
        return secured(self.peer.sock, self.authority.client_context(alpn))


@pytest_asyncio.fixture
async def hall(little_authority: LittleAuthority) -> AsyncIterator[Hall]:
    hall = Hall(little_authority)
    yield hall
    hall.connection.abort()
    hall.peer.leave()
    await asyncio.sleep(0.01)


def collecting(seen: list[bytes], *steps: Exactly | Peek | Reply | StartTls) -> Opening:
    for step in steps:
        seen.append((yield step))
    return Speak()


# --- in the clear ----------------------------------------------------------------------------------------------------


async def test_exactly_the_bytes_asked_for_are_taken_and_the_rest_stays(hall: Hall) -> None:
    seen: list[bytes] = []
    await hall.peer.send(b"12345678rest")
    await hall.carry_out(collecting(seen, Exactly(3), Exactly(5)))
    assert seen == [b"123", b"45678"]
    assert hall.connection._sock.recv(100, socket.MSG_PEEK) == b"rest"


async def test_bytes_that_come_one_by_one_are_put_together(hall: Hall) -> None:
    seen: list[bytes] = []
    task = hall.carry_out(collecting(seen, Exactly(4)))
    for byte in (b"a", b"b", b"c", b"d"):
        await hall.peer.send(byte)
        await asyncio.sleep(0.002)
    await task
    assert seen == [b"abcd"]


@pytest.mark.parametrize("how", ["leave", "reset"])
async def test_a_peer_that_closes_gives_what_it_has_sent(hall: Hall, how: str) -> None:
    seen: list[bytes] = []
    task = hall.carry_out(collecting(seen, Exactly(4)))
    await hall.peer.send(b"ab")
    await asyncio.sleep(0.02)
    getattr(hall.peer, how)()
    await task
    assert seen == [b"ab"]


async def test_a_peeked_byte_is_still_there(hall: Hall) -> None:
    seen: list[bytes] = []
    task = hall.carry_out(collecting(seen, Peek(), Exactly(2)))
    await asyncio.sleep(0.02)
    await hall.peer.send(b"\x16x")
    await task
    assert seen == [b"\x16", b"\x16x"]


@pytest.mark.parametrize("how", ["leave", "reset"])
async def test_a_peek_at_a_closed_connection_sees_nothing(hall: Hall, how: str) -> None:
    seen: list[bytes] = []
    task = hall.carry_out(collecting(seen, Peek()))
    await asyncio.sleep(0.02)
    getattr(hall.peer, how)()
    await task
    assert seen == [b""]
    assert not hall.connection.has_spoken


async def test_a_peer_that_sends_more_before_it_is_answered_is_cut_off(hall: Hall) -> None:
    await hall.peer.send(b"requestINJECTED")
    with pytest.raises(OpeningFailed, match="tls injection"):
        await hall.carry_out(collecting([], Exactly(7), Reply(b"S"), StartTls("postgresql")))
    hall.connection.abort()
    # A close with unread bytes is a reset.
    with pytest.raises(ConnectionResetError):
        await hall.peer.rest()


async def test_bytes_injected_after_the_answer_meet_the_handshake_and_nobody_else(hall: Hall) -> None:
    seen: list[bytes] = []
    task = hall.carry_out(collecting(seen, Exactly(7), Reply(b"S"), StartTls("postgresql"), Exactly(1)))
    await hall.peer.send(b"request")
    assert await hall.peer.take(1) == b"S"
    await hall.peer.send(b"Q\0\0\0\x0dDROP ALL\0")
    with pytest.raises(OpeningFailed, match="tls handshake failed"):
        await task
    assert seen == [b"request", b""]


async def test_refused_words_are_read_though_the_peer_still_sends(hall: Hall) -> None:
    await hall.peer.send(b"x" * (DRAIN_BYTES // 2))
    closing = asyncio.create_task(hall.connection.close(b"FATAL"))
    assert await hall.peer.take(5) == b"FATAL"
    await hall.peer.send(b"more")
    assert await hall.peer.rest() == b""
    hall.peer.leave()
    await closing


async def test_a_peer_that_never_closes_is_drained_for_a_bounded_time_and_amount(
    hall: Hall, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sockets, "DRAIN_SECONDS", 0.2)
    await asyncio.wait_for(hall.connection.close(b"FATAL"), 2)
    other = Hall(hall.authority)
    await other.peer.send(b"x" * (DRAIN_BYTES + 1))
    await asyncio.wait_for(other.connection.close(b"FATAL"), 1)
    other.peer.leave()


# --- over TLS --------------------------------------------------------------------------------------------------------


async def test_the_opening_goes_on_over_tls_and_knows_what_was_agreed(hall: Hall) -> None:
    seen: list[bytes] = []
    task = hall.carry_out(collecting(seen, StartTls("postgresql"), Exactly(3), Peek(), Reply(b"ok"), Exactly(2)))
    secure = await hall.secured("postgresql")
    await asyncio.to_thread(secure.sendall, b"abcde")
    assert await task == Speak()
    assert seen == [b"postgresql", b"abc", b"d", b"", b"de"]
    assert await asyncio.to_thread(secure.recv, 2) == b"ok"
    assert hall.connection.tls is not None
    assert hall.connection.tls.version == "TLSv1.3"
    assert hall.connection.tls.certificate == ""


@pytest.mark.parametrize("offered", [(), ("http/1.1",)])
async def test_another_protocol_name_or_none_agrees_on_nothing(hall: Hall, offered: tuple[str, ...]) -> None:
    seen: list[bytes] = []
    task = hall.carry_out(collecting(seen, StartTls("postgresql")))
    await hall.secured(*offered)
    await task
    assert seen == [b""]


async def test_a_peer_that_closes_inside_tls_gives_what_it_has_sent(hall: Hall) -> None:
    seen: list[bytes] = []
    task = hall.carry_out(collecting(seen, StartTls("postgresql"), Exactly(8), Exactly(1), Peek()))
    secure = await hall.secured()
    await asyncio.to_thread(secure.sendall, b"abc")
    secure.close()
    await task
    assert seen == [b"", b"abc", b"", b""]
    hall.connection.abort()


async def test_a_peer_may_send_only_so_much_ahead_over_tls(hall: Hall) -> None:
    task = hall.carry_out(collecting([], StartTls("")))
    secure = await hall.secured()
    await task
    total = 64 << 20
    sending = asyncio.create_task(asyncio.to_thread(secure.sendall, bytes(total)))
    await asyncio.sleep(0.2)
    assert len(hall.connection.reader._buffer) < AHEAD + (256 << 10)
    assert not sending.done()
    seen: list[bytes] = []
    await hall.carry_out(collecting(seen, *[Exactly(AHEAD)] * (total // AHEAD)))
    assert b"".join(seen) == bytes(total)
    await sending


async def test_tls_inside_tls_is_refused(hall: Hall) -> None:
    task = hall.carry_out(collecting([], StartTls("postgresql"), StartTls("postgresql")))
    await hall.secured()
    with pytest.raises(OpeningFailed, match="tls inside tls"):
        await task


async def test_a_refusal_over_tls_ends_with_close_notify(hall: Hall) -> None:
    task = hall.carry_out(collecting([], StartTls("postgresql")))
    secure = await hall.secured()
    await task
    closing = asyncio.create_task(hall.connection.close(b"FATAL"))

    def read() -> bytes:
        read = b""
        while more := secure.recv(100):
            read += more
        secure.unwrap().close()
        return read

    assert await asyncio.to_thread(read) == b"FATAL"
    await asyncio.wait_for(closing, 5)


@pytest.mark.parametrize(
    "garbage",
    [b"\x16\x03\x01\x00\x05hello", b"GET / HTTP/1.1\r\n\r\n", bytes(100), b"\x16" * 4_000],
    ids=["a record of nonsense", "http", "zeros", "a record that is too long"],
)
async def test_what_is_no_handshake_fails_and_nothing_else(hall: Hall, garbage: bytes) -> None:
    task = hall.carry_out(collecting([], StartTls("postgresql"), Exactly(1)))
    await hall.peer.send(garbage)
    with pytest.raises(OpeningFailed, match="tls handshake failed"):
        await task


async def test_a_handshake_can_be_given_up(hall: Hall) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await hall.connection.carry_out(collecting([], StartTls("postgresql")))
    hall.connection.abort()
    assert await hall.peer.rest() == b""


# --- handing over ----------------------------------------------------------------------------------------------------


class Taker(asyncio.Protocol):
    def __init__(self) -> None:
        self.data, self.ended, self.is_lost = b"", False, asyncio.Event()

    def data_received(self, data: bytes) -> None:
        self.data += data

    def eof_received(self) -> None:
        self.ended = True

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_lost.set()


Begin = Callable[[Hall], Awaitable[Callable[[bytes], None]]]


async def begin_plain(hall: Hall) -> Callable[[bytes], None]:
    await hall.carry_out(speak_at_once())
    hall.peer.sock.setblocking(True)
    return hall.peer.sock.sendall


async def begin_secure(hall: Hall) -> Callable[[bytes], None]:
    task = hall.carry_out(opening(StartTls("")))
    secure = await hall.secured()
    await task
    return secure.sendall


@pytest.mark.parametrize("begin", [begin_plain, begin_secure])
async def test_what_was_read_ahead_and_what_comes_later_are_one_stream(hall: Hall, begin: Begin) -> None:
    send = await begin(hall)
    transport = await hall.connection.hand_over()
    await asyncio.to_thread(send, b"ahead")
    await asyncio.sleep(0.05)
    taker = Taker()
    ahead = hall.connection.reader.hand_over(taker)
    transport.set_protocol(taker)
    await asyncio.to_thread(send, b" and later")
    await asyncio.sleep(0.05)
    assert ahead + taker.data == b"ahead and later"
    transport.abort()
    await asyncio.wait_for(taker.is_lost.wait(), 5)
    hall.peer.leave()


@pytest.mark.parametrize("begin", [begin_plain, begin_secure])
async def test_an_end_at_the_moment_of_handing_over_is_not_missed(hall: Hall, begin: Begin) -> None:
    await begin(hall)
    transport = await hall.connection.hand_over()
    hall.peer.reset()
    taker = Taker()
    hall.connection.reader.hand_over(taker)
    transport.set_protocol(taker)
    await asyncio.wait_for(taker.is_lost.wait(), 5)


async def test_an_outcome_is_what_the_opening_says(hall: Hall) -> None:
    assert await hall.carry_out(opening(outcome=Refused("no"))) == Refused("no")
