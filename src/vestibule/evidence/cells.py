"""A cell of a recorded result as text: PostgreSQL's text form as it is, its binary form decoded for the usual types.

What cannot be decoded is given by its size alone; nothing is guessed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, timedelta
from struct import Struct, error
from typing import Final
from uuid import UUID

#: Text, NULL, or how many bytes could not be decoded.
Cell = str | None | int

_EPOCH: Final = datetime(2000, 1, 1, tzinfo=UTC)
_short, _int, _long, _float, _double = (Struct(f"!{code}").unpack for code in "hiqfd")
_numeric: Final = Struct("!HhHH")
_POSITIVE: Final = 0x0000
_NEGATIVE: Final = 0x4000
_NUMERIC_WORDS: Final = {0xC000: "NaN", 0xD000: "Infinity", 0xF000: "-Infinity"}
_GROUP: Final = 10_000


def cell(type_: int, is_binary: bool, value: bytes | None) -> Cell:
    """Write one value of a column of `type_` (its number in pg_type)."""
    if value is None:
        return None
    if not is_binary:
        return value.decode(errors="replace")
    decode = _BINARY.get(type_)
    if decode is None:
        return len(value)
    try:
        return decode(value)
    except (error, ValueError, OverflowError):
        return len(value)


def _text(value: bytes) -> str:
    return value.decode()


def _jsonb(value: bytes) -> str:
    if value[:1] != b"\x01":
        raise ValueError("not jsonb of version 1")
    return value[1:].decode()


def _boolean(value: bytes) -> str:
    return {b"\x00": "f", b"\x01": "t"}.get(value) or _refused()


def _refused() -> str:
    raise ValueError("not a value of its type")


def _number(value: bytes) -> str:
    """Write a numeric: groups of four decimal digits, the first with the weight 10,000 to the power of `weight`."""
    count, weight, sign, scale = _numeric.unpack_from(value)
    if sign in _NUMERIC_WORDS:
        return _NUMERIC_WORDS[sign]
    groups = Struct(f"!{count}H").unpack(value[_numeric.size :])
    if sign not in (_POSITIVE, _NEGATIVE) or scale > 0x3FFF or any(group >= _GROUP for group in groups):
        return _refused()
    whole = "".join(f"{_nth(groups, at):04d}" for at in range(weight + 1)).lstrip("0") or "0"
    behind = "".join(f"{_nth(groups, at):04d}" for at in range(weight + 1, weight + 2 + scale // 4))[:scale]
    return ("-" if sign == _NEGATIVE else "") + whole + (f".{behind}" if scale else "")


def _nth(groups: tuple[int, ...], at: int) -> int:
    return groups[at] if 0 <= at < len(groups) else 0


def _date(value: bytes) -> str:
    return (date(2000, 1, 1) + timedelta(days=_int(value)[0])).isoformat()


def _moment(value: bytes) -> str:
    at = _EPOCH + timedelta(microseconds=_long(value)[0])
    return at.replace(tzinfo=None).isoformat(" ")


def _moment_in_zone(value: bytes) -> str:
    return f"{_moment(value)}+00"


_BINARY: Final[Mapping[int, Callable[[bytes], str]]] = {
    16: _boolean,
    17: lambda value: f"\\x{value.hex()}",
    18: _text,
    19: _text,
    20: lambda value: str(_long(value)[0]),
    21: lambda value: str(_short(value)[0]),
    23: lambda value: str(_int(value)[0]),
    25: _text,
    26: lambda value: str(int.from_bytes(value, "big")) if len(value) == 4 else _refused(),
    114: _text,
    700: lambda value: f"{_float(value)[0]:.9g}",
    701: lambda value: repr(_double(value)[0]),
    1042: _text,
    1043: _text,
    1082: _date,
    1114: _moment,
    1184: _moment_in_zone,
    1700: _number,
    2950: lambda value: str(UUID(bytes=value)),
    3802: _jsonb,
}
