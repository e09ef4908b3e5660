import json
import stat
from pathlib import Path

import pytest

from vestibule.cli import credentials
from vestibule.cli.credentials import Credentials
from vestibule.cli.exits import CommandError, Exit

KEPT = Credentials("https://vestibule.example:8443", "dev1", "vst_secret", "2026-01-01T00:00:00.000000Z", "/ca.pem")


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)


def test_a_log_in_comes_back_as_it_was_kept() -> None:
    credentials.save(KEPT)

    assert credentials.load() == KEPT


def test_the_file_is_its_owners_alone_from_the_first_moment(tmp_path: Path) -> None:
    credentials.save(KEPT)
    file = tmp_path / ".config" / "vestibule" / "credentials.json"

    assert credentials.path() == file
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert [path.name for path in file.parent.iterdir()] == ["credentials.json"]


def test_a_new_log_in_takes_the_place_of_the_old_one() -> None:
    credentials.save(KEPT)
    other = Credentials("https://other.example", "dev2", "vst_other", "2027-01-01T00:00:00.000000Z")
    credentials.save(other)

    assert credentials.load() == other


def test_the_configuration_folder_may_be_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "elsewhere"))
    credentials.save(KEPT)
    assert (tmp_path / "elsewhere" / "vestibule" / "credentials.json").exists()

    monkeypatch.setenv("XDG_CONFIG_HOME", "relative")
    assert credentials.path().is_relative_to(tmp_path / ".config")


def test_nobody_logged_in_is_a_wrong_use_with_what_to_do() -> None:
    with pytest.raises(CommandError, match="vestibule login") as error:
        credentials.load()
    assert error.value.code is Exit.USAGE


def test_a_file_that_others_can_read_is_not_used() -> None:
    credentials.save(KEPT)
    credentials.path().chmod(0o640)

    with pytest.raises(CommandError, match="chmod 600"):
        credentials.load()


@pytest.mark.parametrize("content", ["", "{", "[]", "null", "{}", json.dumps({"server": "x", "unknown": 1}), "\xff"])
def test_a_file_that_is_none_is_an_error_and_not_a_crash(content: str) -> None:
    credentials.save(KEPT)
    credentials.path().write_bytes(content.encode("latin-1"))

    with pytest.raises(CommandError, match="again"):
        credentials.load()


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / ".config").write_text("a file in the way")

    with pytest.raises(CommandError, match="cannot be kept"):
        credentials.save(KEPT)


def test_forgetting_is_no_error_twice() -> None:
    credentials.save(KEPT)
    credentials.remove()
    credentials.remove()

    assert not credentials.path().exists()


def test_the_token_is_not_in_the_repr() -> None:
    assert "vst_secret" not in repr(KEPT)


def test_the_golden_file_of_the_first_version_is_read(tmp_path: Path) -> None:
    file = tmp_path / ".config" / "vestibule" / "credentials.json"
    file.parent.mkdir(parents=True)
    file.write_bytes((Path(__file__).parents[1] / "golden" / "credentials.json").read_bytes())
    file.chmod(0o600)
    kept = credentials.load()
    assert (kept.server, kept.name, kept.ca) == ("https://vestibule.example:8443", "ada", None)
    assert kept.expires_at == "2026-01-02T11:04:05Z"
    assert kept.token.startswith("vst_golden")
