"""What graphical tools ask when they connect and open their trees, from the files beside the tests of clients."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.support.postgres import PostgresServer

TOOLS: Final = Path(__file__).parents[1] / "end_to_end" / "clients" / "tools"
NUMBERS: Final = {
    "schema": "SELECT oid FROM pg_namespace WHERE nspname = 'zoo'",
    "table": "SELECT 'zoo.animals'::regclass::oid",
    "index": "SELECT 'zoo.animals_lower'::regclass::oid",
    "view": "SELECT 'zoo.big'::regclass::oid",
    "function": "SELECT 'zoo.double'::regproc::oid",
    "database": "SELECT oid FROM pg_database WHERE datname = current_database()",
}


@dataclass(frozen=True, slots=True)
class Asked:
    """One question; `rows` may `differ` from session to session, and `masked` says what becomes of it under masks."""

    name: str
    text: str
    rows: str = "same"
    masked: str = "same"


def questions(tool: str) -> list[Asked]:
    """Read a file of questions: each begins with its name, and ends where a blank line follows it."""
    found = []
    for block in (TOOLS / f"{tool}.sql").read_text().split("\n\n")[1:]:
        about = dict(re.findall(r"^-- (\w+): (.*)$", block, flags=re.MULTILINE))
        text = re.sub(r"^-- .*\n", "", block, flags=re.MULTILINE).strip()
        found.append(Asked(text=text, **about))
    return found


def texts(tool: str, server: PostgresServer, database: str) -> list[Asked]:
    """Give a tool's questions about the zoo in a database of this server."""
    numbers = {name: str(server.execute(question, database=database)[0][0]) for name, question in NUMBERS.items()}
    pattern = re.compile("{(" + "|".join(numbers) + ")}")
    return [
        Asked(each.name, pattern.sub(lambda found: numbers[found[1]], each.text), each.rows, each.masked)
        for each in questions(tool)
    ]
