"""A target for ten thousand sessions in one process: it speaks as much PostgreSQL as a log-in needs, and then idles.

A program of its own, standard library and uvloop only. Its settings come as one JSON document, the first line of its
input: port, password, certificate and key (no TLS without them), and `answers`: what a real server answered, by the
question.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import os
import ssl
import struct
import sys
from typing import Any, cast

import uvloop

_SSL_REQUEST = 80_877_103
_SALT, _ITERATIONS = b"0123456789abcdef", 4096
_SETTINGS = {
    "server_version": "15.8",
    "server_encoding": "UTF8",
    "client_encoding": "UTF8",
    "DateStyle": "ISO, MDY",
    "IntervalStyle": "postgres",
    "TimeZone": "UTC",
    "integer_datetimes": "on",
    "standard_conforming_strings": "on",
}


def message(kind: bytes, body: bytes = b"") -> bytes:
    """Write one message."""
    return kind + struct.pack("!I", len(body) + 4) + body


def one_row(value: bytes) -> bytes:
    """Write the answer to a query that gives one text."""
    shape = struct.pack("!H", 1) + b"x\0" + struct.pack("!IHIhih", 0, 0, 25, -1, -1, 0)
    row = struct.pack("!HI", 1, len(value)) + value
    return message(b"T", shape) + message(b"D", row) + message(b"C", b"SELECT 1\0") + message(b"Z", b"I")


class Server:
    """What all connections share."""

    def __init__(self, settings: dict[str, Any]) -> None:
        salted = hashlib.pbkdf2_hmac("sha256", settings["password"].encode(), _SALT, _ITERATIONS)
        self.server_key = hmac.digest(salted, b"Server Key", "sha256")
        self.answers = {bytes.fromhex(key): bytes.fromhex(value) for key, value in settings["answers"].items()}
        self.context: ssl.SSLContext | None = None
        if settings.get("certificate"):
            self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.context.load_cert_chain(settings["certificate"], settings["key"])
            # Like a server: PostgreSQL has sent no session tickets since 15.8.
            self.context.num_tickets = 0
        self.tasks: set[asyncio.Task[None]] = set()
        self.number = 0


class Connection(asyncio.Protocol):
    """One session, from its first byte on."""

    __slots__ = ("_bare", "_challenge", "_is_started", "_read", "_server", "_transport")

    def __init__(self, server: Server) -> None:
        self._server = server
        self._read = b""
        self._is_started = False
        self._bare = self._challenge = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take a transport, and once more when it has become TLS."""
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Answer every message that is whole."""
        self._read += data
        while True:
            head = 1 if self._is_started else 0
            if len(self._read) < head + 4:
                return
            size = head + int.from_bytes(self._read[head : head + 4])
            if len(self._read) < size:
                return
            kind, body, self._read = self._read[:head], self._read[head + 4 : size], self._read[size:]
            if self._is_started:
                self._answer(kind, body)
            else:
                self._begin(body)

    def _begin(self, body: bytes) -> None:
        if int.from_bytes(body[:4]) == _SSL_REQUEST and self._server.context is not None:
            # What comes next belongs to the handshake.
            self._transport.pause_reading()
            self._transport.write(b"S")
            task = asyncio.get_running_loop().create_task(self._start_tls(self._server.context))
            self._server.tasks.add(task)
            task.add_done_callback(self._server.tasks.discard)
            return
        self._is_started = True
        offered = b"SCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0" if self._server.context else b"SCRAM-SHA-256\0"
        self._say(message(b"R", struct.pack("!I", 10) + offered + b"\0"))

    async def _start_tls(self, context: ssl.SSLContext) -> None:
        loop = asyncio.get_running_loop()
        self._transport = cast(
            asyncio.Transport, await loop.start_tls(self._transport, self, context, server_side=True)
        )

    def _answer(self, kind: bytes, body: bytes) -> None:
        if kind == b"Q":
            self._say(self._server.answers.get(body.rstrip(b"\0"), one_row(b"1")))
        elif kind == b"X":
            self._transport.close()
        elif kind == b"p" and not self._challenge:
            # The bare message is behind the header, which names the channel: `p=tls-server-end-point,,n=,r=...`.
            first = body.partition(b"\0")[2][4:]
            self._bare = first.split(b",", 2)[2]
            nonce = self._bare.partition(b"r=")[2] + base64.b64encode(os.urandom(18))
            self._challenge = b"r=%s,s=%s,i=%d" % (nonce, base64.b64encode(_SALT), _ITERATIONS)
            self._say(message(b"R", struct.pack("!I", 11) + self._challenge))
        elif kind == b"p":
            self._let_in(body)

    def _let_in(self, final: bytes) -> None:
        server = self._server
        exchanged = b",".join((self._bare, self._challenge, final.rpartition(b",p=")[0]))
        self._bare = b""
        signature = base64.b64encode(hmac.digest(server.server_key, exchanged, "sha256"))
        server.number += 1
        told = [message(b"S", f"{name}\0{value}\0".encode()) for name, value in _SETTINGS.items()]
        self._say(
            message(b"R", struct.pack("!I", 12) + b"v=" + signature),
            message(b"R", struct.pack("!I", 0)),
            *told,
            message(b"K", struct.pack("!II", server.number, 4711)),
            message(b"Z", b"I"),
        )

    def _say(self, *said: bytes) -> None:
        self._transport.write(b"".join(said))


async def serve(settings: dict[str, Any]) -> None:
    """Serve until ended."""
    server = Server(settings)
    loop = asyncio.get_running_loop()
    listening = await loop.create_server(lambda: Connection(server), "127.0.0.1", settings["port"], backlog=1024)
    await listening.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(json.loads(sys.stdin.readline())))
