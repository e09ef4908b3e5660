"""The model server of the tests says and commits what a real server does."""

import socket
import ssl
from collections.abc import Iterator
from contextlib import closing

import pytest
from hypothesis import HealthCheck, given, settings

from tests.support.pg_model import ModelServer
from tests.support.pg_talk import DENIED, conversations
from tests.support.postgres import CLEARTEXT, PostgresServer
from vestibule.protocols.postgres import messages as pg
from vestibule.protocols.postgres.codec import PROTOCOL_3_0, decode_backend, encode


@pytest.fixture(scope="module")
def server(postgres15) -> Iterator[PostgresServer]:
    postgres15.execute("CREATE TABLE played (x text NOT NULL)")
    postgres15.execute("GRANT ALL ON played TO PUBLIC")
    yield postgres15
    postgres15.execute("DROP TABLE played")


def connect(server: PostgresServer) -> ssl.SSLSocket:
    """A session whose log-in is over."""
    plain = socket.create_connection(("127.0.0.1", server.port), timeout=20)
    plain.sendall(encode(pg.SSLRequest()))
    assert plain.recv(1) == b"S"
    stream = ssl.create_default_context(cafile=server.ca).wrap_socket(plain, server_hostname="127.0.0.1")
    stream.sendall(encode(pg.StartupMessage(PROTOCOL_3_0, (("user", CLEARTEXT), ("database", "core")))))
    stream.sendall(encode(pg.PasswordMessage(server.passwords[CLEARTEXT].encode() + b"\0")))
    data = b""
    while not data.endswith(encode(pg.ReadyForQuery("I"))):
        data += stream.recv(65_536)
    return stream


def converse(server: PostgresServer, said: list[pg.FrontendMessage]) -> list[pg.BackendMessage]:
    """Say everything at once, then close; give what the server answered."""
    data = b""
    with closing(connect(server)) as stream:
        # What policy denies would run here; it stands for a text that cannot be parsed.
        stream.sendall(b"".join(map(encode, [*said, pg.Terminate()])).replace(DENIED, b"SELEC TABLE playe"))
        while more := stream.recv(65_536):
            data += more
    answers, at = [], 0
    while at < len(data):
        end = at + 1 + int.from_bytes(data[at + 1 : at + 5])
        answers.append(decode_backend(data[at], data[at + 5 : end]))
        at = end
    return answers


def plain(message: pg.BackendMessage) -> object:
    """A message without the server's words."""
    match message:
        case pg.ErrorResponse() | pg.NoticeResponse():
            return message.text("V"), message.text("C")
        case _:
            return message


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(conversations)
def test_the_model_answers_and_commits_what_a_real_server_does(server, said):
    server.execute("TRUNCATE played")
    model = ModelServer()
    expected = [answer for message in said for answer in model.receive(message)]
    assert list(map(plain, converse(server, said))) == list(map(plain, expected))
    assert [row[0].encode() for row in server.execute("SELECT x FROM played")] == model.committed
