"""What a connection may begin with, sent byte for byte to the real listener; and that no stranger delays anybody."""

from __future__ import annotations

import contextlib
import random
import select
import socket
import ssl
import struct
import time

import pytest

from tests.support.evidence import Journal
from tests.support.gateway import TARGET, Gateway
from tests.support.memory import growth
from tests.support.raw_client import RawClient, in_session
from tests.support.signing_in import SignedIn
from vestibule.protocols.postgres import messages as pg
from vestibule.protocols.postgres.codec import PROTOCOL_3_0, SSL_REQUEST, encode

STARTUP = encode(pg.StartupMessage(PROTOCOL_3_0, (("user", f"dev1+{TARGET}"),)))
SSL_REQUESTED = encode(pg.SSLRequest())
#: The time from accept to a startup packet, and what a busy machine adds.
STARTUP_TIME, GRACE = 10.0, 4.0


@pytest.mark.case("PG-09")
@pytest.mark.parametrize("alpn", [[], ["h2"], ["http/1.1", "imap"]])
def test_direct_tls_without_the_protocols_name_is_closed_and_nothing_is_read(
    gateway: Gateway, journal: Journal, alpn: list[str]
) -> None:
    with RawClient.connect(gateway.port) as client:
        client.start_tls(gateway.ca, alpn, direct=True)
        assert isinstance(client.stream, ssl.SSLSocket)
        assert client.stream.selected_alpn_protocol() is None
        with contextlib.suppress(BrokenPipeError, ConnectionResetError, ssl.SSLEOFError):
            client.send(STARTUP)

        assert client.rest_of_bytes() == b""
    assert causes(journal, "direct TLS without ALPN postgresql")


@pytest.mark.case("PG-09")
def test_direct_tls_with_the_protocols_name_goes_on_to_the_password(gateway: Gateway) -> None:
    with RawClient.connect(gateway.port) as client:
        client.start_tls(gateway.ca, ["postgresql"], direct=True)
        client.send(STARTUP)

        client.expect(pg.AuthenticationCleartextPassword)


@pytest.mark.case("PG-10")
@pytest.mark.parametrize("injected", [STARTUP, b"Q\0\0\0\x0dSELECT 1\0", b"\x16\x03\x01", b"x"])
def test_what_comes_with_an_ssl_request_is_never_read(gateway: Gateway, journal: Journal, injected: bytes) -> None:
    with RawClient.connect(gateway.port) as client:
        client.send(SSL_REQUESTED + injected)

        assert client.rest_of_bytes() == b""
    assert causes(journal, "tls injection")


@pytest.mark.case("PG-10")
def test_what_comes_behind_the_answer_and_before_the_handshake_fails_the_handshake(gateway: Gateway) -> None:
    with RawClient.connect(gateway.port) as client:
        client.send(SSL_REQUESTED)
        assert client.stream.recv(1) == b"S"
        client.send(STARTUP)

        answer = client.rest_of_bytes()
    # An alert of TLS at most, and nothing of the protocol.
    assert answer == b"" or answer[0] == 0x15


@pytest.mark.case("PG-11")
@pytest.mark.parametrize("length", [0, 4, 7, 10_001, 2**31 - 1, 2**31, 2**32 - 1])
@pytest.mark.parametrize("inside_tls", [False, True])
def test_a_startup_packet_of_an_impossible_length_is_closed_without_a_byte(
    gateway: Gateway, journal: Journal, length: int, inside_tls: bool
) -> None:
    started = time.monotonic()
    with RawClient.connect(gateway.port) as client:
        if inside_tls:
            client.start_tls(gateway.ca)
        client.send(struct.pack("!II", length, PROTOCOL_3_0))

        assert client.rest_of_bytes() == b""
    assert time.monotonic() - started < STARTUP_TIME / 2
    assert causes(journal, f"a startup packet of {length} bytes")


@pytest.mark.parametrize(
    "said",
    [
        SSL_REQUESTED * 2,
        encode(pg.GSSENCRequest()) * 2,
        struct.pack("!II", 12, SSL_REQUEST) + b"1234",
        encode(pg.CancelRequest(1, b"1234"))[:-4] + b"12",
        encode(pg.CancelRequest(1, b"1234")),
    ],
    ids=["SSLRequest twice", "GSSENCRequest twice", "SSLRequest too long", "cancel cut", "cancel of nobody"],
)
def test_what_is_out_of_order_or_leads_nowhere_is_closed(gateway: Gateway, said: bytes) -> None:
    with RawClient.connect(gateway.port) as client:
        client.send(said)
        with contextlib.suppress(OSError):  # closed by the other side already
            client.stream.shutdown(socket.SHUT_WR)

        assert client.rest_of_bytes() in (b"", b"N")


def test_an_ssl_request_inside_tls_is_closed(gateway: Gateway) -> None:
    with RawClient.connect(gateway.port) as client:
        client.start_tls(gateway.ca)
        client.send(SSL_REQUESTED)

        assert client.rest_of_bytes() == b""


def test_encryption_by_gssapi_is_declined_and_tls_may_follow(gateway: Gateway, dev1: SignedIn) -> None:
    with RawClient.connect(gateway.port) as client:
        client.send(pg.GSSENCRequest())
        assert client.stream.recv(1) == b"N"
        client.start_tls(gateway.ca)

        assert client.log_in(f"dev1+{TARGET}", dev1.token)[-1] == pg.ReadyForQuery("I")


def test_another_major_version_is_told_which_one_is_spoken(gateway: Gateway) -> None:
    with RawClient.connect(gateway.port) as client:
        client.send(struct.pack("!II", 8, 2 << 16))

        (refused,) = client.rest()
    assert isinstance(refused, pg.ErrorResponse)
    assert (refused.text("V"), refused.text("C")) == ("FATAL", "0A000")


@pytest.mark.case("PG-11")
def test_who_says_nothing_or_a_byte_a_second_is_closed_in_time_and_delays_nobody(
    gateway: Gateway, journal: Journal, dev1: SignedIn
) -> None:
    mark = journal.mark()
    with growth(gateway) as grown:
        started = time.monotonic()
        slow = [socket.create_connection(("127.0.0.1", gateway.port)) for _ in range(20)]
        for number, stream in enumerate(slow):
            stream.setblocking(False)
            if number % 2:
                stream.send(SSL_REQUESTED)
        said = iter(STARTUP)
        while open_ones(slow) and time.monotonic() - started < STARTUP_TIME + GRACE:
            feed(slow, next(said, 0))
            began = time.monotonic()
            with in_session(gateway.port, gateway.ca, f"dev1+{TARGET}", dev1.token) as client:
                assert client.query("SELECT 1")[-1] == pg.ReadyForQuery("I")
            assert time.monotonic() - began < 3.0, "a log-in was delayed"
            select.select([], [], [], 0.7)
        took = time.monotonic() - started
        left = len(open_ones(slow))
        for stream in slow:
            stream.close()

    assert left == 0
    assert took > STARTUP_TIME - 1
    assert grown.mib < 16
    journal.wait_for(mark, "AccessDecided", cause="startup timeout")


def test_more_strangers_than_may_wait_keep_nobody_out(gateway: Gateway, dev1: SignedIn) -> None:
    waiting = [socket.create_connection(("127.0.0.1", gateway.port)) for _ in range(120)]
    try:
        with in_session(gateway.port, gateway.ca, f"dev1+{TARGET}", dev1.token) as client:
            assert client.query("SELECT 1")[-1] == pg.ReadyForQuery("I")
    finally:
        for stream in waiting:
            stream.close()


def test_noise_on_the_port_leaves_sessions_alone_and_memory_flat(gateway: Gateway, dev1: SignedIn) -> None:
    draw = random.Random(11)
    with in_session(gateway.port, gateway.ca, f"dev1+{TARGET}", dev1.token) as neighbour, growth(gateway) as grown:
        for number in range(150):
            with RawClient.connect(gateway.port) as client:
                if number % 3 == 0:
                    client.start_tls(gateway.ca)
                if number % 3 == 1:
                    client.send(struct.pack("!II", draw.randint(8, 400), PROTOCOL_3_0))
                client.send(draw.randbytes(draw.randint(1, 2_000)))
                client.stream.setblocking(False)

        assert neighbour.query("SELECT 1")[-1] == pg.ReadyForQuery("I")
    assert grown.mib < 16


def causes(journal: Journal, wanted: str) -> bool:
    """Whether a refusal for this cause is recorded; the same one within a minute is only counted."""
    journal.wait_for(journal.beginning, "AccessDecided", cause=wanted, decision="deny")
    return True


def open_ones(streams: list[socket.socket]) -> list[socket.socket]:
    """Those of which the other end has not closed."""
    return [stream for stream in streams if not is_closed(stream)]


def is_closed(stream: socket.socket) -> bool:
    try:
        return stream.recv(65_536) == b""
    except BlockingIOError:
        return False
    except ConnectionError:
        return True


def feed(streams: list[socket.socket], byte: int) -> None:
    """Say one byte more on all but two, which stay silent."""
    for stream in streams[2:]:
        with contextlib.suppress(OSError):  # closed meanwhile
            stream.send(bytes([byte]))
