"""One conversation at the gate: what is decided, numbered, committed to and recorded."""

from __future__ import annotations

import hmac
from hashlib import sha256

import pytest

from tests.support.gates import CLIENT, DATA_KEY, NOW, SESSION, admission, admitted, gate, person, statement
from vestibule.evidence.canonical import encode_body
from vestibule.gate.outcome import Finished
from vestibule.gate.session import SessionGate
from vestibule.model.decision import Deny
from vestibule.model.names import Instant
from vestibule.model.record import Json, Kind, Record, Reference
from vestibule.model.statement import Impact, Parameter, Span, Statement, Unsupported

REF: dict[str, Json] = {"id": str(SESSION), "leaf": "0" * 64}


def members(record: Record) -> dict[str, Json]:
    """The members as the writer would resolve them, accepted by the table of kinds."""
    resolved = {name: REF if isinstance(value, Reference) else value for name, value in record.members.items()}
    encode_body(record.kind, resolved, bytes(16))
    return resolved


def test_nothing_is_decided_before_a_proof_was_accepted() -> None:
    session = SessionGate(gate(), SESSION, CLIENT, "postgres")
    with pytest.raises(AssertionError):
        session.decide(statement(), (), NOW)


def test_an_allowed_statement_gets_a_permit_that_names_its_record() -> None:
    session = admitted()
    decided = session.decide(statement(), (), NOW)
    assert decided.permit is not None
    assert decided.permit.record == decided.record.name == "decided/1"
    assert members(decided.record)["decision"] == "allow"


def test_a_denied_statement_gets_a_record_and_no_permit() -> None:
    session = admitted()
    decided = session.decide(statement("DROP TABLE t", Impact.SCHEMA, "drop", "t"), (), NOW)
    assert decided.permit is None
    assert isinstance(decided.decision, Deny)
    assert members(decided.record)["decision"] == "deny"


def test_a_statement_that_never_travels_is_recorded_as_denied() -> None:
    session = admitted()
    decided = session.refuse(Statement(b"SELEC 1", ()), Unsupported("42601", "syntax error"), NOW)
    assert decided.permit is None
    assert decided.unsupported is not None
    assert decided.unsupported.code == "42601"
    assert members(decided.record)["cause"] == "syntax error"


def test_a_parsers_message_that_quotes_a_value_is_masked_in_the_record() -> None:
    why = Unsupported("42601", 'syntax error at or near "078051120"')
    decided = admitted().refuse(Statement(b"SELEC 078051120", ()), why, NOW)
    assert "078051120" not in str(members(decided.record))


def test_statements_are_numbered_from_one_whatever_is_decided() -> None:
    session = admitted()
    numbers = [
        session.decide(statement(), (), NOW).number,
        session.refuse(Statement(b"", ()), Unsupported("42601", "x"), NOW).number,
        session.decide(statement("DROP TABLE t", Impact.SCHEMA, "drop"), (), NOW).number,
    ]
    assert numbers == [1, 2, 3]
    assert (session.counts.statements, session.counts.allowed, session.counts.denied) == (3, 1, 2)


def test_every_statement_has_an_id_of_its_own() -> None:
    session = admitted()
    ids = {session.decide(statement(), (), NOW).record.members["statement"] for _ in range(3)}
    assert len(ids) == 3


def commitment(**changed: object) -> Json:
    base = {"text": "DELETE FROM t WHERE id=$1", "parameters": (Parameter(23, 0, b"17"),)}
    return admitted().decide(statement(**(base | changed)), (), NOW).record.members["bytes_mac"]  # type: ignore[arg-type] - keywords of one helper


def test_one_changed_byte_gives_another_commitment() -> None:
    same = commitment()
    assert same == commitment()
    assert same != commitment(text="DELETE FROM t WHERE id=$1 ")
    assert same != commitment(parameters=(Parameter(23, 0, b"18"),))
    assert same != commitment(parameters=(Parameter(23, 0, None),))
    assert same != commitment(parameters=())


def test_the_commitment_needs_the_key_of_the_session() -> None:
    decided = admitted().decide(statement("SELECT 1"), (), NOW)
    key = hmac.digest(DATA_KEY, b"vestibule/bind/v1\x01", sha256)
    assert decided.record.members["text_mac"] == hmac.digest(key, b"vestibule-text-v1\0SELECT 1", sha256).hex()


def test_the_stored_text_has_passed_the_storage_mask() -> None:
    text = "SELECT * FROM customers WHERE ssn = '078-05-1120'"
    decided = admitted().decide(statement(text, literals=(Span(36, 49),)), ((25, b"4111111111111111"),), NOW)
    written = str(members(decided.record))
    assert "078-05-1120" not in written
    assert "4111111111111111" not in written
    assert "SELECT * FROM customers WHERE ssn = " in written


@pytest.mark.parametrize("character", ["x", "é", "\u6f22", "\U0001f512", "\x01", '"'])
def test_the_largest_text_fits_a_record(character: str) -> None:
    text = "SELECT " + character * (2 * 1024 * 1024 // len(character.encode()) - 10)
    short = (character * 200).encode()[:900].decode(errors="ignore").encode()
    decided = admitted().decide(statement(text, about=text), ((25, short),) * 300, NOW)
    assert members(decided.record)["text_bytes"] == len(text.encode())


def test_a_finished_statement_counts_and_commits_to_what_was_disclosed() -> None:
    session = admitted()
    decided = session.decide(statement(), (), NOW)
    result = session.result()
    result.disclose(b"D....", 2)
    result.disclose(b"D..", 1)
    record = session.finished(decided, Finished("ok", True, [result], transaction="I"), Instant(NOW + 1500))
    written = members(record)
    key = hmac.digest(DATA_KEY, b"vestibule/bind/v1\x01", sha256)
    assert written["rows"] == 3
    assert written["bytes_to_client"] == 8
    assert written["duration_us"] == 1500
    assert written["results"] == [
        {
            "rows": 3,
            "bytes": 8,
            "disclosed_mac": hmac.digest(key, b"vestibule-out-v1\0D....D..", sha256).hex(),
            "recorded": "digest",
        }
    ]
    assert record.members["decided"] == Reference("decided/1", last=True)


def test_a_server_error_that_quotes_a_value_is_masked() -> None:
    session = admitted()
    decided = session.decide(statement(), (), NOW)
    end = Finished("error", True, error_code="22P02", error_text='invalid input: "078-05-1120"')
    assert "078-05" not in str(members(session.finished(decided, end, NOW)))


def test_an_opened_session_names_person_account_and_end() -> None:
    session = SessionGate(gate(), SESSION, CLIENT, "postgres")
    proof = admission("engineering")
    target = session.gate.targets(proof.identity)[0]
    access, permit = session.admit(proof, target, "core", "alice+core-banking")
    assert permit.record == access.name == "access"
    assert members(access)["rule"]["name"] == "engineers work in production"  # type: ignore[index,call-overload] - a mapping by its construction
    assert members(admitted_record())["target_account"] == "vestibule_rw"


def admitted_record() -> Record:
    from tests.support.gates import Dialed, Peer

    session = admitted()
    return session.opened(Dialed(Peer("10.0.0.5", 5432), 40_000, None, b""), None, "psql", 4711, ("fix", "CHG-1"), NOW)


def test_a_session_ends_with_the_login_or_the_policys_maximum_whichever_is_first() -> None:
    session = admitted()
    assert person(session).expires_at < NOW
    assert session.ends_at() == person(session).expires_at
    assert session.longest_us() == 8 * 3600 * 1_000_000
    assert session.idle_us() == 30 * 60 * 1_000_000


def test_a_closed_session_states_its_sums() -> None:
    session = admitted()
    session.decide(statement(), (), NOW)
    written = members(session.closed("client_closed", Instant(NOW + 9)))
    assert (written["statements"], written["allowed"], written["denied"], written["duration_us"]) == (1, 1, 0, 9)


@pytest.mark.parametrize("who", [None, admission("engineering").identity])
def test_a_refused_log_in_is_recorded_without_a_session(who: object) -> None:
    session = SessionGate(gate(), SESSION, CLIENT, "postgres")
    identity = who if who is None else admission("engineering").identity
    record = session.refuse_access("token unknown", "mallory+core", "core", identity)
    assert record.session is None
    assert members(record)["attempted"] == "mallory+core"
    assert members(record)["decision"] == "deny"


def test_a_target_that_is_not_there_is_recorded_with_its_cause() -> None:
    record = admitted().unreached("connection refused")
    assert record.kind is Kind.ACCESS_DECIDED
    assert "connection refused" in str(members(record)["cause"])


@pytest.mark.parametrize("name", ["078-05-1120", "John 078-05-1120", "ada@bank.example", "078051120"])
def test_a_value_in_the_place_of_a_name_stands_neither_in_operations_nor_in_the_cause(name: str) -> None:
    decided = admitted("nobody", "engineering").decide(
        statement(f'DROP TABLE "{name}"', Impact.SCHEMA, "drop", name), (), NOW
    )
    written = str({key: value for key, value in members(decided.record).items() if "mac" not in key})
    assert decided.permit is None
    assert name not in written
    assert "drop <value:" in written or "drop John <value:" in written


def test_a_token_typed_as_a_user_name_is_not_recorded() -> None:
    session = SessionGate(gate(), SESSION, CLIENT, "postgres")
    record = session.refuse_access("token unknown", "vst_" + "x" * 43, "vst_" + "x" * 43)
    assert "xxxx" not in str(record.members)


def test_what_a_lying_target_says_still_makes_a_record() -> None:
    session = admitted()
    decided = session.decide(statement(), (), NOW)
    end = Finished("error", True, rows=10**18, error_code="078-05-1120" * 6_000, error_text="x")
    written = members(session.finished(decided, end, NOW))
    assert written["error"] == {"code": "?????", "text": "x"}
    assert written["rows"] == members(session.closed("client_closed", NOW))["rows"] == 2**53 - 1
