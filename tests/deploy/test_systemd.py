"""The unit for systemd: valid, closed as far as it can be, and the gateway does its work within it.

No systemd runs where tests run. Its own tool checks the unit; limits, system calls, address families and the ban of
memory that is written and executed are put on a real gateway by `tests/support/unit.py`. What needs mounts and
namespaces of a service (`ProtectSystem` and its like) is checked by name alone.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from tests.support.evidence import Journal
from tests.support.gateway import TARGET, VESTIBULE, Gateway, GatewayFactory
from tests.support.postgres import PostgresServer
from tests.support.sandbox import CHECKOUT, Sandbox
from tests.support.signing_in import sign_in
from tests.support.unit import allowed_calls, directives
from tests.support.waiting import wait_for
from vestibule.cli.exits import Exit
from vestibule.control.workers import END_TIME

UNIT = CHECKOUT / "deploy" / "systemd" / "vestibule.service"
CONFINER = CHECKOUT / "tests" / "support" / "unit.py"
#: `systemd-analyze security` of systemd 252, from 0 (closed) to 10. It may only go down.
EXPOSURE = 1.2
CLOSED = {
    "NoNewPrivileges": "yes",
    "CapabilityBoundingSet": "",
    "AmbientCapabilities": "",
    "ProtectSystem": "strict",
    "ProtectHome": "yes",
    "PrivateTmp": "yes",
    "PrivateDevices": "yes",
    "PrivateUsers": "yes",
    "MemoryDenyWriteExecute": "yes",
    "RestrictNamespaces": "yes",
    "SystemCallArchitectures": "native",
    "LimitCORE": "0",
    "UMask": "0077",
    "User": "vestibule",
    "Type": "notify",
    "KillMode": "mixed",
}


def analyse(*words: str, unit: Path = UNIT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["systemd-analyze", "--no-pager", *words, str(unit)], check=False, capture_output=True, text=True
    )


def seconds(value: str) -> int:
    number, unit = re.fullmatch(r"(\d+)(s|min)", value).groups()
    return int(number) * (60 if unit == "min" else 1)


def test_systemds_own_tool_finds_nothing_wrong(tmp_path: Path) -> None:
    # The tool wants the program to be there; the unit's own path is checked below.
    copy = tmp_path / UNIT.name
    copy.write_text(UNIT.read_text().replace("/opt/vestibule/bin/vestibule", str(VESTIBULE)))
    done = analyse("verify", unit=copy)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_it_is_not_more_open_than_it_was() -> None:
    shown = analyse("security", "--offline=true").stdout
    [exposure] = re.findall(r"Overall exposure level for vestibule\.service: ([\d.]+)", shown)
    assert float(exposure) <= EXPOSURE


@pytest.mark.parametrize(("name", "value"), CLOSED.items())
def test_a_directive_is_there(name: str, value: str) -> None:
    assert directives(UNIT)[name] == [value]


def test_it_starts_what_the_guide_installs() -> None:
    [start] = directives(UNIT)["ExecStart"]
    guide = (CHECKOUT / "docs/guide/install.md").read_text()
    assert start == "/opt/vestibule/bin/vestibule serve --config /etc/vestibule/vestibule.yaml"
    assert "python3.11 -m venv /opt/vestibule" in guide
    assert "/etc/vestibule/vestibule.yaml" in guide


def test_what_does_not_go_away_by_itself_is_not_tried_again() -> None:
    assert directives(UNIT)["RestartPreventExitStatus"] == [str(int(Exit.USAGE))]


def test_a_stop_has_time_for_the_end_of_the_sessions_and_of_every_process() -> None:
    from vestibule.app.control import DRAIN

    # The sessions' time, the answer of the bus, and the end of a process that does not answer.
    assert seconds(directives(UNIT)["TimeoutStopSec"][0]) >= DRAIN + 5 + END_TIME + 15


def test_the_filter_of_system_calls_leaves_out_what_changes_the_system() -> None:
    calls = allowed_calls(directives(UNIT)["SystemCallFilter"])
    assert {"read", "openat", "sendmsg", "setrlimit", "prlimit64"} <= calls
    assert not {"mount", "ptrace", "bpf", "setuid", "chroot", "init_module", "reboot", "swapon", "setpriority"} & calls


@pytest.fixture
def confined(gateways: GatewayFactory, postgres15: PostgresServer, sandbox: Sandbox) -> Gateway:
    """A gateway that is started within the unit's limits."""
    made = gateways.make({TARGET: postgres15}, start=False)
    made.settings["workers"] = 2
    made.write_files()
    command = [sys.executable, CONFINER, UNIT, VESTIBULE, "serve", "--config", made.settings_file]
    made.program = sandbox.start(command, name="vestibule", folder=made.folder)
    wait_for(made._is_ready, "a confined gateway")
    return made


def test_a_gateway_serves_records_and_ends_within_the_units_limits(confined: Gateway) -> None:
    assert confined.program is not None
    status = Path(f"/proc/{confined.program.pid}/status").read_text()
    assert re.search(r"^NoNewPrivs:\s+1$", status, re.MULTILINE)
    assert re.search(r"^Seccomp:\s+2$", status, re.MULTILINE)
    dev1 = sign_in(confined, "dev1")
    with psycopg.connect(confined.conninfo("dev1", dev1.token, TARGET, application_name="confined")) as connection:
        assert connection.execute("SELECT count(*) FROM customers").fetchone() == (40,)
        large = f"SELECT '{'x' * 200_000}'"
        assert connection.execute(large).fetchone() == ("x" * 200_000,)
    Journal(confined.data).closed_session("confined")
    assert confined.stop() == 0
    done = confined.cli("ana", "evidence", "verify", confined.data)
    assert done.status == 0, done.output


@pytest.mark.parametrize(
    ("what", "told"),
    [
        ("import mmap; mmap.mmap(-1, 4096, prot=7)", "PermissionError"),
        ("import socket; socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)", "PermissionError"),
        ("import os; os.setpriority(0, 0, 5)", "PermissionError"),
        ("import os; os.setuid(0)", "PermissionError"),
    ],
)
def test_the_limits_bite(sandbox: Sandbox, what: str, told: str) -> None:
    done = sandbox.run([sys.executable, CONFINER, UNIT, sys.executable, "-c", what], folder=sandbox.root, timeout=60)
    assert done.returncode == 1
    assert told in done.stderr
