import asyncio
import contextlib
import socket
import struct
import time

import pytest
import uvloop

from tests.support.doors import tcp_pair
from vestibule.model.identity import Peer
from vestibule.model.target import Address
from vestibule.server import sockets


def info(state: int = 1, retransmits: int = 0, probes: int = 0, unacked: int = 0, silent_ms: int = 0) -> bytes:
    packed = bytearray(232)
    packed[0], packed[2], packed[3] = state, retransmits, probes
    struct.pack_into("=I", packed, 24, unacked)
    struct.pack_into("=I", packed, 56, silent_ms)
    return bytes(packed)


@pytest.mark.parametrize(
    ("seen", "dead"),
    [
        (info(), False),
        (info(silent_ms=10**7), False),
        (info(unacked=1, retransmits=3, silent_ms=29_999), False),
        (info(unacked=1, retransmits=3, silent_ms=30_000), True),
        (info(probes=1, silent_ms=10**7), False),
        (info(probes=4, silent_ms=60_000), True),
        (info(state=7), True),
        (b"", False),
    ],
)
def test_dead_is_who_answers_nothing_not_who_is_slow(seen: bytes, dead: bool) -> None:
    assert sockets.is_dead(seen) is dead


def test_a_live_peer_without_room_is_neither_dead_nor_idle() -> None:
    near, far = tcp_pair()
    with near, far:
        sockets.tune(near)
        with contextlib.suppress(BlockingIOError):
            while near.send(b"x" * 65_536):
                pass
        time.sleep(0.5)
        seen = sockets.tcp_info(near)
        assert not sockets.is_idle(seen)
        assert not sockets.is_dead(seen, silence_ms=400)


def test_a_peer_has_left_when_it_has_ended_its_side_and_reads_nothing_of_ours() -> None:
    assert sockets.has_left(info(state=8, unacked=1))
    assert not sockets.has_left(info(state=8))
    assert not sockets.has_left(info(unacked=1))
    assert not sockets.has_left(b"")


def test_a_peer_is_gone_when_it_has_ended_its_side_or_reset_it_though_nobody_reads() -> None:
    assert sockets.is_gone(info(state=8))
    assert sockets.is_gone(info(state=7))
    assert not sockets.is_gone(info())
    assert not sockets.is_gone(b"")


def test_what_was_acknowledged_is_idle() -> None:
    near, far = tcp_pair()
    with near, far:
        near.send(b"x")
        time.sleep(0.05)
        assert sockets.is_idle(sockets.tcp_info(near))


def test_a_reset_connection_is_dead() -> None:
    near, far = tcp_pair()
    with near:
        far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        far.close()
        time.sleep(0.05)
        assert sockets.is_dead(sockets.tcp_info(near))


def test_both_options_that_matter_are_set() -> None:
    near, far = tcp_pair()
    with near, far:
        sockets.tune(near)
        assert near.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert near.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        options = (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
        assert [near.getsockopt(socket.IPPROTO_TCP, option) for option in options] == [30, 10, 3]


def test_a_unix_socket_needs_no_tuning_and_has_no_tcp_info() -> None:
    near, far = socket.socketpair()
    with near, far:
        sockets.tune(near)
        assert sockets.tcp_info(near) == b""
        assert sockets.peer_of(near) == Peer("", 0)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_listening_socket_accepts_and_names_its_peer(host: str) -> None:
    with sockets.listen(Address(host, 0)) as listening, socket.create_connection(listening.getsockname()[:2]) as near:
        listening.setblocking(True)
        with listening.accept()[0] as far:
            assert sockets.peer_of(far) == Peer(host, near.getsockname()[1])


def test_an_address_that_is_taken_is_an_error_and_leaves_nothing_open() -> None:
    with sockets.listen(Address("127.0.0.1", 0)) as listening, pytest.raises(OSError):
        sockets.listen(Address("127.0.0.1", listening.getsockname()[1]))


def test_an_ipv4_peer_of_a_dual_stack_socket_is_written_as_ipv4() -> None:
    with (
        socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True) as listening,
        socket.create_connection(("127.0.0.1", listening.getsockname()[1])),
        listening.accept()[0] as far,
    ):
        assert sockets.peer_of(far).ip == "127.0.0.1"


def test_a_socket_that_the_loop_has_closed_has_no_tcp_info() -> None:
    near, far = tcp_pair()

    class Layer(asyncio.Protocol):
        """Hears of the end and, like the loop's TLS, tells the layer above of it in the next turn."""

        def __init__(self) -> None:
            self.above = asyncio.Event()

        def connection_lost(self, cause: Exception | None) -> None:
            asyncio.get_running_loop().call_soon(self.above.set)

    async def close() -> bytes:
        transport, layer = await asyncio.get_running_loop().create_connection(Layer, sock=near)
        held = transport.get_extra_info("socket")
        assert sockets.tcp_info(held)
        transport.abort()
        await layer.above.wait()
        return sockets.tcp_info(held)

    with far:
        assert uvloop.run(close()) == b""
