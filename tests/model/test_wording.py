"""The texts that clients are told, letter by letter."""

from __future__ import annotations

import pytest

from vestibule.model import wording
from vestibule.model.identity import Refusal


@pytest.mark.parametrize(
    ("refusal", "text"),
    [
        (Refusal.UNKNOWN, 'vestibule: token not accepted; run "vestibule login"'),
        (Refusal.REVOKED, 'vestibule: token not accepted; run "vestibule login"'),
        (Refusal.EXPIRED, 'vestibule: token expired; run "vestibule login"'),
        (
            Refusal.TRUNCATED,
            "vestibule: token truncated to 4095 characters by the client; "
            'use an environment variable or "vestibule connect"',
        ),
        (Refusal.UNAVAILABLE, "vestibule: evidence cannot be recorded; refused"),
        (Refusal.TOO_MANY, "vestibule: too many sessions or wrong tokens; wait a minute"),
    ],
)
def test_a_refused_proof_is_told_what_to_do(refusal: Refusal, text: str) -> None:
    assert wording.proof_refused(refusal, 4095) == text


def test_a_revoked_token_is_not_told_apart_from_an_unknown_one() -> None:
    assert wording.proof_refused(Refusal.REVOKED, 47) == wording.proof_refused(Refusal.UNKNOWN, 47)


def test_targets_are_listed_in_one_order() -> None:
    assert wording.choose_target(["pay", "core"]) == (
        "vestibule: choose a target as login+target; you may use: core, pay"
    )
    assert wording.choose_target([]).endswith("you may use: none")


def test_the_other_texts_are_as_published() -> None:
    assert wording.TLS_REQUIRED == "vestibule: TLS required"
    assert wording.denied("no dropping", "by migration only") == (
        'vestibule: denied by rule "no dropping": by migration only'
    )
    assert wording.session_ended("idle 30m") == "vestibule: session ended: idle 30m"
    assert wording.target_unavailable("core") == "vestibule: target core is not available"
