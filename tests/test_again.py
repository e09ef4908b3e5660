"""What failed beside others runs once more, alone; what is broken, and what is much, fails."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LUCK = """
def test_luck{0}():
    from pathlib import Path
    been = Path("been{0}").exists()
    Path("been{0}").touch()
    assert been
"""
BROKEN = "def test_broken(): assert False\n"
SKIPPED = "import pytest\ndef test_skipped(): pytest.skip()\n"
FOUR = "".join(LUCK.format(number) for number in range(4))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("body", "said", "code"),
    [
        (LUCK, "1 passed", 0),
        (BROKEN, "1 failed", 1),
        (LUCK + BROKEN, "1 failed, 1 passed", 1),
        (FOUR, "Status 1, 4 failures", 1),
        (SKIPPED, "Status 1, 0 failures", 1),
        ("import nothing_of_this_name\n", "Status 2, 1 failures", 1),
    ],
    ids=["luck", "broken", "luck and broken", "too many", "a skip", "not collected"],
)
def test_what_failed_is_decided_by_a_run_alone(tmp_path: Path, body: str, said: str, code: int) -> None:
    (tmp_path / "test_it.py").write_text(body.replace("{0}", ""))
    (tmp_path / "conftest.py").write_text("from tests.conftest import pytest_addoption, pytest_sessionfinish\n")
    (tmp_path / "pytest.ini").write_text("[pytest]\n")

    def run(*command: str) -> subprocess.CompletedProcess[str]:
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        whole = [sys.executable, *command]
        return subprocess.run(whole, cwd=tmp_path, env=environment, check=False, capture_output=True, text=True)

    first = run("-m", "pytest", "-q", "--forbid-skips")
    again = run("-m", "tests.again", str(first.returncode))

    assert first.returncode != 0
    assert said in again.stdout
    assert again.returncode == code
