"""What figures are measured on: one PostgreSQL, and beside the direct way PgBouncer and the gateway, all over TLS.

The servers, the gateway and its people are those of the tests; nothing is logged at the server that costs time.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support import processes
from tests.support.certificates import Authority
from tests.support.clients import PGBENCH
from tests.support.gateway import TARGET, Gateway
from tests.support.ports import free_port
from tests.support.postgres import DATABASE, GATEWAY, PostgresFactory, PostgresServer
from tests.support.providers import LightProvider
from tests.support.sandbox import Program, Sandbox
from tests.support.signing_in import sign_in
from tests.support.waiting import wait_for

PGBOUNCER = Path("/usr/sbin/pgbouncer")
PERSON = "dora"
QUIET = """
log_statement = none
log_connections = off
log_disconnections = off
log_min_messages = fatal
max_connections = 200
shared_buffers = 256MB
"""
#: Filesystems in memory, on which a sync costs nothing.
MEMORY = Path("/dev/shm")  # noqa: S108 - a folder of the sandbox's own is made there
_TICK = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Route:
    """One way to the server: libpq's settings, and the processes that stand between."""

    name: str
    settings: Mapping[str, str]
    between: Sequence[Program] = ()

    @property
    def environment(self) -> dict[str, str]:
        """Settings as libpq's variables."""
        return {f"PG{name.upper()}": value for name, value in self.settings.items()}

    def cpu(self) -> float:
        """Seconds of CPU that the processes between have used up to now."""
        pids = [pid for program in self.between for pid in (program.pid, *processes.descendants(program.pid))]
        return sum(map(_cpu, pids))


@dataclass(slots=True)
class Stage:
    """Servers that run, and how to reach them."""

    sandbox: Sandbox
    authority: Authority
    provider: LightProvider
    server: PostgresServer
    routes: dict[str, Route] = field(default_factory=dict)
    gateways: list[Gateway] = field(default_factory=list)
    _folders: list[Path] = field(default_factory=list)

    def bounce(self, *, has_target_tls: bool = True) -> Route:
        """Start PgBouncer in session mode."""
        folder, port, leaf = self.sandbox.folder("pgbouncer"), free_port(), self.authority.issue("pgbouncer")
        users = self.sandbox.write(folder / "users", f'"{GATEWAY}" "{self.server.passwords[GATEWAY]}"\n')
        lines = {
            "listen_addr": "127.0.0.1",
            "listen_port": port,
            "unix_socket_dir": "",
            "auth_type": "scram-sha-256",
            "auth_file": users,
            "pool_mode": "session",
            "max_client_conn": 500,
            "default_pool_size": 100,
            "ignore_startup_parameters": "extra_float_digits",
            "server_tls_sslmode": "verify-full" if has_target_tls else "disable",
            "server_tls_ca_file": self.server.ca,
            "client_tls_sslmode": "require",
            "client_tls_cert_file": leaf.certificate,
            "client_tls_key_file": leaf.key,
            "log_connections": 0,
            "log_disconnections": 0,
        }
        text = f"[databases]\n* = host=localhost port={self.server.port}\n[pgbouncer]\n"
        path = self.sandbox.write(folder / "ini", text + "".join(f"{key} = {value}\n" for key, value in lines.items()))
        program = self.sandbox.start([PGBOUNCER, path], name="pgbouncer", folder=folder)
        route = Route("PgBouncer", {**self.direct().settings, "port": str(port)}, [program])
        wait_for(lambda: self._answers(route), "PgBouncer")
        return route

    def direct(self) -> Route:
        """The way without anything between."""
        return Route(
            "direct",
            {
                "host": "localhost",
                "hostaddr": "127.0.0.1",
                "port": str(self.server.port),
                "user": GATEWAY,
                "password": self.server.passwords[GATEWAY],
                "database": DATABASE,
                "sslmode": "verify-full",
                "sslrootcert": str(self.server.ca),
            },
        )

    def vestibule(
        self,
        name: str,
        *,
        masks: Sequence[Mapping[str, Any]],
        in_memory: bool,
        workers: int = 1,
        has_target_tls: bool = True,
    ) -> Route:
        """Start a gateway with all of it on: policy, records on disk or in memory, masks, recorded results."""
        gateway = Gateway(self.sandbox, self.authority, self.provider, {TARGET: self.server})
        gateway.policy["masks"] = list(masks)
        gateway.policy["guardrails"] = []
        if not has_target_tls:
            gateway.policy["targets"][TARGET]["tls"] = {"mode": "disable"}
        gateway.settings |= {"workers": workers, "journal": {}, "log": {}}
        if in_memory:
            folder = MEMORY / f"vestibule-{os.getpid()}-{name.replace(' ', '-')}"
            self._folders.append(self.sandbox.own(_made(folder), 0o700))
            gateway.settings["data"] = str(folder)
        gateway.start()
        self.gateways.append(gateway)
        token = sign_in(gateway, PERSON).token
        settings = gateway.psql(PERSON, token).settings
        between = [] if gateway.program is None else [gateway.program]
        return Route(name, {**settings, "hostaddr": "127.0.0.1"}, between)

    def pgbench(self, route: Route, *options: str, timeout: float = 600) -> str:
        """Run pgbench over a route and give what it printed."""
        folder = self.sandbox.folder("pgbench")
        done = self.sandbox.run(
            [PGBENCH, *options], folder=folder, environment={**route.environment, "OUT": str(folder)}, timeout=timeout
        )
        if done.returncode:
            raise RuntimeError(f"pgbench over {route.name} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
        return done.stdout

    def _answers(self, route: Route) -> bool:
        done = self.sandbox.run(
            [PGBENCH.parent / "psql", "-Xc", "SELECT 1"],
            folder=self.sandbox.folder("psql"),
            environment=route.environment,
        )
        return done.returncode == 0

    def close(self) -> None:
        """Remove what lies outside the sandbox's folder."""
        for gateway in self.gateways:
            gateway.stop()
        for folder in self._folders:
            for path in sorted(folder.rglob("*"), reverse=True):
                path.rmdir() if path.is_dir() else path.unlink()
            folder.rmdir()


@contextmanager
def stage(settings: str = QUIET) -> Iterator[Stage]:
    """Start the server and the provider, with pgbench's tables; end everything behind."""
    with Sandbox() as sandbox:
        authority = Authority(sandbox)
        provider = LightProvider(sandbox, authority)
        provider.start()
        server = PostgresFactory(sandbox, authority).make(15, settings)
        # Some figures are taken without TLS towards the target.
        server.access = server.access.replace("127.0.0.1/32 reject", "127.0.0.1/32 scram-sha-256")
        server.configure(settings)
        server.restart()
        made = Stage(sandbox, authority, provider, server)
        try:
            made.pgbench(made.direct(), "-i", "-q", "-s", "1")
            yield made
        finally:
            made.close()


def busy_share(seconds: float = 1.0) -> float:
    """Say which share of the machine others use now, from 0 to 1."""
    before = _busy()
    time.sleep(seconds)
    busy, idle = (now - then for now, then in zip(_busy(), before, strict=True))
    return busy / max(1, busy + idle)


def _busy() -> tuple[int, int]:
    fields = [int(word) for word in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    return sum(fields) - fields[3] - fields[4], fields[3] + fields[4]


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def _cpu(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return (int(fields[11]) + int(fields[12])) / _TICK
