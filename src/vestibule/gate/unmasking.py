"""How a statement asks to see through masks: by a comment that it begins with.

`/* vestibule: unmask */ SELECT ...` asks for all masks that may be lifted, `/* vestibule: unmask ssn, card */` for
those named. The comment is part of the text that people see and approve, and means nothing to the target.
"""

from __future__ import annotations

import re
from typing import Final

#: Longer than any comment that names all of a policy's masks, and short enough to look at with each statement.
_LONGEST: Final = 2_048
_MARK: Final = re.compile(rb"\s*/\*\s*vestibule:\s*unmask\b([^*/]*)\*/")


def unmasking(text: bytes) -> frozenset[str] | None:
    """Give the masks that a text asks to be lifted, none for all of them; None if it does not ask."""
    match = _MARK.match(text, 0, _LONGEST)
    if match is None:
        return None
    names = match[1].decode(errors="replace").split(",")
    return frozenset(name for each in names if (name := each.strip()))
