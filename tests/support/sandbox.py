"""Programs and folders of a test run: started as a plain user, ended whatever happens.

1. Servers never run as root: root starts them as the account `vestibule-sandbox`, which `make setup` has made.
2. Every program has a log; what it wrote during a failing test is shown with the failure.
3. `close` ends and removes everything. If the run is killed before that, a guard process does it (`guard.py`).
"""

from __future__ import annotations

import contextlib
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, ClassVar

from tests.support import processes

ACCOUNT = "vestibule-sandbox"
CHECKOUT = Path(__file__).resolve().parent.parent.parent
#: Environment and tools where the plain user can reach them (`scripts/setup.py`, `provide_home`).
ENVIRONMENT = Path(sys.prefix).resolve()
TOOLS = (CHECKOUT / ".tools").resolve()
SHOWN = 6_000


@dataclass(frozen=True, slots=True)
class Owner:
    """The plain user that programs run as; `switch` says whether root has to become it."""

    uid: int
    gid: int
    switch: bool


def owner() -> Owner:
    """Tell who runs servers: the sandbox account if we are root, else ourselves."""
    if os.geteuid() != 0:
        return Owner(os.geteuid(), os.getegid(), switch=False)
    try:
        entry = pwd.getpwnam(ACCOUNT)
    except KeyError:
        raise RuntimeError(f"the account {ACCOUNT} is missing; run `make setup`") from None
    return Owner(entry.pw_uid, entry.pw_gid, switch=True)


@dataclass(slots=True)
class Program:
    """A started program."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path
    stop_signal: signal.Signals = signal.SIGTERM

    @property
    def pid(self) -> int:
        """The process id, which is also that of its group."""
        return self.process.pid

    @property
    def is_running(self) -> bool:
        """Tell whether it has not ended yet."""
        return self.process.poll() is None

    def output(self) -> str:
        """Everything that it has written so far."""
        return self.log.read_text(errors="replace")

    def stop(self, grace: float = 15.0) -> int:
        """End it in its own way, with everything below it; give its status."""
        processes.end(self.pid, self.stop_signal, grace)
        return self.process.wait(timeout=10)

    def kill(self) -> None:
        """End it as a crash would: SIGKILL to it and everything below it."""
        family = [self.pid, *processes.descendants(self.pid)]
        processes.kill_all(family)
        self.process.wait(timeout=10)
        processes.wait_gone(family, 10)


@dataclass(slots=True)
class Sandbox:
    """One run's folder, programs and guard."""

    current: ClassVar[Sandbox | None] = None

    owner: Owner = field(default_factory=owner)
    tag: str = field(default_factory=lambda: secrets.token_hex(8))
    root: Path = field(init=False)
    programs: list[Program] = field(default_factory=list)
    _guard: subprocess.Popen[str] | None = None
    _seen: dict[Path, int] = field(default_factory=dict)

    def __enter__(self) -> Sandbox:
        """Make the run's folder, start the guard."""
        # A short path, as Unix sockets in it may have 107 characters.
        self.root = Path(tempfile.mkdtemp(prefix="vestibule-", dir="/tmp"))
        self.root.chmod(0o755)
        self._guard = subprocess.Popen(
            [sys.executable, "-I", "-B", str(CHECKOUT / "tests" / "support" / "guard.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
        )
        self._tell(f"folder {self.root}")
        self._tell(f"tag {self.tag}")
        Sandbox.current = self
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End everything, newest first."""
        self.close()

    def close(self) -> None:
        """End every program, remove the folder, let the guard go."""
        for program in reversed(self.programs):
            if program.is_running:
                program.stop()
            self._tell(f"-{program.pid}")
        processes.kill_all(processes.tagged(self.tag))
        shutil.rmtree(self.root, ignore_errors=True)
        if self._guard is not None and self._guard.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self._guard.stdin.close()
            self._guard.wait(timeout=30)
            self._guard = None
        Sandbox.current = None

    def folder(self, name: str, mode: int = 0o700) -> Path:
        """Make a folder of the plain user's, with a number behind `name` where it is taken."""
        path = self.root / name
        count = 1
        while path.exists():
            count += 1
            path = self.root / f"{name}-{count}"
        path.mkdir()
        self.own(path, mode)
        return path

    def own(self, path: Path, mode: int) -> Path:
        """Give a file or folder to the plain user."""
        if self.owner.switch:
            os.chown(path, self.owner.uid, self.owner.gid)
        path.chmod(mode)
        return path

    def write(self, path: Path, content: str | bytes, mode: int = 0o600) -> Path:
        """Write a file of the plain user's."""
        # Born closed: a secret in it is never readable by others, not even for a moment.
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as handle:
            handle.write(content.encode() if isinstance(content, str) else content)
        return self.own(path, mode)

    def start(
        self,
        command: Sequence[str | Path],
        *,
        name: str,
        folder: Path,
        environment: Mapping[str, str] | None = None,
        stop_signal: signal.Signals = signal.SIGTERM,
    ) -> Program:
        """Start a program as the plain user, in `folder`, with a log and a process group of its own."""
        log = self._log(name)
        with log.open("ab") as output:
            process = subprocess.Popen(
                self.as_owner(command),
                cwd=folder,
                env=self.environment(folder, environment),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        program = Program(name, process, log, stop_signal)
        self.programs.append(program)
        self._tell(f"+{process.pid} {int(stop_signal)}")
        return program

    def popen(
        self,
        command: Sequence[str | Path],
        *,
        folder: Path,
        environment: Mapping[str, str] | None = None,
        stdin: int | IO[bytes] = subprocess.DEVNULL,
        stdout: int | IO[bytes] = subprocess.PIPE,
        stderr: int | IO[bytes] = subprocess.STDOUT,
    ) -> subprocess.Popen[bytes]:
        """Start a program whose input and output the caller holds (a terminal, a dialogue); the caller ends it."""
        return subprocess.Popen(
            self.as_owner(command),
            cwd=folder,
            env=self.environment(folder, environment),
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            start_new_session=True,
        )

    def run(
        self,
        command: Sequence[str | Path],
        *,
        folder: Path,
        environment: Mapping[str, str] | None = None,
        typed: str = "",
        timeout: float = 60,
    ) -> subprocess.CompletedProcess[str]:
        """Run a program as the plain user to its end; output and errors apart, both as text."""
        return subprocess.run(
            self.as_owner(command),
            cwd=folder,
            env=self.environment(folder, environment),
            input=typed,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
            check=False,
        )

    def as_owner(self, command: Sequence[str | Path]) -> list[str]:
        """Write `command` so that it runs as the plain user."""
        words = [str(word) for word in command]
        if not self.owner.switch:
            return words
        become = ["setpriv", f"--reuid={self.owner.uid}", f"--regid={self.owner.gid}", "--clear-groups", "--"]
        return [*become, *words]

    def environment(self, folder: Path, more: Mapping[str, str] | None = None) -> dict[str, str]:
        """Give a program a clean environment: nothing of ours but where programs are."""
        return {
            "PATH": f"{ENVIRONMENT}/bin:/usr/local/bin:/usr/bin:/bin",
            "HOME": str(folder),
            "LANG": "C.UTF-8",
            "PYTHONDONTWRITEBYTECODE": "1",
            processes.TAG: self.tag,
            **(more or {}),
        }

    def remember_logs(self) -> None:
        """Take note of how far every log has been written."""
        self._seen = {log: log.stat().st_size for log in self._logs()}

    def new_log_text(self) -> list[tuple[str, str]]:
        """Give what has been written since `remember_logs`, the last part of each log."""
        found = []
        for log in self._logs():
            text = log.read_bytes()[self._seen.get(log, 0) :].decode(errors="replace")
            if text.strip():
                found.append((log.stem, text[-SHOWN:]))
        return found

    def _logs(self) -> list[Path]:
        return sorted((self.root / "logs").glob("*.log"))

    def _log(self, name: str) -> Path:
        folder = self.root / "logs"
        folder.mkdir(mode=0o755, exist_ok=True)
        path = folder / f"{name}.log"
        count = 1
        while path.exists():
            count += 1
            path = folder / f"{name}-{count}.log"
        path.touch()
        return path

    def _tell(self, line: str) -> None:
        if self._guard is not None and self._guard.stdin is not None:
            self._guard.stdin.write(line + "\n")
            self._guard.stdin.flush()
