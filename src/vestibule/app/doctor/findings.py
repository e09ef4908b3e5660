"""What a check found: good, to be looked at, or wrong; and what to do about it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "warn", "fail", "unreachable"]


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check: `about` is its short name, `text` what was found, `advice` what to do."""

    level: Level
    about: str
    text: str
    advice: str = ""


def ok(about: str, text: str) -> Finding:
    """It is as it should be."""
    return Finding("ok", about, text)


def warn(about: str, text: str, advice: str) -> Finding:
    """The gateway works, and somebody should look at this."""
    return Finding("warn", about, text, advice)


def fail(about: str, text: str, advice: str) -> Finding:
    """It will not work, or promises what it cannot keep."""
    return Finding("fail", about, text, advice)


def unreachable(about: str, text: str, advice: str) -> Finding:
    """Somebody else does not answer."""
    return Finding("unreachable", about, text, advice)


def levels(findings: Iterable[Finding]) -> set[Level]:
    """Say which levels there are."""
    return {finding.level for finding in findings}
