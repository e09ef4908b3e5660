"""A target that lies: a TLS server which plays PostgreSQL up to some point, and from there says what a test wants."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.support.certificates import Certificate
from tests.support.ports import free_port
from tests.support.scram_server import ScramServer
from vestibule.protocols.postgres import messages as pg
from vestibule.protocols.postgres.codec import decode_frontend, encode

#: What a server says of itself when somebody has logged in.
SETTINGS = {"server_version": "15.8", "client_encoding": "UTF8", "standard_conforming_strings": "on"}


@dataclass(slots=True)
class Visit:
    """One connection of the gateway's, and how far an honest server goes with it."""

    stream: socket.socket
    certificate: Certificate
    password: bytes
    read: bytes = b""
    heard: list[bytes] = field(default_factory=list)

    def say(self, *said: pg.Message | bytes) -> None:
        """Send messages, or bytes as they are."""
        self.stream.sendall(b"".join(each if isinstance(each, bytes) else encode(each) for each in said))

    def take(self, count: int) -> bytes:
        """Read exactly `count` bytes."""
        while len(self.read) < count:
            data = self.stream.recv(65_536)
            if not data:
                raise ConnectionAbortedError("the gateway has closed")
            self.heard.append(data)
            self.read += data
        taken, self.read = self.read[:count], self.read[count:]
        return taken

    def message(self) -> pg.FrontendMessage:
        """Read one message."""
        head = self.take(5)
        return decode_frontend(head[0], self.take(int.from_bytes(head[1:]) - 4))

    def start_tls(self) -> None:
        """Answer SSLRequest with S and do the handshake."""
        self.take(8)
        self.say(b"S")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate.certificate, self.certificate.key)
        self.stream = stream = context.wrap_socket(self.stream, server_side=True, do_handshake_on_connect=False)
        stream.do_handshake()

    def startup(self) -> None:
        """Read the startup packet."""
        self.take(int.from_bytes(self.take(4)) - 4)

    def challenge(self) -> ScramServer:
        """Ask for SCRAM and answer the client's first message."""
        self.say(pg.AuthenticationSASL(("SCRAM-SHA-256",)))
        scram = ScramServer(self.password)
        first = self.message()
        assert isinstance(first, pg.PasswordMessage)
        self.say(pg.AuthenticationSASLContinue(scram.challenge(first.body.partition(b"\0")[2][4:])))
        return scram

    def prove(self) -> None:
        """Let the gateway log in as an honest server would."""
        scram = self.challenge()
        final = self.message()
        assert isinstance(final, pg.PasswordMessage)
        self.say(pg.AuthenticationSASLFinal(scram.final(final.body)), pg.AuthenticationOk())

    def log_in(self) -> None:
        """Go from the first byte to the end of the authentication."""
        self.start_tls()
        self.startup()
        self.prove()

    def welcome(self) -> None:
        """Go on to the first statement of the client: settings, key, and the answer about the catalog."""
        settings = [pg.ParameterStatus(*pair) for pair in SETTINGS.items()]
        self.say(*settings, pg.BackendKeyData(4711, b"real"), pg.ReadyForQuery("I"))
        self.message()
        shape = pg.RowDescription((pg.Field("x", 0, 0, 25, -1, -1, 0),) * 6)
        self.say(shape, pg.CommandComplete("SELECT 0"), pg.ReadyForQuery("I"))

    def in_session(self) -> pg.FrontendMessage:
        """Go all the way to the client's first statement, and give that."""
        self.log_in()
        self.welcome()
        return self.message()


Lie = Callable[[Visit], None]


@dataclass(slots=True)
class Liar:
    """A server on a port of its own; `lie` is what it does with each connection."""

    certificate: Certificate
    password: str
    port: int = field(default_factory=free_port)
    lie: Lie | None = None
    visits: list[Visit] = field(default_factory=list)
    _listening: socket.socket | None = None

    def start(self) -> None:
        """Listen until it is stopped."""
        listening = socket.create_server(("127.0.0.1", self.port))
        self._listening = listening
        threading.Thread(target=self._serve, args=(listening,), daemon=True).start()

    def stop(self) -> None:
        """Stop listening, and hang up on everybody."""
        if self._listening is not None:
            # A thread that waits in accept is woken by a shutdown only.
            with contextlib.suppress(OSError):
                self._listening.shutdown(socket.SHUT_RDWR)
            self._listening.close()
        for visit in self.visits:
            visit.stream.close()

    @property
    def heard(self) -> bytes:
        """Everything that gateways have said to it, in clear where it was encrypted."""
        return b"".join(piece for visit in self.visits for piece in visit.heard)

    def _serve(self, listening: socket.socket) -> None:
        while True:
            try:
                stream, _ = listening.accept()
            except OSError:
                return
            stream.settimeout(30)
            visit = Visit(stream, self.certificate, self.password.encode())
            self.visits.append(visit)
            threading.Thread(target=self._receive, args=(visit,), daemon=True).start()

    def _receive(self, visit: Visit) -> None:
        with contextlib.suppress(OSError):
            if self.lie is not None:
                self.lie(visit)
            # Whoever has said its lie listens on until the gateway hangs up.
            while data := visit.stream.recv(65_536):
                visit.heard.append(data)
        with contextlib.suppress(OSError):
            visit.stream.close()
