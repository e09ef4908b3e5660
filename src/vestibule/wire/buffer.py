"""Bytes that arrive in pieces, and bytes that are read as fields.

1. A `Buffer` is linear: however the peer cuts its bytes, each is copied a fixed number of times.
2. A `Cursor` never reads past its bytes and says so by `Malformed`; it trusts no length.
"""

from __future__ import annotations

from struct import Struct
from typing import Final

from vestibule.model.errors import VestibuleError

#: Bytes already taken that a buffer keeps at most before it lets go of them.
_SLACK: Final = 65_536

_UINT16: Final = Struct("!H").unpack_from
_INT16: Final = Struct("!h").unpack_from
_UINT32: Final = Struct("!I").unpack_from
_INT32: Final = Struct("!i").unpack_from


class Malformed(VestibuleError):
    """Bytes that are not what their format says; the caller knows whose they are."""


class Buffer:
    """Bytes fed and not yet taken; what can be read in one piece is `data[at:]`."""

    __slots__ = ("_tail", "at", "data")

    def __init__(self) -> None:
        self.data = b""
        self.at = 0
        self._tail = bytearray()

    def __len__(self) -> int:
        return len(self.data) - self.at + len(self._tail)

    def feed(self, data: bytes) -> None:
        """Take bytes in; they are not copied when nothing waits before them."""
        if self.at < len(self.data) or self._tail:
            # A bytearray, not a list of pieces: a peer that sends single bytes must not cost an object each.
            self._tail += data
        else:
            self.data, self.at = data, 0

    def gather(self, count: int) -> bool:
        """Say whether `count` bytes are there, and if so make them readable in one piece."""
        if len(self.data) - self.at >= count:
            return True
        if len(self) < count:
            self._release()
            return False
        # Only now, once per piece that completes something, so a long message is not copied again and again.
        self.data, self.at = self.data[self.at :] + self._tail, 0
        self._tail = bytearray()
        return True

    def gather_all(self) -> int:
        """Make everything readable in one piece and say how much it is."""
        self.gather(len(self))
        return len(self.data) - self.at

    def take(self, count: int) -> bytes:
        """Take `count` bytes, which `gather` has found."""
        start, end = self.at, self.at + count
        if end == len(self.data):
            taken = self.data if start == 0 else self.data[start:]
            self.data, self.at = b"", 0
            return taken
        self.at = end
        return self.data[start:end]

    def skip(self, count: int) -> None:
        """Leave out `count` bytes, which `gather` has found."""
        self.at += count
        if self.at == len(self.data):
            self.data, self.at = b"", 0

    def _release(self) -> None:
        if self.at > _SLACK:
            self.data, self.at = self.data[self.at :], 0


class Cursor:
    """Reads big-endian fields from `data`, one after the other."""

    __slots__ = ("at", "data")

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def _advance(self, count: int) -> int:
        start = self.at
        if count < 0 or count > len(self.data) - start:
            raise Malformed(f"{count} bytes expected, {len(self.data) - start} left")
        self.at = start + count
        return start

    def take(self, count: int) -> bytes:
        """Read `count` bytes."""
        start = self._advance(count)
        return self.data[start : self.at]

    def uint8(self) -> int:
        """Read one byte."""
        return self.data[self._advance(1)]

    def uint16(self) -> int:
        """Read an unsigned 16-bit integer."""
        value: int = _UINT16(self.data, self._advance(2))[0]
        return value

    def int16(self) -> int:
        """Read a signed 16-bit integer."""
        value: int = _INT16(self.data, self._advance(2))[0]
        return value

    def uint32(self) -> int:
        """Read an unsigned 32-bit integer."""
        value: int = _UINT32(self.data, self._advance(4))[0]
        return value

    def int32(self) -> int:
        """Read a signed 32-bit integer."""
        value: int = _INT32(self.data, self._advance(4))[0]
        return value

    def string(self) -> bytes:
        """Read bytes up to a NUL, which is taken and not returned."""
        end = self.data.find(0, self.at)
        if end < 0:
            raise Malformed("a string without its NUL")
        start, self.at = self.at, end + 1
        return self.data[start:end]

    def rest(self) -> bytes:
        """Read everything that is left."""
        return self.take(len(self.data) - self.at)

    def finish(self) -> None:
        """Refuse bytes that nothing has read."""
        if self.at != len(self.data):
            raise Malformed(f"{len(self.data) - self.at} trailing bytes")
