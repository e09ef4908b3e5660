"""Write `masking/sqlstates.py` from the server's own list of error codes.

python scripts/list_sqlstates.py /usr/share/postgresql/15/errcodes.txt > src/vestibule/masking/sqlstates.py
"""

from __future__ import annotations

import sys
import textwrap
from pathlib import Path

#: Codes of later versions.
NEWER = {"25P04": "transaction_timeout", "58P03": "file_name_too_long"}
HEAD = '''"""The SQLSTATEs of PostgreSQL and what each means. Generated; do not edit.

Made by scripts/list_sqlstates.py from the server's own list.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

_LIST: Final = """
'''
TAIL = '''
"""

#: The condition of each SQLSTATE, in words.
CONDITIONS: Final[Mapping[str, str]] = {
    code: name.replace("_", " ") for code, _, name in (entry.partition(":") for entry in _LIST.split())
}
'''


def codes(path: Path) -> dict[str, str]:
    """Read the list; the first name of a code counts."""
    found: dict[str, str] = {}
    for line in path.read_text().splitlines():
        parts = line.split()
        if len(parts) >= 3 and len(parts[0]) == 5 and parts[1] in ("E", "W", "S"):
            found.setdefault(parts[0], parts[3] if len(parts) > 3 else parts[2].removeprefix("ERRCODE_").lower())
    return found | NEWER


def main() -> None:
    """Write the module."""
    entries = " ".join(f"{code}:{name}" for code, name in sorted(codes(Path(sys.argv[1])).items()))
    print(HEAD + textwrap.fill(entries, 118, break_long_words=False, break_on_hyphens=False) + TAIL, end="")


if __name__ == "__main__":
    main()
