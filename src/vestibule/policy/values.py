"""The words that both files of the operator are made of: names, durations, addresses, references.

Each parser raises `ValueError` with a text that says what to write; the annotated types carry it into the models.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from ipaddress import IPv6Address
from typing import Annotated, Final
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator

from vestibule.model.names import SECOND
from vestibule.model.statement import Impact
from vestibule.model.target import Address
from vestibule.policy.reading import show, suggestion

_NAME: Final = re.compile(r"[a-z0-9._-]{1,63}")
_LABEL: Final = re.compile(r"[A-Za-z0-9._-]{1,63}")
_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_DURATION: Final = re.compile(r"([0-9]{1,9})(ms|s|m|h|d)")
_SIZE: Final = re.compile(r"([0-9]{1,12})(KiB|MiB|GiB)?")
_HOST: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,251}[A-Za-z0-9])?\.?")
_FUNCTION: Final = re.compile(r'[^\s().;"]{1,63}\.[^\s().;"]{1,63}\([^();]*\)')
_UNITS: Final[Mapping[str, int]] = {
    "ms": SECOND // 1000,
    "s": SECOND,
    "m": 60 * SECOND,
    "h": 3600 * SECOND,
    "d": 86_400 * SECOND,
}
_BYTES: Final[Mapping[str, int]] = {"": 1, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}
_YEAR: Final = 366 * _UNITS["d"]
LOOPBACK: Final = frozenset({"127.0.0.1", "::1", "localhost"})


def slug(text: str) -> str:
    """Accept a name that people type behind the `+` of a login."""
    if not _NAME.fullmatch(text):
        raise ValueError(f"{show(text)} is no name; write 1 to 63 of a-z, 0-9, -, . and _")
    return text


def label(text: str) -> str:
    """Accept a label's value."""
    if not _LABEL.fullmatch(text):
        raise ValueError(f"{show(text)} is no label; write 1 to 63 letters, digits, -, . and _")
    return text


def line(text: str) -> str:
    """Accept a text for people: one line of 1 to 200 visible characters."""
    if not 1 <= len(text) <= 200 or not text.isprintable() or text != text.strip():
        raise ValueError("write one line of 1 to 200 visible characters, without spaces around it")
    return text


def duration(value: object) -> int:
    """Read `8h`, `30m`, `10s`, `200ms` or `7d` as microseconds."""
    found = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if not found:
        raise ValueError(f"{show(value)} is no duration; write a number with its unit: 10s, 30m, 8h or 7d")
    micros = int(found[1]) * _UNITS[found[2]]
    if micros > _YEAR:
        raise ValueError(f"{show(value)} is too long; write at most 366d")
    return micros


def spelled(micros: int) -> str:
    """Write a duration as it can be read: a number with the largest unit that leaves no rest."""
    unit = max((unit for unit, size in _UNITS.items() if micros % size == 0), key=_UNITS.__getitem__, default="ms")
    return f"{micros // _UNITS[unit]}{unit}"


def positive(micros: int) -> int:
    """Refuse a duration of nothing."""
    if micros == 0:
        raise ValueError("must be longer than nothing; leave it out for no limit")
    return micros


def size(value: object) -> int:
    """Read `64MiB`, `2GiB` or a plain number as bytes."""
    text = str(value) if isinstance(value, int | str) and not isinstance(value, bool) else ""
    found = _SIZE.fullmatch(text)
    if not found:
        raise ValueError(f"{show(value)} is no size; write bytes, or a number with KiB, MiB or GiB: 64MiB")
    return int(found[1]) * _BYTES[found[2] or ""]


def address(value: object) -> Address:
    """Read `host:port`, an IPv6 host in brackets."""
    host, colon, port = value.rpartition(":") if isinstance(value, str) else ("", "", "")
    if not colon or not port.isascii() or not port.isdigit() or len(port) > 5:
        raise ValueError(f"{show(value)} has no port; write host:port, for example db1.internal:5432")
    if not 1 <= int(port) <= 65535:
        raise ValueError(f"port {port} does not exist; write 1 to 65535")
    return Address(_host(host), int(port))


def _host(text: str) -> str:
    if text.startswith("[") and text.endswith("]"):
        try:
            return str(IPv6Address(text[1:-1]))
        except ValueError:
            raise ValueError(f'{show(text)} is no IPv6 address; write for example "[fd00::1]:5432"') from None
    if ":" in text:
        raise ValueError(f'{show(text)}: write an IPv6 address in brackets and quotes, for example "[fd00::1]:5432"')
    if not _HOST.fullmatch(text):
        raise ValueError(f"{show(text)} is no host name; write letters, digits, - and . only")
    return text


def impact(value: object) -> Impact:
    """Read the word for an impact."""
    words = {member.word: member for member in Impact}
    if not isinstance(value, str) or value not in words:
        close = suggestion(str(value), words) if isinstance(value, str) else "write a word"
        raise ValueError(f"{show(value)} is no impact; {close}")
    return words[value]


def reference(text: object) -> str:
    """Accept `env:NAME` or `file:/path`; the text is never repeated, it may be the secret itself."""
    kind, colon, rest = text.partition(":") if isinstance(text, str) else ("", "", "")
    match kind:
        case "env" if _VARIABLE.fullmatch(rest):
            return f"env:{rest}"
        case "env":
            raise ValueError("env: needs the name of a variable; write for example env:CORE_PASSWORD")
        case "file" if rest and rest.isprintable():
            return f"file:{rest}"
        case "file":
            raise ValueError("file: needs a path; write for example file:/etc/vestibule/core.password")
        case "vault" | "hashicorp" | "aws" if colon:
            raise ValueError(f"this version cannot read secrets from {kind}: stores; write env:NAME or file:/path")
        case _:
            raise ValueError("must say where the secret is, not the secret itself; write env:NAME or file:/path")


def absolute(text: str) -> str:
    """Refuse a reference to a relative path: the policy is read on several machines."""
    if text.startswith("file:") and not text.startswith("file:/"):
        raise ValueError("needs an absolute path; write for example file:/etc/vestibule/core.password")
    return text


def authority(text: str) -> str:
    """Accept `file:/path` of a PEM file and give the path."""
    kind, _, path = text.partition(":")
    if kind != "file" or not path.startswith("/") or not path.isprintable():
        raise ValueError(f"{show(text)} is no file; write an absolute path: file:/etc/vestibule/db-ca.pem")
    return path


def url(text: str) -> str:
    """Accept an https URL without user, query and fragment; plain http on a loopback address only."""
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise ValueError("is no URL; write for example https://idp.bank.example") from None
    if not host or not text.isprintable() or " " in text or parts.scheme not in ("https", "http"):
        raise ValueError("is no https URL; write for example https://idp.bank.example")
    if parts.username is not None or parts.query or parts.fragment or text.endswith(("?", "#")):
        raise ValueError("write the URL without user, query and fragment")
    if parts.scheme == "http" and host not in LOOPBACK:
        raise ValueError(f"plain http is refused; write https://{parts.netloc}{parts.path}")
    return text


def function(text: str) -> str:
    """Accept a function with its schema and argument types."""
    if not _FUNCTION.fullmatch(text):
        raise ValueError(f'{show(text)} is no function; write "schema.name(type, type)"')
    return text


def identifier(text: str) -> str:
    """Accept a name of the database's own: 1 to 63 bytes."""
    if not 1 <= len(text.encode()) <= 63 or not text.isprintable():
        raise ValueError(f"{show(text)} is no name of a database object; write 1 to 63 bytes")
    return text


def distinct(values: list[object]) -> list[object]:
    """Refuse a list that says something twice."""
    for index, value in enumerate(values):
        if value in values[:index]:
            raise ValueError(f"{show(value)} is written twice; keep one")
    return values


Slug = Annotated[str, AfterValidator(slug)]
Label = Annotated[str, AfterValidator(label)]
Line = Annotated[str, AfterValidator(line)]
Duration = Annotated[int, BeforeValidator(duration)]
Span = Annotated[int, BeforeValidator(duration), AfterValidator(positive)]
Size = Annotated[int, BeforeValidator(size)]
HostPort = Annotated[Address, BeforeValidator(address)]
ImpactWord = Annotated[Impact, BeforeValidator(impact)]
Reference = Annotated[str, BeforeValidator(reference)]
AbsoluteReference = Annotated[str, BeforeValidator(reference), AfterValidator(absolute)]
Authority = Annotated[str, AfterValidator(authority)]
Url = Annotated[str, AfterValidator(url)]
FunctionName = Annotated[str, AfterValidator(function)]
Identifier = Annotated[str, AfterValidator(identifier)]
