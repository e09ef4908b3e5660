"""StartupMessages: what a client's asks for, and what the target's says.

1. What SET may change in a session, and to what, may be said at its start too (`analysis.sql.settings`). `role` and its
   like would change who the target sees, and what is of one transaction has none yet.
2. `vestibule.*` is for us (a ticket, a reason) and never travels.
3. The target's StartupMessage pins what the reading of texts depends on, so that RESET and DISCARD return to it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from vestibule.analysis.sql.settings import PEOPLE, judge
from vestibule.model.errors import ClientProtocolError
from vestibule.model.target import Target
from vestibule.protocols.postgres import messages as pg
from vestibule.protocols.postgres.codec import PROTOCOL_3_0
from vestibule.protocols.postgres.opening import unsupported_version
from vestibule.wire.user import User, read_user

NAME_LIMIT: Final = 63

#: Names of settings that the server writes with capitals.
_SPELLED: Final = {"datestyle": "DateStyle", "intervalstyle": "IntervalStyle", "timezone": "TimeZone"}
#: What SET may change, but is of one transaction.
_PASSING: Final = frozenset({"transaction_isolation", "transaction_read_only", "transaction_deferrable"})

#: What a target's session begins with and returns to; the client may choose another where SET may change it.
PINS: Final = {
    "client_encoding": "UTF8",
    "standard_conforming_strings": "on",
    "backslash_quote": "safe_encoding",
    "bytea_output": "hex",
    "xmlbinary": "base64",
    "client_min_messages": "notice",
}
STYLES: Final = {"DateStyle": "ISO, MDY", "IntervalStyle": "postgres"}

_FALSE: Final = frozenset({"false", "off", "no", "0", "f", "n", "fa", "fal", "fals", "of"})
_UTF8: Final = frozenset({"utf8", "unicode"})
_OWN: Final = "vestibule."
_PROTOCOL: Final = "_pq_."
_SPOKEN: Final = frozenset({"user", "database", "options", "replication"})
_WORD: Final = re.compile(r"(?:\\.|[^\\ \t\n\v\f\r])+", re.DOTALL)
_ESCAPE: Final = re.compile(r"\\(.)", re.DOTALL)
_SCHEMA: Final = re.compile(r'\s*(?:"((?:[^"]|"")+)"|([A-Za-z_\x80-\U0010ffff][\w$]*))\s*')


@dataclass(frozen=True, slots=True)
class Startup:
    """What a client asked for; empty members were not given."""

    #: The user name as it was sent, for the record.
    name: str
    user: User
    database: str
    application_name: str
    search_path: tuple[str, ...]
    #: Other settings to begin with, spelled as the server spells them.
    settings: tuple[tuple[str, str], ...]
    #: `vestibule.*` without the prefix.
    notes: tuple[tuple[str, str], ...]
    #: To be sent before authentication, where the client knows more of the protocol than we do.
    negotiation: pg.NegotiateProtocolVersion | None


def read_startup(message: pg.StartupMessage) -> Startup:
    """Read what a client asks for, or refuse it."""
    if message.version >> 16 != PROTOCOL_3_0 >> 16:
        raise ClientProtocolError(unsupported_version(message.version).text("M"), "0A000")
    given = _unique(message.parameters)
    name = given.get("user", "")
    if not name:
        raise ClientProtocolError("no user name in the startup packet", "28000")
    _refuse_replication(given.get("replication", "off"))
    settings = _settings(given)
    return Startup(
        name=name,
        user=_read_user(name),
        # libpq asks for the database of the user's whole name when it was given none.
        database="" if given.get("database", "") == name else given.get("database", ""),
        application_name=settings.pop("application_name", ""),
        search_path=_schemas(settings.pop("search_path", "")),
        settings=tuple((_SPELLED.get(key, key), value) for key, value in settings.items() if not key.startswith(_OWN)),
        notes=tuple((key.removeprefix(_OWN), value) for key, value in settings.items() if key.startswith(_OWN)),
        negotiation=_negotiation(message.version, given),
    )


def target_startup(startup: Startup, target: Target, database: str, session: UUID) -> pg.StartupMessage:
    """Write the StartupMessage for the target of this session."""
    settings = {
        "user": target.credential.username,
        "database": database,
        "application_name": application_name(startup.application_name, session),
        **STYLES,
        **PINS,
        **dict(startup.settings),
        "search_path": ", ".join(map(_quote, startup.search_path or target.search_path)),
    }
    return pg.StartupMessage(PROTOCOL_3_0, tuple(settings.items()))


def application_name(client: str, session: UUID) -> str:
    """Name a session for the target's administrator: the client's own name, then the session's first digits."""
    ours = f"vestibule:{str(session)[:8]}"
    theirs = client.encode()[: NAME_LIMIT - len(ours) - 1].decode(errors="ignore")
    return f"{theirs} {ours}" if theirs else ours


def _unique(parameters: tuple[tuple[str, str], ...]) -> dict[str, str]:
    given = dict(parameters)
    if len(given) != len(parameters):
        raise ClientProtocolError("a startup parameter is given twice")
    return given


def _read_user(name: str) -> User:
    user = read_user(name)
    if user.options:
        raise ClientProtocolError(f"option {user.options[0]!r} of the user name is not supported", "0A000")
    return user


def _refuse_replication(value: str) -> None:
    if value.strip().lower() not in _FALSE:
        raise ClientProtocolError("replication is not supported", "0A000")


def _negotiation(version: int, given: dict[str, str]) -> pg.NegotiateProtocolVersion | None:
    unknown = tuple(key for key in given if key.startswith(_PROTOCOL))
    if version == PROTOCOL_3_0 and not unknown:
        return None
    return pg.NegotiateProtocolVersion(PROTOCOL_3_0, unknown)


def _settings(given: dict[str, str]) -> dict[str, str]:
    # The server applies `options` first and then the parameters, whatever their order.
    settings = dict(_options(given.get("options", "")))
    settings |= {k.lower(): v for k, v in given.items() if k not in _SPOKEN and not k.startswith(_PROTOCOL)}
    encoding = settings.pop("client_encoding", "UTF8")
    if re.sub(r"[^a-z0-9]", "", encoding.lower()) not in _UTF8:
        raise ClientProtocolError("client_encoding can only be UTF8", "0A000")
    for key, value in settings.items():
        problem = None if key.startswith(_OWN) else _problem(key, value)
        if problem is not None:
            raise ClientProtocolError(f'startup parameter "{key[:NAME_LIMIT]}" is not allowed: {problem}', "42501")
    return settings


def _problem(key: str, value: str) -> str | None:
    """Say why a session may not begin with a setting."""
    if key in PEOPLE or key in _PASSING:
        return "SET it once you are in, if it may be set"
    if key == "search_path":
        return None  # is read, and refused, by itself
    refusal = judge(key, value)
    return None if refusal is None else refusal.hint


def _options(text: str) -> Iterator[tuple[str, str]]:
    words = iter(_words(text))
    for word in words:
        if word == "-c":
            word = next(words, "")
        elif word.startswith("-c") or (word.startswith("--") and len(word) > 2):
            word = word[2:]
        else:
            raise ClientProtocolError(f'option "{word}" is not allowed; use -c name=value', "42501")
        key, equals, value = word.partition("=")
        if not equals:
            raise ClientProtocolError(f'option "{key}" has no value', "42601")
        yield key.replace("-", "_").lower(), value


def _words(text: str) -> list[str]:
    # As the server splits them: white space ends a word, a backslash takes the next character as it is.
    return [_ESCAPE.sub(r"\1", word) for word in _WORD.findall(text)]


def _schemas(text: str) -> tuple[str, ...]:
    if not text.strip():
        return ()
    schemas = []
    at = 0
    while match := _SCHEMA.match(text, at):
        schemas.append(_schema(*match.groups()))
        at = match.end() + 1
        if text[match.end() : at] != ",":
            break
    if match is None or match.end() != len(text):
        raise ClientProtocolError("search_path must name schemas literally", "42501")
    return tuple(schemas)


def _schema(quoted: str | None, plain: str | None) -> str:
    # Only ASCII is folded, as the server does in UTF-8; a quoted "$user" still means the role's own schema.
    name = (plain or "").encode().lower().decode() if quoted is None else quoted.replace('""', '"')
    if name == "$user":
        raise ClientProtocolError("search_path must name schemas literally", "42501")
    return name


def _quote(schema: str) -> str:
    return '"' + schema.replace('"', '""') + '"'
