"""The storage mask for statements: which text is stored when values travel inside it.

1. Text is stored exactly, but a literal or parameter that holds six digits or an `@` becomes a keyed token; whatever
   stands between the digits does not count. Equal values become equal tokens.
2. In a text that was not understood every quoted string becomes a token, and every number of six digits anywhere.
3. A comment is data that somebody may have pasted: numbers of six digits and words with an `@` in it become tokens.
4. Names stay, six digits or not; only what cannot be a name without quotes (`"John 078-05-1120"`) goes by the rule.
5. Secrets become `<secret>` everywhere.
6. The literals given by the parser come on top of those found here; doubt masks.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import accumulate, chain, pairwise
from typing import Final
from unicodedata import normalize

from vestibule.evidence.commitment import storage_token
from vestibule.evidence.lexemes import Form, Lexeme, lexemes
from vestibule.evidence.secrets import announced, may_hold_secret, shaped
from vestibule.model.statement import Span

#: What is stored of a text, in characters and in bytes of JSON.
TEXT_CHARACTERS: Final = 16_384
TEXT_BYTES: Final = 32_768
#: What is looked at of a text; a long literal shrinks to a token, so this is more than what is stored.
SCANNED_CHARACTERS: Final = 32_768
SECRET: Final = "<secret>"
#: The class of the tokens of this version, which knows no labels yet.
CLASS: Final = "value"

_SIX_DIGITS: Final = re.compile(r"\d(?:\D*+\d){5}")
_NUMERIC_ESCAPE: Final = re.compile(r"\\[xXuU0-7+]|\\[0-9A-Fa-f]{4}")
#: Bytes as PostgreSQL writes them: they may spell anything.
_BYTES: Final = re.compile(r"\\x[0-9A-Fa-f]{6}")
_NO_LETTER: Final = re.compile(r"[\d\W_]+")
#: A number as people write it: up to three characters that are no letters stand between two digits.
_WRITTEN_NUMBER: Final = re.compile(r"\d(?:[\W_]{0,3}\d){5,}")
_IDENTIFIER: Final = re.compile(r"[^\W\d][\w$]*")
#: A part of a dotted name; one that has a dot or a quote in it is quoted.
_NAME_PART: Final = re.compile(r'"(?:[^"]|"")*"|[^."]+')
_WORD: Final = re.compile(r"[^\s'\"(),;<>]+")
_QUOTED: Final = re.compile(r"'[^']*+'|\"[^\"]*+\"|`[^`]*+`")
_DELIMITERS: Final = re.compile(r"(?s)(?:[eEbBxXnN]|[uU]&)?(['\"`]|\$\w*\$)(.*?)(?:\1)?\Z")
_SUSPECT: Final = re.compile(r"[@\\]|0[xX]")
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")

#: A part of a text to be replaced, and whether by `<secret>` rather than a token.
Part = tuple[int, int, bool]


@dataclass(frozen=True, slots=True)
class MaskedText:
    """Text as it may be stored; `lossy` when the original was not valid UTF-8, `is_cut` when it went on behind it."""

    text: str
    lossy: bool
    is_cut: bool = False


def mask_text(text: bytes, literals: Sequence[Span], understood: bool, key: bytes, key_id: str) -> MaskedText:
    """Give what may be stored of a statement's text: at most 16,384 characters, 32,768 bytes as JSON."""
    decoded, given, lossy = _decode(text, literals)
    if understood and _is_plain(decoded):
        return _stored(decoded, text, lossy)
    parts = chain(_understood(decoded, given) if understood else _not_understood(decoded), _shaped(decoded))
    masked = _replace(decoded, parts, partial(storage_token, key, key_id, CLASS))
    return _stored(masked, text, lossy)


def _stored(masked: str, text: bytes, lossy: bool) -> MaskedText:
    cut = _cut(masked)
    # Of a long text not all was looked at; `_replace` leaves out what is never stored.
    is_cut = len(text) > SCANNED_CHARACTERS or len(masked) >= TEXT_CHARACTERS or len(cut) < len(masked)
    return MaskedText(cut, lossy, is_cut)


def mask_value(value: bytes | None, understood: bool, key: bytes, key_id: str) -> str | None:
    """Give what may be stored of one parameter, given as text; None is NULL, and what is no text becomes a token."""
    if value is None:
        return None
    token = partial(storage_token, key, key_id, CLASS)
    text = value.decode(errors="replace")
    if "\ufffd" in text or _CONTROL.search(text):
        return token(value.hex())
    secrets = [*_shaped(text), *_announced(text, 0)]
    if not understood or _is_sensitive(text):
        return SECRET if secrets else token(_normalised(text))
    return _cut(_replace(text, secrets, token))


def mask_name(name: str, key: bytes, key_id: str) -> str:
    """Give what may be stored of an object's name, written with dots and without its quotes."""
    if name.isascii() and "@" not in name and _SIX_DIGITS.search(name) is None and not may_hold_secret(name):
        return name
    token = partial(storage_token, key, key_id, CLASS)
    masked = _NAME_PART.sub(lambda part: token(_normalised(part[0])) if _is_no_name(part[0]) else part[0], name)
    return mask_secrets(masked)


def mask_words(text: str, key: bytes, key_id: str) -> str:
    """Give what may be stored of words about a statement, such as a reason, which may repeat names of it."""
    parts = chain(_pasted(text, 0), _shaped(text), _announced(text, 0))
    return _replace(text, parts, partial(storage_token, key, key_id, CLASS))


def mask_secrets(text: str) -> str:
    """Give what may be stored of what somebody called themselves: everything but what is a secret by its shape."""
    return _replace(text, _shaped(text), str)


def _decode(text: bytes, literals: Sequence[Span]) -> tuple[str, list[tuple[int, int]], bool]:
    """Decode what is looked at of a text, with the literals' places counted in characters."""
    if text.isascii():
        return text[:SCANNED_CHARACTERS].decode(), [(span.start, span.end) for span in literals], False
    edges = sorted({0, len(text), *(min(edge, len(text)) for span in literals for edge in (span.start, span.end))})
    pieces = [text[start:end].decode(errors="replace") for start, end in pairwise(edges)]
    places = dict(zip(edges, accumulate(map(len, pieces), initial=0), strict=True))
    given = [(places[min(span.start, len(text))], places[min(span.end, len(text))]) for span in literals]
    decoded = "".join(pieces)
    return decoded[:SCANNED_CHARACTERS], given, decoded.encode() != text


def _is_plain(text: str) -> bool:
    """Say that no rule can apply, without looking at the parts: most statements carry their values as parameters."""
    return text.isascii() and not (_SUSPECT.search(text) or _SIX_DIGITS.search(text) or may_hold_secret(text))


def _understood(text: str, given: Iterable[tuple[int, int]]) -> Iterator[Part]:
    for start, end in given:
        if _is_sensitive(text[start:end]):
            yield start, end, False
    for lexeme in lexemes(text):
        yield from _parts(text, lexeme)


def _parts(text: str, lexeme: Lexeme) -> Iterator[Part]:
    """Give what is replaced of one lexeme in a text that was understood."""
    raw = text[lexeme.start : lexeme.end]
    if lexeme.form is Form.COMMENT:
        yield from _pasted(raw, lexeme.start)
        yield from _announced(raw, lexeme.start)
    elif _SENSITIVE[lexeme.form](raw) or (lexeme.escaped and _NUMERIC_ESCAPE.search(raw)):
        yield lexeme.start, lexeme.end, lexeme.after_password
    elif lexeme.after_password:
        yield lexeme.start, lexeme.end, True
    elif lexeme.form is Form.STRING:
        yield from _announced(raw, lexeme.start)


def _not_understood(text: str) -> Iterator[Part]:
    yield from _pasted(text, 0)
    yield from _announced(text, 0)
    for lexeme in lexemes(text):
        raw = text[lexeme.start : lexeme.end]
        if lexeme.form is Form.COMMENT:
            for quoted in _QUOTED.finditer(raw):
                yield lexeme.start + quoted.start(), lexeme.start + quoted.end(), False
        elif lexeme.form in (Form.STRING, Form.QUOTED_NAME):
            # Where a backslash stands before a quote, servers and settings differ on where the string ends.
            end = len(text) if "\\'" in raw or '\\"' in raw else lexeme.end
            yield lexeme.start, end, lexeme.after_password
        elif _SENSITIVE[lexeme.form](raw):
            yield lexeme.start, lexeme.end, False


def _pasted(text: str, offset: int) -> Iterator[Part]:
    """Give the numbers of six digits and the words with an `@` in a text that nothing is known of."""
    for number in _WRITTEN_NUMBER.finditer(text):
        yield offset + number.start(), offset + number.end(), False
    for word in _WORD.finditer(text):
        if _has_at(word[0]) and any(character.isalnum() for character in word[0]):
            yield offset + word.start(), offset + word.end(), False


def _shaped(text: str) -> Iterator[Part]:
    return ((start, end, True) for start, end in shaped(text))


def _announced(text: str, offset: int) -> Iterator[Part]:
    return ((offset + start, offset + end, True) for start, end in announced(text))


def _replace(text: str, parts: Iterable[Part], token: Callable[[str], str]) -> str:
    """Replace the parts; parts that overlap are one, and secret if one of them is. What is never stored is left out."""
    pieces: list[str] = []
    done = size = 0
    for start, end, secret in _merged(parts):
        pieces += text[done:start], SECRET if secret else token(_normalised(text[start:end]))
        size += len(pieces[-2]) + len(pieces[-1])
        if size >= TEXT_CHARACTERS:
            return "".join(pieces)
        done = end
    return "".join(pieces) + text[done:]


def _merged(parts: Iterable[Part]) -> Iterator[Part]:
    last: Part | None = None
    for start, end, secret in sorted(parts):
        if last is not None and start < last[1]:
            last = last[0], max(end, last[1]), secret or last[2]
        else:
            if last is not None:
                yield last
            last = start, end, secret
    if last is not None:
        yield last


def _is_sensitive(text: str) -> bool:
    plain = _plain(text)
    return "@" in plain or _SIX_DIGITS.search(plain) is not None or _BYTES.search(plain) is not None


def _is_long_number(text: str) -> bool:
    hexadecimal = text[:2].lower() == "0x" and len(text) >= 8
    return hexadecimal or _SIX_DIGITS.search(text) is not None


def _is_no_name(text: str) -> bool:
    """Say whether a quoted name is a value by mistake: it holds one, and could not stand without its quotes."""
    plain = _plain(text)
    bare = plain.strip('"`') if plain[:2].lower() != "u&" else plain[2:].strip('"')
    has_at = "@" in bare and any(map(str.isalnum, bare))
    return has_at or (_SIX_DIGITS.search(bare) is not None and _IDENTIFIER.fullmatch(bare) is None)


def _is_number_of_another_script(text: str) -> bool:
    # To PostgreSQL every character beyond ASCII is a letter, digits of other scripts included.
    return _SIX_DIGITS.search(_plain(text)) is not None


_SENSITIVE: Final = {
    Form.STRING: _is_sensitive,
    Form.NUMBER: _is_long_number,
    Form.QUOTED_NAME: _is_no_name,
    Form.NAME: _is_number_of_another_script,
}


def _has_at(text: str) -> bool:
    return "@" in _plain(text)


def _plain(text: str) -> str:
    """Write digits and signs of other widths and scripts' styles in their plain form."""
    return text if text.isascii() else normalize("NFKC", text)


def _normalised(text: str) -> str:
    """Give the value behind a literal, so that the same customer has one token however the number is written."""
    quoted = _DELIMITERS.match(text)
    value = _plain(quoted[2] if quoted is not None else text)
    if _NO_LETTER.fullmatch(value) and any(map(str.isdecimal, value)):
        return "".join(str(int(character)) for character in value if character.isdecimal())
    return value.strip().casefold()


def _cut(text: str) -> str:
    """Keep what fits, in characters and in bytes of JSON."""
    text = text[:TEXT_CHARACTERS]
    if len(text) * 6 <= TEXT_BYTES:
        return text
    return text[: sum(total <= TEXT_BYTES for total in accumulate(map(_json_bytes, text)))]


def _json_bytes(character: str) -> int:
    if character in '"\\\n\r\t\b\f':
        return 2
    if _CONTROL.match(character):
        return 6
    return len(character.encode())
