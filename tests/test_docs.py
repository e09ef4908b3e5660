"""What the documents say is what the program does."""

from __future__ import annotations

import re
import shlex
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml
from typer.main import get_command
from typer.testing import CliRunner

from demo.steps import STEPS
from tests.support.masked import decided
from vestibule.cli.commands import COMMANDS
from vestibule.cli.root import build
from vestibule.evidence.verify import RESIDUAL
from vestibule.gate.unmasking import unmasking
from vestibule.model import wording
from vestibule.model.statement import Unsupported
from vestibule.policy.document import load
from vestibule.settings import load as load_settings

CHECKOUT = Path(__file__).resolve().parent.parent
GUIDE = CHECKOUT / "docs" / "guide" / "getting-started.md"
CLIENTS = CHECKOUT / "docs" / "reference" / "clients.md"
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


@pytest.mark.parametrize(
    ("client", "package"),
    [
        ("psycopg 3", "psycopg"),
        ("psycopg 2", "psycopg2-binary"),
        ("asyncpg", "asyncpg"),
        ("SQLAlchemy", "sqlalchemy"),
        ("Django", "django"),
        ("pgcli", "pgcli"),
    ],
)
def test_the_page_about_clients_names_the_version_that_the_tests_use(client: str, package: str) -> None:
    [row] = re.findall(rf"^\| {client} \| ([\d.]+)", CLIENTS.read_text(), re.MULTILINE)

    assert row == version(package)


@pytest.mark.parametrize("name", sorted(set(re.findall(r"`(test_\w+\.py)`", CLIENTS.read_text()))))
def test_the_page_about_clients_names_tests_that_exist(name: str) -> None:
    assert (CHECKOUT / "tests" / "end_to_end" / "clients" / name).exists()


POLICIES = [
    pytest.param(text, id=page.name) for page in PAGES for text in blocks(page, "yaml") if text.startswith("version:")
]


def guides_policy() -> str:
    [text] = [block for block in blocks(GUIDE, "yaml") if block.startswith("version:")]
    return text


@pytest.mark.parametrize("text", POLICIES)
def test_a_policy_that_a_page_shows_takes_effect_without_a_warning(text: str) -> None:
    assert not load(text.encode(), "policy.yaml").warnings


@pytest.mark.parametrize(
    ("sql", "status", "told"),
    [
        ("TRUNCATE loans", 1, ['denied by rule "no truncating"']),
        ("DELETE FROM loans WHERE id = 17", 4, ['held by rule "deleting takes two"', "dba-managers"]),
        ("SELECT ssn FROM customers", 0, ['masks "ssn"', 'masks "contact"', "only the last 4 characters"]),
    ],
)
def test_the_guides_questions_to_its_policy_have_the_answers_that_it_tells(
    tmp_path: Path, sql: str, status: int, told: list[str]
) -> None:
    (tmp_path / "policy.yaml").write_text(guides_policy())
    asked = next(words for words in commands(GUIDE) if words[-1] == sql)
    words = [str(tmp_path / "policy.yaml") if "/" in word else word for word in asked[1:]]
    result = CliRunner().invoke(build(words), words)
    assert result.exit_code == status, result.output
    assert [each for each in told if each not in result.output] == []


def test_the_files_that_one_passes_on_the_way_of_a_statement_are_there() -> None:
    page = (CHECKOUT / "docs" / "guide" / "one-statement.md").read_text()
    named = set(re.findall(r"`([a-z_/]+\.py)`", page))
    assert len(named) > 40
    assert [name for name in sorted(named) if not (CHECKOUT / "src" / "vestibule" / name).is_file()] == []


def test_the_files_that_the_page_on_one_statement_names_stand_in_every_layer_it_passes() -> None:
    page = (CHECKOUT / "docs" / "guide" / "one-statement.md").read_text()
    passed = {
        "server",
        "protocols",
        "identity",
        "gate",
        "analysis",
        "masking",
        "policy",
        "stores",
        "control",
        "evidence",
    }
    assert passed <= {name.partition("/")[0] for name in re.findall(r"`([a-z_/]+\.py)`", page)}


def test_the_steps_of_the_demo_that_the_page_on_one_statement_names_are_there() -> None:
    page = (CHECKOUT / "docs" / "guide" / "one-statement.md").read_text()
    named = re.findall(r'"([A-Z][^"]+)"', page.partition("```")[0])
    assert named
    assert set(named) <= {step.title for step in STEPS}


def test_the_comment_that_the_page_on_masks_shows_asks_to_see_through_one() -> None:
    [text] = blocks(CHECKOUT / "docs" / "reference" / "masking.md", "sql")
    assert unmasking(text.encode()) == {"ssn"}


@pytest.mark.parametrize("page", ["README.md", "docs/reference/masking.md"])
def test_the_refusal_that_a_page_shows_is_the_programs(page: str) -> None:
    text = "SELECT state FROM customers WHERE ssn LIKE '078%'"
    refused = decided(text)
    assert isinstance(refused, Unsupported)
    shown = (CHECKOUT / page).read_text()
    assert f"ERROR:  {refused.message}\n" in shown
    assert f"HINT:  {refused.hint}\n" in shown


@pytest.mark.parametrize("page", ["README.md", "docs/guide/getting-started.md", "docs/reference/approvals.md"])
def test_the_notice_of_a_held_statement_that_a_page_shows_is_the_programs(page: str) -> None:
    approval = "AR-7Q2M4V0XKD"
    notice = wording.held(approval, f"https://vestibule.example:8443/approvals/{approval}")
    assert f"NOTICE:  {notice}\n" in (CHECKOUT / page).read_text()


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
