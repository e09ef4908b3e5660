"""The one text for all protocols of each thing that a client is told (numbers of the identity reference)."""

from __future__ import annotations

from collections.abc import Iterable

from vestibule.model.identity import Refusal

TLS_REQUIRED = "vestibule: TLS required"
TOKEN_REFUSED = 'vestibule: token not accepted; run "vestibule login"'
TOKEN_EXPIRED = 'vestibule: token expired; run "vestibule login"'
CERTIFICATE_REFUSED = 'vestibule: certificate not accepted; run "vestibule login", then "vestibule certificate"'
CERTIFICATE_EXPIRED = 'vestibule: certificate expired; run "vestibule login", then "vestibule certificate"'
CERTIFICATE_DIFFERS = "vestibule: the login in the user name is not the one the certificate proves"
LOGIN_DIFFERS = "vestibule: the login in the user name is not the one the token proves"
EVIDENCE_UNWRITABLE = "vestibule: evidence cannot be recorded; refused"
TOO_MANY = "vestibule: too many sessions or wrong tokens; wait a minute"
PERSON_FULL = "vestibule: you have as many sessions as one person may have here; close one, or have the limit raised"
ADDRESS_FULL = "vestibule: your address has as many sessions as one may have here; close one, or have the limit raised"
TARGET_FULL = "vestibule: the target has as many sessions as it may have through this gateway; try again later"
TOO_MANY_GROUPS = (
    "vestibule: the identity provider sent too many groups and they could not be resolved; "
    "assign groups to the application"
)


def truncated(length: int) -> str:
    """Tell that the client cut the token."""
    return (
        f"vestibule: token truncated to {length} characters by the client; "
        'use an environment variable or "vestibule connect"'
    )


def choose_target(names: Iterable[str]) -> str:
    """Tell which targets the identity may use; the same words for none, unknown and not granted."""
    return f"vestibule: choose a target as login+target; you may use: {', '.join(sorted(names)) or 'none'}"


def denied(rule: str, reason: str) -> str:
    """Tell which rule denied, and why."""
    return f'vestibule: denied by rule "{rule}": {reason}'


def held(approval: str, url: str) -> str:
    """Tell that the statement waits, and where people answer."""
    return f"vestibule: held for approval {approval}: {url}"


def approval_required(approval: str, url: str) -> str:
    """Tell that the statement is to be run again once people have approved it."""
    return f"vestibule: approval {approval} required: {url}; run it again after approval"


def approval_ended(approval: str, answer: str, by: str = "") -> str:
    """Tell how an approval ended that was not granted."""
    return f"vestibule: approval {approval} {answer} by {by}" if by else f"vestibule: approval {approval} {answer}"


def session_ended(why: str) -> str:
    """Tell why a live session ended."""
    return f"vestibule: session ended: {why}"


def target_unavailable(target: str) -> str:
    """Tell that the target cannot be reached; the cause is in the record and the operator log."""
    return f"vestibule: target {target} is not available"


def certificate_refused(refusal: Refusal) -> str:
    """Tell why a certificate was not accepted."""
    match refusal:
        case Refusal.EXPIRED:
            return CERTIFICATE_EXPIRED
        case Refusal.UNKNOWN | Refusal.REVOKED:
            return CERTIFICATE_REFUSED
        case _:
            return proof_refused(refusal, 0)


def proof_refused(refusal: Refusal, length: int) -> str:
    """Tell why a token was not accepted; `length` is the token's."""
    match refusal:
        case Refusal.EXPIRED:
            return TOKEN_EXPIRED
        case Refusal.TRUNCATED:
            return truncated(length)
        case Refusal.UNAVAILABLE:
            return EVIDENCE_UNWRITABLE
        case Refusal.TOO_MANY:
            return TOO_MANY
        case Refusal.PERSON_FULL:
            return PERSON_FULL
        case Refusal.ADDRESS_FULL:
            return ADDRESS_FULL
        case Refusal.TARGET_FULL:
            return TARGET_FULL
        case _:
            return TOKEN_REFUSED
