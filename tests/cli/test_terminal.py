"""Texts from elsewhere on a terminal."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from vestibule.cli import terminal
from vestibule.cli.terminal import PIPE_WIDTH, WIDEST, console, cut, shown


@pytest.mark.parametrize("hostile", ["\x1b[2J", "\x07", "a\rb", "\u202edrowssap", "\x9b31m", "\u2066", "\x00"])
def test_nothing_that_moves_a_terminal_is_left_in_a_text(hostile: str) -> None:
    assert shown(hostile).isprintable()


def test_a_text_is_no_markup_and_its_lines_stay_lines() -> None:
    out = io.StringIO()
    Console(file=out, width=80).print(shown("[red]a[/red]\nb"))
    assert out.getvalue() == "[red]a[/red]\nb\n"


def test_a_long_text_is_cut_to_one_line() -> None:
    assert cut("a\n  b\t c") == "a b c"
    assert len(cut("x" * 1_000)) == WIDEST + 1


def test_a_pipe_is_wide(monkeypatch: pytest.MonkeyPatch) -> None:
    assert console().width == PIPE_WIDTH
    monkeypatch.setattr(terminal.sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "90")
    assert console().width == 90
