"""The walk's counter counts only what was shown."""

from __future__ import annotations

import pytest

from demo.show import NARROW, WIDE, Show


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


@pytest.mark.parametrize(("columns", "width"), [("20", NARROW), ("80", 80), ("95", 95), ("400", WIDE)])
def test_every_line_fits_the_terminal_and_no_word_is_lost(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], columns: str, width: int
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    words = " ".join(f"word{number}" for number in range(60))
    show = Show(total=1)

    with show.step("one", words):
        show.command(words)
        show.typed(words)
        show.told(words)
        show.output(f"{words}\n{'x' * 300}")
        show.check(words, holds=True)

    printed = capsys.readouterr().out
    assert max(len(line) for line in printed.splitlines()) <= width
    assert all(printed.count(f"word{number}") >= 6 for number in range(60))
    assert printed.count("x") == 300


def test_an_address_is_not_broken_so_that_it_can_be_copied(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    address = "https://localhost/" + "x" * 100
    Show(total=1).command(f"open {address}")
    assert address in capsys.readouterr().out


def test_a_table_is_cut_row_by_row_and_what_is_left_out_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    Show(total=1).output("A" * 200 + "\nB", is_table=True)
    one, other = capsys.readouterr().out.splitlines()
    assert (len(one), one[-4:], other) == (80, " ...", "      | B")


def test_indentation_and_empty_lines_of_an_answer_stay(capsys: pytest.CaptureFixture[str]) -> None:
    Show(total=1).output(" id\n----\n\n  1\n")
    assert capsys.readouterr().out == "      |  id\n      | ----\n      |\n      |   1\n"
