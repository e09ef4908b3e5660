"""What the documents say is what the program does."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import yaml
from typer.main import get_command
from typer.testing import CliRunner

from vestibule.cli.commands import COMMANDS
from vestibule.cli.root import build
from vestibule.evidence.verify import RESIDUAL
from vestibule.policy.document import load
from vestibule.settings import load as load_settings

CHECKOUT = Path(__file__).resolve().parent.parent
GUIDE = CHECKOUT / "docs" / "guide" / "getting-started.md"
PAGES = sorted([*CHECKOUT.glob("*.md"), *CHECKOUT.glob("docs/**/*.md")])


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)


def commands(page: Path) -> list[list[str]]:
    """Every `vestibule ...` that a page shows in a shell block."""
    lines = [line for block in blocks(page, "sh") for line in block.splitlines()]
    found = [match for line in lines for match in re.findall(r"(?:^|\$\(| )(vestibule [a-z][^)\n#]*)", line)]
    return [shlex.split(words) for words in found]


SHOWN = [pytest.param(words, id=f"{page.name}: {' '.join(words)}"[:80]) for page in PAGES for words in commands(page)]


@pytest.mark.parametrize("words", SHOWN)
def test_a_command_that_a_page_shows_exists_with_its_options(words: list[str]) -> None:
    command, rest = get_command(build(words[1:2])), words[1:]
    while hasattr(command, "commands"):
        command, rest = command.commands[rest[0]], rest[1:]
    known = {name for parameter in command.params for name in parameter.opts}
    assert {word for word in rest if word.startswith("--")} <= known


def test_the_guides_policy_takes_effect() -> None:
    texts = [block for block in blocks(GUIDE, "yaml") if block.startswith("version:")]
    [text] = texts
    policy = load(text.encode(), "policy.yaml")
    assert not policy.warnings


def test_the_guides_settings_are_understood(tmp_path: Path) -> None:
    [text] = [block for block in blocks(GUIDE, "yaml") if block.startswith("public_url:")]
    for name in ("tls/server.pem", "tls/server.key", "secrets/corp"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch(mode=0o600)
    wanted = yaml.safe_load(text) | {"data": str(tmp_path / "data")}
    (tmp_path / "vestibule.yaml").write_text(yaml.safe_dump(wanted))
    settings = load_settings(tmp_path / "vestibule.yaml")
    assert settings.public_url == "https://vestibule.example:8443"


def test_every_link_inside_the_documents_leads_somewhere() -> None:
    broken = [
        f"{page.relative_to(CHECKOUT)}: {link}"
        for page in PAGES
        for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text())
        if not (page.parent / link).exists()
    ]
    assert broken == []


def test_the_residual_statement_is_the_same_everywhere() -> None:
    words = " ".join(RESIDUAL.split())
    quoted = " ".join(line.removeprefix(">").strip() for line in (CHECKOUT / "README.md").read_text().splitlines())
    assert words in " ".join(quoted.split())


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_has_help_with_an_example(name: str) -> None:
    result = CliRunner().invoke(build([name]), [name, "--help"])
    assert result.exit_code == 0
    command = get_command(build([name])).commands[name]  # type: ignore[attr-defined] - the program is a group
    for each in getattr(command, "commands", {name: command}).values():
        assert "vestibule" in (each.epilog or ""), f"{each.name} shows no example"
