"""A connection before its relay: carries out the steps of an `Opening` on the bare socket, then over TLS.

1. In the clear exactly the bytes that are asked for are taken from the socket; the rest stays in the kernel until
   TLS or the relay takes over. So nothing that arrived before a handshake can be read after it.
2. In the clear both sides take turns. A peer that has sent more before it was answered is cut off.
3. A buffer in this process exists only once TLS is up, or once the relay is next.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from typing import Final, Protocol, assert_never, cast

from vestibule.model.event import Tls
from vestibule.model.identity import Peer
from vestibule.protocols.base import Exactly, Opening, Outcome, Peek, Reply, StartTls, Step
from vestibule.server import sockets
from vestibule.server.tls import agreed
from vestibule.wire import proxy

#: What a peer may send ahead over TLS before the relay reads.
AHEAD: Final = 64 * 1024
INJECTION: Final = "tls injection"


class OpeningFailed(Exception):
    """The connection ended without an outcome; `cause` is for the record and the operator log."""

    def __init__(self, cause: str) -> None:
        """Keep the cause."""
        super().__init__(cause)
        self.cause = cause


class Handshake(Protocol):
    """One side of TLS."""

    @property
    def is_client(self) -> bool:
        """Tell whether this process starts the handshake."""
        ...

    async def handshake(self, sock: socket.socket, protocol: asyncio.Protocol, alpn: str) -> asyncio.Transport:
        """Let TLS take over `sock`; return once it is agreed."""
        ...


class Reader(asyncio.Protocol):
    """Reads exactly what is asked for from a transport, until the relay takes over."""

    def __init__(self) -> None:
        """Start before the transport is connected."""
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._arrived = asyncio.Event()
        self._paused = False
        self._next: asyncio.BaseProtocol | None = None
        self.ended = False
        #: Set once the transport is closed.
        self.lost = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Keep what came, and stop reading beyond the bound."""
        self._buffer += data
        self._arrived.set()
        self._pause(len(self._buffer) >= AHEAD)

    def eof_received(self) -> bool:
        """Note the end; a plain transport stays open for what is still to be said."""
        self.ended = True
        self._arrived.set()
        return self._transport is not None and self._transport.can_write_eof()

    def connection_lost(self, exc: Exception | None) -> None:
        """Note the end."""
        self.ended = True
        self._arrived.set()
        self.lost.set()
        # Over TLS the event loop calls the protocol that was in place when the connection broke.
        if self._next is not None:
            self._next.connection_lost(exc)

    async def exactly(self, count: int) -> bytes:
        """Read `count` bytes, or fewer if the peer closed."""
        await self._wait_for(count)
        taken = bytes(self._buffer[:count])
        del self._buffer[:count]
        self._pause(len(self._buffer) >= AHEAD)
        return taken

    async def peek(self) -> bytes:
        """Look at the first byte, or none if the peer closed."""
        await self._wait_for(1)
        return bytes(self._buffer[:1])

    def hand_over(self, successor: asyncio.BaseProtocol) -> bytes:
        """Give what was read ahead; from now on `successor` reads, and hears of the end."""
        self._pause(False)
        self._next = successor
        taken = bytes(self._buffer)
        self._buffer.clear()
        return taken

    def _pause(self, pause: bool) -> None:
        if self._transport is None or self.ended or pause is self._paused:
            return
        self._paused = pause
        if pause:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()

    async def _wait_for(self, count: int) -> None:
        if count > AHEAD:
            raise ValueError(f"an opening reads at most {AHEAD} bytes at once")
        while len(self._buffer) < count and not self.ended:
            self._arrived.clear()
            await self._arrived.wait()


class Connection:
    """One socket on its way to a relay."""

    def __init__(self, sock: socket.socket, handshake: Handshake) -> None:
        """Take over a connected, non-blocking socket."""
        self._sock = sock
        self._handshake = handshake
        self._loop = asyncio.get_running_loop()
        self._has_read = False
        #: The peer has sent something.
        self.has_spoken = False
        self.reader = Reader()
        self.transport: asyncio.Transport | None = None
        self.tls: Tls | None = None

    async def carry_out(self, opening: Opening) -> Outcome:
        """Do what `opening` asks, step by step; the caller sets the time limit."""
        try:
            step = next(opening)
            while True:
                step = opening.send(await self._perform(step))
        except StopIteration as stop:
            outcome: Outcome = stop.value
            return outcome
        except OSError as error:
            raise OpeningFailed(f"connection lost: {error.strerror or type(error).__name__}") from error

    async def proxied(self) -> Peer | None:
        """Read a balancer's header, and nothing behind it; name its client, if it speaks for one."""
        try:
            start = await self._read(proxy.START)
            if not start:
                return None
            proxy.check_start(start)
            head = start + await self._read(proxy.REST)
            client = proxy.client_of(head, await self._read(proxy.rest_of(head)))
        except proxy.NoProxyHeader as error:
            raise OpeningFailed(str(error)) from error
        except OSError as error:
            raise OpeningFailed(f"connection lost: {error.strerror or type(error).__name__}") from error
        # A balancer that looks whether we live says its own name, and nothing more.
        self.has_spoken = self._has_read = False
        return client

    async def hand_over(self) -> asyncio.Transport:
        """Make, and give, the transport that the relay's driver takes over, TLS or plain."""
        if self.transport is None:
            reader = self.reader
            try:
                transport, _ = await self._loop.connect_accepted_socket(lambda: reader, self._sock)
            except OSError as error:
                raise OpeningFailed("connection lost") from error
            self.transport = transport
        return self.transport

    async def close(self, data: bytes = b"") -> None:
        """Send the last words and close so that the peer can read them, TLS with close_notify."""
        if self.transport is not None:
            self.transport.write(data)
            self.transport.close()
            await self.reader.lost.wait()
            return
        try:
            await sockets.part(self._sock, data)
        finally:
            self._sock.close()

    def abort(self) -> None:
        """Cut the connection at once."""
        if self.transport is not None:
            self.transport.abort()
        else:
            self._sock.close()

    # --- steps -------------------------------------------------------------------------------------------------------

    async def _perform(self, step: Step) -> bytes:
        match step:
            case Exactly(count=count):
                return await (self.reader.exactly(count) if self.transport else self._read(count))
            case Peek():
                return await (self.reader.peek() if self.transport else self._peek())
            case Reply(data=data):
                await self._reply(data)
                return b""
            case StartTls(alpn=alpn):
                return await self._start_tls(alpn)
            case _:
                assert_never(step)

    async def _read(self, count: int) -> bytes:
        self._has_read = True
        read = b""
        while len(read) < count:
            try:
                more = await self._loop.sock_recv(self._sock, count - len(read))
            except ConnectionError:
                more = b""
            if not more:
                break
            self.has_spoken = True
            read += more
        return read

    async def _peek(self) -> bytes:
        while True:
            try:
                return self._sock.recv(1, socket.MSG_PEEK)
            except BlockingIOError:
                await self._readable()
            except ConnectionError:
                return b""

    async def _readable(self) -> None:
        ready = asyncio.Event()
        self._loop.add_reader(self._sock, ready.set)
        try:
            await ready.wait()
        finally:
            self._loop.remove_reader(self._sock)

    async def _reply(self, data: bytes) -> None:
        if self.transport is not None:
            self.transport.write(data)
            return
        if self._has_unread():
            raise OpeningFailed(INJECTION)
        await self._loop.sock_sendall(self._sock, data)

    async def _start_tls(self, alpn: str) -> bytes:
        if self.transport is not None:
            raise OpeningFailed("tls inside tls")
        # As a client we speak first: whatever is here before our first flight was sent in the clear.
        if self._handshake.is_client and self._has_read and self._has_unread():
            raise OpeningFailed(INJECTION)
        try:
            transport = await self._handshake.handshake(self._sock, self.reader, alpn)
        except ssl.SSLCertVerificationError as error:
            raise OpeningFailed(f"certificate not accepted: {error.verify_message}") from error
        except (ssl.SSLError, OSError) as error:
            reason = getattr(error, "reason", None) or type(error).__name__
            raise OpeningFailed(f"tls handshake failed: {reason}") from error
        self.transport = transport
        self.has_spoken = True
        self.tls, name = agreed(transport)
        return name.encode()

    def _has_unread(self) -> bool:
        try:
            return bool(self._sock.recv(1, socket.MSG_PEEK))
        except OSError:
            return False
