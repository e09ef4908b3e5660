"""A statement's text as coloured parts: what is a word of the language, a value, a name, a comment, masked.

1. The parts in order are the text; nothing is added, dropped or moved.
2. Colour is help for the eye and no judgement: what a statement does is said by its operations.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal

from vestibule.control.web.visible import Piece, visible
from vestibule.evidence.lexemes import Form, lexemes

PartKind = Literal["plain", "keyword", "string", "number", "name", "comment", "masked"]

#: What the storage mask leaves in a value's place: class, key, and the code that equal values share.
MASKED: Final = re.compile(r"<(?:([a-z][a-z0-9_.-]{0,39}):[A-Za-z0-9-]{1,64}:([A-Z2-7]{16})|secret|\d{1,12} bytes)>")

_WORD: Final = re.compile(r"[^\W\d][\w$]*")
_WORDS: Final = """
    add all alter analyze and any as asc begin between by call cascade case cast check column commit constraint copy
    create cross current_date current_timestamp cursor database declare default delete desc distinct do drop else end
    except execute exists explain extension false fetch first for foreign from full function grant group having if
    ilike in index inner insert intersect into is join key language last lateral left like limit lock merge natural not
    nothing notify null nulls of offset on only or order outer over owner partition prepare primary privileges procedure
    public references refresh reindex rename replace reset restrict returning revoke right role rollback row rows
    savepoint schema select sequence session set share show similar start table tablespace temporary then to transaction
    trigger true truncate type union unique update user using vacuum values view when where window with
"""
_KEYWORDS: Final = frozenset(_WORDS.split())
_KINDS: Final[dict[Form, PartKind]] = {
    Form.STRING: "string",
    Form.NUMBER: "number",
    Form.QUOTED_NAME: "name",
    Form.COMMENT: "comment",
}


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a text; what is masked has a `label` in the place of its text."""

    kind: PartKind
    text: str
    label: str = ""

    @property
    def pieces(self) -> list[Piece]:
        """Its text, so that everything in it is seen."""
        return visible(self.text, lines=True)


def sql(text: str) -> list[Part]:
    """Cut an SQL text into parts."""
    # A token of the mask is one word to the language's rules, whatever they would make of what is in it.
    words = MASKED.sub(lambda token: "_" * len(token[0]), text)
    parts: list[Part] = []
    end = 0
    for lexeme in lexemes(words):
        if (kind := _KINDS.get(lexeme.form)) is None:
            continue
        parts += _code(text[end : lexeme.start])
        parts += _parts(kind, text[lexeme.start : lexeme.end])
        end = lexeme.end
    return [*parts, *_code(text[end:])]


def value(text: str) -> list[Part]:
    """Cut a value into parts: what is masked, and the rest."""
    return list(_parts("string", text))


def _code(text: str) -> Iterator[Part]:
    for part in _parts("plain", text):
        if part.label:
            yield part
            continue
        end = 0
        for word in _WORD.finditer(part.text):
            if word[0].lower() not in _KEYWORDS:
                continue
            if word.start() > end:
                yield Part("plain", part.text[end : word.start()])
            yield Part("keyword", word[0])
            end = word.end()
        if end < len(part.text):
            yield Part("plain", part.text[end:])


def _parts(kind: PartKind, text: str) -> Iterator[Part]:
    end = 0
    for token in MASKED.finditer(text):
        if token.start() > end:
            yield Part(kind, text[end : token.start()])
        yield Part("masked", token[0], _label(token))
        end = token.end()
    if end < len(text):
        yield Part(kind, text[end:])


def _label(token: re.Match[str]) -> str:
    # Six letters are enough to see that two values are the same one.
    return f"{token[1]} {token[2][:6]}" if token[1] else token[0][1:-1]
