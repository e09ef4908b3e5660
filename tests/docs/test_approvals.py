"""The page on approvals: its numbers and its words are the program's."""

from __future__ import annotations

from pathlib import Path

import pytest

from vestibule.control.approval_desk import MAX_OPEN, MAX_OPEN_OF_ONE
from vestibule.control.approvals import KEPT_FOR, MAX_WATCHES, MAX_WATCHES_OF_ONE
from vestibule.model import wording
from vestibule.model.approval import State
from vestibule.model.names import SECOND
from vestibule.protocols.postgres.asking import HELD_BYTES
from vestibule.protocols.postgres.holding import NOTICE_EVERY

PAGE = (Path(__file__).parents[2] / "docs/reference/approvals.md").read_text()
APPROVAL = "AR-7Q2M4V0XKD"


@pytest.mark.parametrize(
    "words",
    [
        f"at most {MAX_OPEN_OF_ONE} requests open (pending, or approved and not used), the gateway {MAX_OPEN:,}",
        f"again every {NOTICE_EVERY // SECOND} seconds",
        f"up to {HELD_BYTES >> 20} MiB",
        f"At most {MAX_WATCHES_OF_ONE} streams for one log-in, {MAX_WATCHES} in all",
        f"leaves the lists after {KEPT_FOR // (24 * 3600 * SECOND)} days",
        f"ERROR:  {wording.approval_required(APPROVAL, f'https://vestibule.example:8443/approvals/{APPROVAL}')}\n",
    ],
)
def test_a_number_or_a_message_of_the_page_is_the_programs(words: str) -> None:
    assert words in PAGE


def test_every_state_is_explained() -> None:
    assert [state for state in State.__args__ if f"| `{state}` |" not in PAGE] == []  # type: ignore[attr-defined]
