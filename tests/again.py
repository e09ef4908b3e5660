"""Run what failed once more, alone: `make test` calls this where a run beside others ended with failures.

Two busy cores make some tests late that judge a real program. Run alone, such a test passes, and is named; what is
broken fails again. More than a few failures are no matter of luck and fail at once. See docs/adr/0032.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Final

#: More than this are no matter of luck.
MOST: Final = 3
FAILED: Final = Path(".pytest_cache/v/cache/lastfailed")


def failed(path: Path = FAILED) -> list[str]:
    """What the last run said that failed; nothing where it ended without saying."""
    try:
        return sorted(json.loads(path.read_bytes()))
    except FileNotFoundError:
        return []


def main(status: str) -> int:
    """Run what failed, one after another; the status is pytest's. `status` is that of the run before."""
    names = failed()
    if status != "1" or not 0 < len(names) <= MOST:
        print(f"Status {status}, {len(names)} failures: only up to {MOST} failures of a whole run are run again.")
        return 1
    print("Run again, alone:", *names, sep="\n  ")
    code = subprocess.call([sys.executable, "-m", "pytest", "-q", "--forbid-skips", *names])
    if not code:
        print("They failed beside others and pass alone. The failures are above: mend the test if it needs luck.")
    return code


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
