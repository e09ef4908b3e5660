from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support import pg_messages as some
from vestibule.model.errors import ClientProtocolError, TargetProtocolError
from vestibule.protocols.postgres import messages as pg
from vestibule.protocols.postgres.codec import decode_backend, decode_first, decode_frontend, encode, password, spell


def frame(tag: str, body: bytes) -> bytes:
    return tag.encode() + (len(body) + 4).to_bytes(4) + body


#: Bytes of each message as the manual describes them, written by hand.
GOLDEN = [
    (pg.SSLRequest(), "0000000804d2162f"),
    (pg.GSSENCRequest(), "0000000804d21630"),
    (pg.CancelRequest(1, b"abcd"), "0000001004d2162e0000000161626364"),
    (pg.StartupMessage(3 << 16, (("user", "a"),)), "000000100003000075736572006100" + "00"),
    (pg.PasswordMessage(b"pw\0"), "7000000007707700"),
    (pg.SASLInitialResponse("X", b"n,,"), "700000000d580000000003" + "6e2c2c"),
    (pg.SASLInitialResponse("X", None), "700000000a5800ffffffff"),
    (pg.SASLResponse(b"\x01"), "700000000501"),
    (pg.Query(b"select 1"), "510000000d73656c656374203100"),
    (pg.Parse("s", b"q", (23,)), "50000000" + "0e" + "7300" + "7100" + "0001" + "00000017"),
    (
        pg.Bind("p", "s", (1,), (None, b"x"), (0, 1)),
        "42000000" + "1d" + "7000" + "7300" + "00010001" + "0002ffffffff0000000178" + "000200000001" + "",
    ),
    (pg.Describe("P", "p"), "4400000007507000"),
    (pg.Execute("p", 5), "450000000a700000000005"),
    (pg.Close("S", "s"), "4300000007537300"),
    (pg.Flush(), "4800000004"),
    (pg.Sync(), "5300000004"),
    (pg.Terminate(), "5800000004"),
    (pg.CopyData(b"1\n"), "6400000006310a"),
    (pg.CopyDone(), "6300000004"),
    (pg.CopyFail("no"), "66000000076e6f00"),
    (pg.AuthenticationOk(), "520000000800000000"),
    (pg.AuthenticationCleartextPassword(), "520000000800000003"),
    (pg.AuthenticationMD5Password(b"salt"), "520000000c0000000573616c74"),
    (pg.AuthenticationSASL(("OAUTHBEARER",)), "520000001500000" + "00a4f41555448424541524552" + "0000"),
    (pg.AuthenticationOther(7, b""), "520000000800000007"),
    (pg.NegotiateProtocolVersion(196608, ("_pq_.a",)), "7600000013" + "00030000" + "00000001" + "5f70715f2e6100"),
    (pg.BackendKeyData(1, b"abcd"), "4b0000000c0000000161626364"),
    (pg.ParameterStatus("a", "b"), "530000000861006200"),
    (pg.ReadyForQuery("T"), "5a0000000554"),
    (pg.ErrorResponse((("S", "E"), ("M", "m"))), "450000000b534500" + "4d6d0000"),
    (pg.NotificationResponse(7, "c", "p"), "410000000c" + "00000007" + "63007000"),
    (pg.ParameterDescription((23,)), "740000000a000100000017"),
    (
        pg.RowDescription((pg.Field("a", 1, -1, 23, 4, -1, 0),)),
        "540000001a0001" + "6100" + "00000001" + "ffff" + "00000017" + "0004" + "ffffffff" + "0000",
    ),
    (pg.DataRow((b"x", None)), "440000000f0002" + "0000000178" + "ffffffff"),
    (pg.CommandComplete("SELECT 1"), "430000000d53454c454354203100"),
    (pg.CopyOutResponse(0, (0, 1)), "480000000b00" + "0002" + "00000001"),
    (pg.FunctionCallResponse(None), "5600000008ffffffff"),
]


@pytest.mark.parametrize(("message", "written"), GOLDEN, ids=lambda value: type(value).__name__)
def test_a_message_has_the_bytes_of_the_manual(message, written):
    assert encode(message).hex() == written


def test_every_message_of_the_unions_is_tried():
    tried = {*some.FIRST, *some.FRONTEND, *some.BACKEND, pg.SASLInitialResponse, pg.SASLResponse}
    assert tried == set(pg.Message.__args__)


@given(some.first_messages)
def test_a_first_message_reads_as_it_was_written(message):
    written = encode(message)
    assert int.from_bytes(written[:4]) == len(written)
    assert decode_first(written[4:]) == message


@given(some.frontend_messages)
def test_a_clients_message_reads_as_it_was_written(message):
    written = encode(message)
    assert int.from_bytes(written[1:5]) == len(written) - 1
    assert decode_frontend(written[0], written[5:]) == message


@given(some.backend_messages)
def test_a_targets_message_reads_as_it_was_written(message):
    written = encode(message)
    assert int.from_bytes(written[1:5]) == len(written) - 1
    assert decode_backend(written[0], written[5:]) == message


@given(st.integers(0, 255), st.binary(max_size=60))
def test_any_bytes_of_a_client_are_a_message_with_the_same_bytes_or_its_error(tag, body):
    try:
        message = decode_frontend(tag, body)
    except ClientProtocolError:
        return
    assert encode(message) == bytes([tag]) + (len(body) + 4).to_bytes(4) + body


@given(st.integers(0, 255), st.binary(max_size=60))
def test_any_bytes_of_a_target_are_a_stable_message_or_its_error(tag, body):
    try:
        message = decode_backend(tag, body)
    except TargetProtocolError:
        return
    written = encode(message)
    assert decode_backend(written[0], written[5:]) == message


@given(st.binary(max_size=60))
def test_any_first_bytes_are_a_message_with_the_same_bytes_or_an_error(body):
    try:
        message = decode_first(body)
    except ClientProtocolError:
        return
    assert encode(message)[4:] == body


@given(some.frontend_messages, st.data())
def test_one_changed_byte_is_another_message_or_an_error_and_never_the_same(message, data):
    written = bytearray(encode(message))
    at = data.draw(st.integers(5, len(written))) if len(written) > 5 else 5
    if at == len(written):
        written.append(0)
    else:
        written[at] ^= data.draw(st.integers(1, 255))
    try:
        changed = decode_frontend(written[0], bytes(written[5:]))
    except ClientProtocolError:
        return
    assert changed != message
    assert encode(changed)[5:] == written[5:]


@given(some.backend_messages)
def test_one_byte_too_many_or_too_few_from_a_target_is_an_error_or_another_message(message):
    written = encode(message)
    body = written[5:]
    for changed in (body + b"\0", body[:-1]):
        with suppress(TargetProtocolError):
            assert changed == body or decode_backend(written[0], changed) != message


@pytest.mark.case("PG-25")
@pytest.mark.parametrize(
    ("tag", "body"),
    [
        ("B", b"\0\0" + b"\0\0" + b"\0\0" + b"\0\0" + b"!"),
        ("B", b"\0\0" + b"\0\0" + b"\xff\xff" + b"\0\0"),
        ("B", b"\0\0" + b"\xff\xff" + b"\0\0" + b"\0\0"),
        ("B", b"\0\0" + b"\0\2\0\0\0\0" + b"\0\1\xff\xff\xff\xff" + b"\0\0"),
        ("B", b"\0\0" + b"\0\1\0\2" + b"\0\0" + b"\0\0"),
        ("B", b"\0\0" + b"\0\0" + b"\0\1\xff\xff\xff\xfe" + b"\0\0"),
        ("B", b"\0\0" + b"\0\0" + b"\0\1\x7f\xff\xff\xff" + b"\0\0"),
        ("P", b"\0select 1\0\xff\xff"),
        ("P", b"\0select 1\0\0\0\0"),
        ("Q", b"select 1"),
        ("Q", b"select 1\0; drop table t\0"),
        ("Q", b"select '\xff'\0"),
        ("Q", b"select '\xed\xa0\x80'\0"),
        ("D", b"X\0"),
        ("E", b"\xc3(\0\0\0\0\0"),
        ("S", b"\0"),
        ("R", b""),
        ("\0", b""),
    ],
)
def test_a_malformed_message_is_a_protocol_violation_that_names_it(tag, body):
    with pytest.raises(ClientProtocolError) as refused:
        decode_frontend(ord(tag), body)
    assert refused.value.code == "08P01"
    assert "message" in str(refused.value)


@pytest.mark.parametrize(
    ("tag", "body"),
    [
        ("Z", b"X"),
        ("Z", b""),
        ("K", b"\0\0\0\1abc"),
        ("K", b"\0\0\0\1" + bytes(257)),
        ("R", b"\0\0"),
        ("R", b"\0\0\0\0!"),
        ("R", b"\0\0\0\5abc"),
        ("R", b"\0\0\0\x0aSCRAM-SHA-256\0"),
        ("E", b"SERROR\0"),
        ("E", b"\xc3x\0\0"),
        ("T", b"\0\1a\0"),
        ("H", b"\2\0\0"),
        ("v", b"\0\3\0\0\xff\xff\xff\xff"),
        ("Q", b""),
    ],
)
def test_a_malformed_message_of_a_target_is_the_targets_fault(tag, body):
    with pytest.raises(TargetProtocolError, match=r"target message"):
        decode_backend(ord(tag), body)


def test_a_targets_text_that_is_no_utf8_can_still_be_sent_on():
    message = decode_backend(ord("E"), b"M\xe9t\xe9\0\0")
    assert message == pg.ErrorResponse((("M", "\ufffdt\ufffd"),))
    assert encode(message) == frame("E", b"M\xef\xbf\xbdt\xef\xbf\xbd\0\0")


def test_a_password_is_one_string():
    assert password(pg.PasswordMessage(b"vst_abc\0")) == b"vst_abc"
    for body in (b"", b"vst_abc", b"vst_abc\0x", b"\0\0"):
        with pytest.raises(ClientProtocolError):
            password(pg.PasswordMessage(body))


@pytest.mark.parametrize("message", [pg.Query(b"a\0b"), pg.Close("S", "a\0b"), pg.CommandComplete("\0")])
def test_no_string_is_written_with_a_nul_in_it(message):
    with pytest.raises(ValueError, match="NUL"):
        encode(message)


def test_65535_parameters_pass_and_no_more_can_be_written():
    message = pg.Bind("", "", (), (None,) * 65_535, ())
    written = encode(message)
    assert decode_frontend(written[0], written[5:]) == message


def test_a_type_byte_is_spelled_for_people():
    assert [spell(tag) for tag in (ord("Q"), 0, 0x20, 0xFF)] == ["'Q'", "0x00", "0x20", "0xff"]
