"""Real clients: psql 15, the same with libpq 18, and psql in a terminal."""

from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

from tests.support import processes
from tests.support.postgres import DEBIAN
from tests.support.sandbox import ENVIRONMENT, Sandbox

PSQL = DEBIAN / "psql"
PGBENCH = DEBIAN / "pgbench"


def libpq18() -> Path:
    """Give the libpq 18 that psycopg's wheel carries; preloaded, it serves any psql."""
    site = ENVIRONMENT / "lib"
    found = sorted(site.glob("python3.*/site-packages/psycopg_binary.libs/libpq-*.so.5*"))
    if not found:
        raise RuntimeError("psycopg's libpq is missing; run `make setup`")
    return found[0]


@dataclass(slots=True)
class Psql:
    """psql with connection settings in its environment, so that no password is in a process list."""

    sandbox: Sandbox
    settings: Mapping[str, str]
    modern: bool = False
    folder: Path = field(init=False)

    def __post_init__(self) -> None:
        """Give it a home."""
        self.folder = self.sandbox.folder("psql")

    @property
    def environment(self) -> dict[str, str]:
        """libpq's own variables; `modern` preloads libpq 18."""
        variables = {f"PG{name.upper()}": value for name, value in self.settings.items()}
        preload = {"LD_PRELOAD": str(libpq18())} if self.modern else {}
        return {"PAGER": "cat", "TERM": "dumb", "PGCONNECT_TIMEOUT": "20", **variables, **preload}

    def run(self, *statements: str, options: Sequence[str] = (), timeout: float = 60) -> Outcome:
        """Run statements in one session, each as a message of its own, and go on after an error."""
        script = "".join(f"{statement.rstrip().rstrip(';')};\n" for statement in statements)
        return self.script(script, options=options, timeout=timeout)

    def script(self, text: str, *, options: Sequence[str] = (), timeout: float = 60) -> Outcome:
        """Feed `text` to psql's standard input: rows unaligned, without headings, errors with their code."""
        command: list[str | Path] = [PSQL, "-X", "-q", "-A", "-t", "-v", "VERBOSITY=verbose", *options]
        done = self.sandbox.run(command, folder=self.folder, environment=self.environment, typed=text, timeout=timeout)
        return Outcome(done.returncode, done.stdout, done.stderr)

    def program(self, command: Sequence[str | Path], *, typed: str = "", timeout: float = 120) -> Outcome:
        """Run another libpq program (pgbench, pg_dump) with the same settings."""
        done = self.sandbox.run(command, folder=self.folder, environment=self.environment, typed=typed, timeout=timeout)
        return Outcome(done.returncode, done.stdout, done.stderr)

    def terminal(self, *options: str) -> Terminal:
        """Start psql in a terminal, as a person would."""
        command: list[str | Path] = [PSQL, "-X", "-P", "pager=off", "-v", "VERBOSITY=verbose", *options]
        return Terminal.start(self.sandbox, command, folder=self.folder, environment=self.environment)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a client printed, and its status."""

    status: int
    output: str
    errors: str

    @property
    def rows(self) -> list[str]:
        """The lines of standard output."""
        return self.output.splitlines()


@dataclass(slots=True)
class Terminal:
    """A program in a pseudo-terminal: type, wait for text, press Ctrl-C."""

    process: subprocess.Popen[bytes]
    descriptor: int
    text: str = ""
    _read: int = 0

    @classmethod
    def start(
        cls, sandbox: Sandbox, command: Sequence[str | Path], *, folder: Path, environment: Mapping[str, str]
    ) -> Terminal:
        """Start `command` as the plain user with a terminal of its own."""
        ours, theirs = pty.openpty()
        if sandbox.owner.switch:
            os.fchown(theirs, sandbox.owner.uid, sandbox.owner.gid)
        process = subprocess.Popen(
            # `setsid --ctty` makes it the controlling terminal, so that Ctrl-C arrives as SIGINT.
            sandbox.as_owner(["setsid", "--ctty", *command]),
            cwd=folder,
            env=sandbox.environment(folder, environment),
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
        )
        os.close(theirs)
        return cls(process, ours)

    def __enter__(self) -> Terminal:
        """Use it in a `with` statement."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the program."""
        self.close()

    def type(self, line: str) -> None:
        """Type a line and press Enter."""
        os.write(self.descriptor, line.encode() + b"\n")

    def interrupt(self) -> None:
        """Press Ctrl-C."""
        os.write(self.descriptor, b"\x03")

    def expect(self, wanted: str, timeout: float = 30.0) -> str:
        """Wait until `wanted` appears behind what was expected before; give the text up to its end."""
        deadline = time.monotonic() + timeout
        while wanted not in self.text[self._read :]:
            if time.monotonic() > deadline or not self._more(deadline):
                raise AssertionError(f"{wanted!r} did not appear; on the screen:\n{self.text[self._read :]}")
        start, self._read = self._read, self.text.index(wanted, self._read) + len(wanted)
        return self.text[start : self._read]

    def wait(self, timeout: float = 30.0) -> int:
        """Wait for the program's end; give its status."""
        deadline = time.monotonic() + timeout
        while self.process.poll() is None and time.monotonic() < deadline:
            self._more(min(deadline, time.monotonic() + 0.1))
        return self.process.wait(timeout=1)

    def close(self) -> None:
        """Hang up."""
        if self.process.poll() is None:
            processes.end(self.process.pid, signal.SIGHUP, grace=3)
        self.process.wait(timeout=10)
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1

    def _more(self, deadline: float) -> bool:
        ready, _, _ = select.select([self.descriptor], [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            return False
        try:
            data = os.read(self.descriptor, 65_536)
        except OSError:  # EIO: the program's side is closed
            return False
        self.text += data.decode(errors="replace").replace("\r\n", "\n")
        return bool(data)
