"""Why a statement is not forwarded, and how that is said: which column, in which construct, and what is allowed.

The texts name columns and constructs; they never hold a constant of the statement.
"""

from __future__ import annotations

from typing import Final

from vestibule.model.statement import Unsupported

DENIED: Final = "42501"
#: Codes with which the server itself would have answered, in the same words.
_OF_THE_SERVER: Final = frozenset({"42P01", "42703"})
ELSEWHERE: Final = "Select the column by itself; conditions, sorting and grouping may use other columns."
#: What there is to do about a refusal for which no other form of the statement helps.
_SOMEBODY_ELSE: Final = "Let somebody run it to whom the policy shows the columns."


class RefusedError(Exception):
    """The statement is not forwarded, or a definition is not understood."""

    def __init__(self, message: str, hint: str = "", *, code: str = DENIED, offset: int = -1) -> None:
        """Carry what to say, and about which byte of the text; -1 if about none."""
        super().__init__(message)
        self.message, self.hint, self.code, self.offset = message, hint, code, offset

    def said(self, text: bytes) -> Unsupported:
        """Give the answer to whoever sent `text`."""
        position = len(text[: self.offset].decode(errors="replace")) + 1 if 0 <= self.offset < len(text) else 0
        message = self.message if self.code in _OF_THE_SERVER else f"vestibule: {self.message}"
        hint = self.hint or (_SOMEBODY_ELSE if self.code == DENIED else "")
        return Unsupported(self.code, message, hint, position)


class UnknownError(Exception):
    """A name is not known, and the catalog may be old."""

    def __init__(self, name: str) -> None:
        """Carry the name as written."""
        super().__init__(name)
        self.name = name
