"""Errors and notices of a statement that may quote sensitive values: what of them the client is told.

1. The severity stays. So does the SQLSTATE if it is one of the server's own; anything else, which code of the target
   may have chosen, is `XX000`.
2. The message is the fixed one of the SQLSTATE. Nothing that the target wrote is repeated, but the name of a
   constraint that the snapshot knows, and the position.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final

from vestibule.masking.sqlstates import CONDITIONS

DETAIL: Final = "vestibule: details withheld, they may quote masked values"
INTERNAL: Final = "XX000"

#: What an error message's fields are called by letter in the protocol, as far as they pass.
SEVERITY, SEVERITY_AS_IS, CODE, MESSAGE, DETAILS, POSITION, CONSTRAINT = "S", "V", "C", "M", "D", "P", "n"
_KEPT: Final = (SEVERITY, SEVERITY_AS_IS)
_SEVERITIES: Final = frozenset({"ERROR", "FATAL", "PANIC", "WARNING", "NOTICE", "DEBUG", "INFO", "LOG"})


def reduced(fields: Mapping[str, str], constraints: Collection[str] = ()) -> dict[str, str]:
    """Give what the client may see of an error or notice; `constraints` are the names that the snapshot knows."""
    shown = {letter: fields[letter] for letter in _KEPT if fields.get(letter) in _SEVERITIES}
    code = fields.get(CODE, "")
    shown[CODE] = code if code in CONDITIONS else INTERNAL
    shown[MESSAGE] = CONDITIONS[shown[CODE]]
    shown[DETAILS] = DETAIL
    if fields.get(POSITION, "").isdecimal() and fields[POSITION].isascii():
        shown[POSITION] = fields[POSITION]
    if fields.get(CONSTRAINT) in constraints:
        shown[CONSTRAINT] = fields[CONSTRAINT]
    return shown
