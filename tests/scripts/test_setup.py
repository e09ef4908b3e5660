"""Set-up says what is missing, and keeps things where the user that runs servers can reach them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from scripts import setup


@pytest.fixture
def open_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    # Folders of pytest's own are closed to others; here only what is below `tmp_path` counts.
    monkeypatch.setattr(setup, "_above", lambda path: [above for above in path.parents if tmp_path in above.parents])
    folder = tmp_path / "home" / "checkout"
    folder.mkdir(parents=True)
    for each in (folder, folder.parent):
        each.chmod(0o755)
    return folder


def test_a_folder_below_a_closed_one_is_not_open(open_folder: Path) -> None:
    assert setup.is_open(open_folder)

    open_folder.parent.chmod(0o700)

    assert not setup.is_open(open_folder)


def test_a_file_that_others_cannot_read_is_not_open(open_folder: Path) -> None:
    file = open_folder / "file"
    file.touch(0o644)
    assert setup.is_open(file)

    file.chmod(0o640)

    assert not setup.is_open(file)


def test_missing_programs_are_asked_for_by_package(monkeypatch: pytest.MonkeyPatch) -> None:
    gone = [setup.Program("PostgreSQL 15", "postgresql-15", present=False), setup.Program("x", "y", present=True)]
    monkeypatch.setattr(setup, "programs", lambda: gone)
    monkeypatch.setattr(setup.os, "geteuid", lambda: 1000)

    with pytest.raises(setup.Missing, match=r"apt-get install --no-install-recommends postgresql-15\n"):
        setup.provide_programs()


def test_set_up_ends_with_status_3_where_something_is_missing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def missing(_: object) -> None:
        raise setup.Missing("something is missing")

    monkeypatch.setattr(setup, "provide_programs", missing)

    assert setup.main() == 3
    assert capsys.readouterr().err == "setup: something is missing\n"


def test_the_demo_asks_for_no_browser_and_no_java_and_figures_for_what_they_are_held_against() -> None:
    wanted = {target: {program.package for program in needs()} for target, needs in setup.NEEDS.items()}
    assert {"chromium", "default-jre-headless"} <= wanted["all"] - wanted["demo"]
    assert wanted["bench"] - wanted["demo"] == {"pgbouncer"}
    assert "postgresql-15" in wanted["demo"]


def test_what_is_installed_starts_no_service(tmp_path: Path) -> None:
    policy = tmp_path / "policy-rc.d"
    with setup._no_services(policy):
        assert subprocess.run([policy], check=False).returncode == 101
    assert not policy.exists()
    policy.write_text("somebody's own")
    with setup._no_services(policy):
        assert policy.read_text() == "somebody's own"
    assert policy.exists()


def test_a_step_is_done_again_only_for_another_state(tmp_path: Path) -> None:
    setup.set_done(tmp_path, "python", setup.digest("lock", "3.11"))

    assert setup.is_done(tmp_path, "python", setup.digest("lock", "3.11"))
    assert not setup.is_done(tmp_path, "python", setup.digest("lock", "3.12"))
    assert not setup.is_done(tmp_path, "node", setup.digest("lock", "3.11"))


def test_states_of_other_parts_differ() -> None:
    assert setup.digest("ab", "c") != setup.digest("a", "bc")


def test_a_package_is_taken_out_of_the_lock_with_its_hashes_and_no_other() -> None:
    lock = setup.LOCK.read_text()

    lines = setup.locked_lines("asyncpg", lock).splitlines()

    assert lines[0].startswith("asyncpg==")
    assert len(lines) > 2
    assert all("--hash=sha256:" in line or "#" in line for line in lines[1:])
    with pytest.raises(SystemExit, match="nothing-such is not in the lock file"):
        setup.locked_lines("nothing-such", lock)


def test_set_up_needs_the_standard_library_alone() -> None:
    code = "import sys; sys.path.insert(0, 'scripts'); import setup"

    done = subprocess.run([sys.executable, "-I", "-S", "-c", code], cwd=setup.ROOT, capture_output=True, text=True)

    assert done.returncode == 0, done.stderr


# -- the row kernel's build


@pytest.fixture
def no_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    gone = [setup.Program("a C compiler", "gcc", present=False), setup.Program("x", "y", present=True)]
    monkeypatch.setattr(setup, "compilers", lambda: gone)
    monkeypatch.setattr(setup.os, "geteuid", lambda: 1000)


@pytest.mark.usefixtures("no_compiler")
def test_without_a_compiler_the_kernel_stays_pure_and_set_up_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert setup.provide_compiler("") == "pure"
    said = capsys.readouterr().out
    assert "the row kernel stays plain Python" in said
    assert "apt-get install --no-install-recommends gcc\n" in said


@pytest.mark.usefixtures("no_compiler")
def test_a_compiled_kernel_that_is_asked_for_is_not_given_up() -> None:
    with pytest.raises(setup.Missing, match=r"apt-get install --no-install-recommends gcc\n"):
        setup.provide_compiler("compiled")


@pytest.mark.usefixtures("no_compiler")
def test_a_pure_kernel_needs_no_compiler(capsys: pytest.CaptureFixture[str]) -> None:
    assert setup.provide_compiler("pure") == "pure"
    assert capsys.readouterr().out == ""


def test_a_compiler_that_is_there_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(setup, "compilers", lambda: [setup.Program("a C compiler", "gcc", present=True)])

    assert setup.provide_compiler("") == setup.provide_compiler("compiled") == "compiled"


def test_a_build_that_does_not_exist_is_refused() -> None:
    with pytest.raises(setup.Missing, match="VESTIBULE_BUILD is 'fast'; write pure or compiled"):
        setup.provide_compiler("fast")


def test_the_go_client_is_built_once_from_its_locked_modules_and_leaves_no_caches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs: list[dict[str, str]] = []

    def run(*_: object, cwd: Path, env: dict[str, str]) -> None:
        assert (cwd / "go.sum").exists()
        for name in ("GOPATH", "GOCACHE"):
            Path(env[name]).mkdir(parents=True)
        (tmp_path / ".tools" / "go" / "pgx").touch()
        runs.append(env)

    monkeypatch.setattr(setup, "run", run)
    for _ in range(2):
        setup.provide_go_client(tmp_path, Path(sys.executable))

    assert len(runs) == 1
    assert (runs[0]["CGO_ENABLED"], runs[0]["GOTOOLCHAIN"]) == ("0", "local")
    assert {"-trimpath", "-mod=readonly"} <= set(runs[0]["GOFLAGS"].split())
    assert [path.name for path in (tmp_path / ".tools" / "go").iterdir()] == ["pgx"]
