from __future__ import annotations

import pytest

from vestibule.cli.exits import CommandError, Exit, exit_of
from vestibule.model.errors import ConfigurationError, EvidenceUnavailable, TargetUnavailable, VestibuleError
from vestibule.policy.document import PolicyError


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (CommandError("x"), 1),
        (CommandError("x", Exit.UNREACHABLE), 3),
        (ConfigurationError("x"), 2),
        (PolicyError("p.yaml", []), 2),
        (TargetUnavailable("x"), 3),
        (EvidenceUnavailable("x"), 1),
    ],
)
def test_every_error_has_the_documented_status(error: VestibuleError, code: int) -> None:
    assert exit_of(error) == code


def test_the_numbers_are_promised() -> None:
    numbers = {"OK": 0, "FAILED": 1, "USAGE": 2, "UNREACHABLE": 3, "HELD": 4}
    assert {member.name: member.value for member in Exit} == numbers
