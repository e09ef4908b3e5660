import hashlib
from base64 import b64decode
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support import pg_messages as some
from tests.support.scram_server import ScramServer
from vestibule.model.errors import TargetProtocolError, TargetUnavailable, VestibuleError
from vestibule.model.names import TargetName
from vestibule.model.target import Address, Credential, Target, TargetTls
from vestibule.protocols.postgres import messages as pg
from vestibule.protocols.postgres.authentication import LoggedIn, Login
from vestibule.protocols.postgres.codec import encode
from vestibule.protocols.postgres.scram import SaltedPasswords

PASSWORD, NONCE, END_POINT = b"correct horse", bytes(range(16)), b"\x07" * 32
TARGET = Target(
    TargetName("core"),
    "postgres",
    (Address("db", 5432),),
    ("core",),
    ("public",),
    TargetTls(),
    Credential("vestibule_rw", "file:secret"),
)
BOTH = pg.AuthenticationSASL(("SCRAM-SHA-256-PLUS", "SCRAM-SHA-256"))
PLAIN = pg.AuthenticationSASL(("SCRAM-SHA-256",))


def login(*, methods=None, binding="prefer", end_point=END_POINT, password=PASSWORD) -> Login:
    allowed = TARGET.authentication if methods is None else frozenset(methods)
    target = replace(TARGET, authentication=allowed, tls=TargetTls(channel_binding=binding))
    return Login(target, password, end_point, NONCE, SaltedPasswords())


def proposal(sent) -> tuple[str, bytes]:
    """Mechanism and client-first-message of a SASLInitialResponse."""
    mechanism, _, rest = sent[5:].partition(b"\0")
    assert int.from_bytes(rest[:4]) == len(rest) - 4
    return mechanism.decode(), rest[4:]


def run_scram(begun: Login, offer: pg.AuthenticationSASL, server: ScramServer, channel: bytes = b"") -> str:
    """Carry the exchange to the verified signature; give the mechanism."""
    mechanism, first = proposal(begun.receive(offer))
    answer = begun.receive(pg.AuthenticationSASLContinue(server.challenge(first)))
    final = server.final(answer[5:], channel)
    assert begun.receive(pg.AuthenticationSASLFinal(final)) == b""
    return mechanism


def test_the_channel_is_bound_when_that_is_offered():
    begun = login()
    assert run_scram(begun, BOTH, ScramServer(PASSWORD), END_POINT) == "SCRAM-SHA-256-PLUS"
    assert begun.receive(pg.AuthenticationOk()) == LoggedIn("scram-sha-256-plus")


def test_without_an_offer_to_bind_the_server_is_told_that_we_could_have():
    begun, server = login(), ScramServer(PASSWORD)
    assert run_scram(begun, PLAIN, server) == "SCRAM-SHA-256"
    assert server.header == b"y,,"
    assert begun.receive(pg.AuthenticationOk()) == LoggedIn("scram-sha-256")


@pytest.mark.parametrize(
    ("offer", "end_point", "methods"),
    [(BOTH, b"", None), (PLAIN, None, None), (PLAIN, b"", None), (BOTH, END_POINT, ["scram-sha-256"])],
)
def test_where_the_channel_cannot_be_bound_the_plain_mechanism_is_used(offer, end_point, methods):
    begun, server = login(end_point=end_point, methods=methods), ScramServer(PASSWORD)
    assert run_scram(begun, offer, server) == "SCRAM-SHA-256"
    assert server.header == b"n,,"


@pytest.mark.parametrize(
    "message", [PLAIN, pg.AuthenticationMD5Password(b"salt"), pg.AuthenticationCleartextPassword()]
)
def test_a_downgrade_is_refused_when_channel_binding_is_required(message):
    begun = login(binding="require", methods=["scram-sha-256-plus", "scram-sha-256", "md5", "cleartext"])
    with pytest.raises(TargetUnavailable, match="channel binding is required"):
        begun.receive(message)


def test_binding_that_is_required_and_offered_is_used():
    assert run_scram(login(binding="require"), BOTH, ScramServer(PASSWORD), END_POINT) == "SCRAM-SHA-256-PLUS"


def test_an_offer_to_bind_a_channel_that_is_not_secure_is_a_lie():
    with pytest.raises(TargetProtocolError, match="without TLS"):
        login(end_point=None).receive(BOTH)


def test_a_target_that_offers_no_allowed_mechanism_is_not_available():
    for offer, methods in [(pg.AuthenticationSASL(("OAUTHBEARER",)), None), (PLAIN, ["scram-sha-256-plus"])]:
        with pytest.raises(TargetUnavailable, match="no allowed method"):
            login(methods=methods).receive(offer)


def test_success_without_the_servers_signature_is_refused():
    at_once, proposed, answered = login(), login(), login()
    proposed.receive(BOTH)
    _, first = proposal(answered.receive(BOTH))
    answered.receive(pg.AuthenticationSASLContinue(ScramServer(PASSWORD).challenge(first)))
    for begun in (at_once, proposed, answered):
        with pytest.raises(TargetProtocolError, match="without proving"):
            begun.receive(pg.AuthenticationOk())


def test_a_wrong_signature_is_refused():
    begun, server = login(), ScramServer(PASSWORD)
    _, first = proposal(begun.receive(PLAIN))
    begun.receive(pg.AuthenticationSASLContinue(server.challenge(first)))
    with pytest.raises(TargetProtocolError, match="wrong server signature"):
        begun.receive(pg.AuthenticationSASLFinal(b"v=" + b"A" * 43 + b"="))


def test_a_refusal_of_the_target_is_its_unavailability_with_the_cause():
    error = pg.ErrorResponse((("S", "FATAL"), ("C", "28P01"), ("M", 'password authentication failed for user "x"')))
    with pytest.raises(TargetUnavailable, match="28P01 password authentication failed"):
        login().receive(error)


def test_a_notice_changes_nothing():
    begun = login()
    assert begun.receive(pg.NoticeResponse((("M", "hello"),))) == b""
    run_scram(begun, BOTH, ScramServer(PASSWORD), END_POINT)


def test_md5_is_used_only_where_it_is_configured():
    demand = pg.AuthenticationMD5Password(b"salt")
    with pytest.raises(TargetUnavailable, match="demands md5"):
        login().receive(demand)
    begun = login(methods=["md5"])
    inner = hashlib.md5(PASSWORD + b"vestibule_rw").hexdigest().encode()
    expected = b"md5" + hashlib.md5(inner + b"salt").hexdigest().encode()
    assert begun.receive(demand) == encode(pg.PasswordMessage(expected + b"\0"))
    assert begun.receive(pg.AuthenticationOk()) == LoggedIn("md5")


def test_cleartext_is_used_only_where_it_is_configured_and_only_inside_tls():
    demand = pg.AuthenticationCleartextPassword()
    with pytest.raises(TargetUnavailable, match="demands cleartext"):
        login().receive(demand)
    with pytest.raises(TargetUnavailable, match="without TLS"):
        login(methods=["cleartext"], end_point=None).receive(demand)
    begun = login(methods=["cleartext"], end_point=b"")
    assert begun.receive(demand) == encode(pg.PasswordMessage(PASSWORD + b"\0"))
    assert begun.receive(pg.AuthenticationOk()) == LoggedIn("cleartext")


def test_methods_that_nobody_configures_are_named():
    with pytest.raises(TargetUnavailable, match="method 7"):
        login().receive(pg.AuthenticationOther(7, b""))


@pytest.mark.parametrize("password", [b"", b"a\0b"])
def test_a_password_that_cannot_be_one_is_not_used(password):
    with pytest.raises(TargetUnavailable):
        login(methods=["cleartext"], password=password).receive(pg.AuthenticationCleartextPassword())


def test_the_password_is_forgotten_once_it_is_used():
    begun = login(methods=["cleartext"])
    begun.receive(pg.AuthenticationCleartextPassword())
    assert PASSWORD not in [getattr(begun, name) for name in vars(begun)]
    assert PASSWORD.decode() not in repr(begun)


def test_each_nonce_is_the_given_one():
    _, first = proposal(login().receive(PLAIN))
    assert b64decode(first.partition(b"r=")[2]) == NONCE


@pytest.mark.parametrize(
    "message",
    [
        pg.AuthenticationSASLContinue(b""),
        pg.AuthenticationSASLFinal(b""),
        pg.NegotiateProtocolVersion(196608, ()),
        pg.ReadyForQuery("I"),
        pg.DataRow(()),
    ],
)
def test_a_message_out_of_its_turn_is_the_targets_fault(message):
    with pytest.raises(TargetProtocolError):
        login().receive(message)
    begun = login()
    run_scram(begun, BOTH, ScramServer(PASSWORD), END_POINT)
    with pytest.raises(TargetProtocolError):
        begun.receive(message)


def test_nothing_is_received_after_the_log_in():
    begun = login()
    run_scram(begun, BOTH, ScramServer(PASSWORD), END_POINT)
    begun.receive(pg.AuthenticationOk())
    with pytest.raises(TargetProtocolError):
        begun.receive(pg.AuthenticationOk())


@given(st.lists(some.backend_messages | st.just(BOTH), max_size=5), st.sampled_from([None, b"", END_POINT]))
def test_no_sequence_of_messages_logs_in_without_the_password(messages, end_point):
    begun = login(end_point=end_point)
    try:
        answers = [begun.receive(message) for message in messages]
    except VestibuleError:
        return
    assert not [answer for answer in answers if isinstance(answer, LoggedIn)]
    assert not [answer for answer in answers if isinstance(answer, bytes) and PASSWORD in answer]
