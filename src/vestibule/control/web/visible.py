"""Text that somebody else chose, made so that what a person reads is what is there.

1. A character that cannot be seen, or that moves others about, is shown by its code: `U+202E`.
2. Nothing is dropped: the pieces in order are the text.
3. A letter that looks like another but belongs to another script than its word is marked.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

#: Drawn as nothing, or as a space that is none, whatever their category says.
_BLANK: Final = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180f\u2800\u3164\uffa0")
_UNSEEN: Final = frozenset(("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"))
#: Marks above each other that a letter may carry; more would cover the lines around.
MARKS: Final = 2
_WORD: Final = re.compile(r"[^\W\d_]+")


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a text: as it is, or with the `code` that stands for it and the `name` that explains it."""

    text: str
    code: str = ""
    name: str = ""


def visible(text: str, lines: bool = False) -> list[Piece]:
    """Cut a text into pieces that can be shown; with `lines`, line feeds and tabs are what they are."""
    # Nearly every text is plain, and a statement may have sixteen thousand characters.
    if text.isascii() and (text.isprintable() or (lines and text.translate(_LINES).isprintable())):
        return [Piece(text)] if text else []
    return list(_joined(_pieces(text, "\n\t" if lines else "")))


_LINES: Final = {ord("\n"): " ", ord("\t"): " "}


def _pieces(text: str, allowed: str) -> Iterator[Piece]:
    strangers = _strangers(text)
    marks = 0
    for position, character in enumerate(text):
        marks = marks + 1 if unicodedata.category(character).startswith("M") else 0
        if character in allowed:
            yield Piece(character)
        elif _is_unseen(character) or marks > MARKS:
            yield Piece(character, f"U+{ord(character):04X}", unicodedata.name(character, "no character"))
        elif position in strangers:
            name = unicodedata.name(character, f"U+{ord(character):04X}")
            yield Piece(character, character, f"not the letter it may look like: {name}")
        else:
            yield Piece(character)


def _is_unseen(character: str) -> bool:
    category = unicodedata.category(character)
    if category == "Zs":
        return character != " "
    # Variation selectors choose how the character before them looks.
    return category in _UNSEEN or character in _BLANK or "\ufe00" <= character <= "\ufe0f" or character >= "\U000e0000"


def _strangers(text: str) -> frozenset[int]:
    """Find the letters of another script in words that have letters of ASCII."""
    if text.isascii():
        return frozenset()
    return frozenset(
        position
        for word in _WORD.finditer(text)
        if not word[0].isascii() and any(letter.isascii() for letter in word[0])
        for position in range(word.start(), word.end())
        if not unicodedata.name(text[position], "LATIN").startswith("LATIN ")
    )


def _joined(pieces: Iterator[Piece]) -> Iterator[Piece]:
    plain: list[str] = []
    for piece in pieces:
        if not piece.code:
            plain.append(piece.text)
            continue
        if plain:
            yield Piece("".join(plain))
            plain.clear()
        yield piece
    if plain:
        yield Piece("".join(plain))
