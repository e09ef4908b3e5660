"""The parts of an SQL text that may carry data: strings, numbers, quoted names, comments. PostgreSQL's lexical rules.

This is no parser: it never fails, and what is left open at the end of the text reaches to the end.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Final

#: As many parts are looked at one by one; the rest of the text is one string. A part takes some microseconds.
STEPS: Final = 8_192


class Form(Enum):
    """What a lexeme is."""

    STRING = "string"
    NUMBER = "number"
    QUOTED_NAME = "quoted name"
    NAME = "name"
    COMMENT = "comment"


@dataclass(frozen=True, slots=True)
class Lexeme:
    """A part of a text from `start` to before `end`, in characters.

    `escaped` is set for strings whose content is not what is written (`E'..'`, `U&'..'`); `after_password` for strings
    that stand where a password stands.
    """

    form: Form
    start: int
    end: int
    escaped: bool = False
    after_password: bool = False


# No possessive quantifiers over groups: before CPython 3.11.5 they may leave a position behind a failed branch.
_PLAIN: Final = re.compile(r"'[^']*(?:''[^']*)*(?:'|\Z)")
_ESCAPED: Final = re.compile(r"'[^'\\]*(?:(?:''|\\.|\\\Z)[^'\\]*)*(?:'|\Z)", re.DOTALL)
_GAP: Final = re.compile(r"(?:\s|--[^\r\n]*)*")
_QUOTED_NAME: Final = re.compile(r'"[^"]*(?:""[^"]*)*(?:"|\Z)')
_BACKTICKED: Final = re.compile(r"`[^`]*(?:`|\Z)")
_NESTING: Final = re.compile(r"/\*|\*/")
_START: Final = re.compile(
    r"""
      (?P<line>--[^\r\n]*)
    | (?P<block>/\*)
    | (?P<string>(?P<prefix>[eEbBxXnN]|[uU]&)?')
    | (?P<dollar>\$(?:[^\W\d]\w*)?\$)
    | (?P<quoted>(?:[uU]&)?")
    | (?P<backtick>`)
    | (?P<name>[A-Za-z_\u0080-\U0010ffff][A-Za-z0-9_$\u0080-\U0010ffff]*)
    | (?P<number>\$?(?:0[xXoObB][0-9A-Fa-f_]+|(?:[0-9][0-9_]*(?:\.[0-9_]*)?|\.[0-9][0-9_]*)(?:[eE][+-]?[0-9]+)?))
    | (?P<space>\s+)
    | (?P<assignment>:=|=)
    | (?P<other>.)
    """,
    re.VERBOSE | re.DOTALL,
)
#: What can be stepped over at once where no word announces a password: names, space, most operators.
_BORING: Final = re.compile(
    r"(?:[A-Za-z_][A-Za-z0-9_$]*(?![A-Za-z0-9_$\u0080-\U0010ffff'\"&])|[\s,()=<>*+;:|%^&!~\[\]{}?#]|\.(?![0-9]))+",
    re.ASCII,
)
_PASSWORD_HINT: Final = re.compile(r"pass|pwd|identified", re.IGNORECASE)
_PASSWORD_WORDS: Final = frozenset({"password", "passwd", "pwd", "passphrase", "sslpassword"})


def lexemes(text: str) -> Iterator[Lexeme]:
    """Give the lexemes of `text` in order; operators and white space are left out."""
    position = 0
    steps = 0
    expects_password = False
    last_name = ""
    may_step = _PASSWORD_HINT.search(text) is None
    while position < len(text):
        steps += 1
        if steps > STEPS:
            yield Lexeme(Form.STRING, position, len(text))
            return
        if may_step and (boring := _BORING.match(text, position)) is not None:
            position = boring.end()
        found = _START.match(text, position)
        if found is None:
            return
        group = found.lastgroup or ""
        lexeme = _lexeme(text, found, group, expects_password)
        position = lexeme.end if lexeme is not None else found.end()
        if lexeme is not None and (lexeme.form is not Form.NAME or not found[0].isascii()):
            yield lexeme
        if group == "name":
            expects_password = _names_password(found[0].lower(), last_name, expects_password)
            last_name = found[0].lower()
        elif group not in ("space", "line", "block", "assignment"):
            expects_password = False
            last_name = ""


def _names_password(name: str, before: str, expected: bool) -> bool:
    if name in ("to", "is", "as"):
        return expected
    return name in _PASSWORD_WORDS or (name == "by" and before == "identified")


def _lexeme(text: str, found: re.Match[str], group: str, after_password: bool) -> Lexeme | None:
    start = found.start()
    match group:
        case "line":
            return Lexeme(Form.COMMENT, start, found.end())
        case "block":
            return Lexeme(Form.COMMENT, start, _end_of_block(text, start))
        case "string" | "prefix":
            return _string(text, found, after_password)
        case "dollar":
            end = text.find(found[0], found.end())
            end = len(text) if end == -1 else end + len(found[0])
            return Lexeme(Form.STRING, start, end, after_password=after_password)
        case "quoted":
            return Lexeme(Form.QUOTED_NAME, start, _end(_QUOTED_NAME, text, found.end() - 1))
        case "backtick":
            return Lexeme(Form.QUOTED_NAME, start, _end(_BACKTICKED, text, start))
        case "name":
            return Lexeme(Form.NAME, start, found.end())
        case "number":
            return Lexeme(Form.NUMBER, start, found.end())
        case _:
            return None


def _string(text: str, found: re.Match[str], after_password: bool) -> Lexeme:
    prefix = (found["prefix"] or "").lower()
    pattern = _ESCAPED if prefix == "e" else _PLAIN
    end = _end(pattern, text, found.end() - 1)
    while (more := _continuation(text, end)) is not None:
        end = _end(pattern, text, more)
    return Lexeme(Form.STRING, found.start(), end, prefix in ("e", "u&"), after_password)


def _continuation(text: str, end: int) -> int | None:
    """Find where a string goes on: behind a line break, and maybe comments, in a next pair of quotes."""
    gap = _end(_GAP, text, end)
    if text.startswith("'", gap) and any(character in "\r\n" for character in text[end:gap]):
        return gap
    return None


def _end(pattern: re.Pattern[str], text: str, start: int) -> int:
    found = pattern.match(text, start)
    return len(text) if found is None else found.end()


def _end_of_block(text: str, start: int) -> int:
    depth = 0
    for found in _NESTING.finditer(text, start):
        depth += 1 if found[0] == "/*" else -1
        if depth == 0:
            return found.end()
    return len(text)
