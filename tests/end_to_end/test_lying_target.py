"""A target that lies or floods: the client hears that it is not available, the operator why, nobody else suffers."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.certificates import Authority
from tests.support.evidence import Journal
from tests.support.gateway import TARGET, Gateway, GatewayFactory
from tests.support.liar import Liar, Lie, Visit
from tests.support.memory import growth
from tests.support.postgres import GATEWAY, PostgresServer
from tests.support.raw_client import RawClient, codes, in_session
from tests.support.sandbox import Sandbox
from tests.support.signing_in import SignedIn, sign_in
from vestibule.protocols.postgres import messages as pg
from vestibule.protocols.postgres.codec import encode

LIAR = "liar"
PASSWORD = "only-for-the-liar-4711"
COLUMN = pg.Field("x", 0, 0, 25, -1, -1, 0)
UNAVAILABLE = f"vestibule: target {LIAR} is not available"
IDLE = pg.ReadyForQuery("I")
DIAL_SECONDS = 2


@pytest.fixture(scope="module")
def server(sandbox: Sandbox, authority: Authority) -> Iterator[Liar]:
    """The liar."""
    made = Liar(authority.issue("liar"), PASSWORD)
    made.start()
    yield made
    made.stop()


@pytest.fixture(scope="module")
def house(
    module_gateways: GatewayFactory, sandbox: Sandbox, authority: Authority, postgres15: PostgresServer, server: Liar
) -> Gateway:
    """A gateway to the liar and to an honest server."""
    secret = sandbox.write(sandbox.folder("liar") / "password", PASSWORD)

    def policy(document: dict[str, Any]) -> None:
        document["targets"][LIAR] = {
            **document["targets"][TARGET],
            "hosts": [f"localhost:{server.port}"],
            "credential": {"username": GATEWAY, "password": f"file:{secret}"},
            "authentication": ["scram-sha-256-plus", "scram-sha-256"],
            "labels": {"env": "production"},
        }

    def settings(document: dict[str, Any]) -> None:
        document["limits"] = {"dial_timeout": f"{DIAL_SECONDS}s"}

    return module_gateways.make({TARGET: postgres15}, policy=policy, settings=settings)


@pytest.fixture(scope="module")
def dev1(house: Gateway) -> SignedIn:
    """dev1, who may use both."""
    return sign_in(house, "dev1")


@pytest.fixture
def neighbour(house: Gateway, dev1: SignedIn) -> Iterator[RawClient]:
    """A session at the honest server, which must not notice anything."""
    with in_session(house.port, house.ca, f"dev1+{TARGET}", dev1.token) as client:
        yield client
        assert codes(client.query("SELECT 41 + 1"))[1:] == ["row 42", "SELECT 1", "Z I"]


# In the log-in


def plaintext_behind_its_s(visit: Visit) -> None:
    visit.take(8)
    visit.say(b"S" + encode(pg.ErrorResponse((("S", "FATAL"), ("C", "28000"), ("M", "evil words")))))


def no_tls(visit: Visit) -> None:
    visit.take(8)
    visit.say(b"N")


def an_error_before_tls(visit: Visit) -> None:
    visit.take(8)
    visit.say(pg.ErrorResponse((("S", "FATAL"), ("C", "28000"), ("M", "evil words"))))


def noise(visit: Visit) -> None:
    visit.take(8)
    visit.say(b"HTTP/1.1 400 Bad Request\r\n\r\n")


def hangs_up(visit: Visit) -> None:
    visit.stream.close()


def hangs_up_inside_tls(visit: Visit) -> None:
    visit.start_tls()
    visit.startup()
    visit.stream.close()


def says_nothing(visit: Visit) -> None:
    visit.take(8)


def lets_anybody_in(visit: Visit) -> None:
    visit.start_tls()
    visit.startup()
    visit.say(pg.AuthenticationOk())


def asks_for_the_password_in_clear(visit: Visit) -> None:
    visit.start_tls()
    visit.startup()
    visit.say(pg.AuthenticationCleartextPassword())


def asks_for_md5(visit: Visit) -> None:
    visit.start_tls()
    visit.startup()
    visit.say(pg.AuthenticationMD5Password(b"salt"))


def asks_for_kerberos(visit: Visit) -> None:
    visit.start_tls()
    visit.startup()
    visit.say(b"R" + (8).to_bytes(4) + (7).to_bytes(4))


def has_another_password(visit: Visit) -> None:
    visit.start_tls()
    visit.startup()
    visit.challenge()
    visit.message()
    visit.say(pg.AuthenticationSASLFinal(b"v=" + b"A" * 43 + b"="), pg.AuthenticationOk())


def ends_scram_early(visit: Visit) -> None:
    visit.start_tls()
    visit.startup()
    visit.challenge()
    visit.message()
    visit.say(pg.AuthenticationOk())


def wants_endless_work(visit: Visit) -> None:
    visit.start_tls()
    visit.startup()
    visit.say(pg.AuthenticationSASL(("SCRAM-SHA-256",)))
    first = visit.message()
    assert isinstance(first, pg.PasswordMessage)
    nonce = first.body.rpartition(b"r=")[2]
    visit.say(pg.AuthenticationSASLContinue(b"r=" + nonce + b"x,s=c2FsdHNhbHRzYWx0,i=2000000000"))


def answers_with_another_nonce(visit: Visit) -> None:
    visit.start_tls()
    visit.startup()
    visit.say(pg.AuthenticationSASL(("SCRAM-SHA-256",)))
    visit.message()
    visit.say(pg.AuthenticationSASLContinue(b"r=another,s=c2FsdHNhbHRzYWx0,i=4096"))


def reads_strings_in_another_way(visit: Visit) -> None:
    visit.log_in()
    visit.say(pg.ParameterStatus("standard_conforming_strings", "off"), pg.BackendKeyData(1, b"real"), IDLE)


def speaks_before_it_is_asked(visit: Visit) -> None:
    visit.log_in()
    visit.say(pg.RowDescription((COLUMN,)), pg.DataRow((b"1",)))


def sends_a_frame_that_cannot_be(visit: Visit) -> None:
    visit.log_in()
    visit.say(b"S\0\0\0\x01")


def refuses_the_log_in_with_a_secret_in_its_words(visit: Visit) -> None:
    visit.start_tls()
    visit.startup()
    visit.say(pg.ErrorResponse((("S", "FATAL"), ("V", "FATAL"), ("C", "28P01"), ("M", "no such role"))))


LOG_IN_LIES: dict[Lie, str] = {
    plaintext_behind_its_s: "",
    no_tls: "does not speak TLS",
    an_error_before_tls: "answered SSLRequest with an error",
    noise: "something else than S or N",
    hangs_up: "closed after SSLRequest",
    hangs_up_inside_tls: "closed the connection in log-in",
    says_nothing: "no answer in time",
    lets_anybody_in: "without proving that it knows the password",
    asks_for_the_password_in_clear: "demands cleartext",
    asks_for_md5: "demands md5",
    asks_for_kerberos: "",
    has_another_password: "wrong server signature",
    ends_scram_early: "",
    wants_endless_work: "iteration count",
    answers_with_another_nonce: "nonce",
    reads_strings_in_another_way: "standard_conforming_strings",
    speaks_before_it_is_asked: "unexpected target message RowDescription",
    sends_a_frame_that_cannot_be: "",
    refuses_the_log_in_with_a_secret_in_its_words: "28P01",
}


@pytest.mark.parametrize("lie", LOG_IN_LIES, ids=lambda lie: lie.__name__)
def test_a_target_that_lies_in_the_log_in_is_not_available_and_learns_nothing(
    house: Gateway, server: Liar, dev1: SignedIn, neighbour: RawClient, lie: Lie
) -> None:
    journal, logged = Journal(house.data), len(house.program.output())
    mark = journal.mark()
    server.lie, server.visits = lie, []

    with RawClient.connect(house.port) as client:
        client.start_tls(house.ca)
        client.begin(f"dev1+{LIAR}")
        client.expect(pg.AuthenticationCleartextPassword)
        client.send(pg.PasswordMessage(dev1.token.encode() + b"\0"))
        (refused,) = client.rest()

    assert isinstance(refused, pg.ErrorResponse)
    assert [refused.text(key) for key in "VCM"] == ["FATAL", "08001", UNAVAILABLE]
    record = journal.wait_for(mark, "AccessDecided", target=LIAR, decision="deny")
    assert LOG_IN_LIES[lie] in record["cause"]
    assert journal.since(mark, "SessionOpened") == []
    log = house.program.output()[logged:]
    assert LIAR in log
    assert LOG_IN_LIES[lie] in log
    assert PASSWORD not in log
    assert PASSWORD.encode() not in server.heard
    assert dev1.token.encode() not in server.heard
    assert "evil words" not in log + str(record.body)


def test_nothing_is_dialled_before_a_proof(house: Gateway, server: Liar, dev1: SignedIn) -> None:
    server.lie, server.visits = None, []

    for token in ("", "x", dev1.token[:-1], "vst_" + "A" * 43):
        with RawClient.connect(house.port) as client:
            client.start_tls(house.ca)
            client.begin(f"dev1+{LIAR}")
            client.expect(pg.AuthenticationCleartextPassword)
            client.send(pg.PasswordMessage(token.encode() + b"\0"))
            assert codes(client.rest()) == ["FATAL 28P01"]
    with RawClient.connect(house.port) as client:
        client.start_tls(house.ca)
        client.begin(f"dev1+{LIAR}")
        client.expect(pg.AuthenticationCleartextPassword)

    assert server.visits == []


# In a session


SESSION_LIES: dict[str, tuple[pg.BackendMessage | bytes, ...]] = {
    "a second ReadyForQuery": (pg.CommandComplete("SELECT 1"), IDLE, IDLE),
    "an answer that nobody asked for": (pg.CommandComplete("SELECT 1"), IDLE, pg.CommandComplete("DROP TABLE")),
    "rows that nobody described": (pg.DataRow((b"1",)),),
    "more columns than described": (pg.RowDescription((COLUMN,)), pg.DataRow((b"1", b"2"))),
    "fewer columns than described": (pg.RowDescription((COLUMN,) * 2), pg.DataRow((b"1",))),
    "a field longer than its row": (pg.RowDescription((COLUMN,)), b"D\0\0\0\x0b\0\x01\0\0\0\xff1"),
    "a COPY that nobody asked for": (pg.CopyInResponse(0, (0,)),),
    "COPY data without a COPY": (pg.CopyData(b"1\n"),),
    "the answer to a Parse": (pg.ParseComplete(),),
    "CopyBothResponse": (pg.CopyBothResponse(0, ()),),
    "FunctionCallResponse": (pg.FunctionCallResponse(b"1"),),
    "another authentication": (pg.AuthenticationCleartextPassword(),),
    "an unknown type": (b"y\0\0\0\x04",),
    "a frame of three bytes": (b"Z\0\0\0\x03",),
    "a description of five MiB": (b"T" + (5 << 20).to_bytes(4),),
    "a notice of a MiB": (b"N" + (1 << 20).to_bytes(4),),
    "a body that does not add up": (b"Z\0\0\0\x06II",),
    "another encoding": (pg.ParameterStatus("client_encoding", "LATIN1"),),
    "strings read in another way": (pg.ParameterStatus("standard_conforming_strings", "off"),),
}


@pytest.mark.case("PG-30")
@pytest.mark.parametrize("title", SESSION_LIES)
def test_a_target_that_lies_in_a_session_ends_that_session_alone(
    house: Gateway, server: Liar, dev1: SignedIn, neighbour: RawClient, name: str, title: str
) -> None:
    logged = len(house.program.output())

    def lie(visit: Visit) -> None:
        visit.in_session()
        visit.say(*SESSION_LIES[title])

    server.lie, server.visits = lie, []
    with in_session(house.port, house.ca, f"dev1+{LIAR}", dev1.token, application_name=name) as client:
        client.send(pg.Query(b"SELECT 1"))
        heard = client.rest()

    last = heard[-1]
    assert isinstance(last, pg.ErrorResponse)
    assert [last.text(key) for key in "VCM"] == ["FATAL", "08006", UNAVAILABLE]
    assert not [message for message in heard if isinstance(message, pg.CopyInResponse | pg.DataRow)]
    session = Journal(house.data).closed_session(name)
    assert session.one("SessionClosed")["cause"] == "protocol_error"
    assert len(session.all("StatementFinished")) == 1
    assert "target_failed" in house.program.output()[logged:]


def test_a_session_with_a_target_that_answers_nothing_can_still_be_left(
    house: Gateway, server: Liar, dev1: SignedIn, neighbour: RawClient, name: str
) -> None:
    server.lie, server.visits = (lambda visit: visit.in_session() and None), []
    with in_session(house.port, house.ca, f"dev1+{LIAR}", dev1.token, application_name=name) as client:
        client.send(pg.Query(b"SELECT 1"))

    session = Journal(house.data).closed_session(name)
    assert session.one("SessionClosed")["cause"] == "client_closed"


@pytest.mark.parametrize(
    "piece",
    [
        pg.NoticeResponse((("S", "NOTICE"), ("C", "00000"), ("M", "x" * 1_000))),
        pg.NotificationResponse(1, "channel", "x" * 1_000),
        pg.ParameterStatus("TimeZone", "x" * 1_000),
    ],
    ids=["notices", "notifications", "settings"],
)
@pytest.mark.parametrize("reads", [False, True], ids=["a client that does not read", "a client that reads"])
def test_a_flood_of_what_may_come_at_any_time_takes_no_memory_and_delays_nobody(
    house: Gateway, server: Liar, dev1: SignedIn, neighbour: RawClient, piece: pg.BackendMessage, reads: bool
) -> None:
    flood = encode(piece) * 256

    def lie(visit: Visit) -> None:
        visit.in_session()
        with contextlib.suppress(OSError):
            for _ in range(400):
                visit.say(flood)

    server.lie, server.visits = lie, []
    with in_session(house.port, house.ca, f"dev1+{LIAR}", dev1.token) as client, growth(house) as grown:
        client.send(pg.Query(b"SELECT 1"))
        received = 0
        for _ in range(30):
            began = time.monotonic()
            assert codes(neighbour.query("SELECT 1"))[-1] == "Z I"
            assert time.monotonic() - began < 2.0
            while reads and received < 40 << 20 and time.monotonic() - began < 0.1:
                received += len(client.stream.recv(1 << 20))

    assert grown.mib < 32


def test_a_flood_in_the_log_in_takes_no_memory_and_ends(
    house: Gateway, server: Liar, dev1: SignedIn, neighbour: RawClient
) -> None:
    def lie(visit: Visit) -> None:
        visit.log_in()
        with contextlib.suppress(OSError):
            for number in range(400):
                visit.say(b"".join(encode(pg.ParameterStatus(f"s{number}.{at}", "x" * 1_000)) for at in range(256)))
        visit.stream.close()

    server.lie, server.visits = lie, []
    with RawClient.connect(house.port) as client, growth(house) as grown:
        client.start_tls(house.ca)
        client.begin(f"dev1+{LIAR}")
        client.expect(pg.AuthenticationCleartextPassword)
        client.send(pg.PasswordMessage(dev1.token.encode() + b"\0"))
        assert codes(client.rest()) == ["FATAL 08001"]

    assert grown.mib < 32
