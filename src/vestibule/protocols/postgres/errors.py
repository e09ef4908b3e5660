"""What a client is told when it is refused: severity, SQLSTATE, text (the wording is `model.wording`'s).

1. A statement's refusal is an ERROR and leaves the session usable; what ends a session is FATAL.
2. Classes of our own are not used: drivers take unknown ones for generic errors.
3. A text never holds a token, a credential's name, a value, or the target's address.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Final, Literal

from vestibule.gate.outcome import Decided
from vestibule.model import wording
from vestibule.model.decision import Allow, Deny
from vestibule.model.errors import ClientProtocolError
from vestibule.model.identity import Refusal
from vestibule.model.statement import Unsupported
from vestibule.protocols.postgres.messages import ErrorResponse

INSUFFICIENT_PRIVILEGE: Final = "42501"

Fields = tuple[tuple[str, str], ...]


def refusal(unsupported: Unsupported) -> ErrorResponse:
    """Tell that a statement never travels, whatever the policy says."""
    return ErrorResponse(_fields("ERROR", unsupported.code, unsupported.message, hint=unsupported.hint))


def refusal_of(decided: Decided, session: str) -> ErrorResponse:
    """Tell why a statement was refused; a program finds rule, session, statement and approval in the detail."""
    decision, unsupported = decided.decision, decided.unsupported
    if isinstance(decision, Allow):
        raise AssertionError("an allowed statement is not refused")
    detail = _detail(decision.rule.name, session, decided.number, decided.approval)
    if unsupported is None:
        text = wording.denied(decision.rule.name, decision.reason)
        hint = decision.hint if isinstance(decision, Deny) else ""
        return ErrorResponse(_fields("ERROR", INSUFFICIENT_PRIVILEGE, text, detail, hint))
    # What never travels, whatever the policy says, speaks for itself.
    fields = _fields("ERROR", unsupported.code, unsupported.message, detail, unsupported.hint)
    return ErrorResponse((*fields, ("P", str(unsupported.position))) if unsupported.position else fields)


def ended(code: str, text: str) -> ErrorResponse:
    """Tell why the session ends or never begins."""
    return ErrorResponse(_fields("FATAL", code, text))


def violation(error: ClientProtocolError) -> ErrorResponse:
    """Tell which message or limit the client broke."""
    return ended(error.code, f"vestibule: {error}")


def tls_required() -> ErrorResponse:
    """Tell that nothing is read without TLS."""
    return ended("28000", wording.TLS_REQUIRED)


def proof_refused(answer: Refusal, length: int) -> ErrorResponse:
    """Tell why a token of `length` characters was not accepted."""
    return ended(_PROOF_CODES.get(answer, "28P01"), wording.proof_refused(answer, length))


def certificate_refused(answer: Refusal) -> ErrorResponse:
    """Tell why a certificate was not accepted."""
    return ended(_PROOF_CODES.get(answer, "28000"), wording.certificate_refused(answer))


def login_differs(method: str) -> ErrorResponse:
    """Tell that the user name claims another identity than was proven."""
    return ended("28000", wording.CERTIFICATE_DIFFERS if method == "certificate" else wording.LOGIN_DIFFERS)


def target_refused(names: Iterable[str]) -> ErrorResponse:
    """Tell which targets there are for this identity: the same for none, unknown and not granted."""
    return ended("28000", wording.choose_target(names))


def evidence_unwritable() -> ErrorResponse:
    """Tell that nobody is let in while evidence cannot be recorded."""
    return ended("58030", wording.EVIDENCE_UNWRITABLE)


def target_unreachable(target: str) -> ErrorResponse:
    """Tell that the session cannot begin."""
    return ended("08001", wording.target_unavailable(target))


_PROOF_CODES: Final = {
    Refusal.UNAVAILABLE: "58030",
    Refusal.TOO_MANY: "53300",
    Refusal.PERSON_FULL: "53300",
    Refusal.ADDRESS_FULL: "53300",
    Refusal.TARGET_FULL: "53300",
}


def _detail(rule: str, session: str, statement: int, approval: str) -> str:
    members = {"rule": rule, "session": session, "statement": statement, "approval": approval or None}
    return json.dumps(members, ensure_ascii=False, separators=(",", ":"))


def _fields(severity: Literal["ERROR", "FATAL"], code: str, text: str, detail: str = "", hint: str = "") -> Fields:
    # V is the severity that is never translated; clients read it first.
    pairs = (("S", severity), ("V", severity), ("C", code), ("M", text), ("D", detail), ("H", hint))
    # A rule's reason may hold any character; a NUL would end the field.
    return tuple((key, value.replace("\0", "\ufffd")) for key, value in pairs if value)
