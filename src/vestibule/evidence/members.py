"""Types of the members of a body: each checks a value and gives it back in canonical order.

1. A check takes a value and returns it as it is stored, or raises `MemberRefused`.
2. Whole numbers below 2^53 only; no floats; no bytes; no unresolved `Reference`.
3. In a `shape` a name with `?` may be absent; absent, None and empty mean the same and are left out. A name with `=`
   may be absent too, and is stored as an empty text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from vestibule.evidence.errors import MemberRefused
from vestibule.model.record import Json

Check = Callable[[object], Json]

#: The longest text of a member, in characters.
TEXT_LIMIT: Final = 16_384
#: Whole numbers stay below this in size, so that every JSON reader reads them exactly.
INTEGER_LIMIT: Final = 2**53

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}").fullmatch
_HEX32 = re.compile(r"[0-9a-f]{64}").fullmatch
_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}Z").fullmatch


def text(value: object) -> Json:
    """Take text of at most 16,384 characters."""
    if isinstance(value, str) and len(value) <= TEXT_LIMIT:
        return value
    raise MemberRefused(f"must be text of at most {TEXT_LIMIT:,} characters")


def document(value: object) -> Json:
    """Take text of any length; the body's own limit still holds."""
    if isinstance(value, str):
        return value
    raise MemberRefused("must be text")


def integer(value: object) -> Json:
    """Take a whole number whose size is below 2^53."""
    if type(value) is int and -INTEGER_LIMIT < value < INTEGER_LIMIT:
        return value
    raise MemberRefused("must be a whole number below 2^53 in size")


def count(value: object) -> Json:
    """Take a whole number from 0 to below 2^53."""
    if type(value) is int and 0 <= value < INTEGER_LIMIT:
        return value
    raise MemberRefused("must be a whole number from 0 to below 2^53")


def boolean(value: object) -> Json:
    """Take true or false."""
    if isinstance(value, bool):
        return value
    raise MemberRefused("must be true or false")


def uuid(value: object) -> Json:
    """Take a UUID as lower-case text with hyphens."""
    if isinstance(value, str) and _UUID(value):
        return value
    raise MemberRefused("must be a lower-case UUID")


def hex32(value: object) -> Json:
    """Take 32 bytes as lower-case hexadecimal digits."""
    if isinstance(value, str) and _HEX32(value):
        return value
    raise MemberRefused("must be 64 lower-case hexadecimal digits")


def moment(value: object) -> Json:
    """Take a time `YYYY-MM-DDThh:mm:ss.ffffffZ`."""
    if isinstance(value, str) and _TIME(value):
        return value
    raise MemberRefused("must be a time YYYY-MM-DDThh:mm:ss.ffffffZ")


def one_of(*words: str) -> Check:
    """Make the check of a member that is one of `words`."""
    allowed = frozenset(words)

    def check(value: object) -> Json:
        if isinstance(value, str) and value in allowed:
            return value
        raise MemberRefused(f"must be one of {', '.join(words)}")

    return check


def either(first: Check, second: Check) -> Check:
    """Make the check of a member that passes `first` or else `second`."""

    def check(value: object) -> Json:
        try:
            return first(value)
        except MemberRefused:
            return second(value)

    return check


def many(item: Check, limit: int = 4_096) -> Check:
    """Make the check of a list of at most `limit` items."""

    def check(value: object) -> Json:
        if type(value) is not list and (isinstance(value, str | bytes) or not isinstance(value, Sequence)):
            raise MemberRefused(f"must be a list of at most {limit:,} items")
        if len(value) > limit:
            raise MemberRefused(f"must be a list of at most {limit:,} items")
        try:
            return [item(each) for each in value]
        except MemberRefused as error:
            raise error.within("[]") from None

    return check


def counts(value: object) -> Json:
    """Take an object of names and counts, stored in the order of the names."""
    if isinstance(value, Mapping) and all(isinstance(name, str) for name in value):
        return {name: count(value[name]) for name in sorted(value)}
    raise MemberRefused("must be an object of counts")


def shape(members: Mapping[str, Check]) -> Check:
    """Make the check of an object with exactly `members`, in that order."""
    table = tuple((name.rstrip("?="), name.endswith("?"), name.endswith("="), check) for name, check in members.items())
    known = frozenset(entry[0] for entry in table)

    def check(value: object) -> Json:
        # The common type first: this runs for every object of every record.
        if type(value) is not dict and not isinstance(value, Mapping):
            raise MemberRefused("must be an object")
        if not value.keys() <= known:
            raise MemberRefused(f"has unknown members: {', '.join(sorted(map(str, value.keys() - known)))}")
        stored: dict[str, Json] = {}
        for name, optional, texted, member in table:
            found = value.get(name)
            if found is None and name not in value:
                if optional:
                    continue
                if not texted:
                    raise MemberRefused("is missing", name)
                found = ""
            elif optional and not found and _is_empty(found):
                continue
            try:
                stored[name] = member(found)
            except MemberRefused as error:
                raise error.within(name) from None
        return stored

    return check


def _is_empty(value: object) -> bool:
    # Numbers first: asking whether something is a `Sequence` takes long.
    return value is None or (type(value) not in (bool, int) and isinstance(value, str | Sequence | Mapping))
