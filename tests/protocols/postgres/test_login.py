"""From a StartupMessage to an open session: who gets in, what is recorded first, what a client is told."""

from __future__ import annotations

import pytest

from tests.support.gates import admission, gate
from tests.support.pg_play import REACHED, Greeter, before_login, log_in, proven, startup, written
from tests.support.playbook import Playbook
from vestibule.model.effect import Close, Dial, Opened, Prove
from vestibule.model.event import DialFailed, Side
from vestibule.model.identity import Refusal
from vestibule.model.names import SECOND
from vestibule.model.record import Kind, Record
from vestibule.protocols.postgres import messages as pg


def error(play: Playbook) -> pg.ErrorResponse:
    """The one error that the client was told."""
    [found] = [message for message in play.to(Side.CLIENT) if isinstance(message, pg.ErrorResponse)]
    return found


def kinds(play: Playbook) -> list[Kind]:
    return [record.kind for record in play.records]


def refusal(play: Playbook) -> Record:
    [record] = play.attempted
    assert record.kind is Kind.ACCESS_DECIDED
    assert record.members["decision"] == "deny"
    return record


def test_a_proven_client_gets_the_targets_settings_and_a_key_of_ours() -> None:
    play = before_login()
    log_in(play)
    said = play.to(Side.CLIENT)
    assert said[0] == pg.AuthenticationCleartextPassword()
    assert pg.ParameterStatus("server_version", "15.8") in said
    assert pg.BackendKeyData(7, b"KEY4") in said
    assert said[-1] == pg.ReadyForQuery("I")
    assert not [message for message in said if isinstance(message, pg.ParameterStatus) and message.name == "secret"]


def test_access_and_opening_are_recorded_in_that_order() -> None:
    play = before_login()
    log_in(play)
    assert kinds(play) == [Kind.ACCESS_DECIDED, Kind.SESSION_OPENED]


def test_nothing_is_dialled_before_the_decision_is_durable() -> None:
    play = before_login()
    play.journal = "stalled"
    log_in(play)
    assert not [seen for seen in play.seen if getattr(seen, "effect", None).__class__ is Dial]
    play.commit_all()
    assert pg.ReadyForQuery("I") in play.to(Side.CLIENT)


def test_the_client_is_not_let_in_before_the_opening_is_durable() -> None:
    play = before_login()
    play.journal = "stalled"
    log_in(play)
    play.commit()
    assert pg.AuthenticationOk() not in play.to(Side.CLIENT)
    play.commit()
    assert pg.AuthenticationOk() in play.to(Side.CLIENT)


def test_a_client_that_leaves_before_its_password_has_not_failed() -> None:
    play = before_login()
    play.client(startup())
    play.end(Side.CLIENT)
    assert play.attempted == []
    assert play.closed == "client_closed"


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (Refusal.UNKNOWN, "28P01"),
        (Refusal.EXPIRED, "28P01"),
        (Refusal.REVOKED, "28P01"),
        (Refusal.TRUNCATED, "28P01"),
        (Refusal.UNAVAILABLE, "58030"),
        (Refusal.TOO_MANY, "53300"),
    ],
)
def test_a_refused_token_is_recorded_and_nothing_is_dialled(answer: Refusal, code: str) -> None:
    play = before_login(proof=answer)
    log_in(play)
    assert not [seen for seen in play.seen if isinstance(getattr(seen, "effect", None), Dial | Opened)]
    assert error(play).text("C") == code
    assert refusal(play).members["attempted"] == "alice+core-banking"


@pytest.mark.case("PG-28")
def test_a_token_of_somebody_else_is_refused_with_both_names_in_the_record() -> None:
    play = before_login()
    log_in(play, "bob+core-banking")
    assert error(play).text("C") == "28000"
    record = refusal(play)
    assert record.members["attempted"] == "bob+core-banking"
    assert "alice" in str(record.members["cause"])


@pytest.mark.parametrize("user", ["ALICE+core-banking", "+core-banking", "_+core-banking"])
def test_the_login_part_is_compared_without_case_or_left_open(user: str) -> None:
    play = before_login()
    log_in(play, user)
    assert pg.ReadyForQuery("I") in play.to(Side.CLIENT)


@pytest.mark.parametrize("user", ["alice+vault-room", "alice+no-such", "alice+core-banking/admin", "alice", "alice+"])
def test_a_target_that_is_not_granted_and_one_that_is_not_there_look_alike(user: str) -> None:
    play = before_login()
    log_in(play, user)
    told = error(play)
    assert told.text("M") == "vestibule: choose a target as login+target; you may use: core-banking, sandbox"
    refusal(play)


def test_a_database_may_name_the_target() -> None:
    play = before_login()
    log_in(play, "alice", database="core-banking")
    [begun] = [message for message in play.to(Side.TARGET) if isinstance(message, pg.StartupMessage)]
    assert dict(begun.parameters)["database"] == "core"


def test_who_may_use_one_target_need_not_name_it() -> None:
    play = before_login("interns")
    log_in(play, "alice")
    assert pg.ReadyForQuery("I") in play.to(Side.CLIENT)


def test_a_database_that_the_target_does_not_offer_is_refused_with_those_it_does() -> None:
    play = before_login()
    log_in(play, database="postgres")
    told = error(play)
    assert told.text("C") == "3D000"
    assert "core, reports" in told.text("M")


def test_the_target_sees_its_own_account_and_never_the_token() -> None:
    play = before_login()
    log_in(play, application_name="psql")
    [begun] = [message for message in play.to(Side.TARGET) if isinstance(message, pg.StartupMessage)]
    given = dict(begun.parameters)
    assert given["user"] == "vestibule_rw"
    assert given["application_name"].startswith("psql vestibule:018f0000")
    assert b"vst_" not in play.bytes[Side.TARGET]
    assert b"alice" not in play.bytes[Side.TARGET]


def test_an_unreachable_target_is_told_without_its_cause() -> None:
    play = before_login(dialed=DialFailed("db1.internal: connection refused"))
    log_in(play)
    told = error(play)
    assert (told.text("C"), told.text("M")) == ("08001", "vestibule: target core-banking is not available")
    assert "connection refused" in str(play.records[-1].members["cause"])
    assert play.records[-1].members["decision"] == "deny"


class Liar(Greeter):
    """A target that breaks its word at one point."""

    def __init__(self, kind: type, answer: bytes) -> None:
        super().__init__()
        self._kind, self._answer = kind, answer

    def __call__(self, message: object) -> bytes:
        """Lie where it was told to."""
        return self._answer if isinstance(message, self._kind) else super().__call__(message)


@pytest.mark.parametrize(
    ("kind", "answer"),
    [
        (pg.StartupMessage, written(pg.AuthenticationOk(), pg.ReadyForQuery("I"))),
        (pg.StartupMessage, written(pg.AuthenticationCleartextPassword())),
        (pg.StartupMessage, written(pg.ErrorResponse((("S", "FATAL"), ("C", "28P01"), ("M", "no"))))),
        (pg.StartupMessage, b"HTTP/1.1 400 Bad Request\r\n"),
        (pg.PasswordMessage, written(pg.AuthenticationSASLContinue(b"r=other,s=YQ==,i=4096"))),
        (pg.Query, written(pg.ErrorResponse((("S", "ERROR"), ("C", "42501"), ("M", "no"))))),
        (pg.Query, written(pg.DataRow((b"x",)))),
        (pg.Query, written(pg.ReadyForQuery("I"), pg.ReadyForQuery("I"))),
    ],
)
def test_a_target_that_lies_ends_in_the_same_words_and_the_cause_in_the_record(kind: type, answer: bytes) -> None:
    play = before_login()
    play.replies[Side.TARGET] = Liar(kind, answer)
    log_in(play)
    codes = [message.text("C") for message in play.to(Side.CLIENT) if isinstance(message, pg.ErrorResponse)]
    assert codes in (["08001"], ["08006"])
    assert play.closed
    assert str(REACHED.password, "ascii") not in str(play.attempted)


def test_a_target_that_will_not_keep_the_pins_is_refused() -> None:
    play = before_login()
    play.replies[Side.TARGET] = Greeter({"client_encoding": "LATIN1"})
    log_in(play)
    assert error(play).text("C") == "08001"


def test_a_silent_client_and_a_silent_target_are_given_up() -> None:
    play = before_login()
    play.client(startup())
    play.pass_time(61 * SECOND)
    assert play.closed
    play = before_login()
    del play.replies[Side.TARGET]
    log_in(play)
    play.pass_time(21 * SECOND)
    assert error(play).text("C") == "08001"


@pytest.mark.parametrize(
    ("parameters", "code"),
    [({"role": "admin"}, "42501"), ({"replication": "database"}, "0A000"), ({"client_encoding": "LATIN1"}, "0A000")],
)
def test_what_a_client_may_not_begin_with_is_refused_before_a_password(parameters: dict[str, str], code: str) -> None:
    play = before_login()
    play.client(startup(**parameters))
    assert error(play).text("C") == code
    refusal(play)


def test_a_client_that_speaks_anything_but_a_password_is_refused() -> None:
    play = before_login()
    play.client(startup())
    play.client(b"Q\0\0\0\x0dSELECT 1\0")
    assert error(play).text("C") == "08P01"


def test_bytes_before_the_session_are_bounded() -> None:
    play = before_login()
    play.holds = {Prove}
    log_in(play)
    for _ in range(100):
        if not play.closed:
            play.client(b"x" * 1024)
    assert play.closed


def test_a_journal_that_refuses_lets_nobody_in() -> None:
    play = before_login()
    play.journal = "failing"
    log_in(play)
    assert error(play).text("C") == "58030"
    assert not [seen for seen in play.seen if isinstance(getattr(seen, "effect", None), Dial)]


@pytest.mark.parametrize("what", ["kill", "drain", "revoke", "evidence"])
def test_a_log_in_can_be_ended_from_outside(what: str) -> None:
    play = before_login()
    play.client(startup())
    play.tell(what)  # type: ignore[arg-type] - one of its words
    assert error(play).text("C") == "57P01"
    assert play.closed


def test_a_newer_client_is_told_which_protocol_is_spoken() -> None:
    play = before_login()
    play.client(pg.StartupMessage(3 << 16 | 2, (("user", "alice+core-banking"), ("_pq_.test", "1"))))
    assert play.to(Side.CLIENT)[0] == pg.NegotiateProtocolVersion(3 << 16, ("_pq_.test",))


def test_an_expired_grant_between_proof_and_dial_is_no_access() -> None:
    play = before_login(at=gate(), proof=admission("nobody"))
    log_in(play)
    assert error(play).text("C") == "28000"


def test_the_close_comes_last(monkeypatch: pytest.MonkeyPatch) -> None:
    play = before_login(proof=Refusal.UNKNOWN)
    log_in(play)
    assert isinstance(getattr(play.seen[-1], "effect", None), Close)
    assert proven().identity.who.name == "alice"
