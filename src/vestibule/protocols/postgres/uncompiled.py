"""The words of Cython that the row kernel uses, as Python without Cython understands them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeAlias, TypeVar

_Value = TypeVar("_Value")
_Function = TypeVar("_Function", bound=Callable[..., object])

compiled: Final = False

bint: TypeAlias = bool
uchar: TypeAlias = int
longlong: TypeAlias = int
Py_ssize_t: TypeAlias = int
p_const_uchar: TypeAlias = bytes
p_uchar: TypeAlias = bytearray


def declare(type_: object, value: _Value) -> _Value:
    """Give a variable the type of C; here it stays what it is."""
    return value


def cfunc(function: _Function) -> _Function:
    """Make a function one of C; here it stays what it is."""
    return function


def exceptval(*, check: bool) -> Callable[[_Function], _Function]:
    """Say whether a function of C may raise; here any may."""
    return cfunc
