"""The container without an engine: its build steps are carried out into a folder, and a gateway serves from there.

Not carried out: fetching base images and Debian's packages. `pip install -r` is done with the same distributions,
copied from this environment after their versions were compared. What an engine does itself (users, volumes, the timer
of the health check) is checked by its text alone.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml
from packaging.requirements import Requirement

from tests.support.certificates import Authority
from tests.support.evidence import Journal
from tests.support.gateway import TARGET, GatewayFactory
from tests.support.postgres import PostgresServer
from tests.support.sandbox import CHECKOUT, Sandbox
from tests.support.signing_in import sign_in
from tests.support.waiting import wait_for
from vestibule.policy.document import load as load_policy
from vestibule.settings import load as load_settings

pytestmark = pytest.mark.timeout(300)
FOLDER = CHECKOUT / "deploy" / "container"
HEALTHY = FOLDER / "healthy.py"


@dataclass
class Stage:
    """One stage of a Containerfile: its base, and its instructions with their words."""

    base: str
    name: str = ""
    steps: list[tuple[str, list[str]]] = field(default_factory=list)

    def all(self, instruction: str) -> list[list[str]]:
        return [words for name, words in self.steps if name == instruction]


def stages() -> list[Stage]:
    found: list[Stage] = []
    for line in (FOLDER / "Containerfile").read_text().splitlines():
        if not line or line.startswith("#"):
            continue
        name, _, rest = line.partition(" ")
        if name == "FROM":
            base, _, stage = rest.partition(" AS ")
            found.append(Stage(base, stage))
        else:
            words = json.loads(rest) if rest.startswith("[") else rest.split()
            found[-1].steps.append((name, words))
    return found


BUILD, FINAL = stages()


def pinned() -> dict[str, str]:
    """What `requirements/run.txt` asks for on this system: names and versions."""
    lines = (CHECKOUT / "requirements" / "run.txt").read_text().splitlines()
    asked = [Requirement(line.rstrip(" \\")) for line in lines if re.match(r"[A-Za-z0-9]", line)]
    wanted = [each for each in asked if each.marker is None or each.marker.evaluate()]
    return {_folded(each.name): str(each.specifier).removeprefix("==") for each in wanted}


def _folded(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


class Builder:
    """Carries out the steps of the first stage below `root`."""

    def __init__(self, root: Path) -> None:
        self.root, self.folder = root, root
        self.environment = {"PATH": os.environ["PATH"], "HOME": str(root)}
        self.left_out: list[list[str]] = []

    def carry_out(self, stage: Stage) -> None:
        for name, words in stage.steps:
            getattr(self, f"_{name.lower()}")(words)

    def inside(self, path: str) -> Path:
        return self.root / path.lstrip("/") if path.startswith("/") else self.folder / path

    def _workdir(self, words: list[str]) -> None:
        self.folder = self.inside(words[0])
        self.folder.mkdir(parents=True)

    def _env(self, words: list[str]) -> None:
        self.environment |= dict(word.split("=", 1) for word in words)

    def _copy(self, words: list[str]) -> None:
        *sources, target = words
        for source in sources:
            start, end = CHECKOUT / source, self.inside(target)
            end = end / start.name if target.endswith("/") else end
            end.parent.mkdir(parents=True, exist_ok=True)
            if start.is_dir():
                shutil.copytree(start, end, ignore=shutil.ignore_patterns("__pycache__", "*.so"))
            else:
                shutil.copyfile(start, end)

    def _run(self, words: list[str]) -> None:
        match words:
            case ["apt-get", *_]:
                self.left_out.append(words)
            case ["mkdir", *options, path]:
                self._do("mkdir", *options, str(self.inside(path)))
            case ["python3.11", "-m", "venv", path]:
                self._do(sys.executable, "-m", "venv", "--without-pip", str(self.inside(path)))
            case ["/opt/vestibule/bin/pip", "install", *options, "-r", "requirements/run.txt"]:
                assert "--require-hashes" in options
                self._same_distributions()
            case ["/opt/vestibule/bin/pip", "install", *options, "."]:
                assert "--no-deps" in options
                pip = [sys.executable, "-m", "pip", "--python", str(self.inside("/opt/vestibule/bin/python"))]
                quiet = ["-q", "--disable-pip-version-check", "--no-index", "--no-build-isolation"]
                self._do(sys.executable, "-m", "pip", "wheel", *quiet, "--no-deps", "-w", "dist", ".")
                self._do(*pip, "install", "-q", "--no-deps", "--no-index", *map(str, self.folder.glob("dist/*.whl")))
            case ["/opt/vestibule/bin/pip", "uninstall", *_]:
                assert not list(self.inside("/opt/vestibule").glob("lib/*/site-packages/pip"))
            case _:
                pytest.fail(f"a step that this test cannot carry out: {words}")

    def _same_distributions(self) -> None:
        [site] = self.inside("/opt/vestibule").glob("lib/*/site-packages")
        there = {_folded(found.metadata["Name"]): found for found in distributions()}
        for name, version in pinned().items():
            assert there[name].version == version, name
            for file in there[name].files or ():
                source = Path(str(there[name].locate_file(file)))
                if ".." not in file.parts and source.is_file():
                    (site / file).parent.mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(source, site / file)

    def _do(self, *command: str) -> None:
        done = subprocess.run(
            command, cwd=self.folder, env=self.environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def built(sandbox: Sandbox) -> Iterator[Path]:
    """What the second stage takes of the first, in a root that the plain user cannot write to."""
    root = sandbox.root / "container"
    root.mkdir(mode=0o755)
    builder = Builder(root)
    builder.environment["VESTIBULE_BUILD"] = "pure"
    # The kernel is compiled, or not, by other tests; here it would take a compiler.
    steps = [step for step in BUILD.steps if step != ("ENV", ["VESTIBULE_BUILD=compiled"])]
    assert len(steps) == len(BUILD.steps) - 1
    builder.carry_out(Stage(BUILD.base, BUILD.name, steps))
    assert len(builder.left_out) == 2
    shutil.rmtree(root / "src")
    for path in (root, *root.rglob("*")):
        if not path.is_symlink():
            path.chmod(path.stat().st_mode & ~0o222 | 0o044 | (0o011 if path.is_dir() else 0))
    yield root / "opt" / "vestibule"
    for path in (root, *root.rglob("*")):
        if path.is_dir() and not path.is_symlink():
            path.chmod(0o755)


def program(built: Path) -> list[str | Path]:
    # The script's first line names where it was made; in the image that is where it stays.
    return [built / "bin" / "python", "-I", built / "bin" / "vestibule"]


def test_the_first_stage_carries_no_tool_into_the_second() -> None:
    assert FINAL.all("RUN") == [], "the last stage needs no shell, not even to be built"
    assert [words[-2:] for words in FINAL.all("COPY")] == [
        ["/opt/vestibule", "/opt/vestibule"],
        ["/state", "/var/lib/vestibule"],
    ]
    assert BUILD.base == FINAL.base, "an environment belongs to its Python"


def test_it_runs_as_a_number_and_starts_without_a_shell() -> None:
    [[user]] = FINAL.all("USER")
    assert re.fullmatch(r"[1-9]\d+:[1-9]\d+", user)
    assert FINAL.all("ENTRYPOINT") == [["/opt/vestibule/bin/vestibule"]]
    assert FINAL.all("CMD") == [["serve"]]
    [check] = FINAL.all("HEALTHCHECK")
    command = json.loads(" ".join(check).partition("CMD ")[2])
    assert command == ["/opt/vestibule/bin/python", "-I", "/opt/vestibule/healthy.py"]


def test_the_context_holds_what_is_copied_and_nothing_else() -> None:
    allowed = [line[1:] for line in (CHECKOUT / ".containerignore").read_text().splitlines() if line.startswith("!")]
    copied = [source for words in BUILD.all("COPY") for source in words[:-1]]
    assert sorted(allowed) == sorted(copied)
    assert (CHECKOUT / ".containerignore").read_text().splitlines()[1] == "*"


def test_the_command_line_works_in_a_root_that_nobody_can_write_to(built: Path, sandbox: Sandbox) -> None:
    done = sandbox.run([*program(built), "--help"], folder=sandbox.folder("nobody"))
    assert done.returncode == 0, done.stderr
    assert "serve" in done.stdout
    done = sandbox.run(["touch", built / "lib" / "x"], folder=sandbox.root)
    assert done.returncode != 0
    policy = sandbox.write(sandbox.folder("etc") / "policy.yaml", (FOLDER / "conf" / "policy.yaml").read_text())
    done = sandbox.run([*program(built), "policy", "check", policy], folder=sandbox.root)
    assert done.returncode == 0, done.stdout + done.stderr
    assert not list(built.glob("**/pip")), "nothing that installs is left"


def test_a_gateway_serves_from_the_root_and_is_asked_by_the_health_check(
    built: Path, gateways: GatewayFactory, postgres15: PostgresServer, sandbox: Sandbox
) -> None:
    gateway = gateways.make({TARGET: postgres15}, start=False)
    gateway.write_files()
    gateway.program = sandbox.start(
        [*program(built), "serve"],
        name="vestibule",
        folder=gateway.folder,
        environment={"VESTIBULE_CONFIG": str(gateway.settings_file), "PYTHONDONTWRITEBYTECODE": "1"},
    )
    wait_for(gateway._is_ready, "a gateway from the container's root")
    dev1 = sign_in(gateway, "dev1")
    with psycopg.connect(gateway.conninfo("dev1", dev1.token, TARGET, application_name="contained")) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
    Journal(gateway.data).closed_session("contained")
    asked = {"VESTIBULE_HEALTH": f"https://127.0.0.1:{gateway.control_port}/readyz"}
    check = [built / "bin" / "python", "-I", built / "healthy.py"]
    assert sandbox.run(check, folder=gateway.folder, environment=asked).returncode == 0
    assert gateway.stop() == 0
    assert sandbox.run(check, folder=gateway.folder, environment=asked).returncode == 1


@pytest.fixture(scope="module")
def unwell(authority: Authority) -> Iterator[str]:
    """A control plane that says that it is not healthy."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/healthz" else 503)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    certificate = authority.issue("unwell")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate.certificate, certificate.key)
    with HTTPServer(("127.0.0.1", 0), Answer) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"https://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(("path", "status"), [("/healthz", 0), ("/other", 1)])
def test_the_health_check_believes_a_200_alone(unwell: str, path: str, status: int) -> None:
    done = subprocess.run(
        [sys.executable, "-I", HEALTHY], env={"VESTIBULE_HEALTH": unwell + path}, check=False, capture_output=True
    )
    assert done.returncode == status, done.stderr


# --- the trial of compose.yaml ---------------------------------------------------------------------------------------

COMPOSE: dict[str, Any] = yaml.safe_load((FOLDER / "compose.yaml").read_text())


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `prepare` makes."""
    folder = tmp_path_factory.mktemp("trial") / "made"
    done = subprocess.run([FOLDER / "prepare", folder], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder


def test_the_gateway_of_the_trial_is_closed_and_has_time_to_end() -> None:
    gateway = COMPOSE["services"]["gateway"]
    assert gateway["read_only"] is True
    assert gateway["cap_drop"] == ["ALL"]
    assert gateway["security_opt"] == ["no-new-privileges:true"]
    assert gateway["ulimits"]["core"] == 0
    assert gateway["stop_grace_period"] == "90s"
    assert (FOLDER / gateway["build"]["context"]).resolve() == CHECKOUT
    assert (CHECKOUT / gateway["build"]["dockerfile"]).is_file()


def test_every_mount_and_volume_of_the_trial_is_there(made: Path) -> None:
    for name, service in COMPOSE["services"].items():
        for volume in service.get("volumes", ()):
            source = volume.split(":")[0]
            if source.startswith("./made"):
                assert (made / Path(source).relative_to("made")).exists(), (name, source)
            elif source.startswith("."):
                assert (FOLDER / source).exists(), (name, source)
            else:
                assert source in COMPOSE["volumes"], (name, source)
        for other in service.get("depends_on", ()):
            assert other in COMPOSE["services"]


def test_the_files_of_the_trial_agree_with_each_other_and_with_the_services(made: Path) -> None:
    settings = load_settings(made / "gateway" / "vestibule.yaml")
    policy = load_policy((made / "gateway" / "policy.yaml").read_bytes(), "policy.yaml")
    assert not policy.warnings
    ports = {published.split(":")[1] for published in COMPOSE["services"]["gateway"]["ports"]}
    assert ports == {str(settings.listeners.postgres.address.port), str(settings.listeners.control.address.port)}
    assert ports == set(FINAL.all("EXPOSE")[0])
    realm = json.loads((made / "provider" / "realm.json").read_text())
    [client] = realm["clients"]
    assert client["redirectUris"] == [f"{settings.public_url}/login/callback/corp"]
    assert client["secret"] == (made / "gateway" / "secrets" / "corp").read_text().strip()
    [provider] = policy.providers
    assert provider.issuer == f"{COMPOSE['services']['provider']['environment']['KC_HOSTNAME']}/realms/{realm['realm']}"
    assert provider.client_id == client["clientId"]
    [target] = policy.targets.values()
    assert [(host.host, host.port) for host in target.hosts] == [("database", 5432)]
    assert "database" in COMPOSE["services"]


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("gateway/tls/gateway", "vestibule.localhost"),
        ("database/database", "database"),
        ("provider/provider", "provider.localhost"),
    ],
)
def test_the_certificates_of_the_trial_are_of_its_authority_and_for_the_names_that_are_used(
    made: Path, file: str, name: str
) -> None:
    authority = made / "gateway" / "tls" / "ca.pem"
    done = subprocess.run(
        ["openssl", "verify", "-x509_strict", "-CAfile", authority, "-verify_hostname", name, made / f"{file}.pem"],
        check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert (made / f"{file}.key").stat().st_mode & 0o077 == 0


def test_the_trial_is_not_prepared_over_one_that_is_there(made: Path) -> None:
    done = subprocess.run([FOLDER / "prepare", made], check=False, capture_output=True, text=True)
    assert done.returncode == 2
    assert "remove it to start anew" in done.stderr
