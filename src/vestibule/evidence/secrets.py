"""Secrets that are never stored: found wherever they stand in a text, also inside strings and comments."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

_HINT: Final = re.compile(r"pass|pwd|identified|://|vs[tb]_|eyJ|PRIVATE KEY|AKIA|ASIA|secret", re.IGNORECASE)
_SHAPES: Final = re.compile(
    r"""
      \bvs[tb]_[A-Za-z0-9_-]{8,}
    | \beyJ[A-Za-z0-9_-]{5,}(?:\.[A-Za-z0-9_-]*){0,2}
    | -----BEGIN[A-Z0-9\ ]{0,40}\bPRIVATE\ KEY.*?(?:-----END[A-Z0-9\ ]{0,40}PRIVATE\ KEY(?:\ BLOCK)?-----|\Z)
    | (?<![A-Za-z0-9])(?:AKIA|ASIA)[A-Z0-9]{12,}
    """,
    re.VERBOSE | re.DOTALL,
)
_AWS_SECRET: Final = re.compile(r"secret_?(?:access_?)?key\W{1,8}([A-Za-z0-9/+=]{30,})", re.IGNORECASE)
#: A URL up to the password in it, and what ends that: only an `@` makes it one.
_URL: Final = re.compile(r"\b[a-z][a-z0-9+.-]{0,30}://[^\s/@:'\"]{0,256}+:", re.IGNORECASE)
_URL_STOP: Final = re.compile(r"[\s@'\"]")
_LONGEST: Final = 1_024
#: So many announced secrets are told one by one; behind them the rest of the text is one.
_ANNOUNCED: Final = 512
#: A word that announces a secret, and what may stand between the two: space, comments, an operator, in JSON a quote.
_KEYWORD: Final = re.compile(
    r"""
    (?:password|passwd|pwd|passphrase|identified\s{1,8}by)
    (?:\\{0,4}["'](?=\s{0,8}:))?
    (?:\s|/\*(?:[^*]|\*(?!/)){0,256}\*/){0,32}
    (?:(?P<operator>:=|=>|=|:)|to\b|is\b|as\b)?
    \s{0,32}
    """,
    re.VERBOSE | re.IGNORECASE,
)
_OPENING: Final = re.compile(r"(?:e|n|b|x|u&)?\\{0,4}(?P<quotes>'{1,8}|\"{1,8}|\$\w{0,64}\$)", re.IGNORECASE)
_RUNS: Final = {quote: re.compile(f"{quote}+") for quote in "'\""}
_BARE: Final = re.compile(r"[^\s;&'\"\\()<>,]{1,1024}")


def may_hold_secret(text: str) -> bool:
    """Say whether a closer look is needed."""
    return _HINT.search(text) is not None


def shaped(text: str) -> Iterator[tuple[int, int]]:
    """Find what looks like a secret by itself: tokens, private keys, access keys, passwords in URLs."""
    if not may_hold_secret(text):
        return
    for found in _SHAPES.finditer(text):
        yield found.span()
    for found in _AWS_SECRET.finditer(text):
        yield found.span(1)
    yield from _in_urls(text)


def _in_urls(text: str) -> Iterator[tuple[int, int]]:
    stop = -1
    for found in _URL.finditer(text):
        start = found.end()
        if stop < start:
            end = _URL_STOP.search(text, start)
            stop = len(text) if end is None else end.start()
        if start < stop <= start + _LONGEST and text[stop : stop + 1] == "@":
            yield start, stop


def announced(text: str) -> Iterator[tuple[int, int]]:
    """Find what a word like PASSWORD announces where nothing is parsed (comment, string): quoted or after `=`."""
    for number, found in enumerate(_KEYWORD.finditer(text)):
        if number == _ANNOUNCED:
            yield found.start(), len(text)
            return
        opening = _OPENING.match(text, found.end())
        if opening is not None:
            yield opening.start(), _closing(text, opening)
        elif found["operator"]:
            bare = _BARE.match(text, found.end())
            if bare is not None:
                yield bare.span()


def _closing(text: str, opening: re.Match[str]) -> int:
    """Find the end of a quoted secret; quotes nested in a string are doubled, so they come as runs of one length."""
    quotes = opening["quotes"]
    if quotes[0] == "$":
        end = text.find(quotes, opening.end())
        return len(text) if end == -1 else end + len(quotes)
    for run in _RUNS[quotes[0]].finditer(text, opening.end()):
        if len(quotes) <= len(run[0]) < 2 * len(quotes):
            return run.start() + len(quotes)
    return len(text)
