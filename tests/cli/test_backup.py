from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from tests.support import golden
from vestibule.cli.exits import exit_of
from vestibule.cli.root import build
from vestibule.model.errors import VestibuleError


class Machine:
    """A machine with an operator's file, a golden data folder, and a place for backups."""

    def __init__(self, root: Path) -> None:
        self.root, self.data, self.backup = root, root / "data", root / "backup"
        (root / "server.key").touch(mode=0o600)
        listener = "{address: '127.0.0.1:0', certificate: server.key, key: server.key}"
        (root / "vestibule.yaml").write_text(
            "public_url: https://vestibule.example:8443\ndata: data\npolicy: policy.yaml\n"
            f"listeners: {{postgres: {listener}, control: {listener}}}\n".replace(":0'", ":15432'", 1).replace(
                ":0'", ":8443'", 1
            )
        )
        golden.lay_out(golden.schemas()[-1], self.data)

    def run(self, *words: str | Path) -> Result:
        line = [*map(str, words), "--config", str(self.root / "vestibule.yaml")]
        return CliRunner().invoke(build(line), line)

    def refused(self, *words: str | Path) -> tuple[int, str]:
        result = self.run(*words)
        assert isinstance(result.exception, VestibuleError), result.output
        return int(exit_of(result.exception)), str(result.exception)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


@pytest.fixture
def copied(machine: Machine) -> Machine:
    """One whose data folder is backed up, and lost."""
    result = machine.run("backup", machine.backup)
    assert result.exit_code == 0, result.output
    machine.data.rename(machine.root / "lost")
    return machine


def test_a_backup_says_how_far_it_goes_and_how_to_check_it(machine: Machine) -> None:
    told = machine.run("backup", machine.backup).output
    assert "46 signed leaves" in told
    assert f"vestibule evidence verify {machine.backup}" in told


def test_a_disk_without_room_is_told_and_what_is_there_is_no_backup(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("vestibule.stores.backup.sync_folder", full)
    status, told = machine.refused("backup", machine.backup)
    assert (status, "No space left on device; " in told) == (1, True)
    machine.data.rename(machine.root / "lost")
    assert "cut off" in machine.refused("restore", machine.backup, "--no-checkpoint")[1]


def test_a_restore_asks_for_the_newest_checkpoint(copied: Machine) -> None:
    for words in ((), ("--checkpoint", copied.backup / "log" / "checkpoint", "--no-checkpoint")):
        status, told = copied.refused("restore", copied.backup, *words)
        assert status == 2
        assert "--no-checkpoint" in told
    assert not copied.data.exists()


@pytest.mark.parametrize("words", [("--no-checkpoint",), ("--checkpoint", "saved.txt")])
def test_a_restore_says_what_is_not_in_it(copied: Machine, words: tuple[str, ...]) -> None:
    saved = copied.root / "saved.txt"
    saved.write_bytes((copied.backup / "log" / "checkpoints" / "34").read_bytes())
    result = copied.run("restore", copied.backup, *(str(saved) if word == "saved.txt" else word for word in words))
    assert result.exit_code == 0, result.output
    assert "What was recorded after that is not in it." in result.output
    assert "The next start of the gateway records that it was restored." in result.output


def test_a_folder_in_use_is_not_restored_over(machine: Machine) -> None:
    machine.run("backup", machine.backup)
    before = (machine.data / "state.sqlite").read_bytes()
    status, told = machine.refused("restore", machine.backup, "--no-checkpoint")
    assert (status, "not empty" in told) == (2, True)
    assert (machine.data / "state.sqlite").read_bytes() == before


def test_every_missing_and_changed_file_is_named_and_nothing_is_restored(copied: Machine) -> None:
    (copied.backup / "keys" / "kek").unlink()
    segment = next((copied.backup / "journal").glob("*/*.seg"))
    segment.write_bytes(segment.read_bytes()[:-1])
    status, told = copied.refused("restore", copied.backup, "--no-checkpoint")
    assert status == 1
    assert "keys/kek is missing (put it back" in told
    assert f"{segment.relative_to(copied.backup)} was changed" in told
    assert not copied.data.exists()


def test_a_log_that_went_on_is_told_with_what_is_missing_and_how_one_goes_on(copied: Machine) -> None:
    newer = copied.root / "newer.txt"
    manifest = copied.backup / "manifest.json"
    newer.write_bytes((copied.backup / "log" / "checkpoint").read_bytes())
    manifest.write_text(manifest.read_text().replace('"leaves": 46', '"leaves": 40'))
    status, told = copied.refused("restore", copied.backup, "--checkpoint", newer)
    assert status == 1
    assert "40 signed leaves, the checkpoint 46, so 6 records that were published are missing" in told
    assert "another log.origin" in told
    assert not copied.data.exists()


def test_what_is_no_checkpoint_of_this_log_is_refused(copied: Machine) -> None:
    other = copied.root / "other.txt"
    note = (copied.backup / "log" / "checkpoint").read_text()
    for text in ("nothing", note.replace("golden", "silver"), note.replace("\n46\n", "\n45\n")):
        other.write_text(text)
        status, told = copied.refused("restore", copied.backup, "--checkpoint", other)
        assert (status, "is no checkpoint of the log" in told) == (2, True)
    assert copied.refused("restore", copied.backup, "--checkpoint", copied.root / "none")[0] == 2


def test_evidence_that_does_not_verify_is_not_restored(copied: Machine) -> None:
    manifest = copied.backup / "manifest.json"
    tile = copied.backup / "log" / "tile" / "0" / "000.p" / "46"
    from hashlib import sha256

    before = tile.read_bytes()
    tile.chmod(0o600)
    tile.write_bytes(before[:-1] + bytes([before[-1] ^ 1]))
    digests = sha256(before).hexdigest(), sha256(tile.read_bytes()).hexdigest()
    manifest.write_text(manifest.read_text().replace(*digests))
    status, told = copied.refused("restore", copied.backup, "--no-checkpoint")
    assert status == 1
    assert "does not verify; nothing was restored" in told
    assert "V05" in told
