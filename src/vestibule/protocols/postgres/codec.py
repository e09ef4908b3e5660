"""Messages to bytes and back (manual, "Message Formats").

1. One table of layouts serves both directions, so what is read is what would be written.
2. Counts and inner lengths consume a body exactly; anything else is a protocol error of its sender.
3. Texts of the client are valid UTF-8. A target with a database in SQL_ASCII may answer other bytes: in its
   texts they become U+FFFD, so nothing behind this module meets a string that cannot be encoded.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from struct import Struct
from typing import Any, Final, Generic, TypeVar

from vestibule.model.errors import ClientProtocolError, TargetProtocolError
from vestibule.protocols.postgres import messages as pg
from vestibule.wire.buffer import Cursor, Malformed

PROTOCOL_3_0: Final = 3 << 16
CANCEL_REQUEST: Final = 80877102
SSL_REQUEST: Final = 80877103
GSSENC_REQUEST: Final = 80877104

T = TypeVar("T")

_HEADER: Final = Struct("!BI").pack
_UINT16: Final = Struct("!H").pack
_INT32: Final = Struct("!i").pack
_UINT32: Final = Struct("!I").pack


def decode_first(body: bytes) -> pg.FirstMessage:
    """Read a message without a type byte; `body` is what follows its length."""
    try:
        layout = _FIRST.get(Cursor(body).uint32(), _STARTUP)
        message: pg.FirstMessage = layout.decode(body)
    except Malformed as error:
        raise ClientProtocolError(f"invalid startup packet: {error}") from None
    return message


def decode_frontend(tag: int, body: bytes) -> pg.FrontendMessage:
    """Read a client's message."""
    layout = _FRONTEND.get(tag)
    if layout is None:
        raise ClientProtocolError(f"unknown message type {spell(tag)}")
    try:
        message: pg.FrontendMessage = layout.decode(body)
    except Malformed as error:
        raise ClientProtocolError(f"invalid {layout.make.__name__} message: {error}") from None
    return message


def decode_backend(tag: int, body: bytes) -> pg.BackendMessage:
    """Read a target's message."""
    try:
        layout = _AUTHENTICATION.get(Cursor(body).uint32(), _OTHER) if tag == _R else _BACKEND.get(tag)
        if layout is None:
            raise TargetProtocolError(f"unexpected target message of type {spell(tag)}")
        message: pg.BackendMessage = layout.decode(body)
    except Malformed as error:
        raise TargetProtocolError(f"invalid target message of type {spell(tag)}: {error}") from None
    return message


def password(message: pg.PasswordMessage) -> bytes:
    """Read the password of a PasswordMessage that answers a request for cleartext."""
    cursor = Cursor(message.body)
    try:
        text = cursor.string()
        cursor.finish()
    except Malformed as error:
        raise ClientProtocolError(f"invalid PasswordMessage message: {error}") from None
    return text


def encode(message: pg.Message) -> bytes:
    """Write a message as a frame."""
    return _LAYOUTS[type(message)].encode(message)


def spell(tag: int) -> str:
    """Write a type byte for people."""
    return f"'{chr(tag)}'" if 0x20 < tag < 0x7F else f"0x{tag:02x}"


# --- What messages are made of ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Part(Generic[T]):
    """How one field is read and written."""

    read: Callable[[Cursor], T]
    write: Callable[[T], bytes]


def _string(text: str | bytes) -> bytes:
    data = text.encode() if isinstance(text, str) else text
    if 0 in data:
        raise ValueError("a NUL inside a string of the protocol")
    return data + b"\0"


def _read_name(cursor: Cursor) -> str:
    try:
        return cursor.string().decode()
    except UnicodeDecodeError:
        raise Malformed("text is not valid UTF-8") from None


def _read_sql(cursor: Cursor) -> bytes:
    text = cursor.string()
    if not text.isascii():
        try:
            text.decode()
        except UnicodeDecodeError:
            raise Malformed("text is not valid UTF-8") from None
    return text


def _read_format(cursor: Cursor) -> int:
    code = cursor.uint16()
    if code > pg.BINARY:
        raise Malformed(f"format code {code}")
    return code


def _read_copy_format(cursor: Cursor) -> int:
    code = cursor.uint8()
    if code > pg.BINARY:
        raise Malformed(f"copy format {code}")
    return code


def _read_value(cursor: Cursor) -> bytes | None:
    length = cursor.int32()
    if length == -1:
        return None
    return cursor.take(length)


def _write_value(value: bytes | None) -> bytes:
    return _INT32(-1) if value is None else _INT32(len(value)) + value


def _one_of(letters: str) -> _Part[str]:
    def read(cursor: Cursor) -> str:
        letter = chr(cursor.uint8())
        if letter not in letters:
            raise Malformed(f"{letter!r} is none of {', '.join(letters)}")
        return letter

    return _Part(read, str.encode)


def _many(part: _Part[T], count: _Part[int]) -> _Part[tuple[T, ...]]:
    read_one, write_one = part.read, part.write

    def read(cursor: Cursor) -> tuple[T, ...]:
        return tuple([read_one(cursor) for _ in range(count.read(cursor))])

    def write(values: tuple[T, ...]) -> bytes:
        return count.write(len(values)) + b"".join(map(write_one, values))

    return _Part(read, write)


def _secret(smallest: int, largest: int) -> _Part[bytes]:
    def read(cursor: Cursor) -> bytes:
        key = cursor.rest()
        if not smallest <= len(key) <= largest:
            raise Malformed(f"a secret key of {len(key)} bytes")
        return key

    return _Part(read, bytes)


def _read_parameters(cursor: Cursor) -> tuple[tuple[str, str], ...]:
    pairs = []
    while name := _read_name(cursor):
        pairs.append((name, _read_name(cursor)))
    return tuple(pairs)


def _write_parameters(pairs: tuple[tuple[str, str], ...]) -> bytes:
    return b"".join(_string(text) for pair in pairs for text in pair) + b"\0"


def _read_text(cursor: Cursor) -> str:
    return cursor.string().decode(errors="replace")


def _read_notes(cursor: Cursor) -> tuple[tuple[str, str], ...]:
    notes = []
    while code := cursor.uint8():
        if code > 0x7F:
            raise Malformed(f"field code 0x{code:02x}")
        notes.append((chr(code), _read_text(cursor)))
    return tuple(notes)


def _write_notes(notes: tuple[tuple[str, str], ...]) -> bytes:
    return b"".join(code.encode() + _string(text) for code, text in notes) + b"\0"


def _read_mechanisms(cursor: Cursor) -> tuple[str, ...]:
    mechanisms = []
    while mechanism := _read_text(cursor):
        mechanisms.append(mechanism)
    return tuple(mechanisms)


def _write_mechanisms(mechanisms: tuple[str, ...]) -> bytes:
    return b"".join(map(_string, mechanisms)) + b"\0"


_INT8: Final = _Part(Cursor.uint8, Struct("!B").pack)
_COUNT: Final = _Part(Cursor.uint16, _UINT16)
_LONG_COUNT: Final = _Part(Cursor.uint32, _UINT32)
_INTEGER: Final = _Part(Cursor.int32, _INT32)
_OID: Final = _Part(Cursor.uint32, _UINT32)
_NAME: Final = _Part(_read_name, _string)
_SQL: Final = _Part(_read_sql, _string)
_TEXT: Final = _Part(_read_text, _string)
_REST: Final = _Part(Cursor.rest, bytes)
_SALT: Final = _Part(lambda cursor: cursor.take(4), bytes)
_VALUE: Final = _Part(_read_value, _write_value)
_FORMAT: Final = _Part(_read_format, _UINT16)
_COPY_FORMAT: Final = _Part(_read_copy_format, Struct("!B").pack)
_KIND: Final = _one_of("SP")
_STATUS: Final = _one_of("ITE")
_OIDS: Final = _many(_OID, _COUNT)
_VALUES: Final = _many(_VALUE, _COUNT)
_FORMATS: Final = _many(_FORMAT, _COUNT)
_PARAMETERS: Final = _Part(_read_parameters, _write_parameters)
_NOTES: Final = _Part(_read_notes, _write_notes)
_MECHANISMS: Final = _Part(_read_mechanisms, _write_mechanisms)


# --- Layouts ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Layout:
    """A message's type byte (none before there are any), constant first bytes and fields in order."""

    make: type[Any]
    tag: int | None
    fixed: bytes
    reads: tuple[Callable[[Cursor], Any], ...]
    #: How each field is written, with its name.
    writes: tuple[tuple[str, Callable[[Any], bytes]], ...]
    check: Callable[[Any], None] | None = None
    #: The one message of a type without fields, and its whole frame.
    only: Any = None
    frame: bytes | None = None

    def decode(self, body: bytes) -> Any:  # noqa: ANN401  # the tables below give each type its layout
        """Read a whole body."""
        if self.only is not None and len(body) == len(self.fixed):
            return self.only
        cursor = Cursor(body)
        if self.fixed:
            cursor.take(len(self.fixed))
        message = self.make(*[read(cursor) for read in self.reads])
        cursor.finish()
        if self.check is not None:
            self.check(message)
        return message

    def encode(self, message: pg.Message) -> bytes:
        """Write a whole frame."""
        if self.frame is not None:
            return self.frame
        body = b"".join([write(getattr(message, name)) for name, write in self.writes])
        return _framed(self.tag, self.fixed + body)


def _framed(tag: int | None, body: bytes) -> bytes:
    length = len(body) + 4
    if length >= 1 << 31:
        raise ValueError("a message of 2 GiB or more")
    return _UINT32(length) + body if tag is None else _HEADER(tag, length) + body


def _layout(
    make: type[Any],
    tag: str | None,
    *parts: _Part[Any],
    fixed: bytes = b"",
    check: Callable[[Any], None] | None = None,
) -> _Layout:
    number = ord(tag) if tag else None
    reads = tuple(part.read for part in parts)
    writes = tuple((name, part.write) for name, part in zip(make.__match_args__, parts, strict=True))
    only, frame = (None, None) if parts else (make(), _framed(number, fixed))
    return _Layout(make, number, fixed, reads, writes, check, only, frame)


def _check_formats(formats: tuple[int, ...], values: tuple[bytes | None, ...]) -> None:
    if len(formats) not in (0, 1, len(values)):
        raise Malformed(f"{len(formats)} parameter formats for {len(values)} parameters")


def _check_bind(message: pg.Bind) -> None:
    _check_formats(message.parameter_formats, message.parameters)


def _check_call(message: pg.FunctionCall) -> None:
    _check_formats(message.argument_formats, message.arguments)


#: What a column has behind its name, read and written at once: answers have many columns.
_FIELD: Final = Struct("!IhIhiH")


def _read_field(cursor: Cursor) -> pg.Field:
    field = pg.Field(_read_text(cursor), *_FIELD.unpack(cursor.take(_FIELD.size)))
    if field.format > pg.BINARY:
        raise Malformed(f"format code {field.format}")
    return field


def _write_field(field: pg.Field) -> bytes:
    numbers = _FIELD.pack(field.table, field.column, field.type, field.size, field.modifier, field.format)
    return _string(field.name) + numbers


_STARTUP: Final = _layout(pg.StartupMessage, None, _OID, _PARAMETERS)
_OTHER: Final = _layout(pg.AuthenticationOther, "R", _OID, _REST)
_R: Final = ord("R")

_FIRST_LAYOUTS: Final = (
    _layout(pg.SSLRequest, None, fixed=_UINT32(SSL_REQUEST)),
    _layout(pg.GSSENCRequest, None, fixed=_UINT32(GSSENC_REQUEST)),
    # Staying at 3.0 keeps cancel keys at four bytes.
    _layout(pg.CancelRequest, None, _INTEGER, _secret(4, 4), fixed=_UINT32(CANCEL_REQUEST)),
)

_COPY_LAYOUTS: Final = (
    _layout(pg.CopyData, "d", _REST),
    _layout(pg.CopyDone, "c"),
)

_FRONTEND_LAYOUTS: Final = (
    _layout(pg.PasswordMessage, "p", _REST),
    _layout(pg.Query, "Q", _SQL),
    _layout(pg.Parse, "P", _NAME, _SQL, _OIDS),
    _layout(pg.Bind, "B", _NAME, _NAME, _FORMATS, _VALUES, _FORMATS, check=_check_bind),
    _layout(pg.Describe, "D", _KIND, _NAME),
    _layout(pg.Execute, "E", _NAME, _INTEGER),
    _layout(pg.Close, "C", _KIND, _NAME),
    _layout(pg.Flush, "H"),
    _layout(pg.Sync, "S"),
    _layout(pg.Terminate, "X"),
    _layout(pg.CopyFail, "f", _NAME),
    _layout(pg.FunctionCall, "F", _OID, _FORMATS, _VALUES, _FORMAT, check=_check_call),
    *_COPY_LAYOUTS,
)

#: All of type `p`: which one it is only the state of the log-in says.
_RESPONSE_LAYOUTS: Final = (
    _layout(pg.SASLInitialResponse, "p", _NAME, _VALUE),
    _layout(pg.SASLResponse, "p", _REST),
)

_AUTHENTICATION_LAYOUTS: Final = (
    _layout(pg.AuthenticationOk, "R", fixed=_UINT32(0)),
    _layout(pg.AuthenticationCleartextPassword, "R", fixed=_UINT32(3)),
    _layout(pg.AuthenticationMD5Password, "R", _SALT, fixed=_UINT32(5)),
    _layout(pg.AuthenticationSASL, "R", _MECHANISMS, fixed=_UINT32(10)),
    _layout(pg.AuthenticationSASLContinue, "R", _REST, fixed=_UINT32(11)),
    _layout(pg.AuthenticationSASLFinal, "R", _REST, fixed=_UINT32(12)),
)

_BACKEND_LAYOUTS: Final = (
    _layout(pg.NegotiateProtocolVersion, "v", _OID, _many(_TEXT, _LONG_COUNT)),
    _layout(pg.BackendKeyData, "K", _INTEGER, _secret(4, 256)),
    _layout(pg.ParameterStatus, "S", _TEXT, _TEXT),
    _layout(pg.ReadyForQuery, "Z", _STATUS),
    _layout(pg.ErrorResponse, "E", _NOTES),
    _layout(pg.NoticeResponse, "N", _NOTES),
    _layout(pg.NotificationResponse, "A", _INTEGER, _TEXT, _TEXT),
    _layout(pg.ParameterDescription, "t", _OIDS),
    _layout(pg.RowDescription, "T", _many(_Part(_read_field, _write_field), _COUNT)),
    _layout(pg.NoData, "n"),
    _layout(pg.DataRow, "D", _VALUES),
    _layout(pg.CommandComplete, "C", _TEXT),
    _layout(pg.EmptyQueryResponse, "I"),
    _layout(pg.ParseComplete, "1"),
    _layout(pg.BindComplete, "2"),
    _layout(pg.CloseComplete, "3"),
    _layout(pg.PortalSuspended, "s"),
    _layout(pg.CopyInResponse, "G", _COPY_FORMAT, _FORMATS),
    _layout(pg.CopyOutResponse, "H", _COPY_FORMAT, _FORMATS),
    _layout(pg.CopyBothResponse, "W", _COPY_FORMAT, _FORMATS),
    _layout(pg.FunctionCallResponse, "V", _VALUE),
    *_COPY_LAYOUTS,
)

_FIRST: Final = {int.from_bytes(layout.fixed): layout for layout in _FIRST_LAYOUTS}
_AUTHENTICATION: Final = {int.from_bytes(layout.fixed): layout for layout in _AUTHENTICATION_LAYOUTS}
_FRONTEND: Final = {layout.tag: layout for layout in _FRONTEND_LAYOUTS}
_BACKEND: Final = {layout.tag: layout for layout in _BACKEND_LAYOUTS}
_LAYOUTS: Final = {
    layout.make: layout
    for layout in (
        _STARTUP,
        _OTHER,
        *_FIRST_LAYOUTS,
        *_FRONTEND_LAYOUTS,
        *_RESPONSE_LAYOUTS,
        *_AUTHENTICATION_LAYOUTS,
        *_BACKEND_LAYOUTS,
    )
}
