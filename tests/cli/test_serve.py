"""`vestibule serve` says what is wrong before it serves."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from vestibule.cli.exits import exit_of
from vestibule.cli.root import build
from vestibule.model.errors import ConfigurationError


def test_a_missing_file_is_named_with_what_to_do(tmp_path: Path) -> None:
    line = ("serve", "--config", str(tmp_path / "vestibule.yaml"))
    result = CliRunner().invoke(build(line), line)
    assert isinstance(result.exception, ConfigurationError)
    assert exit_of(result.exception) == 2
    assert "vestibule.yaml" in str(result.exception)


@pytest.mark.parametrize("text", ["", "public_url: 7\n", "[]"])
def test_a_wrong_file_is_refused_by_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / "vestibule.yaml"
    path.write_text(text)
    line = ("serve", "--config", str(path))
    result = CliRunner().invoke(build(line), line)
    assert isinstance(result.exception, ConfigurationError)
    assert "vestibule.yaml:" in str(result.exception)
