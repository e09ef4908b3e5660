"""The walk's counter counts only what was shown."""

from __future__ import annotations

import pytest

from demo.show import Show


def test_a_step_whose_check_does_not_hold_is_not_counted(capsys: pytest.CaptureFixture[str]) -> None:
    show = Show(total=2)

    with show.step("one", "why"):
        show.check("holds", holds=True)
    with show.step("two", "why"):
        show.check("holds not", holds=False)

    assert show.finish() == 1
    assert capsys.readouterr().out.splitlines()[-1] == "1 of 2 steps"


def test_a_step_that_breaks_is_told_and_not_counted(capsys: pytest.CaptureFixture[str]) -> None:
    show = Show(total=2)

    with show.step("one", "why"):
        raise RuntimeError("psql is gone")
    with show.step("two", "why"):
        show.check("the next step starts clean", holds=True)

    assert show.finish() == 1
    assert "! RuntimeError: psql is gone" in capsys.readouterr().out
    assert (show.good, show.number) == (1, 2)


def test_a_walk_without_a_flaw_ends_well() -> None:
    show = Show(total=1)

    with show.step("one", "why"):
        show.check("holds", holds=True)

    assert show.finish() == 0
