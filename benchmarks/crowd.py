"""Many clients in one process: each logs in over TLS, may ask one statement, and then says nothing more.

A program of its own, standard library and uvloop only. The first line of its input is a JSON document (port, ca, user,
token, database, text); each further line is how many sessions there shall be, and is answered by the seconds that it
took and how many log-ins were refused on the way; whoever is refused tries again, a few times. It ends with its input.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import struct
import sys
import time
from collections.abc import Iterator
from typing import Any, cast

import uvloop

#: Log-ins that are under way at once.
AT_ONCE = 64
#: How often one session is tried for.
TRIES = 4
#: How the answers end: a password is asked for, and the session is ready.
PASSWORD = b"R" + struct.pack("!II", 8, 3)
READY = b"Z" + struct.pack("!I", 5) + b"I"


def message(kind: bytes, body: bytes) -> bytes:
    """Write one message; the first of a connection has no kind."""
    return kind + struct.pack("!I", len(body) + 4) + body


class Client(asyncio.Protocol):
    """One session."""

    __slots__ = ("_end", "_heard", "_read", "transport")

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self._read = self._end = b""
        self._heard: asyncio.Future[bytes] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take a transport, and once more when it has become TLS."""
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Keep what came; it is whole with the end that was asked for, or when it is an error."""
        self._read += data
        if self._heard is not None and (self._read.endswith(self._end) or self._read.startswith(b"E")):
            heard, read = self._heard, self._read
            self._heard, self._read = None, b""
            heard.set_result(read)

    def connection_lost(self, exc: Exception | None) -> None:
        """Say that nobody answers any more."""
        if self._heard is not None and not self._heard.done():
            self._heard.set_exception(ConnectionError("the gateway closed the connection"))

    async def ask(self, said: bytes, end: bytes) -> None:
        """Say something and wait for an answer with this end."""
        if self.transport is None:
            raise RuntimeError("not connected")
        self._end, heard = end, asyncio.get_running_loop().create_future()
        self._heard = heard
        self.transport.write(said)
        answer = await heard
        if not answer.endswith(end):
            raise RuntimeError(f"refused: {answer[:300]!r}")


async def log_in(settings: dict[str, Any], context: ssl.SSLContext) -> Client:
    """Open one session."""
    loop = asyncio.get_running_loop()
    transport, client = await loop.create_connection(Client, "127.0.0.1", settings["port"])
    await client.ask(struct.pack("!II", 8, 80_877_103), b"S")
    tls = await loop.start_tls(transport, client, context, server_hostname="localhost")
    client.transport = cast(asyncio.Transport, tls)
    names = {"user": settings["user"], "database": settings["database"]}
    said = b"".join(f"{name}\0{value}\0".encode() for name, value in names.items())
    await client.ask(message(b"", struct.pack("!I", 196_608) + said + b"\0"), PASSWORD)
    await client.ask(message(b"p", settings["token"].encode() + b"\0"), READY)
    if settings["text"]:
        await client.ask(message(b"Q", settings["text"].encode() + b"\0"), READY)
    return client


async def let_in(settings: dict[str, Any], context: ssl.SSLContext) -> tuple[Client, int]:
    """Open one session, and say how often it was refused before."""
    for refused in range(TRIES - 1):
        try:
            return await log_in(settings, context), refused
        except (OSError, RuntimeError) as error:
            sys.stderr.write(f"{error}\n")
    return await log_in(settings, context), TRIES - 1


async def gather(settings: dict[str, Any]) -> None:
    """Open sessions as told, and hold them."""
    loop = asyncio.get_running_loop()
    context = ssl.create_default_context(cafile=settings["ca"])
    clients: list[Client] = []
    refusals: list[int] = []
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        missing = iter(range(int(line) - len(clients)))
        began = time.perf_counter()

        async def open_some(missing: Iterator[int] = missing) -> None:
            for _ in missing:
                client, refused = await let_in(settings, context)
                clients.append(client)
                refusals.append(refused)

        async with asyncio.TaskGroup() as group:
            for _ in range(AT_ONCE):
                group.create_task(open_some())
        lost = sum(client.transport is None or client.transport.is_closing() for client in clients)
        if lost:
            raise RuntimeError(f"{lost} sessions were lost")
        sys.stdout.write(f"{time.perf_counter() - began} {sum(refusals)}\n")
        sys.stdout.flush()
        refusals.clear()


if __name__ == "__main__":
    uvloop.run(gather(json.loads(sys.stdin.readline())))
