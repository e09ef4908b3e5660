"""Real sockets at both doors of a driver, in the hands of the test."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from tests.support.scripted import (
    CopyingRelay,
    FakeDesk,
    FakeJournal,
    FakeSecrets,
    ScriptedRelay,
    conversation,
    services,
    target,
)
from vestibule.model.target import Target
from vestibule.protocols.base import Opening, Outcome, Speak, Step
from vestibule.server import sockets
from vestibule.server.dialer import Dialer
from vestibule.server.driver import Driver
from vestibule.server.opening import Connection
from vestibule.server.recorder import Recorder
from vestibule.server.tls import ServerTls
from vestibule.stores.objects import Directory
from vestibule.stores.spool import Spool

#: More than any test needs on a busy machine; a test that hangs fails.
PATIENCE = 20.0


def speak_at_once(*_: object) -> Opening:
    """Hand over without a byte: plain text."""
    return Speak()
    yield  # makes this a generator


def opening(*steps: Step, outcome: Outcome | None = None) -> Opening:
    """Take these steps."""
    for step in steps:  # noqa: UP028 - a sequence cannot be sent the answers
        yield step
    return outcome or Speak()


def tcp_pair() -> tuple[socket.socket, socket.socket]:
    """Make both ends of a TCP connection on loopback."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        near = socket.create_connection(listening.getsockname())
        far, _ = listening.accept()
    for sock in (near, far):
        sock.setblocking(False)
    return near, far


class End:
    """The test's end of a connection."""

    def __init__(self, sock: socket.socket) -> None:
        """Hold a connected socket."""
        sock.setblocking(False)
        self.sock = sock
        self._loop = asyncio.get_running_loop()

    async def send(self, data: bytes) -> None:
        """Send everything."""
        async with asyncio.timeout(PATIENCE):
            await self._loop.sock_sendall(self.sock, data)

    async def take(self, count: int) -> bytes:
        """Receive exactly so many bytes, or fewer before the end."""
        read = b""
        async with asyncio.timeout(PATIENCE):
            while len(read) < count:
                more = await self._loop.sock_recv(self.sock, count - len(read))
                if not more:
                    break
                read += more
        return read

    async def rest(self) -> bytes:
        """Receive everything up to the end."""
        read = b""
        async with asyncio.timeout(PATIENCE):
            while more := await self._loop.sock_recv(self.sock, 1 << 16):
                read += more
        return read

    async def nothing(self, seconds: float = 0.05) -> bool:
        """Tell whether nothing arrives for a while."""
        try:
            async with asyncio.timeout(seconds):
                await self._loop.sock_recv(self.sock, 1)
        except TimeoutError:
            return True
        return False

    def leave(self) -> None:
        """Close properly."""
        self.sock.close()

    def reset(self) -> None:
        """Close with a reset."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.sock.close()


async def eventually(true: Callable[[], object], seconds: float = PATIENCE) -> None:
    """Wait until a condition holds."""
    async with asyncio.timeout(seconds):
        while not true():  # noqa: ASYNC110 - what is waited for has no event of its own
            await asyncio.sleep(0.002)


class Scene:
    """A driver whose client and target the test plays."""

    def __init__(
        self,
        journal: str = "soon",
        relay: ScriptedRelay | None = None,
        copying: bool = False,
        handshake: ServerTls | None = None,
        to: Target | None = None,
        buffers: int = 0,
        record: Path | None = None,
    ) -> None:
        """Listen as the target, and connect as the client; recordings go below `record`."""
        self.journal = FakeJournal(journal)
        self.desk = FakeDesk()
        self.listening = socket.create_server(("127.0.0.1", 0))
        if buffers:
            self.listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffers)
            self.listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffers)
        self.listening.setblocking(False)
        self.to = to or target(self.listening.getsockname()[:2])
        self.dialer = Dialer(speak_at_once, FakeSecrets())
        self.services = services(self.journal, self.dialer, self.desk)
        if record is not None:
            spool, store = Spool(record / "spool", 1 << 30), Directory(record / "objects")
            recorder = Recorder(spool, store, self.services.commits, self.services.clock)
            self.services = replace(self.services, recorder=recorder)
        self.facts = conversation()
        self.session = self.facts.session
        self.relay = relay or (CopyingRelay(self.session, self.to) if copying else ScriptedRelay())
        self.driver = Driver(self.relay, self.facts, self.services)
        near, far = tcp_pair()
        for sock in (near, far) if buffers else ():
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffers)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffers)
        self.client = End(near)
        self.target: End | None = None
        self._far = far
        self._handshake = handshake

    @property
    def script(self) -> ScriptedRelay:
        """The relay, where the test plays it."""
        assert isinstance(self.relay, ScriptedRelay)
        return self.relay

    async def begin(self, ahead: bytes = b"") -> None:
        """Let the driver take over the client."""
        sockets.tune(self._far)
        connection = Connection(self._far, self._handshake)  # type: ignore[arg-type] # plain text takes none
        transport = await connection.hand_over()
        self.driver.start(transport, connection.reader, ahead)

    async def accept(self) -> End:
        """Be dialled."""
        async with asyncio.timeout(PATIENCE):
            sock, _ = await asyncio.get_running_loop().sock_accept(self.listening)
        self.target = End(sock)
        return self.target

    async def ended(self) -> str:
        """Wait for the end and say why."""
        async with asyncio.timeout(PATIENCE):
            await self.desk.all_closed.wait()
        return self.desk.closed_reasons[0]

    async def close(self) -> None:
        """Leave nothing behind."""
        self.driver.abort()
        if self.services.recorder is not None:
            self.services.recorder.close()
        self.services.commits.close()
        for end in (self.client, self.target):
            if end is not None:
                end.sock.close()
        self.listening.close()
        await asyncio.sleep(0)
        await asyncio.sleep(0)


def secured(sock: socket.socket, context: ssl.SSLContext, host: str = "localhost") -> ssl.SSLSocket:
    """Do the client's part of a handshake, blocking; an end without close_notify is an error on that socket."""
    sock.settimeout(PATIENCE)
    return context.wrap_socket(sock, server_hostname=host, suppress_ragged_eofs=False)
