"""What is shown of one value: the reference that every faster way is tested against.

1. NULL stays NULL, and nothing else of a value passes than what its transform declares.
2. Only types whose values are text are shown in part; every other type becomes NULL, in either format.
3. The first or last characters are shown only where twice as many are there; what is not UTF-8 is hidden whole.
4. JSON stays JSON, and `varchar(n)` and `char(n)` stay within n characters.
"""

from __future__ import annotations

from typing import Final

from vestibule.model.plan import Transform

STARS: Final = b"***"

#: Types of pg_catalog, by their oid.
CHAR: Final = 18
NAME: Final = 19
TEXT: Final = 25
JSON: Final = 114
XML: Final = 142
BPCHAR: Final = 1042
VARCHAR: Final = 1043
JSONB: Final = 3802

#: Types of which a part may be shown. A part of JSON or XML is neither.
PARTED: Final = frozenset({NAME, TEXT, BPCHAR, VARCHAR})

#: What hides a whole value of each type that has text; jsonb in binary has its version first. "char" is one byte.
HIDDEN: Final = dict.fromkeys(PARTED | {XML}, STARS) | {CHAR: b"*", JSON: b'"***"', JSONB: b'"***"'}
JSONB_VERSION: Final = b"\x01"

TEXT_FORMAT: Final = 0
BINARY_FORMAT: Final = 1

#: What a length modifier counts besides the characters.
_MODIFIER: Final = 4


def cell(transform: Transform, value: bytes | None, type_oid: int, format: int, typmod: int = -1) -> bytes | None:  # noqa: A002 - the manual's word
    """Give what is shown of `value`, which is of the type and in the format that RowDescription says."""
    hidden = hide(transform, type_oid, format, typmod)
    if value is None or hidden is None:
        return None
    if transform.kind != "keep" or type_oid not in PARTED:
        return hidden
    # The blanks at the end fill a char(n) up; they are no part of its value.
    text = _decode(value.rstrip(b" ") if type_oid == BPCHAR else value)
    if text is None or len(text) < 2 * (transform.first + transform.last):
        return hidden
    shown = text[: transform.first] + STARS.decode() + text[len(text) - transform.last :]
    return shown[: limit(type_oid, typmod)].encode()


def hide(transform: Transform, type_oid: int, format: int, typmod: int = -1) -> bytes | None:  # noqa: A002 - the manual's word
    """Give what stands for a value of which nothing is shown; None is NULL."""
    hidden = HIDDEN.get(type_oid)
    if hidden is None or transform.kind == "null" or format not in (TEXT_FORMAT, BINARY_FORMAT):
        return None
    if type_oid == JSONB and format == BINARY_FORMAT:
        return JSONB_VERSION + hidden
    return hidden[: limit(type_oid, typmod)]


def limit(type_oid: int, typmod: int) -> int | None:
    """Say how many characters a value of the type may have, None if nothing bounds them."""
    return typmod - _MODIFIER if type_oid in (BPCHAR, VARCHAR) and typmod > _MODIFIER else None


def _decode(value: bytes) -> str | None:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return None
