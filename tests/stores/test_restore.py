from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.support import golden
from vestibule.model.errors import ConfigurationError
from vestibule.model.names import Instant
from vestibule.stores.backup import back_up
from vestibule.stores.manifest import Manifest
from vestibule.stores.restore import NOTE, forget, restore, restored

NOW = Instant(1_900_000_000_000_000)


@pytest.fixture
def kept(tmp_path: Path) -> tuple[Path, Manifest]:
    """A backup of the golden folder, which has log-ins, tokens, and approvals of every kind."""
    golden.lay_out(golden.schemas()[-1], tmp_path / "golden")
    return tmp_path / "backup", back_up(tmp_path / "golden", tmp_path / "backup", lambda: NOW)


def asked(data: Path, question: str) -> list[tuple]:
    with closing(sqlite3.connect(data / "state.sqlite")) as connection:
        return connection.execute(question).fetchall()


def test_every_file_comes_back_as_it_was_copied(kept: tuple[Path, Manifest], tmp_path: Path) -> None:
    backup, manifest = kept
    restore(backup, manifest, tmp_path / "data", None, lambda: NOW)
    different = [
        name for name in manifest.files if (tmp_path / "data" / name).read_bytes() != (backup / name).read_bytes()
    ]
    assert different == ["state.sqlite"]
    modes = {name for name in manifest.files if (tmp_path / "data" / name).stat().st_mode & 0o007}
    assert modes == set()


def test_log_ins_tokens_and_open_approvals_are_ended_and_what_was_over_stays(
    kept: tuple[Path, Manifest], tmp_path: Path
) -> None:
    backup, manifest = kept
    early = Instant(asked(backup, "SELECT max(requested_at) FROM approval")[0][0])
    before = asked(backup, "SELECT approval, state, expires_at FROM approval ORDER BY approval")
    assert sorted(state for _, state, _ in before) == ["granted", "pending", "spent"]
    restore(backup, manifest, tmp_path / "data", None, lambda: early)
    for table in ("login", "token"):
        assert asked(tmp_path / "data", f"SELECT count(*) FROM {table}") != [(0,)]
        assert asked(tmp_path / "data", f"SELECT count(*) FROM {table} WHERE revoked_at IS NULL") == [(0,)]
    after = asked(tmp_path / "data", "SELECT approval, state, expires_at FROM approval ORDER BY approval")
    assert after == [(name, state, early if state != "spent" else expires) for name, state, expires in before]


def test_the_note_says_what_is_not_there_until_it_is_forgotten(kept: tuple[Path, Manifest], tmp_path: Path) -> None:
    backup, manifest = kept
    data = tmp_path / "data"
    restore(backup, manifest, data, 46, lambda: NOW)
    since, words = restored(data) or ("", "")
    assert since == manifest.taken_at
    assert f"with {manifest.leaves} signed leaves" in words
    assert "it has 46 leaves" in words
    forget(data)
    assert restored(data) is None
    forget(data)


def test_a_backup_itself_is_not_started_on_and_the_way_is_told(kept: tuple[Path, Manifest]) -> None:
    backup, _ = kept
    with pytest.raises(ConfigurationError, match=f"vestibule restore {backup}"):
        restored(backup)


@pytest.mark.parametrize("note", ['{"whole": false}', "", "[]", '{"whole": true}'])
def test_a_folder_that_was_not_restored_to_the_end_is_refused(tmp_path: Path, note: str) -> None:
    (tmp_path / NOTE).write_text(note)
    with pytest.raises(ConfigurationError, match="empty the folder and restore it again"):
        restored(tmp_path)


def test_a_restore_that_fails_leaves_a_folder_that_is_refused(kept: tuple[Path, Manifest], tmp_path: Path) -> None:
    backup, manifest = kept
    (backup / "guard.json").unlink()
    with pytest.raises(FileNotFoundError):
        restore(backup, manifest, tmp_path / "data", None, lambda: NOW)
    with pytest.raises(ConfigurationError, match="not restored to the end"):
        restored(tmp_path / "data")
    with pytest.raises(ConfigurationError, match="not empty"):
        restore(backup, manifest, tmp_path / "data", None, lambda: NOW)
