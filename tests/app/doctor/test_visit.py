"""What the evidence can promise as things were found, and a clock that is set meanwhile."""

from __future__ import annotations

import pytest

from vestibule.app.doctor.findings import Finding, fail, ok, unreachable, warn
from vestibule.app.doctor.visit import moved, promises

NAME = ok("target core: application_name", "carries the session's id")


def test_nothing_is_promised_while_something_is_wrong_and_each_thing_is_named_once() -> None:
    findings = [
        fail("room", "none", "make some"),
        unreachable("provider corp", "no", "x"),
        fail("room", "x", "y"),
        NAME,
    ]
    assert promises(findings, "core") == ["Nothing is promised before this is mended: room, provider corp."]


def test_without_a_target_the_promise_is_about_the_gateway_alone() -> None:
    assert len(promises([ok("room", "much")])) == 1


@pytest.mark.parametrize(
    ("finding", "said"),
    [
        (warn("target core: account", "superuser", "x"), "can do more at core"),
        (warn("target core: its own log", "all", "x"), "in clear in core's own log"),
        (warn("target core: what outlives its session", "0", "x"), "outcome of a running statement is unknown"),
        (warn("target core: application_name", "gone", "x"), "cannot be joined"),
        (NAME, "can be joined"),
    ],
)
def test_what_was_found_limits_what_is_promised(finding: Finding, said: str) -> None:
    assert any(said in line for line in promises([finding], "core"))


def test_what_happens_past_the_gateway_is_never_promised() -> None:
    assert any("whoever else has the password" in line for line in promises([NAME], "core"))


@pytest.mark.parametrize(("apart", "level"), [(0.01, "ok"), (-0.2, "ok"), (3.0, "warn"), (-3.0, "warn")])
def test_a_clock_that_is_set_while_we_look_is_noticed(apart: float, level: str) -> None:
    assert moved(apart).level == level
