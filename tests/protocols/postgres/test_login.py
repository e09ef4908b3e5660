"""From the startup packet to an open session, and every way to be turned away."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.support import pg_play
from tests.support.gates import admission
from tests.support.pg_play import (
    REACHED,
    SETTINGS,
    TOKEN,
    Greeter,
    before_login,
    denied,
    last_error,
    log_in,
    startup,
    written,
)
from tests.support.playbook import Did, Playbook, ToClient, ToTarget, recorded
from vestibule.model.effect import Close, Dial, Opened, Prove
from vestibule.model.event import DialFailed, Received, Side
from vestibule.model.identity import Refusal
from vestibule.model.names import SECOND, TargetName
from vestibule.protocols.postgres import messages as pg
from vestibule.protocols.postgres.codec import PROTOCOL_3_0

PASSWORD = pg.PasswordMessage(TOKEN + b"\0")
ASKED = ToClient(pg.AuthenticationCleartextPassword())


def test_a_session_opens_behind_its_records():
    play = before_login()
    play.client(startup())
    play.expect(ASKED)
    play.client(PASSWORD)
    play.expect(
        Did(Prove),
        recorded("AccessDecided", {"decision": "allow", "target": "core-banking", "attempted": "alice+core-banking"}),
        Did(Dial),
        ToTarget(pg.StartupMessage),
        ToTarget(pg.PasswordMessage),
        ToTarget(pg.PasswordMessage),
        recorded("SessionOpened", {"database": "core", "target_account": "vestibule_rw"}),
        Did(Opened),
        ToTarget(pg.Query),
        ToClient(pg.AuthenticationOk()),
        ToClient(pg.ParameterStatus("server_version", "15.8")),
        ToClient(pg.ParameterStatus("client_encoding", "UTF8")),
        ToClient(pg.ParameterStatus("standard_conforming_strings", "on")),
        ToClient(pg.BackendKeyData(7, b"KEY4")),
        ToClient(pg.ReadyForQuery("I")),
    )


def test_the_proof_is_the_token_and_names_who_was_attempted():
    play = before_login()
    log_in(play)
    assert [
        item.effect for item in play.seen if item == Did(Prove("token", TOKEN, "alice+core-banking", "core-banking"))
    ]


@pytest.mark.parametrize(
    ("refusal", "code", "words"),
    [
        (Refusal.UNKNOWN, "28P01", "token not accepted"),
        (Refusal.REVOKED, "28P01", "token not accepted"),
        (Refusal.EXPIRED, "28P01", "token expired"),
        (Refusal.TRUNCATED, "28P01", f"truncated to {len(TOKEN)} characters"),
        (Refusal.UNAVAILABLE, "58030", "evidence cannot be recorded"),
        (Refusal.TOO_MANY, "53300", "vestibule: "),
    ],
)
def test_a_refused_token_is_told_and_recorded_and_nothing_is_dialled(refusal, code, words):
    play = before_login(proof=refusal)
    log_in(play)
    severity, told, text = last_error(play)
    assert (severity, told) == ("FATAL", code)
    assert words in text
    assert denied(play)["attempted"] == "alice+core-banking"
    assert not play.bytes[Side.TARGET]
    assert play.closed


@pytest.mark.parametrize("user", ["ALICE+core-banking", "_+core-banking", "+core-banking"])
def test_the_login_part_may_be_the_proven_name_or_open(user):
    play = before_login()
    log_in(play, user)
    assert pg.ReadyForQuery("I") in play.to(Side.CLIENT)


@pytest.mark.case("PG-28")
@pytest.mark.parametrize("user", ["bob+core-banking", "alice2+core-banking", "bob"])
def test_another_login_than_the_proven_one_is_refused_and_both_are_recorded(user):
    play = before_login()
    log_in(play, user)
    assert last_error(play)[1:] == (
        "28000",
        "vestibule: the login in the user name is not the one the token proves",
    )
    members = denied(play)
    assert members["attempted"] == user
    assert members["who"]["name"] == "alice"
    assert not play.bytes[Side.TARGET]


@pytest.mark.parametrize(
    "user",
    ["alice+vault-room", "alice+no-such-target", "alice+", "alice+Core-Banking", "alice+core-banking/admin", "alice"],
)
def test_no_unknown_and_not_granted_targets_look_alike(user):
    play = before_login()
    log_in(play, user)
    assert last_error(play) == (
        "FATAL",
        "28000",
        "vestibule: choose a target as login+target; you may use: core-banking, sandbox",
    )
    denied(play)
    assert not play.bytes[Side.TARGET]


@pytest.mark.parametrize(
    ("user", "database", "groups", "target", "chosen"),
    [
        ("alice+core-banking", "", (), "core-banking", "core"),
        ("alice+core-banking", "alice+core-banking", (), "core-banking", "core"),
        ("alice+core-banking", "reports", (), "core-banking", "reports"),
        ("alice", "core-banking", (), "core-banking", "core"),
        ("alice", "sandbox", ("interns",), "sandbox", "sandbox"),
        ("alice", "", ("interns",), "sandbox", "sandbox"),
    ],
)
def test_target_and_database_come_from_the_user_name_else_the_database_else_the_only_grant(
    user, database, groups, target, chosen
):
    play = before_login(*groups)
    log_in(play, user, **({"database": database} if database else {}))
    opened = next(record for record in play.records if record.kind == "SessionOpened")
    assert (opened.members["target"], opened.members["database"]) == (target, chosen)


def test_a_database_that_the_target_does_not_offer_is_refused_by_name():
    play = before_login()
    log_in(play, database="postgres")
    severity, code, text = last_error(play)
    assert (severity, code) == ("FATAL", "3D000")
    assert "core, reports" in text
    denied(play)


def test_a_scoped_token_reaches_its_target_alone():
    proof = admission()
    scoped = replace(proof, identity=replace(proof.identity, targets=frozenset({TargetName("sandbox")})))
    play = before_login(proof=scoped)
    log_in(play)
    assert last_error(play)[2].endswith("you may use: sandbox")


def test_a_client_that_leaves_before_its_password_has_not_failed():
    for steps in range(2):
        play = before_login()
        if steps:
            play.client(startup())
        play.end(Side.CLIENT)
        assert play.closed == "client_closed"
        assert play.attempted == []


def test_a_client_that_leaves_while_the_target_is_dialled_is_recorded():
    play = before_login()
    play.holds.add(Dial)
    log_in(play)
    play.end(Side.CLIENT)
    assert play.closed
    assert [record.members["decision"] for record in play.attempted] == ["allow", "deny"]


def test_no_password_in_time_is_a_refusal():
    play = before_login()
    play.client(startup())
    play.pass_time(61 * SECOND)
    assert last_error(play)[1] == "08P01"
    assert denied(play)["cause"] == "no password came in time"


@pytest.mark.case("PG-30")
@pytest.mark.parametrize(
    ("parameters", "code", "words"),
    [
        ({"replication": "database"}, "0A000", "replication"),
        ({"role": "admin"}, "42501", '"role"'),
        ({"options": "-c session_authorization=admin"}, "42501", '"session_authorization"'),
        ({"client_encoding": "LATIN1"}, "0A000", "UTF8"),
    ],
)
def test_what_a_startup_packet_may_not_ask_for_is_refused_before_a_password(parameters, code, words):
    play = before_login()
    play.client(startup(**parameters))
    severity, told, text = last_error(play)
    assert (severity, told) == ("FATAL", code)
    assert words in text
    assert play.closed


def test_a_newer_client_is_told_the_version_before_the_password():
    play = before_login()
    play.client(pg.StartupMessage(PROTOCOL_3_0 + 2, (("user", "alice+core-banking"), ("_pq_.x", "1"))))
    play.expect(ToClient(pg.NegotiateProtocolVersion(PROTOCOL_3_0, ("_pq_.x",))), ASKED)


@pytest.mark.parametrize(
    "said",
    [pg.Query(b"SELECT 1"), b"p\0\1\0\5", pg.PasswordMessage(b"no end"), pg.PasswordMessage(b"a\0b\0"), b"\0" * 5],
)
def test_anything_but_a_password_is_a_violation(said):
    play = before_login()
    play.client(startup())
    play.client(said)
    assert last_error(play)[:2] == ("FATAL", "08P01")
    assert not [item for item in play.seen if isinstance(item, Did) and isinstance(item.effect, Prove)]


def test_a_token_of_65535_bytes_is_proven_and_a_longer_one_refused():
    play = before_login(proof=Refusal.UNKNOWN)
    play.client(startup())
    play.client(pg.PasswordMessage(b"x" * 65_535 + b"\0"))
    assert last_error(play)[1] == "28P01"
    play = before_login()
    play.client(startup())
    play.client(pg.PasswordMessage(b"x" * 65_536 + b"\0"))
    assert last_error(play)[1] == "08P01"


def test_what_a_client_says_ahead_is_answered_once_it_is_let_in():
    play = before_login()
    play.holds.add(Prove)
    play.client(startup())
    play.client(PASSWORD, pg.Query(b"SELECT 1"))
    play.answer()
    assert ToTarget(pg.Query(b"SELECT 1")) in play.take()


@pytest.mark.parametrize("size", [1_024, 70_000])
def test_a_client_that_says_very_much_ahead_is_refused(size):
    play = before_login()
    play.holds.add(Prove)
    log_in(play)
    for _ in range(100):
        play.client(b"x" * size)
    assert last_error(play)[:2] == ("FATAL", "08P01")


def test_ticket_and_reason_are_recorded_and_kept_from_the_target():
    play = before_login()
    log_in(play, options="-c vestibule.ticket=CHG-1 -c vestibule.reason=look\\ it\\ up", application_name="psql")
    opened = next(record for record in play.records if record.kind == "SessionOpened")
    assert (opened.members["ticket"], opened.members["reason"]) == ("CHG-1", "look it up")
    assert opened.members["client_banner"] == "psql"
    assert b"CHG-1" not in play.bytes[Side.TARGET]
    assert b"psql vestibule:018f0000\0" in play.bytes[Side.TARGET]


# --- the target ------------------------------------------------------------------------------------------------------


def fail_with(answers: list[bytes]) -> Playbook:
    """A log-in whose target answers so, step by step."""
    play, steps = before_login(), iter(answers)
    play.replies[Side.TARGET] = lambda message: next(steps, b"")
    log_in(play)
    return play


SASL = written(pg.AuthenticationSASL(("SCRAM-SHA-256",)))


@pytest.mark.parametrize(
    "answers",
    [
        [written(pg.ErrorResponse((("S", "FATAL"), ("V", "FATAL"), ("C", "53300"), ("M", "too many at 10.0.0.5"))))],
        [written(pg.AuthenticationOk())],
        [written(pg.AuthenticationMD5Password(b"salt"))],
        [written(pg.AuthenticationOther(7, b""))],
        [SASL, written(pg.AuthenticationSASLContinue(b"r=x,s=AAAA,i=1"))],
        [SASL, written(pg.AuthenticationOk(), pg.ReadyForQuery("I"))],
        [b"y\0\0\0\4"],
        [b"R\0\0\0\3"],
        [b"HTTP/1.1 400 Bad Request\r\n"],
        [SASL + written(pg.DataRow(()))],
        [written(pg.CopyData(b"x"))],
    ],
)
def test_a_target_that_refuses_lies_or_is_no_postgresql_is_not_available(answers):
    play = fail_with(answers)
    severity, code, text = last_error(play)
    assert (severity, code, text) == ("FATAL", "08001", "vestibule: target core-banking is not available")
    last = play.attempted[-1]
    assert (last.kind, last.members["decision"]) == ("AccessDecided", "deny")
    assert last.members["cause"].startswith("target not available: ")
    assert play.closed


class Strict(Greeter):
    """A target that lets the gateway log in and then refuses a setting."""

    def __call__(self, message: object) -> bytes:
        wrong = pg.ErrorResponse((("S", "FATAL"), ("V", "FATAL"), ("C", "22023"), ("M", 'invalid value: "x"')))
        welcome = super().__call__(message)
        ok = written(pg.AuthenticationOk())
        return welcome.partition(ok)[0] + ok + written(wrong) if ok in welcome else welcome


def test_a_setting_of_the_clients_that_the_target_refuses_is_the_clients_to_mend():
    play = before_login()
    play.replies[Side.TARGET] = Strict()
    log_in(play)
    assert last_error(play) == ("FATAL", "22023", 'vestibule: invalid value: "x"')
    assert "22023" in play.attempted[-1].members["cause"]
    assert play.closed


class Liar(Greeter):
    """A target that answers the gateway's question about its catalog with something else."""

    def __init__(self, *answers: pg.BackendMessage) -> None:
        super().__init__()
        self._answer = written(*answers)

    def __call__(self, message: object) -> bytes:
        return self._answer if isinstance(message, pg.Query) else super().__call__(message)


@pytest.mark.parametrize(
    "answers",
    [
        [pg.ErrorResponse((("S", "ERROR"), ("V", "ERROR"), ("C", "42501"), ("M", "no")))],
        [pg.DataRow((b"x",))],
        [pg.ReadyForQuery("I"), pg.ReadyForQuery("I")],
    ],
)
def test_a_target_that_lies_about_its_catalog_ends_the_session_in_the_same_words(answers):
    play = before_login()
    play.replies[Side.TARGET] = Liar(*answers)
    log_in(play)
    severity, code, text = last_error(play)
    assert severity == "FATAL"
    assert code in ("08001", "08006")
    assert text == "vestibule: target core-banking is not available"
    assert [record.kind for record in play.attempted] == ["AccessDecided", "SessionOpened", "SessionClosed"]


def test_the_target_sees_its_own_account_and_nothing_of_who_asks():
    play = before_login()
    log_in(play)
    assert b"user\0vestibule_rw\0" in play.bytes[Side.TARGET]
    assert b"vst_" not in play.bytes[Side.TARGET]
    assert b"alice" not in play.bytes[Side.TARGET]


def test_a_grant_that_has_gone_between_token_and_log_in_is_no_access():
    play = before_login(proof=admission("nobody"))
    log_in(play)
    assert last_error(play)[1] == "28000"


@pytest.mark.parametrize("what", ["kill", "drain", "revoke", "evidence"])
def test_a_log_in_can_be_ended_from_outside(what):
    play = before_login()
    play.client(startup())
    play.tell(what)
    assert last_error(play)[:2] == ("FATAL", "57P01")
    assert play.closed


def test_the_targets_password_travels_only_as_a_proof():
    play = before_login()
    log_in(play)
    assert pg_play.TARGET_PASSWORD not in play.bytes[Side.TARGET]


@pytest.mark.parametrize("name", ["client_encoding", "standard_conforming_strings"])
def test_a_target_that_does_not_keep_a_pin_is_not_available(name):
    play = before_login()
    play.replies[Side.TARGET] = Greeter(SETTINGS | {name: "off"})
    log_in(play)
    assert last_error(play)[1] == "08001"
    assert "SessionOpened" not in [record.kind for record in play.attempted]


def test_a_target_that_cannot_be_dialled_is_recorded_with_its_cause_and_the_client_is_not_told():
    play = before_login(dialed=DialFailed("10.0.0.5:5432: connection refused"))
    log_in(play)
    assert last_error(play) == ("FATAL", "08001", "vestibule: target core-banking is not available")
    assert "connection refused" in play.attempted[-1].members["cause"]
    assert b"10.0.0.5" not in play.bytes[Side.CLIENT]


def test_a_target_that_does_not_answer_in_time_is_not_available():
    play = before_login()
    play.replies[Side.TARGET] = lambda message: b""
    log_in(play)
    play.pass_time(21 * SECOND)
    assert last_error(play)[1] == "08001"
    assert play.closed


def test_a_target_that_closes_is_not_available():
    play = before_login()
    play.replies[Side.TARGET] = lambda message: b""
    log_in(play)
    play.end(Side.TARGET)
    assert last_error(play)[1] == "08001"


def test_the_direct_connection_facts_are_recorded():
    play = before_login()
    log_in(play)
    opened = next(record for record in play.records if record.kind == "SessionOpened")
    assert opened.members["target_session"] == {"pid": 4711, "local_port": REACHED.local_port}
    assert opened.members["target_peer"] == {"ip": "10.0.0.5", "port": 5432}


def test_nothing_follows_a_refused_log_in():
    play = before_login(proof=Refusal.UNKNOWN)
    log_in(play)
    assert [item for item in play.take() if isinstance(item, Did) and isinstance(item.effect, Close)]
    assert play.relay.handle(Received(Side.CLIENT, written(pg.Query(b"SELECT 1"))), play.now) == ()


def test_what_a_client_breaks_the_protocol_with_is_masked_in_the_record():
    play = before_login()
    play.client(startup(options="pass078-05-1120"))
    (record,) = play.records
    assert "not allowed" in str(record.members["cause"])
    assert "078-05" not in str(record.members)
