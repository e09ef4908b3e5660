"""The program `vestibule`: finds the command, tells errors in one form, ends with a documented status."""

from __future__ import annotations

import gc
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from vestibule import __version__
from vestibule.cli.commands import COMMANDS, Command, example
from vestibule.cli.exits import exit_of
from vestibule.model.errors import VestibuleError

OVERVIEW = """Identity-aware access to databases, with evidence that outsiders can check.

\b
Exit status of every command:
  0  done; the check passed, the statement is allowed
  1  the check found something, the statement is denied, the act was refused
  2  the command line or a file that it names is wrong
  3  the gateway, the provider or the target cannot be reached
  4  a statement needs an approval

\b
Examples:
  vestibule policy check policy.yaml
  vestibule policy explain --group engineering --target core-banking 'SELECT 1'
"""


def main() -> None:
    """Run the command that the command line names."""
    arguments = sys.argv[1:]
    try:
        program = _imported(arguments)
        program(args=arguments, prog_name="vestibule")
    except VestibuleError as error:
        typer.echo(f"vestibule: {error}", err=True)
        raise SystemExit(exit_of(error)) from None


def _imported(arguments: Sequence[str]) -> typer.Typer:
    """Make the program; what it imports lives until the end, so no collection passes over it, not even the last."""
    gc.disable()
    program = build(arguments)
    gc.freeze()
    gc.enable()
    return program


def build(arguments: Sequence[str]) -> typer.Typer:
    """Make the program, with the module of the command in `arguments` and of no other."""
    named = next((argument for argument in arguments if not argument.startswith("-")), "")
    # Tracebacks stay plain: the pretty ones print local variables, which may hold secrets.
    app = typer.Typer(
        help=OVERVIEW,
        add_completion=False,
        no_args_is_help=True,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_options)
    for name, command in COMMANDS.items():
        _register(app, name, command, is_named=name == named)
    return app


def _register(app: typer.Typer, name: str, command: Command, *, is_named: bool) -> None:
    found = command.load() if is_named else _placeholder
    if isinstance(found, typer.Typer):
        app.add_typer(found, name=name, short_help=command.summary)
    elif callable(found):
        app.command(name, short_help=command.summary, epilog=example(command.example))(found)
    else:
        raise TypeError(f"{command.place} is neither a function nor a typer.Typer")


def _placeholder() -> None:
    """Stand for a command whose module was not imported; never run, because the command line does not name it."""
    raise AssertionError("a command runs only if the command line names it")


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


def _options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    pass
