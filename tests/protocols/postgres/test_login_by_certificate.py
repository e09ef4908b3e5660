"""Log-ins by a certificate that the handshake has verified."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.support.pg_play import TOKEN, before_login, denied, last_error, startup
from tests.support.playbook import Did, ToClient, ToTarget, recorded
from vestibule.model.effect import Dial, Opened, Prove
from vestibule.model.event import Side, Tls
from vestibule.model.identity import Refusal
from vestibule.protocols.postgres import messages as pg
from vestibule.protocols.postgres.codec import PROTOCOL_3_0

PASSWORD = pg.PasswordMessage(TOKEN + b"\0")
CERTIFICATE = b"0\x82 a certificate"


def test_who_has_shown_a_certificate_is_asked_for_nothing_more():
    play = before_login(certificate=CERTIFICATE)
    play.client(startup())
    play.expect(
        Did(Prove("certificate", CERTIFICATE, "alice+core-banking", "core-banking")),
        recorded("AccessDecided", {"decision": "allow", "target": "core-banking"}),
        Did(Dial),
        ToTarget(pg.StartupMessage),
        ToTarget(pg.PasswordMessage),
        ToTarget(pg.PasswordMessage),
        recorded("SessionOpened", {"database": "core"}),
        Did(Opened),
        ToTarget(pg.Query),
        ToClient(pg.AuthenticationOk()),
        ToClient(pg.ParameterStatus("server_version", "15.8")),
        ToClient(pg.ParameterStatus("client_encoding", "UTF8")),
        ToClient(pg.ParameterStatus("standard_conforming_strings", "on")),
        ToClient(pg.BackendKeyData(7, b"KEY4")),
        ToClient(pg.ReadyForQuery("I")),
    )


@pytest.mark.parametrize(
    ("refusal", "code", "words"),
    [
        (Refusal.UNKNOWN, "28000", 'certificate not accepted; run "vestibule login", then "vestibule certificate"'),
        (Refusal.REVOKED, "28000", 'certificate not accepted; run "vestibule login", then "vestibule certificate"'),
        (Refusal.EXPIRED, "28000", 'certificate expired; run "vestibule login", then "vestibule certificate"'),
        (Refusal.UNAVAILABLE, "58030", "evidence cannot be recorded"),
        (Refusal.TOO_MANY, "53300", "too many sessions"),
        (Refusal.PERSON_FULL, "53300", "as many sessions as one person may have"),
    ],
)
def test_a_refused_certificate_is_told_and_recorded_and_no_password_is_asked_for_behind_it(refusal, code, words):
    play = before_login(certificate=CERTIFICATE, proof=refusal)
    play.client(startup())
    play.client(PASSWORD)
    severity, told, text = last_error(play)
    assert (severity, told) == ("FATAL", code)
    assert words in text
    cause = denied(play)["cause"]
    assert cause == f"certificate {refusal}" or cause.startswith("limit reached")
    assert pg.AuthenticationCleartextPassword() not in play.to(Side.CLIENT)
    assert not play.bytes[Side.TARGET]
    assert play.closed


def test_the_certificate_of_somebody_else_is_refused_by_its_own_name():
    play = before_login(certificate=CERTIFICATE)
    play.client(startup("bob+core-banking"))
    assert last_error(play)[1:] == (
        "28000",
        "vestibule: the login in the user name is not the one the certificate proves",
    )
    assert denied(play)["cause"] == "the certificate is alice's"


def test_a_newer_client_is_told_the_protocol_before_its_certificate_is_looked_at():
    play = before_login(certificate=CERTIFICATE)
    play.client(replace(startup(), version=PROTOCOL_3_0 + 2))
    told = [type(message) for message in play.to(Side.CLIENT)]
    assert told[:2] == [pg.NegotiateProtocolVersion, pg.AuthenticationOk]


def test_what_was_shown_is_in_no_repr():
    assert "a certificate" not in repr(Prove("certificate", CERTIFICATE, "alice"))
    assert "a certificate" not in repr(Tls("TLSv1.3", "x", client_certificate=CERTIFICATE))
