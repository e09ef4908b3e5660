"""One side of a conversation: its transport, and the outbox of what may not leave yet.

1. An entry leaves once its commit is durable and everything before it has left. Nothing overtakes.
2. When a commit fails, the entries that waited for it and all behind them are dropped, and so is whatever else is
   pushed until the relay has been told (`mend`). An entry that says what leaves instead is replaced by that, alone.
3. A door is full from `HIGH` bytes held (outbox and transport together) until they are down to `LOW`.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from typing import Final, Protocol, cast

from vestibule.model.event import Side
from vestibule.server import sockets
from vestibule.server.commits import Commit

HIGH: Final = 256 * 1024
LOW: Final = 64 * 1024
#: The transport's own marks. Below `LOW`: while more than `LOW` is held and the outbox is empty, the transport is above
#: its high mark, so it will report its low mark. No pressure is ever left without an event that ends it.
_TRANSPORT_HIGH: Final = 48 * 1024
_TRANSPORT_LOW: Final = 32 * 1024
#: What is read at once. Larger pieces are slower (they leave the cache) and hold up the other conversations.
_BUFFER: Final = memoryview(bytearray(64 * 1024))
#: Chunks up to this size are joined into one write (one TLS record holds 16 KiB); larger ones are never copied.
_SMALL: Final = 16 * 1024


class Owner(Protocol):
    """Who is told what happens at a door."""

    def on_data(self, side: Side, data: bytes) -> None:
        """Bytes arrived."""
        ...

    def on_end(self, side: Side) -> None:
        """No byte follows; told once."""
        ...

    def on_lost(self, side: Side) -> None:
        """Forget the connection; it is closed."""
        ...

    def on_room(self, side: Side) -> None:
        """Look again at the pressure: the transport has written enough to take more."""
        ...


class Door(asyncio.BufferedProtocol):
    """One side."""

    def __init__(self, side: Side, owner: Owner) -> None:
        """Start without a connection."""
        self.side = side
        self._owner = owner
        self._transport: asyncio.Transport | None = None
        self._socket: socket.socket | None = None
        self._queue: list[tuple[bytes, Commit | None, bytes]] = []
        self._queued = 0
        self._ready: list[bytes] = []
        self._broken = False
        self._full = False
        self._reading = True
        #: The relay does not want to read.
        self.is_paused = False
        self._finishing = False
        self._ended = False
        self._unconfirmed = False
        #: Nothing can be written any more.
        self.gone = False
        #: The transport is closed, or there never was one.
        self.closed = True
        self.bytes_written = 0

    @property
    def is_connected(self) -> bool:
        """Tell whether there is, or was, a connection."""
        return self._transport is not None

    def attach(self, transport: asyncio.Transport) -> None:
        """Take over a connected transport."""
        self._transport = transport
        self.closed = False
        transport.set_write_buffer_limits(high=_TRANSPORT_HIGH, low=_TRANSPORT_LOW)
        transport.set_protocol(self)
        self._socket = transport.get_extra_info("socket")
        if transport.is_closing():
            self.gone = True

    # --- the outbox --------------------------------------------------------------------------------------------------

    def push(self, data: bytes, commit: Commit | None, instead: bytes = b"") -> None:
        """Let `data` leave once `commit` is durable, behind everything pushed before; if that fails, `instead`."""
        if self.gone or self._broken:
            return
        if commit is not None and commit.durable is False:
            if not instead:
                self._broken = True
                return
            data, commit = instead, None
        if not self._queue and (commit is None or commit.durable):
            self._ready.append(data)
            return
        self._queue.append((data, commit, instead))
        self._queued += len(data)

    def release(self) -> None:
        """Move what may leave now from the outbox to the next write."""
        count = 0
        for data, commit, _ in self._queue:
            if commit is not None and commit.durable is not True:
                break
            count += 1
            self._queued -= len(data)
            self._ready.append(data)
        del self._queue[:count]

    def drop(self, commit: Commit) -> None:
        """Drop what waits for a failed commit, and everything behind it, or put in its place what leaves instead."""
        for place, (data, waits_for, instead) in enumerate(self._queue):
            if waits_for is not commit:
                continue
            if not instead:
                self._broken = True
                while len(self._queue) > place:
                    self._queued -= len(self._queue.pop()[0])
                break
            self._queue[place] = (instead, None, b"")
            self._queued += len(instead) - len(data)
        self.release()

    def mend(self) -> None:
        """Take entries again: the relay knows what was dropped."""
        self._broken = False

    def discard(self) -> None:
        """Drop everything that has not left."""
        self._queue.clear()
        self._ready.clear()
        self._queued = 0

    def flush(self) -> bool:
        """Write what is ready, all at once; tell whether there was anything."""
        if not self._ready:
            return False
        chunks, self._ready = self._ready, []
        transport = self._transport
        if self.gone or transport is None:
            return False
        self._unconfirmed = True
        if len(chunks) == 1:
            self.bytes_written += len(chunks[0])
            transport.write(chunks[0])
        else:
            self.bytes_written += sum(map(len, chunks))
            transport.writelines(list(joined(chunks)))
        return True

    def is_full(self) -> bool:
        """Tell whether the other side should wait."""
        held = self._queued
        if self._transport is not None and not self.gone:
            held += self._transport.get_write_buffer_size()
        self._full = held > (LOW if self._full else HIGH)
        return self._full

    # --- reading and closing -----------------------------------------------------------------------------------------

    def read(self, wanted: bool) -> None:
        """Start or stop reading."""
        if wanted is self._reading or self._transport is None or self.closed:
            return
        self._reading = wanted
        if self._transport.is_closing():
            return
        if wanted:
            self._transport.resume_reading()
        else:
            self._transport.pause_reading()

    def finish(self) -> None:
        """Close once the outbox is empty: what was sent is flushed, what still comes is thrown away."""
        self._finishing = True
        self.flush()
        self.read(True)
        self.finish_if_empty()

    def finish_if_empty(self) -> None:
        """Go on with `finish` after the outbox has changed."""
        transport = self._transport
        if not self._finishing or self._queue or transport is None or self.closed or transport.is_closing():
            return
        if self._ended or self.gone or not transport.can_write_eof():
            # TLS: sends close_notify, throws away what comes and waits for the peer's.
            transport.close()
        else:
            # Plain: a close with unread bytes would be a reset, which may cost the peer our last words.
            transport.write_eof()

    def abort(self) -> None:
        """Cut the connection at once."""
        self.discard()
        if self._transport is not None:
            self._transport.abort()

    def is_dead(self) -> bool:
        """Tell whether the peer left what was written to it unacknowledged for too long."""
        if not self._unconfirmed or self._socket is None or self._transport is None or self.closed:
            return False
        info = sockets.tcp_info(self._socket)
        self._unconfirmed = self._transport.get_write_buffer_size() > 0 or not sockets.is_idle(info)
        # The end of TCP below TLS: uvloop reports it only once its buffer is written, which this peer may never allow.
        has_left = not self._transport.can_write_eof() and sockets.has_left(info)
        return has_left or sockets.is_dead(info)

    def end_if_gone(self) -> None:
        """Report the end of a peer that is not read and has gone; what it has said and nobody read is given up."""
        if self._socket is not None and not self.closed and sockets.is_gone(sockets.tcp_info(self._socket)):
            self._end()

    # --- asyncio.Protocol --------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take over a transport that was made with this protocol."""
        self.attach(cast(asyncio.Transport, transport))

    def get_buffer(self, sizehint: int) -> memoryview:
        """Lend the buffer that all doors share: the loop fills and returns it before it reads anything else."""
        return _BUFFER

    def buffer_updated(self, nbytes: int) -> None:
        """Pass bytes on."""
        if not self._finishing:
            self._owner.on_data(self.side, bytes(_BUFFER[:nbytes]))

    def eof_received(self) -> bool:
        """Note the peer's end; a plain connection stays open for what is still to be said."""
        is_plain = self._transport is not None and self._transport.can_write_eof()
        # uvloop starts to shut TLS down by itself after close_notify: what is written from here on is lost.
        self.gone = self.gone or not is_plain
        self._end()
        self.finish_if_empty()
        return is_plain

    def connection_lost(self, exc: Exception | None) -> None:
        """Note that nothing is left."""
        self.gone = self.closed = True
        self.discard()
        self._end()
        self._owner.on_lost(self.side)

    def pause_writing(self) -> None:
        """Do nothing: the owner looks at `is_full` after each write anyway."""

    def resume_writing(self) -> None:
        """Say that the transport can take more."""
        self._owner.on_room(self.side)

    def _end(self) -> None:
        if not self._ended:
            self._ended = True
            if not self._finishing:
                self._owner.on_end(self.side)


def joined(chunks: list[bytes]) -> Iterator[bytes]:
    """Join neighbours that are small, so that many messages become one TLS record and one call."""
    small: list[bytes] = []
    for chunk in chunks:
        if len(chunk) <= _SMALL:
            small.append(chunk)
            continue
        if small:
            yield b"".join(small)
            small = []
        yield chunk
    if small:
        yield b"".join(small)
