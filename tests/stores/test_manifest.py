from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path

import pytest

from vestibule.model.errors import ConfigurationError
from vestibule.stores.manifest import FORMAT, MANIFEST, Manifest, read_manifest

FILES = {"keys/kek": b"k" * 32, "journal/n.0/1-0.seg": b"records", "state.sqlite": b"state"}


@pytest.fixture
def backup(tmp_path: Path) -> Path:
    for name, content in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
    digests = {name: sha256(content).hexdigest() for name, content in FILES.items()}
    Manifest("2026-01-02T03:04:05.000000Z", "0.1.0", 1, 46, digests).write(tmp_path)
    return tmp_path


def test_a_whole_backup_has_no_differences(backup: Path) -> None:
    manifest = read_manifest(backup)
    assert (manifest.leaves, manifest.schema, set(manifest.files)) == (46, 1, set(FILES))
    assert list(manifest.differences(backup)) == []


def test_everything_that_is_missing_or_changed_is_named_and_keys_with_where_to_look(backup: Path) -> None:
    (backup / "keys/kek").unlink()
    (backup / "state.sqlite").write_bytes(b"stale")
    assert list(read_manifest(backup).differences(backup)) == [
        "keys/kek is missing (put it back from where the keys are kept)",
        "state.sqlite was changed after it was copied",
    ]


def test_a_folder_without_a_manifest_is_one_that_was_cut_off(backup: Path) -> None:
    (backup / MANIFEST).unlink()
    with pytest.raises(ConfigurationError, match="one that was cut off; take the newest whole one"):
        read_manifest(backup)


def changed(backup: Path, **members: object) -> None:
    content = json.loads((backup / MANIFEST).read_text()) | members
    (backup / MANIFEST).write_text(json.dumps(content))


def test_a_backup_of_a_newer_program_names_that_program(backup: Path) -> None:
    changed(backup, format=FORMAT + 1, program="9.0")
    with pytest.raises(ConfigurationError, match=r"newer Vestibule \(9\.0\)"):
        read_manifest(backup)


@pytest.mark.parametrize("name", ["../escape", "/etc/passwd", "keys/../../escape", ""])
def test_a_manifest_that_leads_out_of_the_backup_is_refused(backup: Path, name: str) -> None:
    changed(backup, files={name: "0" * 64})
    with pytest.raises(ConfigurationError, match="not what was written there"):
        read_manifest(backup)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 1, "files": []}', '{"format": "x"}', "\xff"])
def test_a_manifest_that_is_none_is_refused(backup: Path, text: str) -> None:
    (backup / MANIFEST).write_text(text, encoding="latin-1")
    with pytest.raises(ConfigurationError, match="take another copy"):
        read_manifest(backup)
