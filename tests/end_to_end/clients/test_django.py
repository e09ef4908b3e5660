"""Django through the gateway: a project with migrations, its ORM, and what it reads out of an existing database.

Django's settings are per process, so the project's commands and its session of work run in processes of their own.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.clients import Outcome
from tests.support.gateway import Gateway
from tests.support.postgres import DATABASE, PostgresServer
from tests.support.sandbox import ENVIRONMENT, Sandbox
from tests.support.signing_in import SignedIn

PROJECT = Path(__file__).resolve().parent / "django_project"
TABLES = ("branch_book_authors", "branch_loan", "branch_book", "branch_author", "django_migrations")


@dataclass(frozen=True, slots=True)
class Project:
    """A copy of the project that comes in as somebody."""

    sandbox: Sandbox
    folder: Path
    environment: dict[str, str]

    def run(self, program: str, *words: str) -> Outcome:
        """Run one of its programs."""
        command: list[str | Path] = [ENVIRONMENT / "bin" / "python", "-W", "error", program, *words]
        done = self.sandbox.run(command, folder=self.folder, environment=self.environment, timeout=100)
        return Outcome(done.returncode, done.stdout, done.stderr)

    def manage(self, *words: str) -> str:
        """Run `manage.py`; give what it printed."""
        done = self.run("manage.py", *words)
        assert done.status == 0, done.output + done.errors
        return done.output


def project_of(sandbox: Sandbox, clients: Gateway, dev: SignedIn, target: str) -> Project:
    """Copy the project for a target; the token comes by the environment."""
    folder = sandbox.folder("django")
    for source in sorted(PROJECT.rglob("*.py")):
        (folder / source.relative_to(PROJECT)).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, folder / source.relative_to(PROJECT))
    for path in folder.rglob("*"):
        sandbox.own(path, 0o700 if path.is_dir() else 0o600)
    settings = {
        "BANK_HOST": "localhost",
        "BANK_PORT": str(clients.port),
        "BANK_USER": f"{dev.person}+{target}",
        "BANK_PASSWORD": dev.token,
        "BANK_NAME": DATABASE,
        "BANK_CA": str(clients.ca),
    }
    return Project(sandbox, folder, settings)


@pytest.fixture(scope="module")
def project(
    sandbox: Sandbox, clients: Gateway, dev: SignedIn, target: str, server: PostgresServer
) -> Iterator[Project]:
    """The project at either target; behind the tests its tables are gone."""
    yield project_of(sandbox, clients, dev, target)
    server.execute(f"DROP TABLE IF EXISTS {', '.join(TABLES)} CASCADE")


@pytest.fixture
def masked_project(sandbox: Sandbox, clients: Gateway, dev: SignedIn, masked: str) -> Project:
    """The project at the same server behind masks."""
    return project_of(sandbox, clients, dev, masked)


def test_djangos_migrations_make_change_and_remove_tables_and_its_orm_works_on_them(
    project: Project, server: PostgresServer
) -> None:
    assert "Create model Loan" in project.manage("makemigrations", "branch")
    planned = project.manage("sqlmigrate", "branch", "0001")
    assert 'CREATE TABLE "branch_book"' in planned
    assert "Applying branch.0001_initial... OK" in project.manage("migrate")
    assert "[X] 0001_initial" in project.manage("showmigrations", "branch")

    # The models change: a second migration alters the table.
    project.sandbox.write(
        project.folder / "branch" / "models.py",
        (project.folder / "branch" / "models.py").read_text().replace("# pages", "pages"),
    )
    assert "Add field pages to book" in project.manage("makemigrations", "branch")
    assert "OK" in project.manage("migrate")
    project.manage("makemigrations", "--check")
    assert server.execute("SELECT data_type FROM information_schema.columns WHERE column_name = 'pages'") == [
        ("integer",)
    ]

    done = project.run("work.py")
    assert done.status == 0, done.output + done.errors
    assert json.loads(done.output) == {
        "made": 500,
        "joined": ["Ada", "Bo"],
        "json": ["book 7"],
        "array": 250,
        "streamed": 500,
        "kept": True,
        "lost": False,
        "locked": "book 0",
        "upserted": "again",
        "deleted": 2,
        "refused": "42501",
        "usable": 42,
    }

    assert "OK" in project.manage("migrate", "branch", "zero")
    assert server.execute("SELECT count(*) FROM pg_class WHERE relname LIKE 'branch\\_%' AND relkind = 'r'") == [(0,)]


def test_django_writes_models_of_the_bank_that_is_there(project: Project) -> None:
    models = project.manage("inspectdb", "customers", "accounts", "cards", "transactions", "loans")

    assert "customer = models.ForeignKey(Customers, models.DO_NOTHING)" in models
    assert "balance = models.DecimalField(max_digits=14, decimal_places=2)" in models
    assert "pan = models.TextField(unique=True)" in models
    assert "at = models.DateTimeField()" in models
    assert "Unable to inspect" not in models


def test_djangos_orm_reads_masked_columns_as_the_types_that_they_are(masked_project: Project) -> None:
    done = masked_project.run("read.py")

    assert done.status == 0, done.output + done.errors
    assert json.loads(done.output) == {
        "row": ["***1120", "***", None, "CA"],
        "all": 40,
        "compared": "42501",
        "streamed": "42501",
        "unstreamed": 40,
        "migrated": "42501",
        "usable": 40,
    }
