"""The reference of `vestibule doctor` is what it checks."""

from __future__ import annotations

import re
from pathlib import Path

from vestibule.app.doctor import own, targets

CHECKOUT = Path(__file__).parents[2]
PAGE = (CHECKOUT / "docs/reference/doctor.md").read_text()


ROWS = set(re.findall(r"^\| `([a-z _]+)` \|", PAGE, re.MULTILINE))


def row_of(about: str) -> str:
    """The row that a finding is described in; of a database it is `each database`."""
    about = re.sub(r"^target [\w-]+(: (?=\w+(: |$))\w+(?=: (functions|masks)$))?(: |$)", "", about)
    return next((row for row in ROWS if about == row or about.startswith((f"{row} ", f"{row}:"))), about)


def test_the_numbers_that_it_states_are_the_code_s() -> None:
    assert f"{own.SYNCS} writes" in PAGE
    assert all(f"`{right}`" in PAGE for right in targets._RIGHTS)


def test_every_exit_status_is_in_the_help_too() -> None:
    told = (CHECKOUT / "src/vestibule/cli/doctor.py").read_text()
    statuses = re.findall(r"^\| (\d) \|", PAGE, re.MULTILINE)
    assert statuses == ["0", "1", "2", "3"]
    assert all(f"{status}: " in told for status in statuses)
