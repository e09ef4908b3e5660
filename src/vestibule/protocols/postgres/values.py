"""How bound parameters are shown in records: common binary types as the server would print them.

What cannot be printed is shown by its length alone: a value in an unknown layout cannot be masked.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from struct import Struct, error
from typing import Final
from uuid import UUID

from vestibule.model.statement import Parameter


def _number(layout: str) -> Callable[[bytes], bytes]:
    unpack = Struct(layout).unpack
    return lambda data: str(unpack(data)[0]).encode()


def _same(data: bytes) -> bytes:
    return data


def _boolean(data: bytes) -> bytes:
    return {b"\0": b"false", b"\1": b"true"}[data]


def _jsonb(data: bytes) -> bytes:
    if data[:1] != b"\1":
        raise ValueError("an unknown version of jsonb")
    return data[1:]


def _uuid(data: bytes) -> bytes:
    return str(UUID(bytes=data)).encode()


#: Binary layouts by type number (pg_type.oid).
_BINARY: Final[dict[int, Callable[[bytes], bytes]]] = {
    16: _boolean,
    18: _same,  # "char"
    19: _same,  # name
    20: _number("!q"),
    21: _number("!h"),
    23: _number("!i"),
    25: _same,  # text
    26: _number("!I"),  # oid
    114: _same,  # json
    142: _same,  # xml
    700: _number("!f"),
    701: _number("!d"),
    1042: _same,  # bpchar
    1043: _same,  # varchar
    2950: _uuid,
    3802: _jsonb,
}


def shown(parameters: Sequence[Parameter]) -> list[tuple[int, bytes | None]]:
    """Give each parameter's type and text."""
    return [(parameter.type, _text(parameter)) for parameter in parameters]


def _text(parameter: Parameter) -> bytes | None:
    if parameter.value is None or parameter.format == 0:
        return parameter.value
    read = _BINARY.get(parameter.type)
    try:
        if read is not None:
            return read(parameter.value)
    except (error, ValueError, KeyError):
        pass
    return f"<{len(parameter.value)} bytes>".encode()
