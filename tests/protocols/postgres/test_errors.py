import json

import pytest

from tests.support.gates import NOW
from vestibule.gate.outcome import Decided
from vestibule.model.decision import Deny, Rule
from vestibule.model.errors import ClientProtocolError
from vestibule.model.identity import Refusal
from vestibule.model.names import Digest, RuleName
from vestibule.model.record import Kind, Record
from vestibule.model.statement import Unsupported
from vestibule.protocols.postgres import errors
from vestibule.protocols.postgres import messages as pg
from vestibule.protocols.postgres.codec import decode_backend, encode

DENY = Deny(
    Rule(RuleName("no dropping"), "guardrails", Digest("0" * 64)), "Drop by migration.", "Ask the platform team."
)


def refused(decision=DENY, number=1, why=None, approval=""):
    record = Record(Kind.STATEMENT_DECIDED, {}, name=f"decided/{number}")
    return Decided(number, decision, record, None, NOW, why, approval)


#: The table of the protocol's reference: what happened, severity, SQLSTATE.
TABLE = [
    (errors.tls_required(), "FATAL", "28000"),
    (errors.proof_refused(Refusal.UNKNOWN, 40), "FATAL", "28P01"),
    (errors.proof_refused(Refusal.REVOKED, 40), "FATAL", "28P01"),
    (errors.proof_refused(Refusal.EXPIRED, 40), "FATAL", "28P01"),
    (errors.proof_refused(Refusal.TRUNCATED, 4095), "FATAL", "28P01"),
    (errors.proof_refused(Refusal.UNAVAILABLE, 40), "FATAL", "58030"),
    (errors.login_differs("token"), "FATAL", "28000"),
    (errors.target_refused(["pay", "core"]), "FATAL", "28000"),
    (errors.refusal_of(refused(), "s"), "ERROR", "42501"),
    (errors.refusal(Unsupported("42601", "syntax error")), "ERROR", "42601"),
    (errors.violation(ClientProtocolError("unknown message type 'y'")), "FATAL", "08P01"),
    (errors.violation(ClientProtocolError("replication is not supported", "0A000")), "FATAL", "0A000"),
    (errors.proof_refused(Refusal.TOO_MANY, 40), "FATAL", "53300"),
    (errors.evidence_unwritable(), "FATAL", "58030"),
    (errors.ended("57P01", "vestibule: session ended: revoked"), "FATAL", "57P01"),
    (errors.target_unreachable("core"), "FATAL", "08001"),
]


@pytest.mark.parametrize(("message", "severity", "code"), TABLE)
def test_each_event_has_its_severity_and_code_and_says_who_speaks(message, severity, code):
    assert [message.text(key) for key in "SVC"] == [severity, severity, code]
    assert message.text("M").startswith(("vestibule: ", "syntax error"))


def test_a_denial_tells_rule_reason_and_hint_and_a_detail_for_programs():
    message = errors.refusal_of(refused(number=7), "0197f3a2-1111-7222-8333-444455556666")
    assert message.text("M") == 'vestibule: denied by rule "no dropping": Drop by migration.'
    assert message.text("H") == "Ask the platform team."
    assert "\n" not in message.text("D")
    assert json.loads(message.text("D")) == {
        "rule": "no dropping",
        "session": "0197f3a2-1111-7222-8333-444455556666",
        "statement": 7,
        "approval": None,
    }


def test_a_refusal_for_want_of_an_approval_names_it_for_programs():
    message = errors.refusal_of(refused(why=Unsupported("42501", "vestibule: ..."), approval="AR-7Q2M4V0XKD"), "s")
    assert json.loads(message.text("D"))["approval"] == "AR-7Q2M4V0XKD"


def test_a_denial_with_a_code_of_its_own_is_not_laid_to_a_rule():
    message = errors.refusal_of(refused(why=Unsupported("54000", DENY.reason, DENY.hint, 7)), "s")
    assert (message.text("C"), message.text("M")) == ("54000", "Drop by migration.")
    assert message.text("P") == "7", "clients point at the place in the text"


def test_a_hint_that_there_is_not_is_left_out():
    assert [key for key, _ in errors.refusal(Unsupported("42601", "no")).fields] == list("SVCM")


def test_the_targets_one_may_use_are_listed_in_order():
    assert errors.target_refused(["pay", "core"]).text("M").endswith("you may use: core, pay")


@pytest.mark.parametrize("rule", ["a\0b", 'a"b', "a\nb", "\u00e4"])
def test_a_rules_words_never_break_the_message(rule):
    deny = Deny(Rule(RuleName(rule), "access", Digest("0" * 64)), f"because {rule}", rule)
    written = encode(errors.refusal_of(refused(deny), "s"))
    message = decode_backend(written[0], written[5:])
    assert isinstance(message, pg.ErrorResponse)
    assert message.text("H") == rule.replace("\0", "\ufffd")
    assert "\n" not in message.text("D")
