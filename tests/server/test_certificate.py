from __future__ import annotations

import asyncio
import os
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import structlog
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.support.doors import eventually
from tests.support.little_authority import Leaf, LittleAuthority
from vestibule.model.errors import ConfigurationError
from vestibule.server.certificate import SOON, Certificate, Watch, read

pytestmark = pytest.mark.asyncio


class Files:
    """The two files of a listener, and what has been put into use."""

    def __init__(self, folder: Path, authority: LittleAuthority) -> None:
        self.certificate, self.key = folder / "server.pem", folder / "server.key"
        self.authority = authority
        self.put(authority.issue())
        self.current = read(self.certificate, self.key)
        self.renewed: list[Certificate] = []
        self.watch = Watch(self.certificate, self.key, self.current, self.renewed.append)

    def put(self, leaf: Leaf, key: Leaf | None = None) -> None:
        self.certificate.write_bytes(leaf.certificate.read_bytes())
        self.key.write_bytes((key or leaf).key.read_bytes())
        self.key.chmod(0o600)


@pytest.fixture
def files(tmp_path: Path, little_authority: LittleAuthority) -> Files:
    return Files(tmp_path, little_authority)


async def test_files_that_do_not_change_change_nothing(files: Files) -> None:
    with structlog.testing.capture_logs() as logs:
        await files.watch.look()
        os.utime(files.certificate)
        await files.watch.look()
    assert (files.renewed, logs) == ([], [])


async def test_a_new_pair_is_put_into_use_once(files: Files) -> None:
    files.put(files.authority.issue())
    await files.watch.look()
    await files.watch.look()
    assert files.renewed == [read(files.certificate, files.key)]
    assert files.renewed[0] != files.current


async def test_a_pair_that_changes_within_one_tick_of_the_clock_is_noticed(files: Files) -> None:
    status = files.certificate.stat()
    files.put(files.authority.issue())
    os.utime(files.certificate, ns=(status.st_atime_ns, status.st_mtime_ns))
    await files.watch.look()
    assert len(files.renewed) == 1


async def test_a_pair_behind_a_link_that_is_switched_is_noticed(files: Files, tmp_path: Path) -> None:
    leaf = files.authority.issue()
    leaf.key.chmod(0o600)
    for file, behind in ((files.certificate, leaf.certificate), (files.key, leaf.key)):
        (tmp_path / "link").symlink_to(behind)
        (tmp_path / "link").replace(file)
    await files.watch.look()
    assert len(files.renewed) == 1


async def test_what_is_half_written_keeps_the_old_pair_until_there_is_a_whole_new_one(files: Files) -> None:
    leaf = files.authority.issue()
    whole = leaf.certificate.read_bytes()
    with structlog.testing.capture_logs() as logs:
        for part in (b"", whole[: len(whole) // 2], whole):  # the last one lacks its key
            files.certificate.write_bytes(part)
            await files.watch.look()
        assert files.renewed == []
        files.put(leaf)
        await files.watch.look()
    assert len(files.renewed) == 1
    assert [entry["event"] for entry in logs] == ["certificate_not_reloaded"] * len(logs[:-1]) + [
        "certificate_reloaded"
    ]


@pytest.mark.parametrize(
    "broken", ["key of another", "encrypted", "absent", "pipe", "open to others", "no certificate"]
)
async def test_a_broken_pair_is_told_once_and_says_what_to_do(files: Files, broken: str) -> None:
    leaf, other = files.authority.issue(), files.authority.issue()
    match broken:
        case "key of another":
            files.put(leaf, other)
        case "encrypted":
            files.key.write_bytes(
                ec.generate_private_key(ec.SECP256R1()).private_bytes(
                    serialization.Encoding.PEM,
                    serialization.PrivateFormat.PKCS8,
                    serialization.BestAvailableEncryption(b"hunter2"),
                )
            )
        case "absent":
            files.key.unlink()
        case "pipe":
            files.certificate.unlink()
            os.mkfifo(files.certificate)
        case "open to others":
            files.key.chmod(0o640)
        case "no certificate":
            files.certificate.write_text("hunter2")
    with structlog.testing.capture_logs() as logs:
        for _ in range(3):
            await files.watch.look()
    assert files.renewed == []
    (entry,) = logs
    assert (entry["event"], entry["log_level"]) == ("certificate_not_reloaded", "error")
    assert "name a PEM certificate chain" in entry["error"] or "chmod 600" in entry["error"]
    assert "PRIVATE" not in str(entry)
    assert "hunter2" not in str(entry)


async def test_at_the_start_a_broken_pair_is_an_error_that_names_both_files(files: Files) -> None:
    files.put(files.authority.issue(), files.authority.issue())
    with pytest.raises(ConfigurationError, match=r"server\.pem with key .*server\.key.*name a PEM"):
        read(files.certificate, files.key)


async def test_it_looks_by_itself_and_tells_once_of_an_end_that_comes_near(files: Files) -> None:
    files.put(files.authority.issue(expired=True))
    expired = read(files.certificate, files.key)
    watch = Watch(files.certificate, files.key, expired, files.renewed.append)
    with structlog.testing.capture_logs() as logs:
        task = asyncio.create_task(watch.run(0.01))
        await eventually(lambda: logs)
        files.put(files.authority.issue())
        await eventually(lambda: files.renewed)
        task.cancel()
    assert [entry["event"] for entry in logs] == ["certificate_has_expired", "certificate_reloaded"]
    assert files.renewed[0].expires - datetime.now(UTC) > SOON + timedelta(days=1)


async def test_a_key_is_in_no_text_that_python_makes_of_it(files: Files) -> None:
    assert "PRIVATE" not in repr(files.current)
    assert isinstance(files.current.expires, datetime)
    files.current.load_into(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
