"""node-postgres as a client: a program of ours (`node/client.mjs`) over the `pg` that `make setup` has installed."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tests.support.providers import node
from tests.support.sandbox import TOOLS, Sandbox

CLIENT = Path(__file__).resolve().parent / "node" / "client.mjs"


@dataclass(frozen=True, slots=True)
class Job:
    """One database to come in to, and an empty table of the job's own there, with columns of many types."""

    port: int
    user: str
    password: str
    database: str
    ca: str
    table: str


def ask(sandbox: Sandbox, job: Job, *, timeout: float = 240) -> dict[str, Any]:
    """Let the program do all its checks; give what each found, or its `error`."""
    folder = sandbox.folder("node")
    (folder / "node_modules").symlink_to(TOOLS / "node" / "node_modules")
    shutil.copyfile(CLIENT, folder / CLIENT.name)
    sandbox.own(folder / CLIENT.name, 0o600)
    done = sandbox.run([node(), CLIENT.name], folder=folder, typed=json.dumps(asdict(job)), timeout=timeout)
    if done.returncode:
        raise RuntimeError(f"the node-postgres client ended with {done.returncode}:\n{done.stderr}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found
