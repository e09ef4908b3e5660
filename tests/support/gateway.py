"""A real Vestibule: `vestibule serve` as the plain user, its two files, its people, its command line."""

from __future__ import annotations

import copy
import json
import os
import re
import select
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from prometheus_client.parser import text_string_to_metric_families
from psycopg.conninfo import make_conninfo

from tests.support.browser import Browser
from tests.support.certificates import Authority, Certificate
from tests.support.clients import Outcome, Psql
from tests.support.ports import free_port
from tests.support.postgres import DATABASE, GATEWAY, PostgresServer
from tests.support.providers import CLIENT_ID, CLIENT_SECRET, Provider
from tests.support.sandbox import ENVIRONMENT, Program, Sandbox
from tests.support.waiting import wait_for

VESTIBULE = ENVIRONMENT / "bin" / "vestibule"
PROVIDER = "corp"
TARGET = "core-banking"
#: Where the provider sends the browser back to.
CALLBACK = f"/login/callback/{PROVIDER}"

TOKEN = re.compile(r"vst_[A-Za-z0-9_-]{43}")
ADDRESS = re.compile(r"https://localhost:\S+(?=\s)")

Change = Callable[[dict[str, Any]], object]


@dataclass(slots=True)
class Gateway:
    """One gateway with its files and folders; what is in `policy` and `settings` is written at the next start."""

    sandbox: Sandbox
    authority: Authority
    provider: Provider
    targets: Mapping[str, PostgresServer]
    settings: dict[str, Any] = field(default_factory=dict)
    policy: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    port: int = field(default_factory=free_port)
    control_port: int = field(default_factory=free_port)
    metrics_port: int = field(default_factory=free_port)
    program: Program | None = None
    folder: Path = field(init=False)
    certificate: Certificate = field(init=False)
    _homes: dict[str, Path] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Prepare folder, certificate, secrets, and the two files' usual content."""
        self.folder = self.sandbox.folder("gateway")
        self.certificate = self.authority.issue("gateway")
        self.sandbox.write(self.folder / "provider.secret", CLIENT_SECRET)
        for name, server in self.targets.items():
            self.sandbox.write(self.folder / f"{name}.password", server.passwords[GATEWAY])
        self.settings = {**self._usual_settings(), **self.settings}
        self.policy = {**self._usual_policy(), **self.policy}

    # -- its files

    @property
    def data(self) -> Path:
        """The data folder: journal, state, keys."""
        return self.folder / "data"

    @property
    def settings_file(self) -> Path:
        """The operator's file."""
        return self.folder / "vestibule.yaml"

    @property
    def policy_file(self) -> Path:
        """The bank's file."""
        return self.folder / "policy.yaml"

    @property
    def public_url(self) -> str:
        """The control plane."""
        return f"https://localhost:{self.control_port}"

    @property
    def ca(self) -> Path:
        """The authority that signed its certificate."""
        return self.authority.ca

    def write_files(self) -> None:
        """Write both files as they are wanted now."""
        self.sandbox.write(self.settings_file, _as_yaml(self.settings))
        self.sandbox.write(self.policy_file, _as_yaml(self.policy))

    def change_policy(self, change: Change) -> None:
        """Change the policy in place, as an administrator with an editor would; it is put there in one step."""
        changed = copy.deepcopy(self.policy)
        change(changed)
        self.policy = changed
        fresh = self.sandbox.write(self.folder / "policy.yaml.new", _as_yaml(changed))
        fresh.replace(self.policy_file)

    def _usual_settings(self) -> dict[str, Any]:
        pair = {"certificate": str(self.certificate.certificate), "key": str(self.certificate.key)}
        return {
            "public_url": self.public_url,
            "data": str(self.data),
            "policy": "policy.yaml",
            "listeners": {
                "postgres": {"address": f"127.0.0.1:{self.port}", **pair},
                "control": {"address": f"127.0.0.1:{self.control_port}", **pair},
                "metrics": {"address": f"127.0.0.1:{self.metrics_port}"},
            },
            "providers": {PROVIDER: {"client_secret": "file:provider.secret", "ca": str(self.provider.ca)}},
            "journal": {"segment_bytes": "4MiB", "min_free": "64MiB", "stop_free": "32MiB"},
            "log": {"publish_every": "500ms"},
        }

    def _usual_policy(self) -> dict[str, Any]:
        oidc = {"issuer": self.provider.issuer, "client_id": CLIENT_ID, "scopes": list(self.provider.scopes)}
        return {
            "version": 1,
            "identity": [{"name": PROVIDER, "oidc": oidc}],
            "roles": {"administrator": {"groups": ["platform"]}, "auditor": {"groups": ["internal-audit"]}},
            "targets": {name: self._target(name, server) for name, server in self.targets.items()},
            "access": [
                {
                    "name": "engineers work in production",
                    "groups": ["engineering"],
                    "targets": {"labels": {"env": "production"}},
                    "allow": ["read", "write"],
                },
                {
                    "name": "database managers change schemas",
                    "groups": ["dba-managers"],
                    "targets": {"labels": {"env": "production"}},
                    "allow": ["read", "write", "schema", "admin"],
                },
            ],
            "guardrails": [
                {
                    "name": "no dropping",
                    "match": {"impact": "schema", "verbs": ["drop", "truncate"]},
                    "action": "deny",
                    "reason": "Schema objects are dropped by migration only.",
                }
            ],
        }

    def _target(self, name: str, server: PostgresServer) -> dict[str, Any]:
        return {
            "protocol": "postgres",
            "hosts": [server.address],
            "databases": [DATABASE],
            "tls": {"mode": "verify-full", "ca": f"file:{server.ca}"},
            "credential": {"username": GATEWAY, "password": f"file:{self.folder / f'{name}.password'}"},
            "functions": [{"name": "public.state_count(text)", "result": "clean"}],
            "labels": {"env": "production", "data": "npi"},
        }

    # -- its life

    def start(self, *, wait: bool = True) -> None:
        """Write the files, start it, and wait until it says that it is ready."""
        self.write_files()
        command: list[str | Path] = [VESTIBULE, "serve", "--config", self.settings_file]
        self.program = self.sandbox.start(command, name="vestibule", folder=self.folder, environment=self.environment)
        if wait:
            wait_for(self._is_ready, f"Vestibule at {self.public_url}")

    def stop(self) -> int:
        """End it as an operator would; give its status."""
        if self.program is None:
            return 0
        program, self.program = self.program, None
        return program.stop(grace=30)

    def kill(self) -> None:
        """End it as a crash of the machine would: SIGKILL to all its processes."""
        if self.program is not None:
            self.program.kill()
            self.program = None

    def restart(self) -> None:
        """Stop and start on the same ports and data."""
        self.stop()
        self.start()

    def _is_ready(self) -> bool:
        if self.program is not None and not self.program.is_running:
            raise RuntimeError(f"vestibule ended at start:\n{self.program.output()}")
        return self.get("/readyz")[0] == 200

    def get(self, path: str, token: str = "") -> tuple[int, str]:
        """Ask the control plane; give status and body."""
        context = ssl.create_default_context(cafile=str(self.ca))
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
        )
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        try:
            with opener.open(urllib.request.Request(self.public_url + path, headers=headers), timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def metrics(self) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
        """Scrape it as Prometheus would: values by sample name and labels."""
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(f"http://127.0.0.1:{self.metrics_port}/metrics", timeout=20) as answer:
            families = text_string_to_metric_families(answer.read().decode())
            samples = [sample for family in families for sample in family.samples]
        return {(sample.name, frozenset(sample.labels.items())): sample.value for sample in samples}

    def metric(self, name: str, **labels: str) -> float:
        """Give the sum of a metric's samples that have these labels."""
        return sum(
            value
            for (found, has), value in self.metrics().items()
            if found == name and labels.items() <= dict(has).items()
        )

    # -- its people

    def home(self, person: str) -> Path:
        """The home folder of a person on this machine."""
        if person not in self._homes:
            self._homes[person] = self.sandbox.folder(f"home-{person}")
        return self._homes[person]

    def client_environment(self) -> dict[str, str]:
        """What the command line needs to know of the gateway."""
        return {"VESTIBULE_URL": self.public_url, "VESTIBULE_CA": str(self.ca)}

    def cli(self, person: str, *arguments: str | Path, typed: str = "", timeout: float = 60) -> Outcome:
        """Run the command line as `person`, with what they keep in their home."""
        command: list[str | Path] = [VESTIBULE, *arguments]
        done = self.sandbox.run(
            command,
            folder=self.home(person),
            environment=self.client_environment(),
            typed=typed,
            timeout=timeout,
        )
        return Outcome(done.returncode, done.stdout, done.stderr)

    def login(self, person: str, *options: str) -> str:
        """Log `person` in by the real command line and the provider's own form; give their token."""
        return token_in(self.walk_login(person, *options)[0])

    def walk_login(self, person: str, *options: str, typed: tuple[str, str] | None = None) -> tuple[str, str]:
        """Run `vestibule login --no-browser` and post the provider's form; give its output and the last page."""
        command: list[str | Path] = [VESTIBULE, "login", "--no-browser", *options]
        home = self.home(person)
        process = self.sandbox.popen(command, folder=home, environment=self.client_environment())
        try:
            output, url = _read_url(process)
            with Browser(self.ca) as browser:
                page = browser.log_in(url, *(typed or self.provider.types(person))).text
            rest, _ = process.communicate(timeout=60)
        finally:
            process.kill()
            process.wait()
        return output + rest.decode(errors="replace"), page

    def sessions(self, person: str, *options: str) -> list[dict[str, Any]]:
        """List the sessions as `person` may see them, by the command line."""
        done = self.cli(person, "sessions", "list", "--json", *options)
        if done.status:
            raise RuntimeError(f"sessions list ended with {done.status}:\n{done.errors}")
        found: list[dict[str, Any]] = json.loads(done.output)
        return found

    def psql(self, person: str, token: str, target: str = TARGET, *, modern: bool = False, **more: str) -> Psql:
        """A psql that comes in through the gateway; `more` are libpq's settings."""
        settings = {
            "host": "localhost",
            "port": str(self.port),
            "user": f"{person}+{target}",
            "password": token,
            "database": DATABASE,
            "sslmode": "verify-full",
            "sslrootcert": str(self.ca),
            **more,
        }
        return Psql(self.sandbox, settings, modern)

    def jdbc(self, person: str, token: str, target: str = TARGET, **more: str) -> tuple[str, dict[str, str]]:
        """Give the JDBC driver's address and properties for coming in through the gateway; `more` are properties."""
        properties = {
            "user": f"{person}+{target}",
            "password": token,
            "sslmode": "verify-full",
            "sslrootcert": str(self.ca),
            **more,
        }
        return f"jdbc:postgresql://localhost:{self.port}/{DATABASE}", properties

    def conninfo(self, person: str, token: str, target: str = TARGET, **more: str | int) -> str:
        """Write a libpq connection string that comes in through the gateway."""
        parts: dict[str, Any] = {
            "host": "localhost",
            "hostaddr": "127.0.0.1",
            "port": self.port,
            "user": f"{person}+{target}",
            "password": token,
            "dbname": DATABASE,
            "sslmode": "verify-full",
            "sslrootcert": str(self.ca),
            **more,
        }
        return make_conninfo(**parts)


def token_in(output: str) -> str:
    """Find the token in what a command printed."""
    found = TOKEN.search(output)
    if found is None:
        raise RuntimeError(f"there is no token in:\n{output}")
    return found.group()


class _Plain(yaml.SafeDumper):
    """Writes a value out each time: the files know no aliases."""

    def ignore_aliases(self, data: object) -> bool:
        """Write it out."""
        return True


def _as_yaml(document: dict[str, Any]) -> str:
    written: str = yaml.dump(document, Dumper=_Plain, sort_keys=False)
    return written


def _read_url(process: subprocess.Popen[bytes], timeout: float = 60) -> tuple[str, str]:
    assert process.stdout is not None
    output, deadline = "", time.monotonic() + timeout
    while time.monotonic() < deadline:
        if not select.select([process.stdout], [], [], 0.5)[0]:
            continue
        data = os.read(process.stdout.fileno(), 65_536)
        output += data.decode(errors="replace")
        if found := ADDRESS.search(output):
            return output, found.group()
        if not data:
            break
    raise RuntimeError(f"vestibule login named no address:\n{output}")


@dataclass(slots=True)
class GatewayFactory:
    """Makes private gateways and ends them with the test."""

    sandbox: Sandbox
    authority: Authority
    provider: Provider
    made: list[Gateway] = field(default_factory=list)

    def make(
        self,
        targets: Mapping[str, PostgresServer],
        *,
        provider: Provider | None = None,
        policy: Change | None = None,
        settings: Change | None = None,
        start: bool = True,
    ) -> Gateway:
        """Make a gateway; `policy` and `settings` change the usual files before the start."""
        gateway = Gateway(self.sandbox, self.authority, provider or self.provider, targets)
        self.made.append(gateway)
        if policy is not None:
            policy(gateway.policy)
        if settings is not None:
            settings(gateway.settings)
        if start:
            gateway.start()
        return gateway

    def close(self) -> None:
        """End all that still run."""
        for gateway in reversed(self.made):
            gateway.stop()
        self.made.clear()
