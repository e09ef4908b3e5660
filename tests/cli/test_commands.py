from __future__ import annotations

import pytest
import typer
from typer.main import get_command
from typer.testing import CliRunner

from vestibule.cli.commands import COMMANDS, example
from vestibule.cli.root import build


@pytest.mark.parametrize("name", COMMANDS)
def test_every_entry_of_the_table_is_a_command_or_a_group(name: str) -> None:
    found = COMMANDS[name].load()
    assert isinstance(found, typer.Typer) or callable(found)
    assert COMMANDS[name].summary.endswith(".")


def leaves(name: str) -> dict[str, object]:
    command = get_command(build([name])).commands[name]
    inner = getattr(command, "commands", None)
    return {name: command} if inner is None else {f"{name} {key}": one for key, one in inner.items()}


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_with_an_example_of_itself(name: str) -> None:
    for words, command in leaves(name).items():
        asked = [*words.split(), "--help"]
        told = CliRunner().invoke(build(asked), asked)
        assert told.exit_code == 0
        assert f"\n  Example:\n    vestibule {words}" in told.output
        assert all(option.help for option in command.params), words


def test_an_example_is_a_line_of_its_own() -> None:
    assert example("vestibule x") == "\b\nExample:\n  vestibule x"
