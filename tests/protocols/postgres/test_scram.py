import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.scram_server import ScramServer
from vestibule.model.errors import TargetProtocolError, TargetUnavailable, VestibuleError
from vestibule.protocols.postgres import scram
from vestibule.protocols.postgres.scram import Exchange, SaltedPasswords, prepare

NONCE = b"rOprNGfwEbeRWgbNEkqO"
CHALLENGE = b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
FINAL = b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="


def exchange(username: str = "") -> Exchange:
    return Exchange(None, False, NONCE, username)


def answered() -> Exchange:
    begun = exchange("user")
    begun.answer(CHALLENGE, b"pencil", SaltedPasswords())
    return begun


def test_the_exchange_is_that_of_rfc_7677():
    begun = exchange("user")
    assert begun.first == b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO"
    assert begun.answer(CHALLENGE, b"pencil", SaltedPasswords()) == (
        b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
    )
    begun.verify(FINAL)
    begun.verify(FINAL + b",x=extension")


def test_a_server_that_does_not_know_the_password_is_refused():
    wrong = FINAL.replace(b"6rri", b"7rri")
    for final in (wrong, b"v=", b"v=6rri", b"v=\xff", b"", b"x=1", b"v=" + b"A" * 5000):
        with pytest.raises(TargetProtocolError):
            answered().verify(final)


def test_a_signature_before_the_challenge_is_refused():
    with pytest.raises(TargetProtocolError):
        exchange().verify(b"v=")


def test_a_server_that_ends_the_exchange_says_why():
    with pytest.raises(TargetUnavailable, match=r"invalid-proof\?$"):
        answered().verify(b"e=invalid-proof\n")


@pytest.mark.parametrize(
    "challenge",
    [
        b"",
        b"r=rOprNGfwEbeRWgbNEkqOx,s=W22ZaJ0SNY7soEsUEjb6gQ==",
        b"r=rOprNGfwEbeRWgbNEkqO,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
        b"r=somethingElse,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
        b"r=rOprNGfwEbeRWgbNEkqO\x7f,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
        b"r=rOprNGfwEbeRWgbNEkqO" + b"x" * 2000 + b",s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
        b"r=rOprNGfwEbeRWgbNEkqOx,s=,i=4096",
        b"r=rOprNGfwEbeRWgbNEkqOx,s=!!!!,i=4096",
        b"r=rOprNGfwEbeRWgbNEkqOx,s=" + b"AAAA" * 400 + b",i=4096",
        b"r=rOprNGfwEbeRWgbNEkqOx,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=0",
        b"r=rOprNGfwEbeRWgbNEkqOx,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=-1",
        b"r=rOprNGfwEbeRWgbNEkqOx,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=100001",
        b"r=rOprNGfwEbeRWgbNEkqOx,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=" + b"9" * 5000,
        b"r=rOprNGfwEbeRWgbNEkqOx,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4e3",
        b"m=mandatory,r=rOprNGfwEbeRWgbNEkqOx,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
        b"s=W22ZaJ0SNY7soEsUEjb6gQ==,r=rOprNGfwEbeRWgbNEkqOx,i=4096",
    ],
)
def test_a_challenge_that_is_malformed_foreign_or_too_costly_is_refused(challenge):
    with pytest.raises(TargetProtocolError):
        exchange().answer(challenge, b"pencil", SaltedPasswords())


def test_the_largest_allowed_iteration_count_is_answered():
    challenge = CHALLENGE.replace(b"4096", b"100000")
    assert exchange().answer(challenge, b"pencil", SaltedPasswords()).startswith(b"c=biws,")


@given(st.binary(max_size=80), st.binary(max_size=80))
def test_any_server_bytes_end_in_a_defined_error(challenge, final):
    begun = exchange()
    with pytest.raises(VestibuleError):
        begun.answer(challenge, b"pencil", SaltedPasswords())
    with pytest.raises(VestibuleError):
        begun.verify(final)


@pytest.mark.parametrize(
    ("channel", "could_bind", "header"),
    [(b"\1\2", False, b"p=tls-server-end-point,,"), (None, True, b"y,,"), (None, False, b"n,,")],
)
def test_the_header_says_whether_the_channel_is_bound(channel, could_bind, header):
    begun, server = Exchange(channel, could_bind, NONCE), ScramServer(b"pencil")
    assert begun.first == header + b"n=,r=" + NONCE
    answer = begun.answer(server.challenge(begun.first), b"pencil", SaltedPasswords())
    begun.verify(server.final(answer, channel or b""))


def test_a_salted_password_is_computed_once(monkeypatch):
    calls = []

    def derive(*arguments):
        calls.append(arguments)
        return b"salted" + arguments[1]

    monkeypatch.setattr(scram.hashlib, "pbkdf2_hmac", derive)
    salted = SaltedPasswords(limit=2)
    for password, salt, count in [(b"a", b"s", 1), (b"a", b"s", 1), (b"b", b"s", 1), (b"a", b"s", 2), (b"a", b"s", 1)]:
        assert salted.derive(password, salt, count)
    # Four keys in all; the first was pushed out by the third and is computed again.
    assert [call[1:] for call in calls] == [(b"a", b"s", 1), (b"b", b"s", 1), (b"a", b"s", 2), (b"a", b"s", 1)]


def test_the_least_recently_used_password_is_forgotten_first():
    salted = SaltedPasswords(limit=2)
    first = salted.derive(b"a", b"s", 1)
    salted.derive(b"b", b"s", 1)
    assert salted.derive(b"a", b"s", 1) is first
    salted.derive(b"c", b"s", 1)
    assert salted.derive(b"a", b"s", 1) is first
    assert first == hashlib.pbkdf2_hmac("sha256", b"a", b"s", 1)


@pytest.mark.parametrize(
    ("password", "prepared"),
    [
        # RFC 4013, 3: examples; what it forbids PostgreSQL takes as it is.
        ("I\u00adX", "IX"),
        ("user", "user"),
        ("USER", "USER"),
        ("\u00aa", "a"),
        ("\u2168", "IX"),
        ("\u0007", "\u0007"),
        ("\u0627\u0031", "\u0627\u0031"),
        ("\u0627\u0031\u0628", "\u0627\u0031\u0628"),
        ("\u0627a\u0628", "\u0627a\u0628"),
        ("p\u00e4ss\u00a0wort", "p\u00e4ss wort"),
        ("\u00ad", "\u00ad"),
        ("\ue000\u2168", "\ue000\u2168"),
        ("\u0221\u2168", "\u0221\u2168"),
    ],
)
def test_a_password_is_prepared_as_postgresql_does(password, prepared):
    assert prepare(password.encode()) == prepared.encode()


def test_a_password_that_is_no_utf8_is_taken_as_it_is():
    assert prepare(b"p\xe4ss") == b"p\xe4ss"
