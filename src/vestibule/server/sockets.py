"""Sockets as both doors need them, and what the kernel knows about the other end.

`TCP_USER_TIMEOUT` is not set. The kernel counts it against a peer that answers every probe but has no room for
more data (observed on Linux 6.18: `ETIMEDOUT` after the timeout with a live, merely slow reader), so 30 s of it
would kill a pipeline that waits for a lock, or a reader that pauses. `is_dead` tells the two cases apart.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import Final

from vestibule.model.identity import Peer
from vestibule.model.target import Address

KEEPALIVE_IDLE: Final = 30
KEEPALIVE_INTERVAL: Final = 10
KEEPALIVE_PROBES: Final = 3
#: A peer that acknowledges nothing for so long, while something is to be acknowledged, is dead.
SILENCE_MS: Final = 30_000
BACKLOG: Final = 1_024
#: What is read and thrown away behind last words, so that the peer reads them instead of a reset.
DRAIN_BYTES: Final = 64 * 1024
DRAIN_SECONDS: Final = 2.0

#: `struct tcp_info`: state, retransmits, probes; then, as 32-bit numbers, unacked and last_ack_recv (milliseconds).
_STATE: Final = 0
_RETRANSMITS: Final = 2
_PROBES: Final = 3
_UNACKED_AT: Final = 24
_LAST_ACK_AT: Final = 56
_NOTSENT_AT: Final = 144
_SIZE: Final = 148
_CLOSED: Final = 7
_CLOSE_WAIT: Final = 8


def tune(sock: socket.socket) -> None:
    """Send small messages at once, and notice a peer that vanished while nothing is under way."""
    if sock.family not in (socket.AF_INET, socket.AF_INET6):
        return
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEPALIVE_IDLE)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, KEEPALIVE_INTERVAL)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, KEEPALIVE_PROBES)


def listen(address: Address) -> socket.socket:
    """Open a listening socket; every address of the host where it is empty."""
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((address.host, address.port))
        sock.listen(BACKLOG)
    except OSError:
        sock.close()
        raise
    sock.setblocking(False)
    return sock


def peer_of(sock: socket.socket) -> Peer:
    """Name the other end; an IPv4 address that came through an IPv6 socket is written as IPv4."""
    name = sock.getpeername()
    if not isinstance(name, tuple):
        return Peer("", 0)
    return Peer(str(name[0]).split("%")[0].removeprefix("::ffff:"), int(name[1]))


async def part(sock: socket.socket, words: bytes) -> None:
    """Send the last words on a bare socket so that the peer can read them; whoever has it closes it then."""
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(DRAIN_SECONDS):
            if words:
                await loop.sock_sendall(sock, words)
            sock.shutdown(socket.SHUT_WR)
            left = DRAIN_BYTES
            while left > 0 and (read := await loop.sock_recv(sock, left)):
                left -= len(read)
    except (OSError, TimeoutError):
        pass  # the peer is gone or does not read: nothing is left to do for it


def tcp_info(sock: socket.socket) -> bytes:
    """Read the kernel's `struct tcp_info`; empty where there is none."""
    try:
        return sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
    except (OSError, ValueError):
        # uvloop's: its descriptor is -1 from the moment it is closed, before the protocol is told.
        return b""


def is_idle(info: bytes) -> bool:
    """Tell whether everything that was written has been acknowledged."""
    if len(info) < _SIZE:
        return True
    return _number(info, _UNACKED_AT) == 0 and _number(info, _NOTSENT_AT) == 0


def is_dead(info: bytes, silence_ms: int = SILENCE_MS) -> bool:
    """Tell whether the peer has stopped to answer, or has reset the connection.

    A live peer without room acknowledges each probe, which sets the count of probes back.
    """
    if len(info) < _SIZE:
        return False
    unanswered = info[_RETRANSMITS] > 0 or info[_PROBES] > 1
    return info[_STATE] == _CLOSED or (unanswered and _number(info, _LAST_ACK_AT) >= silence_ms)


def has_left(info: bytes) -> bool:
    """Tell whether the peer has ended its side and leaves ours unread."""
    return len(info) >= _SIZE and info[_STATE] == _CLOSE_WAIT and not is_idle(info)


def is_gone(info: bytes) -> bool:
    """Tell whether the peer has ended its side, or reset the connection: a socket that is not read does not show it."""
    return len(info) >= _SIZE and info[_STATE] in (_CLOSED, _CLOSE_WAIT)


def _number(info: bytes, offset: int) -> int:
    return int(struct.unpack_from("=I", info, offset)[0])
