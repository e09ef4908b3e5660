"""What the tests' own ground promises: a plain user, nothing left behind."""

from __future__ import annotations

import os
import pwd
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import processes
from tests.support.ports import free_port
from tests.support.sandbox import ACCOUNT, CHECKOUT, Sandbox
from tests.support.waiting import wait_for

#: A run that starts a program, which starts another in a session of its own, and then says where they are.
RUN = """
import sys, time
from pathlib import Path
from tests.support.sandbox import Sandbox
with Sandbox() as sandbox:
    folder = sandbox.folder("work")
    program = sandbox.start(["sh", "-c", "setsid sleep 600 & echo $! > inner; exec sleep 600"], name="p", folder=folder)
    while not (folder / "inner").exists() or not (folder / "inner").read_text().strip():
        time.sleep(0.01)
    print(program.pid, (folder / "inner").read_text().strip(), sandbox.root, flush=True)
    time.sleep(600)
"""


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
@pytest.mark.server
def test_a_run_that_is_ended_leaves_no_process_and_no_folder(end: signal.Signals) -> None:
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
    run = subprocess.Popen(
        [sys.executable, "-c", RUN], env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert run.stdout is not None
    outer, inner, root = run.stdout.readline().split()

    run.send_signal(end)
    run.wait(timeout=30)
    run.stdout.close()

    wait_for(lambda: not processes.is_alive(int(outer)), "the program's end", timeout=20)
    wait_for(lambda: not processes.is_alive(int(inner)), "the end of what it started", timeout=20)
    wait_for(lambda: not Path(root).exists(), "the folder to be removed", timeout=20)


def test_programs_never_run_as_root(sandbox: Sandbox) -> None:
    done = sandbox.run(["id", "-u"], folder=sandbox.folder("id"))

    expected = pwd.getpwnam(ACCOUNT).pw_uid if os.geteuid() == 0 else os.geteuid()
    assert int(done.stdout) == expected != 0


def test_a_written_file_is_the_plain_users_alone(sandbox: Sandbox) -> None:
    folder = sandbox.folder("files")
    path = sandbox.write(folder / "secret", "x")

    assert sandbox.run(["cat", path], folder=folder).stdout == "x"
    assert path.stat().st_mode & 0o777 == 0o600


def test_what_programs_wrote_since_a_test_began_is_told(sandbox: Sandbox) -> None:
    folder = sandbox.folder("log")
    script = "echo before; while [ ! -e go ]; do sleep 0.02; done; echo behind; exec sleep 600"
    program = sandbox.start(["sh", "-c", script], name="teller", folder=folder)
    wait_for(lambda: "before" in program.output(), "the first line")

    sandbox.remember_logs()
    (folder / "go").touch()
    wait_for(lambda: "behind" in program.output(), "the second line")

    assert sandbox.new_log_text() == [("teller", "behind\n")]
    program.stop()


def test_two_ports_are_never_the_same() -> None:
    ports = [free_port() for _ in range(50)]

    assert len(set(ports)) == len(ports)


def test_another_process_is_not_given_a_reserved_port() -> None:
    port = free_port()
    code = f"from tests.support import ports; print(ports._reserve({port}))"

    other = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(CHECKOUT)}, capture_output=True, text=True
    )

    assert other.stdout.strip() == "False", other.stderr
