"""PostgreSQL's JDBC driver, Debian's package, as a client."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tests.support.sandbox import ENVIRONMENT, Sandbox

CLIENT = Path(__file__).resolve().parent / "jdbc_client.py"


@dataclass(frozen=True, slots=True)
class Job:
    """Statements for one connection, asked one behind the other, whatever becomes of the one before."""

    url: str
    properties: Mapping[str, str]
    statements: Sequence[str]
    autocommit: bool = True
    #: Rows that the driver asks for at a time; 0 is all of them. Autocommit makes it ask for all of them, too.
    fetch_size: int = 0
    #: What is done behind the statements, in the words of `jdbc_client.STEPS`: `{"do": "batch", "text": ...}`.
    steps: Sequence[Mapping[str, Any]] = ()


@dataclass(frozen=True, slots=True)
class Answer:
    """What each statement or step gave: `rows`, the number it `changed`, or `state` and `message` of its failure."""

    driver: str
    results: list[dict[str, Any]] = field(default_factory=list)

    def rows(self, number: int = 0) -> list[list[str | None]]:
        """Give the rows of statement `number`, each value as the driver writes it as a string."""
        result = self.results[number]
        if "rows" not in result:
            raise AssertionError(f"statement {number} has no rows: {result}")
        found: list[list[str | None]] = result["rows"]
        return found


def ask(sandbox: Sandbox, job: Job, *, timeout: float = 60) -> Answer:
    """Let the driver do `job` as a process of the sandbox; the password travels on its standard input."""
    folder = sandbox.folder("jdbc")
    shutil.copyfile(CLIENT, folder / CLIENT.name)
    sandbox.own(folder / CLIENT.name, 0o600)
    done = sandbox.run(
        [ENVIRONMENT / "bin" / "python", CLIENT.name],
        folder=folder,
        environment={"JAVA_HOME": str(_java())},
        typed=json.dumps(asdict(job)),
        timeout=timeout,
    )
    if done.returncode:
        raise RuntimeError(f"the JDBC client ended with {done.returncode}:\n{done.stderr}")
    return Answer(**json.loads(done.stdout.splitlines()[-1]))


def _java() -> Path:
    # Wherever the runtime lies whose `java` is on the path.
    program = shutil.which("java")
    if program is None:
        raise RuntimeError("Java is missing; run `make setup`")
    return Path(os.path.realpath(program)).parent.parent
