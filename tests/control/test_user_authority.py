from __future__ import annotations

import stat
from pathlib import Path

import pytest

from vestibule.control.user_authority import AUTHORITY_FILE, open_authority
from vestibule.model.errors import ConfigurationError

NAME = "vestibule.example/log"


def test_the_first_start_makes_an_authority_that_only_its_owner_can_use_and_later_ones_read_it(tmp_path: Path) -> None:
    first, second = open_authority(tmp_path, NAME), open_authority(tmp_path, NAME)

    assert first.pem == second.pem
    assert NAME in str(first._certificate.subject)
    assert stat.S_IMODE((tmp_path / AUTHORITY_FILE).stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == [AUTHORITY_FILE]


def test_without_its_file_another_one_is_made(tmp_path: Path) -> None:
    first = open_authority(tmp_path, NAME)
    (tmp_path / AUTHORITY_FILE).unlink()

    assert open_authority(tmp_path, NAME).pem != first.pem


def test_a_file_that_others_can_use_is_refused_with_what_to_do(tmp_path: Path) -> None:
    open_authority(tmp_path, NAME)
    (tmp_path / AUTHORITY_FILE).chmod(0o640)

    with pytest.raises(ConfigurationError, match="run: chmod 600"):
        open_authority(tmp_path, NAME)


@pytest.mark.parametrize("content", [b"", b"nonsense"])
def test_a_broken_file_is_never_replaced_by_itself(tmp_path: Path, content: bytes) -> None:
    open_authority(tmp_path, NAME)
    (tmp_path / AUTHORITY_FILE).write_bytes(content)

    with pytest.raises(ConfigurationError, match="restore the file, or remove it") as error:
        open_authority(tmp_path, NAME)
    assert "nonsense" not in str(error.value)
    assert (tmp_path / AUTHORITY_FILE).read_bytes() == content
