"""Go's pgx as a client: a program of ours (`tests/support/go/pgx`) that `make setup` has built, and one job for it."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, dataclass
from typing import Any

from tests.support.sandbox import TOOLS, Sandbox

PROGRAM = TOOLS / "go" / "pgx"


@dataclass(frozen=True, slots=True)
class Job:
    """One database to come in to, and an empty table of the job's own there, with columns of many types."""

    #: libpq's settings without the password, which travels beside them.
    conninfo: str
    password: str
    table: str


def ask(sandbox: Sandbox, job: Job, *, timeout: float = 300) -> dict[str, Any]:
    """Let the program do all its checks; give what each found, or its `error`."""
    if not PROGRAM.exists():
        raise RuntimeError("the pgx client is missing; run `make setup`")
    folder = sandbox.folder("pgx")
    shutil.copyfile(PROGRAM, folder / "pgx")
    sandbox.own(folder / "pgx", 0o700)
    done = sandbox.run([folder / "pgx"], folder=folder, typed=json.dumps(asdict(job)), timeout=timeout)
    if done.returncode:
        raise RuntimeError(f"the pgx client ended with {done.returncode}:\n{done.stderr}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found
