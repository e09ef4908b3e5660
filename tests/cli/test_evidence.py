"""`vestibule evidence verify` is the stand-alone verifier, with its words and its exit status."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from tests.support.data_folder import busy_day, write_files
from vestibule.cli.root import build
from vestibule.evidence import verify


@pytest.fixture
def data(tmp_path: Path) -> Path:
    files, _, _ = busy_day(seed=1, rounds=2)
    write_files(tmp_path / "data", files)
    return tmp_path / "data"


def run(*arguments: str) -> Result:
    line = ("evidence", "verify", *arguments)
    return CliRunner().invoke(build(line), line)


def test_it_says_what_the_file_alone_says(data: Path) -> None:
    alone = subprocess.run(
        [sys.executable, "-I", verify.__file__, str(data)], capture_output=True, text=True, check=False
    )
    result = run(str(data))
    assert (result.exit_code, alone.returncode) == (0, 0), result.output
    assert result.output == alone.stdout


def test_a_damaged_folder_ends_with_one(data: Path) -> None:
    segment = next(data.glob("journal/*/*.seg"))
    content = bytearray(segment.read_bytes())
    content[100] ^= 1
    segment.chmod(0o600)
    segment.write_bytes(bytes(content))
    result = run(str(data))
    assert result.exit_code == 1
    assert segment.name in result.output


def test_what_is_no_data_folder_ends_with_two(tmp_path: Path) -> None:
    assert run(str(tmp_path)).exit_code == 2


def test_a_saved_checkpoint_is_compared(data: Path, tmp_path: Path) -> None:
    saved = tmp_path / "saved.txt"
    saved.write_bytes((data / "log" / "checkpoint").read_bytes())
    assert run(str(data), "--checkpoint", str(saved)).exit_code == 0
    saved.write_bytes(saved.read_bytes()[:-2])
    assert run(str(data), "--checkpoint", str(saved)).exit_code != 0


def test_json_is_one_document(data: Path) -> None:
    assert json.loads(run(str(data), "--json").output)
