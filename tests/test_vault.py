from __future__ import annotations

import asyncio
import os
import socket
from pathlib import Path

import pytest

from vestibule.model.errors import VestibuleError
from vestibule.vault import LIMIT, SecretUnavailable, Vault

VAULT = Vault({b"CORE": b"hunter2", b"EMPTY": b""})


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    path = tmp_path / "core.password"
    path.write_bytes(b"hunter2\n")
    path.chmod(0o600)
    return path


def refusal(reference: str) -> str:
    with pytest.raises(SecretUnavailable) as caught:
        VAULT.read(reference)
    assert isinstance(caught.value, VestibuleError)
    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is None
    return str(caught.value)


def test_a_variable_is_the_secret() -> None:
    assert VAULT.read("env:CORE") == b"hunter2"


def test_the_environment_of_the_process_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VESTIBULE_TEST_SECRET", "hunter2")
    assert Vault().read("env:VESTIBULE_TEST_SECRET") == b"hunter2"


@pytest.mark.parametrize("name", ["MISSING", "EMPTY"])
def test_a_variable_that_is_not_set_is_named(name: str) -> None:
    assert refusal(f"env:{name}").startswith(f"env:{name}: the variable is not set")


@pytest.mark.parametrize(
    ("content", "secret_bytes"),
    [
        (b"hunter2\n", b"hunter2"),
        (b"hunter2", b"hunter2"),
        (b"a\n\n", b"a\n"),
        (b" a \r\n", b" a \r"),
        (b"\xff", b"\xff"),
    ],
)
def test_a_file_is_the_secret_without_one_newline(secret: Path, content: bytes, secret_bytes: bytes) -> None:
    secret.write_bytes(content)
    assert VAULT.read(f"file:{secret}") == secret_bytes


def test_a_rotated_file_is_read_anew(secret: Path) -> None:
    VAULT.read(f"file:{secret}")
    secret.write_bytes(b"other")
    assert VAULT.read(f"file:{secret}") == b"other"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o666, 0o610])
def test_a_file_that_others_can_use_is_refused_with_the_command_to_run(secret: Path, mode: int) -> None:
    secret.chmod(mode)
    assert refusal(f"file:{secret}").endswith(f"run: chmod 600 {secret}")


def test_a_link_counts_as_what_it_leads_to(secret: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(secret)
    assert VAULT.read(f"file:{link}") == b"hunter2"
    secret.chmod(0o644)
    assert "chmod 600" in refusal(f"file:{link}")


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    assert refusal(f"file:{tmp_path}/no").startswith(f"file:{tmp_path}/no: No such file")
    assert "no path" in refusal("file:/a\x00b")


def test_only_absolute_paths_are_read() -> None:
    assert "absolute" in refusal("file:core.password")


def test_an_empty_file_is_no_secret(secret: Path) -> None:
    secret.write_bytes(b"\n")
    assert "empty" in refusal(f"file:{secret}")


def test_a_file_is_bounded(secret: Path) -> None:
    secret.write_bytes(b"x" * LIMIT)
    assert len(VAULT.read(f"file:{secret}")) == LIMIT
    secret.write_bytes(b"x" * (LIMIT + 1))
    assert "longer than" in refusal(f"file:{secret}")


@pytest.mark.timeout(5)
def test_folders_pipes_sockets_and_devices_are_refused_without_waiting(tmp_path: Path) -> None:
    pipe, plug = tmp_path / "pipe", tmp_path / "plug"
    os.mkfifo(pipe, 0o600)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(plug))
        for path in (pipe, tmp_path, "/dev/zero", plug):
            assert f"file:{path}: " in refusal(f"file:{path}")


@pytest.mark.parametrize("reference", ["vault:kv/data/core#hunter2", "hunter2", "", "aws:hunter2", "ENV:CORE"])
def test_another_kind_of_reference_is_refused_and_never_repeated(reference: str) -> None:
    assert "env:NAME and file:/path" in refusal(reference)


def test_a_vault_shows_nothing_when_printed() -> None:
    assert "hunter2" not in repr(VAULT)


def test_the_event_loop_gets_the_same_answers(secret: Path) -> None:
    assert asyncio.run(VAULT.secret(f"file:{secret}")) == b"hunter2"
    with pytest.raises(SecretUnavailable):
        asyncio.run(VAULT.secret("env:MISSING"))
