"""The page on the command line is the program's own words."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest
from typer.testing import CliRunner

from vestibule.cli.root import OVERVIEW, build

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/reference/cli.md").read_text()


def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("cli_reference", ROOT / "scripts/cli_reference.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


WRITER = script()
COMMANDS = dict(WRITER.commands())


def test_the_page_is_what_the_program_says() -> None:
    assert WRITER.page() == PAGE, "run: .venv/bin/python scripts/cli_reference.py > docs/reference/cli.md"


def test_every_command_is_on_the_page_and_every_one_on_the_page_exists() -> None:
    titles = re.findall(r"^## `vestibule (.*)`$", PAGE, re.M)
    shown = [" ".join(re.findall(r"^[a-z-]+|(?<= )[a-z-]+", title)) for title in titles]
    assert shown == list(COMMANDS)


@pytest.mark.parametrize("words", COMMANDS)
def test_every_option_of_a_command_is_on_the_page_and_in_its_help(words: str) -> None:
    [section] = re.findall(rf"^## `vestibule {words}[ `].*?(?=^## |\Z)", PAGE, re.M | re.S)
    known = {option for each in COMMANDS[words].params for option in each.opts if option.startswith("--")}
    assert set(re.findall(r"^\| `(--[a-z-]+)", section, re.M)) == known
    told = CliRunner().invoke(build(words.split()), [*words.split(), "--help"]).output
    assert {option for option in known if option not in told} == set()


def test_every_exit_status_has_the_words_of_the_programs_overview() -> None:
    rows = re.findall(r"^\| (\d) \| (.*) \|$", PAGE, re.M)
    assert len(rows) == 5
    assert [row for row in rows if f"{row[0]}  {row[1]}" not in OVERVIEW] == []
