"""Write `docs/reference/cli.md` from the program itself: every command with its arguments and options.

python scripts/cli_reference.py > docs/reference/cli.md
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import typer
from typer.main import get_command

from vestibule.cli.commands import COMMANDS
from vestibule.cli.exits import Exit
from vestibule.cli.root import build

HEAD = """# The command line

Every command of `vestibule`, with every argument and option. This page is written by `scripts/cli_reference.py`;
a test holds it to the program.

`vestibule --help` and `vestibule COMMAND --help` say the same; `vestibule --version` prints the version. Listings are
for people by default and for programs with `--json`.

| exit status | meaning |
|---|---|
"""
MEANINGS = {
    Exit.OK: "done; the check passed, the statement is allowed",
    Exit.FAILED: "the check found something, the statement is denied, the act was refused",
    Exit.USAGE: "the command line or a file that it names is wrong",
    Exit.UNREACHABLE: "the gateway, the provider or the target cannot be reached",
    Exit.HELD: "a statement needs an approval",
}


def page() -> str:
    """Write the page."""
    rows = "".join(f"| {int(status)} | {MEANINGS[status]} |\n" for status in Exit)
    return HEAD + rows + "".join(_section(words, command) for words, command in commands())


def commands() -> Iterator[tuple[str, Any]]:
    """Give every command with its words: `sessions list`."""
    for name in COMMANDS:
        found: Any = get_command(build([name]))
        command = found.commands[name]
        inner = getattr(command, "commands", None)
        yield from [(name, command)] if inner is None else [(f"{name} {key}", one) for key, one in inner.items()]


def _section(words: str, command: Any) -> str:  # noqa: ANN401 - the library's own command
    arguments = " ".join(_named(each) for each in command.params if each.param_type_name == "argument")
    title = f"vestibule {words} {arguments}".strip()
    text = inspect.cleandoc(command.help or "").replace("\b\n", "")
    example = inspect.cleandoc((command.epilog or "").replace("\b\n", "").removeprefix("Example:\n"))
    table = "".join(f"| {_spelled(each)} | {_told(each)} |\n" for each in command.params)
    return (
        f"\n## `{title}`\n\n{text}\n"
        + (f"\n| | |\n|---|---|\n{table}" if table else "")
        + f"\n```sh\n{example.strip()}\n```\n"
    )


def _named(parameter: Any) -> str:  # noqa: ANN401
    name = str(parameter.metavar or parameter.name.upper())
    return name if parameter.required else f"[{name}]"


def _spelled(parameter: Any) -> str:  # noqa: ANN401
    if parameter.param_type_name == "argument":
        return f"`{parameter.metavar or parameter.name.upper()}`"
    value = "" if parameter.is_flag else f" {parameter.metavar or _kind(parameter)}"
    return ", ".join(f"`{each}{value}`" for each in parameter.opts)


def _kind(parameter: Any) -> str:  # noqa: ANN401
    kind = parameter.type_descriptor.annotation
    if get_origin(kind) is Literal:
        return "\\|".join(get_args(kind))
    return {int: "NUMBER", float: "NUMBER", Path: "FILE"}.get(kind, "TEXT")


def _told(parameter: Any) -> str:  # noqa: ANN401
    words = [str(parameter.help).replace("|", "\\|")]
    default = parameter.default
    if default not in (None, "", False, [], ()) and not callable(default):
        words.append(f"Default: `{default}`.")
    if parameter.required:
        words.append("Required.")
    if parameter.envvar:
        words.append(f"Or by the variable `{parameter.envvar}`.")
    return " ".join(words)


if __name__ == "__main__":
    typer.echo(page(), nl=False)
    sys.exit()
