"""Inputs that are nearly right: whole ones with one to some twenty places changed, all of it from a seed.

1. What is changed is chosen blindly: bits, bytes, numbers in binary and in decimal, lengths, spans, ends, depth, words.
2. An input never has more than `LARGEST` bytes, or twice the size of the largest whole one.
3. It must be fast, for it is called ten million times: `random()` and slices, nothing that validates.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from random import Random
from typing import Final

LARGEST: Final = 8_192

_NUMBERS: Final = [
    *(value.to_bytes(1, "big") for value in (0, 1, 0x20, 0x7F, 0x80, 0xC0, 0xED, 0xF4, 0xFE, 0xFF)),
    *(value.to_bytes(2, "big") for value in (0, 1, 2, 0x7FFF, 0x8000, 0xFFFE, 0xFFFF)),
    *(value.to_bytes(4, "big") for value in (0, 1, 3, 4, 5, 0xFF, 0xFFFF, 0x10000, 1 << 30, (1 << 30) - 1)),
    *(value.to_bytes(4, "big") for value in ((1 << 31) - 1, 1 << 31, (1 << 32) - 2, (1 << 32) - 1)),
    *(value.to_bytes(8, "big") for value in (0, 1 << 31, 1 << 32, 1 << 53, (1 << 63) - 1, 1 << 63, (1 << 64) - 1)),
]
_DECIMALS: Final = [
    *(b"0", b"-0", b"-1", b"00", b"01", b"1e5", b"1.5", b"1E400", b"-1e999", b"0x10", b"1_000", b"NaN", b"null"),
    *(str(value).encode() for value in (255, 65_536, 2**31, 2**32, 2**53 - 1, 2**53, 2**63, 2**64, 10**15, 10**16)),
    *(b"9" * 20, b"9" * 400, b"9" * 4_299, b"9" * 4_301, "\u0663".encode(), "\u00b2".encode(), "\uff11".encode()),
]
_TEXTS: Final = [
    *(b"\0", b"\n", b"\n\n", b"\r\n", b"\t", b" ", b"'", b'"', b"\\", b"/*", b"--", b"$$", b"$1", b";", b"%", b"&"),
    *(b"{", b"}", b"[", b"]", b"(", b")", b",", b":", b"=", b"+", b"*", b"?", b"#", b"<", b">", b"|", b"~", b"@"),
    *(b"{}", b"[]", b'""', b"null", b"true", b"\\u0000", b"\\ud800", b"\\u007f", b"\xc3\xa9", b"\xe2\x80\xa8"),
    *(
        b"\xff",
        b"\xc0\x80",
        b"\xed\xa0\x80",
        b"\xf4\x90\x80\x80",
        b"\xef\xbb\xbf",
        b"\xf0\x9f\x92\xa9",
        b"\x7f",
        b"\x1b",
    ),
    *("\u0130".encode(), "\u1e9e".encode(), "\ufdfa".encode(), "\u0660\u0661\u0662\u0663\u0664\u0665".encode()),
]
_OPENINGS: Final = (
    b"[",
    b"{",
    b"(",
    b'{"a":',
    b"[[",
    b"- ",
    b"((",
    b"/*",
    b"'",
    b'"',
    b"\\",
    b"NOT ",
    b"a-",
    b"&a ",
    b"*a ",
)
_VALUES: Final = [
    *(b"null", b"true", b"false", b"0", b"1", b"-1", b"5", b"1.5", b"1e400", b"-0.0", b"9007199254740992"),
    *(b"18446744073709551616", b"9" * 4_300, b'""', b'"x"', b'"\\u001b[2J"', b'"\\ud800"', b'"\xff"', b"NaN"),
    *(b"[]", b"[[]]", b"[null]", b'["x"]', b"[1]", b"{}", b'{"":{}}', b'{"a":1}', b"[" * 900 + b"]" * 900),
    *(b'"' + b"ab" * 32 + b'"', b'"' + b"/" * 300 + b'"', b'"00000000-0000-0000-0000-000000000001"'),
]
_DIGITS: Final = re.compile(rb"[0-9]+")
#: The value of a member in JSON, or in YAML.
_MEMBER: Final = re.compile(rb':[ ]?("[^"]*"|\[[^\[\]]*\]|\{[^{}]*\}|[^,\s{}\[\]"]+)')

Change = Callable[["Mutator", bytearray], None]


class Mutator:
    """Makes inputs of one kind; what it makes depends on the state of `random` alone."""

    def __init__(self, random: Random, corpus: Sequence[bytes], words: Sequence[bytes] = ()) -> None:
        """Begin with whole inputs, and words that belong into them."""
        self._random = random.random
        self._bits = random.getrandbits
        self._corpus = corpus
        self._words = [*_TEXTS, *words, *words]
        self._largest = max(LARGEST, 2 * max(map(len, corpus)))

    def make(self) -> bytes:
        """Make the next input."""
        data = bytearray(self._corpus[int(self._random() * len(self._corpus))])
        chance = self._random()
        # Mostly one or two changes, so that what lies behind the first check is reached; sometimes many.
        times = 1 if chance < 0.5 else 2 if chance < 0.75 else 3 + int(self._random() ** 3 * 20)
        for _ in range(times):
            CHANGES[int(self._random() * len(CHANGES))](self, data)
        return bytes(data[: self._largest])

    # --- small choices -----------------------------------------------------------------------------------------------

    def _place(self, data: bytearray, behind: int = 0) -> int:
        return int(self._random() * (len(data) + behind))

    def _span(self, data: bytearray) -> tuple[int, int]:
        start = self._place(data)
        # Short ones are more likely: a field rather than half of the input.
        return start, start + 1 + int(self._random() ** 4 * (len(data) - start))

    def _one_of(self, values: Sequence[bytes]) -> bytes:
        return values[int(self._random() * len(values))]

    # --- changes -----------------------------------------------------------------------------------------------------

    def _flip(self, data: bytearray) -> None:
        if data:
            data[self._place(data)] ^= 1 << self._bits(3)

    def _set(self, data: bytearray) -> None:
        if data:
            data[self._place(data)] = self._bits(8)

    def _step(self, data: bytearray) -> None:
        if data:
            at = self._place(data)
            data[at] = (data[at] + (1 if self._random() < 0.5 else -1)) & 0xFF

    def _number(self, data: bytearray) -> None:
        at, value = self._place(data, 1), self._one_of(_NUMBERS)
        data[at : at + len(value)] = value

    def _decimal(self, data: bytearray) -> None:
        found = _DIGITS.search(data, self._place(data, 1))
        start, end = found.span() if found else (len(data), len(data))
        data[start:end] = self._one_of(_DECIMALS)

    def _value(self, data: bytearray) -> None:
        """Give a member of JSON or YAML another value; other inputs have none."""
        found = _MEMBER.search(data, self._place(data, 1))
        if found:
            start, end = found.span(1)
            data[start:end] = self._one_of(_VALUES)
        else:
            self._flip(data)

    def _lie(self, data: bytearray) -> None:
        """Write a length that nearly fits what is behind it."""
        size = 4 if self._random() < 0.7 else 2
        at = self._place(data, 1)
        left = len(data) - at + int(self._random() * 9) - 4 - (size if self._random() < 0.5 else 0)
        data[at : at + size] = (left & ((1 << 8 * size) - 1)).to_bytes(size, "big")

    def _cut(self, data: bytearray) -> None:
        del data[self._place(data) :]

    def _behead(self, data: bytearray) -> None:
        del data[: self._place(data)]

    def _delete(self, data: bytearray) -> None:
        if data:
            start, end = self._span(data)
            del data[start:end]

    def _double(self, data: bytearray) -> None:
        if data:
            start, end = self._span(data)
            data[end:end] = data[start:end]

    def _move(self, data: bytearray) -> None:
        if data:
            start, end = self._span(data)
            piece = data[start:end]
            del data[start:end]
            at = self._place(data, 1)
            data[at:at] = piece

    def _splice(self, data: bytearray) -> None:
        other = self._one_of(self._corpus)
        start = int(self._random() * (len(other) + 1))
        data[self._place(data, 1) :] = other[start:]

    def _graft(self, data: bytearray) -> None:
        other = bytearray(self._one_of(self._corpus))
        if other and data:
            (start, end), (first, last) = self._span(data), self._span(other)
            data[start:end] = other[first:last]

    def _insert(self, data: bytearray) -> None:
        at = self._place(data, 1)
        data[at:at] = self._one_of(self._words)

    def _replace(self, data: bytearray) -> None:
        if data:
            start, end = self._span(data)
            data[start:end] = self._one_of(self._words)

    def _noise(self, data: bytearray) -> None:
        at, size = self._place(data, 1), 1 + int(self._random() * 12)
        data[at:at] = self._bits(8 * size).to_bytes(size, "big")

    def _repeat(self, data: bytearray) -> None:
        if data:
            start, end = self._span(data)
            times = 1 + int(self._random() ** 3 * min(4_000, LARGEST // (end - start) + 1))
            data[end:end] = data[start:end] * times

    def _deepen(self, data: bytearray) -> None:
        at = self._place(data, 1)
        data[at:at] = self._one_of(_OPENINGS) * (1 + int(self._random() ** 4 * 3_000))

    def _turn_case(self, data: bytearray) -> None:
        if data:
            start, end = self._span(data)
            data[start:end] = data[start:end].swapcase()


CHANGES: Final[Sequence[Change]] = [
    *(Mutator._flip, Mutator._flip, Mutator._set, Mutator._step, Mutator._number, Mutator._number),
    *(
        Mutator._decimal,
        Mutator._value,
        Mutator._value,
        Mutator._value,
        Mutator._lie,
        Mutator._lie,
        Mutator._cut,
        Mutator._behead,
    ),
    *(Mutator._delete, Mutator._delete, Mutator._double, Mutator._move, Mutator._splice, Mutator._graft),
    *(Mutator._insert, Mutator._insert, Mutator._replace, Mutator._replace, Mutator._noise),
    *(Mutator._repeat, Mutator._deepen, Mutator._turn_case),
]
