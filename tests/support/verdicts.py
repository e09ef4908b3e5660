"""What the leak battery's verdicts mean for this version.

1. A leak is a fault, and so is a gateway that went down, or a case that could not be judged: nothing excuses them.
2. What is masked or refused without need is known by a list, which can only shrink: what is not in it is a fault, and
   so is what is in it and has been mended.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from tests.support.canary_bank import Verdict
from tests.support.sandbox import CHECKOUT

#: By case: how it falls short without showing anything.
KNOWN = CHECKOUT / "tests" / "golden" / "leak_battery.json"
#: What may be in the list.
SHORT = frozenset({"OVERBLOCKED", "OVERMASKED", "ROWCOUNT", "DIFF"})


def known(path: Path = KNOWN) -> dict[str, str]:
    """Read the list."""
    found: dict[str, str] = json.loads(path.read_text())
    return found


def leaks(verdicts: Iterable[Verdict]) -> list[str]:
    """Tell what nothing excuses."""
    return [_told(each) for each in verdicts if not each.ok and each.status not in SHORT]


def surprises(verdicts: Iterable[Verdict], listed: Mapping[str, str]) -> list[str]:
    """Tell where the list and what came out differ, and what to do about it."""
    found = list(verdicts)
    short = {each.id: each for each in found if each.status in SHORT}
    ran = {each.id for each in found}
    return [
        *(f"mend it: {_told(each)}" for each in short.values() if each.id not in listed),
        *(
            f"{name} is {short[name].status} now, and was {status}: {_told(short[name])}"
            for name, status in listed.items()
            if name in short and short[name].status != status
        ),
        *(
            f"{name} is as it should be: remove it from {KNOWN.name}"
            for name in listed
            if name in ran and name not in short
        ),
        *(f"there is no case {name}: remove it from {KNOWN.name}" for name in listed if name not in ran),
        *(f"{name} cannot be listed as {status}" for name, status in listed.items() if status not in SHORT),
    ]


def _told(verdict: Verdict) -> str:
    return f"{verdict.id} ({verdict.category}) {verdict.status}: {verdict.info[:300]}"
