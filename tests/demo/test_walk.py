"""The demo shows what it says, with everything real."""

from __future__ import annotations

import subprocess
import sys

import pytest

from demo.steps import STEPS
from tests.support.sandbox import CHECKOUT


@pytest.mark.server
@pytest.mark.timeout(300)
def test_every_step_of_the_walk_shows_what_it_should() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "demo", "--once"], cwd=CHECKOUT, capture_output=True, text=True, timeout=280
    )

    assert done.stdout.splitlines()[-1] == f"{len(STEPS)} of {len(STEPS)} steps", done.stdout + done.stderr
    assert done.returncode == 0
    assert "NOT SHOWN" not in done.stdout
