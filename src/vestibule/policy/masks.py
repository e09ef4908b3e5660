"""Which columns are sensitive, for whom and how they are shown, from the `masks` section.

1. A pattern has three parts, `schema.table.column`; without a schema it means every schema.
2. As in SQL, a part without quotes is read in lower case, and one in quotes as it is written. Names are then compared
   with regard to case; within a part `*` stands for any characters and `?` for any one, in quotes too.
3. What a pattern cannot say, it says too widely and never too narrowly: a dot, a quote or a bracket in a name is `?`.
4. An entry masks a person's screen unless its `clear_for` names one of their groups, or people approve of one statement
   (`unmask`). What is stored it masks always.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from vestibule.model.names import GroupName, RuleName
from vestibule.model.plan import Label, Transform
from vestibule.model.target import Target
from vestibule.policy.access import Selector
from vestibule.policy.guardrails import Approval

#: PostgreSQL cuts longer names, so a longer part would name nothing.
_NAME_LIMIT: Final = 63
_PART: Final = re.compile(r'"(?P<quoted>(?:[^"]|"")+)"|(?P<bare>[\w$*?]+)')
_FOLDED: Final = str.maketrans("ABCDEFGHIJKLMNOPQRSTUVWXYZ", "abcdefghijklmnopqrstuvwxyz")
# Who compares may split at dots and read brackets as a set of characters, as shells do.
_TOO_FINE: Final = re.compile(r'[."\[\]]')


@dataclass(frozen=True, slots=True)
class MaskEntry:
    """One entry of the section; without `targets` it is about all of them."""

    name: RuleName
    columns: tuple[str, ...]
    transform: Transform
    clear_for: frozenset[GroupName] = frozenset()
    targets: Selector | None = None
    unmask: Approval | None = None

    @property
    def label(self) -> Label:
        """The entry as those see it who mask."""
        return Label(self.name, self.columns, self.transform)

    def concerns(self, target: Target) -> bool:
        """Tell whether columns of `target` are meant."""
        return self.targets is None or self.targets.selects(target)

    def is_clear_for(self, groups: frozenset[GroupName]) -> bool:
        """Tell whether somebody in `groups` sees these columns as they are."""
        return not self.clear_for.isdisjoint(groups)


def column_pattern(text: str) -> str:
    """Read `table.column` or `schema.table.column` as a pattern of three parts."""
    pieces = _pieces(text)
    if not pieces:
        raise ValueError(
            'is no column; write for example "*.customers.ssn", with names that are no plain words in quotes'
        )
    if len(pieces) == 1:
        raise ValueError('names no table; write for example "*.customers.ssn"')
    if len(pieces) > 3:
        raise ValueError("has too many parts; write schema.table.column, without the database")
    if any(len(piece.encode()) > _NAME_LIMIT for piece in pieces):
        raise ValueError(f"has a part of more than {_NAME_LIMIT} bytes; no name of a column is that long")
    return ".".join(["*", *pieces][-3:])


def _pieces(text: str) -> list[str]:
    """Split a pattern into its parts as they are compared; none where it is not made of parts and single dots."""
    pieces: list[str] = []
    at = 0
    while text.isprintable() and (found := _PART.match(text, at)):
        pieces.append(_piece(found))
        at = found.end()
        if at == len(text):
            return pieces
        if text[at] != ".":
            break
        at += 1
    return []


def _piece(found: re.Match[str]) -> str:
    if found["bare"] is not None:
        return found["bare"].translate(_FOLDED)
    return _TOO_FINE.sub("?", found["quoted"].replace('""', '"'))
