"""Members of a JSON object from the bus, each read as what it must be.

What does not read exactly is a `ValueError` that names the member and never shows the value.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from vestibule.wire.jsonrpc import Json, Params

T = TypeVar("T")


def mapping(value: Json) -> Params:
    """Take an object."""
    if not isinstance(value, Mapping):
        raise ValueError("an object is missing")
    return value


def text(members: Params, name: str) -> str:
    """Read a string."""
    value = members.get(name)
    if not isinstance(value, str):
        raise ValueError(f"{name} is not a string")
    return value


def texts(members: Params, name: str) -> list[str]:
    """Read a list of strings."""
    value = members.get(name)
    if not isinstance(value, list) or not all(isinstance(entry, str) for entry in value):
        raise ValueError(f"{name} is not a list of strings")
    return value


def items(members: Params, name: str) -> Sequence[Json]:
    """Read a list of anything."""
    value = members.get(name)
    if not isinstance(value, list):
        raise ValueError(f"{name} is not a list")
    return value


def integer(members: Params, name: str) -> int:
    """Read a whole number; true and false are none."""
    value = members.get(name)
    if type(value) is not int:
        raise ValueError(f"{name} is not an integer")
    return value


def boolean(members: Params, name: str) -> bool:
    """Read true or false."""
    value = members.get(name)
    if not isinstance(value, bool):
        raise ValueError(f"{name} is neither true nor false")
    return value


def read(members: Params, name: str, reader: Callable[[str], T]) -> T:
    """Read a string by `reader`, whose `KeyError` or `ValueError` is told without the value."""
    try:
        return reader(text(members, name))
    except (KeyError, ValueError):
        raise ValueError(f"{name} is not what it should be") from None
