"""Our side of the log-in against real servers: every method, and what a wrong password looks like."""

import hashlib
import secrets
import socket
import ssl
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from uuid import UUID

import pytest

from tests.support.postgres import CLEARTEXT, GATEWAY, MD5, PostgresServer
from vestibule.model.errors import TargetUnavailable
from vestibule.model.event import Side
from vestibule.model.names import TargetName
from vestibule.model.target import Address, Credential, Target, TargetTls
from vestibule.protocols.base import Exactly, Opening, Outcome, Reply, Speak, StartTls, Step
from vestibule.protocols.postgres import messages as pg
from vestibule.protocols.postgres.authentication import LoggedIn, Login
from vestibule.protocols.postgres.codec import PROTOCOL_3_0, decode_backend, encode
from vestibule.protocols.postgres.frames import TARGET, Frame, FrameReader
from vestibule.protocols.postgres.opening import reach
from vestibule.protocols.postgres.scram import SaltedPasswords
from vestibule.protocols.postgres.startup import PINS, read_startup, target_startup

SESSION = UUID("0197f3a2-1111-7222-8333-444455556666")
STARTUP = read_startup(pg.StartupMessage(PROTOCOL_3_0, (("user", "alice+core"), ("application_name", "psql"))))


pytestmark = pytest.mark.server


@pytest.fixture(params=["postgres15", "postgres18"])
def server(request) -> PostgresServer:
    return request.getfixturevalue(request.param)


def target(server: PostgresServer, user: str = GATEWAY, *methods: str) -> Target:
    made = Target(
        TargetName("core"),
        "postgres",
        (Address("127.0.0.1", server.port),),
        ("core",),
        ("public",),
        TargetTls(ca=str(server.ca)),
        Credential(user, "in the test"),
    )
    return replace(made, authentication=frozenset(methods)) if methods else made


@contextmanager
def reached(server: PostgresServer, direct: bool = False) -> Iterator[tuple[ssl.SSLSocket, bytes]]:
    """A socket behind the opening, with its channel binding."""
    context = ssl.create_default_context(cafile=server.ca)
    context.set_alpn_protocols(["postgresql"])
    opening, answer = reach(direct), None
    with closing(socket.create_connection(("127.0.0.1", server.port), timeout=20)) as stream:
        while not isinstance(step := advance(opening, answer), Speak):
            match step:
                case Reply(data=data):
                    stream.sendall(data)
                    answer = b""
                case Exactly(count=count):
                    answer = stream.recv(count)
                case StartTls():
                    stream = context.wrap_socket(stream, server_hostname="127.0.0.1")
                    answer = (stream.selected_alpn_protocol() or "").encode()
        with stream:
            yield stream, hashlib.sha256(stream.getpeercert(binary_form=True)).digest()


def advance(opening: Opening, answer: bytes | None) -> Step | Outcome:
    """The opening's next step, or its outcome."""
    try:
        return opening.send(answer)
    except StopIteration as stop:
        return stop.value


def log_in(stream: ssl.SSLSocket, at: Target, password: str, end_point: bytes) -> tuple[LoggedIn, dict[str, str]]:
    """Log in, and read on to the first ReadyForQuery; give the settings that the server reported."""
    login = Login(at, password.encode(), end_point, secrets.token_bytes(24), SaltedPasswords())
    reader = FrameReader(Side.TARGET, TARGET)
    stream.sendall(encode(target_startup(STARTUP, at, "core", SESSION)))
    logged_in, settings = None, {}
    while data := stream.recv(65_536):
        reader.feed(data)
        while item := reader.next():
            assert isinstance(item, Frame)
            message = decode_backend(item.type, item.body)
            if logged_in is None:
                answer = login.receive(message)
                if isinstance(answer, LoggedIn):
                    logged_in = answer
                else:
                    stream.sendall(answer)
            elif isinstance(message, pg.ParameterStatus):
                settings[message.name] = message.value
            elif isinstance(message, pg.ReadyForQuery):
                return logged_in, settings
    raise AssertionError("the server closed")


def ask(stream: ssl.SSLSocket, sql: str) -> list[tuple[bytes | None, ...]]:
    """Run a text and give its rows."""
    stream.sendall(encode(pg.Query(sql.encode())))
    data = b""
    while not data.endswith(encode(pg.ReadyForQuery("I"))):
        data += stream.recv(65_536)
    rows, at = [], 0
    while at < len(data):
        end = at + 1 + int.from_bytes(data[at + 1 : at + 5])
        message = decode_backend(data[at], data[at + 5 : end])
        assert not isinstance(message, pg.ErrorResponse), message
        if isinstance(message, pg.DataRow):
            rows.append(message.values)
        at = end
    return rows


def test_the_channel_is_bound_and_the_pins_hold(server):
    with reached(server) as (stream, end_point):
        logged_in, settings = log_in(stream, target(server), server.passwords[GATEWAY], end_point)
        assert logged_in == LoggedIn("scram-sha-256-plus")
        assert settings["application_name"] == "psql vestibule:0197f3a2"
        names = ", ".join(f"current_setting('{name}')" for name in PINS)
        assert ask(stream, f"SET bytea_output = 'escape'; RESET ALL; SELECT {names}") == [
            tuple(value.encode() for value in PINS.values())
        ]
        assert ask(stream, "SHOW search_path") == [(b'"public"',)]


def test_direct_tls_is_spoken_by_a_server_of_today(postgres18):
    with reached(postgres18, direct=True) as (stream, end_point):
        logged_in, _ = log_in(stream, target(postgres18), postgres18.passwords[GATEWAY], end_point)
        assert logged_in == LoggedIn("scram-sha-256-plus")


def test_without_a_binding_of_ours_the_plain_mechanism_is_taken(server):
    with reached(server) as (stream, _):
        logged_in, _ = log_in(stream, target(server), server.passwords[GATEWAY], b"")
        assert logged_in == LoggedIn("scram-sha-256")


def test_a_foreign_end_point_is_refused_by_the_server(server):
    with reached(server) as (stream, end_point), pytest.raises(TargetUnavailable, match="28"):
        log_in(stream, target(server), server.passwords[GATEWAY], bytes(len(end_point)))


def test_a_wrong_password_is_a_refusal_with_the_servers_words(server):
    with reached(server) as (stream, end_point), pytest.raises(TargetUnavailable, match="28P01"):
        log_in(stream, target(server), "wrong", end_point)


@pytest.mark.parametrize(("user", "method"), [(MD5, "md5"), (CLEARTEXT, "cleartext")])
def test_weaker_methods_work_where_they_are_configured_and_only_there(server, user, method):
    with reached(server) as (stream, end_point):
        logged_in, _ = log_in(stream, target(server, user, method), server.passwords[user], end_point)
        assert logged_in == LoggedIn(method)
    with reached(server) as (stream, end_point), pytest.raises(TargetUnavailable, match=f"demands {method}"):
        log_in(stream, target(server, user), server.passwords[user], end_point)
