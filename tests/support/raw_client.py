"""A client that says whatever a test wants, byte for byte, and reads what comes back message by message."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TypeVar

from vestibule.protocols.postgres import messages as pg
from vestibule.protocols.postgres.codec import PROTOCOL_3_0, decode_backend, encode

Said = pg.Message | bytes
M = TypeVar("M")


@dataclass(slots=True)
class RawClient:
    """One connection, plain until `start_tls`."""

    stream: socket.socket
    read: bytes = b""
    messages: list[pg.BackendMessage] = field(default_factory=list)

    @classmethod
    def connect(cls, port: int, timeout: float = 20.0) -> RawClient:
        """Open a plain connection."""
        stream = socket.create_connection(("127.0.0.1", port), timeout=timeout)
        stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return cls(stream)

    def __enter__(self) -> RawClient:
        """Use it in a `with` statement."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connection."""
        self.stream.close()

    # -- saying

    def send(self, *said: Said) -> None:
        """Send messages, or bytes as they are, in one piece."""
        self.stream.sendall(b"".join(each if isinstance(each, bytes) else encode(each) for each in said))

    def start_tls(self, ca: Path, alpn: Sequence[str] = (), *, direct: bool = False) -> RawClient:
        """Ask for TLS unless it is `direct`, and do the handshake."""
        if not direct:
            self.send(pg.SSLRequest())
            answer = self.stream.recv(1)
            assert answer == b"S", f"the gateway answered {answer!r} to SSLRequest"
        context = ssl.create_default_context(cafile=str(ca))
        if alpn:
            context.set_alpn_protocols(list(alpn))
        self.stream = context.wrap_socket(self.stream, server_hostname="localhost")
        return self

    def begin(self, user: str, **parameters: str) -> None:
        """Send the startup packet."""
        self.send(pg.StartupMessage(PROTOCOL_3_0, (("user", user), *parameters.items())))

    def log_in(self, user: str, token: str, **parameters: str) -> list[pg.BackendMessage]:
        """Go from the startup packet to the first ReadyForQuery; give everything said on the way."""
        self.begin(user, **parameters)
        self.expect(pg.AuthenticationCleartextPassword)
        self.send(pg.PasswordMessage(token.encode() + b"\0"))
        return self.until(pg.ReadyForQuery)

    # -- hearing

    def next(self) -> pg.BackendMessage | None:
        """Read one message, None at the end of the connection."""
        while len(self.read) < 5 or len(self.read) <= int.from_bytes(self.read[1:5]):
            if not (data := self._receive()):
                assert not self.read, f"the connection ended inside a message: {self.read[:100]!r}"
                return None
            self.read += data
        size = 1 + int.from_bytes(self.read[1:5])
        message, self.read = decode_backend(self.read[0], self.read[5:size]), self.read[size:]
        self.messages.append(message)
        return message

    def expect(self, kind: type[M]) -> M:
        """Read one message, which must be of this kind."""
        message = self.next()
        assert isinstance(message, kind), f"{message} instead of {kind.__name__}"
        return message

    def until(self, kind: type[pg.BackendMessage]) -> list[pg.BackendMessage]:
        """Read up to the first message of this kind."""
        heard: list[pg.BackendMessage] = []
        while not heard or not isinstance(heard[-1], kind):
            message = self.next()
            assert message is not None, f"the gateway closed before {kind.__name__}, after {heard}"
            heard.append(message)
        return heard

    def ask(self, *said: Said, syncs: int = 1) -> list[pg.BackendMessage]:
        """Send messages and read up to the `syncs`th ReadyForQuery."""
        self.send(*said)
        return [message for _ in range(syncs) for message in self.until(pg.ReadyForQuery)]

    def query(self, text: str) -> list[pg.BackendMessage]:
        """Run a text by the simple protocol."""
        return self.ask(pg.Query(text.encode()))

    def rest(self) -> list[pg.BackendMessage]:
        """Read to the end of the connection."""
        return list(iter(self.next, None))

    def rest_of_bytes(self) -> bytes:
        """Read to the end of the connection, whatever it is."""
        while data := self._receive():
            self.read += data
        return self.read

    def _receive(self) -> bytes:
        try:
            return self.stream.recv(65_536)
        except (ConnectionResetError, ssl.SSLEOFError):
            return b""


@contextmanager
def in_session(port: int, ca: Path, user: str, token: str, **parameters: str) -> Iterator[RawClient]:
    """Open a session; the connection is closed behind it."""
    with RawClient.connect(port) as client:
        client.start_tls(ca)
        client.log_in(user, token, **parameters)
        yield client


def extended(text: str, name: str = "", portal: str = "", max_rows: int = 0) -> list[pg.FrontendMessage]:
    """Say a statement by the extended protocol, without Sync."""
    return [pg.Parse(name, text.encode()), pg.Bind(portal, name), pg.Execute(portal, max_rows)]


def codes(messages: Sequence[pg.BackendMessage]) -> list[str]:
    """Say of each answer what it is: errors by their code, completions by their tag, the rest by its name."""
    return [_code(message) for message in messages]


def _code(message: pg.BackendMessage) -> str:
    match message:
        case pg.ErrorResponse():
            return f"{message.text('V')} {message.text('C')}"
        case pg.CommandComplete(tag=tag):
            return tag
        case pg.ReadyForQuery(status=status):
            return f"Z {status}"
        case pg.DataRow(values=values):
            return "row " + ",".join("NULL" if value is None else value.decode(errors="replace") for value in values)
        case _:
            return type(message).__name__
