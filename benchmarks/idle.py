"""What a session costs that is open and does nothing: memory, as the slope over thousands; and how fast they open.

    python -m benchmarks.idle [--sessions 10000] [--asked]

Memory is the proportional set (PSS) of all processes of the gateway. The target is simulated (`simulated.py`), since
ten thousand real backends do not fit beside it; what it answers to the gateway's own questions is what a real server
had answered. The clients are one process too (`crowd.py`).
"""

from __future__ import annotations

import argparse
import json
import re
import resource
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import linear_regression
from typing import Any, Final

from psycopg import Cursor

from benchmarks.figures import Figure
from benchmarks.point import MASKS
from benchmarks.stage import PERSON, Stage, stage
from tests.support import processes
from tests.support.gateway import TARGET, Gateway
from tests.support.ports import free_port
from tests.support.postgres import DATABASE, GATEWAY
from tests.support.sandbox import ENVIRONMENT
from tests.support.signing_in import sign_in
from tests.support.waiting import wait_for
from vestibule.analysis.sql.catalog import QUERY
from vestibule.masking.catalog import QUERY as SNAPSHOT
from vestibule.protocols.postgres import messages as pg
from vestibule.protocols.postgres.codec import encode

HERE: Final = Path(__file__).resolve().parent
#: Sessions at which memory is looked at, as shares of all.
STEPS: Final = (0.1, 0.4, 0.7, 1.0)
#: What a session asks once before it is idle, with `--asked`.
STATEMENT: Final = "SELECT 1"
KIB: Final = 1024
_PSS: Final = re.compile(r"^Pss:\s+(\d+) kB", re.MULTILINE)


@dataclass(slots=True)
class Crowd:
    """How memory grew while sessions opened."""

    sessions: list[int] = field(default_factory=list)
    bytes: list[int] = field(default_factory=list)
    seconds: float = 0.0
    #: Log-ins that were refused, and tried again.
    refused: int = 0

    @property
    def bytes_per_session(self) -> float:
        """The slope."""
        return linear_regression(self.sessions, self.bytes).slope

    @property
    def logins_per_second(self) -> float:
        """How many opened a second."""
        return self.sessions[-1] / self.seconds


def measure(stage: Stage, sessions: int, text: str = "") -> Iterator[Figure]:
    """Measure memory a session and the log-in rate, with TLS towards the client, and on both sides."""
    allow_descriptors()
    answers = recorded(stage)
    for name, has_tls, aim in (("TLS towards the client", False, 48.0), ("TLS on both sides", True, 80.0)):
        fresh = gathered(stage, sessions, answers, has_tls=has_tls, text=text)
        parts = {
            f"MiB at {count} sessions": held / KIB**2 for count, held in zip(fresh.sessions, fresh.bytes, strict=True)
        }
        yield Figure(
            "idle", f"memory of an idle session, {name}", fresh.bytes_per_session / KIB, "KiB", aim, parts=parts
        )
        yield Figure(
            "idle", f"log-ins, {name}", fresh.logins_per_second, "/s", parts={"refused and tried again": fresh.refused}
        )


def recorded(stage: Stage) -> dict[str, str]:
    """Ask a real server what the gateway asks, and keep its answers as bytes in hex."""
    answers = {}
    with stage.server.connect(GATEWAY) as connection:
        for question in (QUERY, SNAPSHOT):
            cursor = connection.execute(question.encode())
            told = list(_told(cursor))
            while cursor.nextset():
                told += _told(cursor)
            answers[question.encode().hex()] = b"".join(map(encode, [*told, pg.ReadyForQuery("I")])).hex()
    return answers


def _told(cursor: Cursor[Any]) -> Iterator[pg.BackendMessage]:
    result = cursor.pgresult
    if result is None:
        raise RuntimeError("the server answered nothing")
    if result.nfields:
        yield pg.RowDescription(
            tuple(
                pg.Field(name.decode(), 0, 0, 25, -1, -1, 0)
                for at in range(result.nfields)
                if (name := result.fname(at))
            )
        )
    for row in range(result.ntuples):
        yield pg.DataRow(tuple(result.get_value(row, at) for at in range(result.nfields)))
    yield pg.CommandComplete((result.command_status or b"").decode())


@contextmanager
def simulated(stage: Stage, answers: Mapping[str, str], *, has_tls: bool) -> Iterator[int]:
    """Start the simulated target; give its port."""
    port, leaf = free_port(), stage.authority.issue("simulated")
    settings: dict[str, object] = {"port": port, "password": stage.server.passwords[GATEWAY], "answers": answers}
    if has_tls:
        settings |= {"certificate": str(leaf.certificate), "key": str(leaf.key)}
    with _program(stage, "simulated", settings) as program:
        wait_for(lambda: _listens(port) or _raise_if_ended(program), "the simulated target")
        yield port


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    except OSError:
        return False
    return True


def _raise_if_ended(program: subprocess.Popen[bytes]) -> bool:
    if program.poll() is not None:
        raise RuntimeError(f"it ended with {program.returncode}")
    return False


@contextmanager
def _program(stage: Stage, name: str, settings: Mapping[str, object]) -> Iterator[subprocess.Popen[bytes]]:
    """Run one of the programs beside this file as the plain user; its settings are the first line of its input."""
    folder = stage.sandbox.folder(name)
    source = stage.sandbox.own(Path(shutil.copyfile(HERE / f"{name}.py", folder / f"{name}.py")), 0o600)
    errors = stage.sandbox.write(folder / "errors", "")
    with errors.open("wb") as written:
        program = stage.sandbox.popen(
            [ENVIRONMENT / "bin" / "python", source], folder=folder, stdin=subprocess.PIPE, stderr=written
        )
    try:
        _say(program, json.dumps(settings))
        yield program
    except Exception:
        sys.stderr.write(errors.read_text()[-2_000:])
        raise
    finally:
        program.kill()
        program.communicate()


def _say(program: subprocess.Popen[bytes], line: str) -> None:
    if program.stdin is None:
        raise RuntimeError("a program without input")
    program.stdin.write(line.encode() + b"\n")
    program.stdin.flush()


def gathered(stage: Stage, sessions: int, answers: Mapping[str, str], *, has_tls: bool, text: str = "") -> Crowd:
    """Open so many sessions through a gateway of their own, and look at its memory on the way."""
    with (
        simulated(stage, answers, has_tls=has_tls) as port,
        _gateway(stage, port, sessions, has_tls=has_tls) as gateway,
    ):
        settings = {
            "port": gateway.port,
            "ca": str(stage.authority.ca),
            "user": f"{PERSON}+{TARGET}",
            "token": sign_in(gateway, PERSON).token,
            "database": DATABASE,
            "text": text,
        }
        with _program(stage, "crowd", settings) as clients:
            crowd = Crowd()
            # The first sessions fill caches that all share.
            _opened(clients, sessions // 100)
            for step in STEPS:
                wanted = int(sessions * step)
                seconds, refused = _opened(clients, wanted)
                crowd.seconds += seconds
                crowd.refused += refused
                crowd.sessions.append(wanted)
                crowd.bytes.append(settled(gateway))
            return crowd


def _opened(clients: subprocess.Popen[bytes], count: int) -> tuple[float, int]:
    _say(clients, str(count))
    answer = b"" if clients.stdout is None else clients.stdout.readline()
    if not answer:
        raise RuntimeError(f"{count} sessions could not be opened")
    seconds, refused = answer.split()
    return float(seconds), int(refused)


@contextmanager
def _gateway(stage: Stage, port: int, sessions: int, *, has_tls: bool) -> Iterator[Gateway]:
    gateway = Gateway(stage.sandbox, stage.authority, stage.provider, {TARGET: stage.server})
    target = gateway.policy["targets"][TARGET]
    target["hosts"] = [f"localhost:{port}"]
    target["tls"] = {"mode": "verify-full", "ca": f"file:{stage.authority.ca}"} if has_tls else {"mode": "disable"}
    gateway.policy |= {"masks": list(MASKS), "guardrails": []}
    # Shared by two processes, since each session takes two of the descriptors that one may have.
    limits = {"sessions": sessions, "pending": sessions, "pending_per_address": sessions, "startup_timeout": "60s"}
    gateway.settings |= {"workers": 2, "journal": {}, "log": {}, "limits": limits}
    gateway.start()
    try:
        yield gateway
    finally:
        gateway.stop()


def settled(gateway: Gateway) -> int:
    """Give the memory of all processes of a gateway once it does not grow any more."""
    held = proportional(gateway)
    for _ in range(20):
        time.sleep(1)
        before, held = held, proportional(gateway)
        if abs(held - before) < held // 1_000:
            break
    return held


def proportional(gateway: Gateway) -> int:
    """Add up the PSS of all processes of a gateway, in bytes."""
    if gateway.program is None:
        raise RuntimeError("the gateway does not run")
    family = [gateway.program.pid, *processes.descendants(gateway.program.pid)]
    return sum(_proportional(pid) for pid in family)


def _proportional(pid: int) -> int:
    found = _PSS.search(Path(f"/proc/{pid}/smaps_rollup").read_text())
    return int(found[1]) * KIB if found else 0


def allow_descriptors() -> int:
    """Raise what this process and those it starts may open as far as it goes; give how much that is."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    return most


def main() -> None:
    """Measure and print."""
    arguments = argparse.ArgumentParser(description="Memory of idle sessions, and the log-in rate.")
    arguments.add_argument("--sessions", type=int, default=10_000, help="how many are opened (default 10,000)")
    arguments.add_argument("--asked", action="store_true", help="each asks one statement first")
    given = arguments.parse_args()
    with stage() as made:
        for each in measure(made, given.sessions, STATEMENT if given.asked else ""):
            sys.stdout.write(f"{each.name:50}{each.value:>10.1f} {each.unit}  {dict(each.parts)}\n")


if __name__ == "__main__":
    main()
