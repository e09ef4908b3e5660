import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support import pg_messages as some
from tests.support.openings import HANDSHAKE_FAILED, carry
from vestibule.protocols.base import CancelRequested, Refused, Speak
from vestibule.protocols.postgres import messages as pg
from vestibule.protocols.postgres.codec import PROTOCOL_3_0, decode_backend, encode
from vestibule.protocols.postgres.opening import accept, reach

SSL, GSSENC = encode(pg.SSLRequest()), encode(pg.GSSENCRequest())
STARTUP = encode(pg.StartupMessage(PROTOCOL_3_0, (("user", "alice+core"), ("database", "core"))))
CANCEL = encode(pg.CancelRequest(7, b"abcd"))
KEY = CANCEL[8:]
HELLO = b"\x16"


def test_a_client_that_asks_for_tls_speaks_inside_it():
    carried = carry(accept(), SSL, STARTUP + b"p")
    assert carried.outcome == Speak(STARTUP)
    assert carried.written == b"S"
    assert carried.is_secure
    assert carried.unread == b"p"


def test_a_client_of_today_may_ask_for_gss_encryption_first():
    carried = carry(accept(), GSSENC + SSL, STARTUP)
    assert carried.outcome == Speak(STARTUP)
    assert carried.written == b"NS"


def test_tls_after_a_request_needs_no_alpn():
    assert carry(accept(), SSL, STARTUP, alpn=b"").outcome == Speak(STARTUP)


@pytest.mark.case("PG-09")
def test_direct_tls_needs_alpn_and_reads_nothing_without_it():
    assert carry(accept(), HELLO, STARTUP).outcome == Speak(STARTUP)
    for alpn in (b"", b"http/1.1", b"postgresq"):
        carried = carry(accept(), HELLO, STARTUP, alpn=alpn)
        assert isinstance(carried.outcome, Refused)
        assert carried.unread == STARTUP
        assert carried.outcome.data == carried.written == b""


@pytest.mark.case("PG-10")
@pytest.mark.parametrize("injected", [STARTUP, CANCEL, SSL, b"\0"])
def test_bytes_behind_a_request_for_tls_never_come_out_of_it(injected):
    for plain in (SSL + injected, GSSENC + SSL + injected):
        carried = carry(accept(), plain, STARTUP)
        assert carried.outcome == HANDSHAKE_FAILED
        assert carried.unread == injected


@pytest.mark.parametrize(
    ("plain", "inside"),
    [
        (SSL, SSL),
        (SSL, GSSENC),
        (HELLO, SSL),
        (HELLO, GSSENC),
        (GSSENC + GSSENC, b""),
        (b"\0\0\0\x09" + SSL[4:], b""),
        (b"\0\0\0\x10" + GSSENC[4:], b""),
        (b"\0\0\0\x08" + CANCEL[4:], b""),
        (b"\0\0\0\x11" + CANCEL[4:] + b"x", b""),
        (b"\0\0\1\0" + CANCEL[4:] + bytes(256), b""),
    ],
)
def test_what_is_repeated_out_of_order_or_of_a_wrong_length_is_closed_without_a_word(plain, inside):
    carried = carry(accept(), plain, inside)
    assert isinstance(carried.outcome, Refused)
    assert carried.outcome.data == b""
    assert carried.outcome.attempted == ""


@pytest.mark.parametrize(("plain", "inside"), [(CANCEL, b""), (GSSENC + CANCEL, b""), (SSL, CANCEL), (HELLO, CANCEL)])
def test_a_cancel_request_is_told_with_its_key_wherever_it_comes(plain, inside):
    assert carry(accept(), plain, inside).outcome == CancelRequested(KEY)


@pytest.mark.case("PG-02")
@pytest.mark.parametrize(("before", "answer"), [(b"", b""), (GSSENC, b"N")])
def test_without_tls_nobody_is_asked_for_a_password(before, answer):
    carried = carry(accept(), before + STARTUP)
    assert carried.written == answer
    assert isinstance(carried.outcome, Refused)
    assert carried.outcome.attempted == "alice+core"
    data = carried.outcome.data
    assert decode_backend(data[0], data[5:]) == pg.ErrorResponse(
        (("S", "FATAL"), ("V", "FATAL"), ("C", "28000"), ("M", "vestibule: TLS required"))
    )


def test_a_startup_packet_outside_tls_that_cannot_be_read_is_refused_all_the_same():
    packet = b"\0\0\0\x0d\0\3\0\0user\xff"
    outcome = carry(accept(), packet).outcome
    assert isinstance(outcome, Refused)
    assert outcome.attempted == ""
    assert b"TLS required" in outcome.data


@pytest.mark.parametrize(("plain", "to_inside"), [(b"", False), (SSL, True)])
@pytest.mark.parametrize("version", [2 << 16, 4 << 16, 0, (1234 << 16) + 5681, 0xFFFFFFFF])
def test_another_major_version_is_refused_by_name(plain, to_inside, version):
    packet = b"\0\0\0\x0c" + version.to_bytes(4) + b"abcd"
    carried = carry(accept(), plain, packet) if to_inside else carry(accept(), packet)
    assert isinstance(carried.outcome, Refused)
    assert b"C0A000\0" in carried.outcome.data
    assert b"unsupported protocol" in carried.outcome.data


@pytest.mark.parametrize("version", [PROTOCOL_3_0 + 2, PROTOCOL_3_0 + 9999])
def test_another_minor_version_is_left_to_negotiation(version):
    packet = encode(pg.StartupMessage(version, (("user", "a"),)))
    assert carry(accept(), SSL, packet).outcome == Speak(packet)


@pytest.mark.case("PG-11")
@pytest.mark.parametrize("size", [0, 1, 4, 7, 10_001, 2**31 - 1, 2**31, 2**32 - 1])
@pytest.mark.parametrize("to_inside", [False, True])
def test_a_length_that_cannot_be_is_closed_without_a_byte_and_nothing_is_read(size, to_inside):
    packet = size.to_bytes(4) + b"\0\3\0\0" + bytes(100)
    carried = carry(accept(), SSL, packet) if to_inside else carry(accept(), packet)
    assert isinstance(carried.outcome, Refused)
    assert carried.outcome.data == b""
    assert carried.largest == 8
    assert carried.unread == bytes(100)


@pytest.mark.parametrize("size", [8, 10_000])
def test_the_shortest_and_the_longest_packet_are_read_exactly(size):
    packet = size.to_bytes(4) + b"\0\3\0\0" + bytes(size - 8)
    carried = carry(accept(), SSL, packet + b"next")
    assert carried.outcome == Speak(packet)
    assert carried.unread == b"next"


@pytest.mark.parametrize("data", [GSSENC + SSL, CANCEL, STARTUP])
def test_a_client_that_closes_in_the_middle_is_no_failure_to_answer(data):
    for end in range(len(data)):
        carried = carry(accept(), data[:end])
        assert isinstance(carried.outcome, Refused)
        assert carried.outcome.data == b""


@given(st.binary(max_size=60), st.binary(max_size=60), st.sampled_from([b"", b"postgresql", b"h2"]))
def test_any_bytes_come_to_an_outcome_and_reads_stay_small(plain, inside, alpn):
    carried = carry(accept(), plain, inside, alpn)
    assert isinstance(carried.outcome, Speak | Refused | CancelRequested)
    assert carried.largest <= 10_000
    assert carried.is_secure or not isinstance(carried.outcome, Speak)


@given(st.lists(some.first_messages.map(encode), max_size=4), st.lists(some.first_messages.map(encode), max_size=3))
def test_any_messages_come_to_an_outcome_and_nothing_is_spoken_outside_tls(plain, inside):
    carried = carry(accept(), b"".join(plain), b"".join(inside))
    assert carried.is_secure or not isinstance(carried.outcome, Speak)
    assert carried.written in (b"", b"N", b"S", b"NS")


@pytest.mark.parametrize("alpn", [b"", b"postgresql"])
def test_a_target_that_answers_s_is_spoken_to_inside_tls(alpn):
    carried = carry(reach(direct=False), b"S" + HELLO, alpn=alpn)
    assert carried.outcome == Speak()
    assert carried.written == SSL
    assert carried.offered == ["postgresql"]
    assert carried.largest == 1


def test_bytes_behind_the_s_of_a_target_meet_the_handshake():
    carried = carry(reach(direct=False), b"SR\0\0\0\x08\0\0\0\0")
    assert carried.outcome == HANDSHAKE_FAILED
    assert not carried.is_secure


@pytest.mark.parametrize("answer", [b"", b"N", b"E\0\0\0\x10SFATAL\0", b"s", b"\x16", b"G"])
def test_a_target_without_tls_is_refused(answer):
    carried = carry(reach(direct=False), answer)
    assert isinstance(carried.outcome, Refused)
    assert "target" in carried.outcome.cause
    assert carried.written == SSL
    assert not carried.is_secure


def test_a_target_with_direct_tls_must_agree_on_alpn():
    carried = carry(reach(direct=True), HELLO)
    assert carried.outcome == Speak()
    assert carried.written == b""
    assert isinstance(carry(reach(direct=True), HELLO, alpn=b"").outcome, Refused)


def test_a_target_is_reached_in_plaintext_only_where_that_is_asked_for():
    carried = carry(reach(direct=False, plaintext=True), b"")
    assert carried.outcome == Speak()
    assert carried.written == b""
    assert not carried.is_secure


NOT_NOW = encode(pg.ErrorResponse((("S", "FATAL"), ("C", "57P03"), ("M", "the database system is starting up"))))
NO_ENTRY = encode(pg.ErrorResponse((("S", "FATAL"), ("C", "28000"), ("M", "no pg_hba.conf entry"))))


def test_a_target_that_cannot_serve_now_is_not_reached():
    carried = carry(reach(direct=False, hello=STARTUP), b"S" + HELLO, NOT_NOW)
    assert carried.outcome == Refused("the target refused the log-in: 57P03 the database system is starting up")
    assert carried.written == SSL + STARTUP


def test_whatever_else_a_target_says_to_the_startup_packet_is_for_the_log_in():
    asked = encode(pg.AuthenticationCleartextPassword())
    carried = carry(reach(direct=False, hello=STARTUP), b"S" + HELLO, asked)
    assert (carried.outcome, carried.unread) == (Speak(), asked)
    carried = carry(reach(direct=True, hello=STARTUP), HELLO, NO_ENTRY + asked)
    assert (carried.outcome, carried.unread) == (Speak(NO_ENTRY), asked)
    carried = carry(reach(direct=False, plaintext=True, hello=STARTUP), NO_ENTRY)
    assert carried.outcome == Speak(NO_ENTRY)


@pytest.mark.parametrize(
    "answer", [b"", b"E", b"E\0\0\0\4", b"E\xff\xff\xff\xff", b"E\0\0\0\x09C57P0", b"E\0\1\0\0", b"E\0\0\0\x05x"]
)
def test_a_target_that_answers_the_startup_packet_with_half_an_error_is_not_reached(answer):
    carried = carry(reach(direct=False, hello=STARTUP), b"S" + HELLO, answer)
    assert isinstance(carried.outcome, Refused)
    assert carried.largest < 64 << 10


@given(st.binary(max_size=60) | st.binary(max_size=60).map(lambda data: b"E\0\0\0" + data))
def test_any_answer_to_the_startup_packet_comes_to_an_outcome(answer):
    carried = carry(reach(direct=False, hello=STARTUP), b"S" + HELLO, answer)
    assert isinstance(carried.outcome, Speak | Refused)


@given(st.binary(max_size=20), st.booleans(), st.sampled_from([b"", b"postgresql"]))
def test_any_answer_of_a_target_comes_to_an_outcome(answer, direct, alpn):
    carried = carry(reach(direct), answer, alpn=alpn)
    assert carried.outcome == Speak() or isinstance(carried.outcome, Refused)
    assert carried.is_secure or carried.outcome != Speak()
