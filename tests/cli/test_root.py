from __future__ import annotations

import subprocess
import sys

import pytest
from typer.testing import CliRunner

from vestibule import __version__
from vestibule.cli import commands, main
from vestibule.cli.commands import COMMANDS, Command
from vestibule.cli.exits import CommandError, Exit
from vestibule.cli.root import build


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(build(arguments), arguments)
    return result.exit_code, result.output


def test_help_lists_every_command_and_every_exit_status() -> None:
    code, told = run("--help")
    assert code == 0
    assert all(f"  {name} " in told and command.summary in told for name, command in COMMANDS.items())
    assert all(f"  {status.value}  " in told for status in Exit)


def test_help_keeps_the_lines_of_its_examples() -> None:
    _, told = run("--help")
    assert "\n    vestibule policy check policy.yaml\n" in told


def test_the_version_is_told() -> None:
    assert run("--version") == (0, f"{__version__}\n")


def test_nothing_shows_the_help_as_a_wrong_use() -> None:
    code, told = run()
    assert code == 2
    assert "Commands:" in told


def test_an_unknown_command_is_a_wrong_use_with_a_suggestion() -> None:
    code, told = run("polic")
    assert code == 2
    assert "policy" in told


def test_a_function_of_the_table_becomes_a_command(monkeypatch: pytest.MonkeyPatch) -> None:
    def greet(name: str) -> None:
        print(f"good day {name}")  # noqa: T201

    monkeypatch.setattr(commands, "greet", greet, raising=False)
    monkeypatch.setitem(COMMANDS, "greet", Command("commands:greet", "Greet."))
    assert run("greet", "alice") == (0, "good day alice\n")


def test_what_is_neither_function_nor_group_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(COMMANDS, "odd", Command("commands:__name__", "Odd."))
    with pytest.raises(TypeError, match="commands:__name__"):
        build(["odd"])


@pytest.mark.parametrize(
    ("error", "code"),
    [(CommandError("no gateway here", Exit.UNREACHABLE), 3), (CommandError("denied"), 1)],
)
def test_an_error_is_one_line_on_standard_error_and_its_status(
    error: CommandError, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        raise error

    monkeypatch.setattr(commands, "fail", fail, raising=False)
    monkeypatch.setitem(COMMANDS, "fail", Command("commands:fail", "Fail."))
    monkeypatch.setattr(sys, "argv", ["vestibule", "fail"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == code
    assert capsys.readouterr() == ("", f"vestibule: {error}\n")


HEAVY = (
    "pydantic",
    "yaml",
    "sqlalchemy",
    "fastapi",
    "httpx2",
    "joserfc",
    "cryptography",
    "postgast",
    "rich",
    "uvicorn",
)


@pytest.mark.parametrize("arguments", [["--help"], ["--version"]])
def test_the_start_imports_no_heavy_package(arguments: list[str]) -> None:
    program = (
        f"import sys; sys.argv = ['vestibule', *{arguments!r}]\n"
        "from vestibule.cli import main\n"
        "try: main()\n"
        "except SystemExit as ended: assert not ended.code\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=True)
    assert done.stderr == "[]\n"


def test_no_collection_passes_over_what_a_command_imported() -> None:
    program = (
        "import atexit, gc, sys; from vestibule.cli import main; sys.argv = ['vestibule', '--version'];"
        "atexit.register(lambda: print(gc.isenabled(), gc.get_freeze_count() > 1_000)); main()"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [__version__, "True", "True"]
