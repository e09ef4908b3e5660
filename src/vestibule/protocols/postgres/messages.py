"""The messages of wire protocol 3.0 as values, named as in the manual's chapter "Message Formats".

1. Statement texts are bytes (valid UTF-8, no NUL); names are str. Both are checked when they are decoded.
2. Int16 counts and OIDs are unsigned, lengths and process ids signed, as the server reads them.
3. Field order is the order on the wire: `codec` reads and writes the fields in it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

TEXT, BINARY = 0, 1

Kind = Literal["S", "P"]
TransactionStatus = Literal["I", "T", "E"]

# --- Frontend, before there is a type byte ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class StartupMessage:
    """Opens a session; `version` is major << 16 | minor, parameters are in the client's order."""

    version: int
    parameters: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class SSLRequest:
    """Asks for TLS."""


@dataclass(frozen=True, slots=True)
class GSSENCRequest:
    """Asks for GSSAPI encryption."""


@dataclass(frozen=True, slots=True)
class CancelRequest:
    """Asks to stop what runs in another connection."""

    process_id: int
    secret_key: bytes = field(repr=False)


# --- Frontend --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, repr=False)
class PasswordMessage:
    """Any message of type `p`, uninterpreted: what it is only the log-in knows."""

    body: bytes


@dataclass(frozen=True, slots=True, repr=False)
class SASLInitialResponse:
    """Chooses a SASL mechanism; `data` None means no initial response."""

    mechanism: str
    data: bytes | None


@dataclass(frozen=True, slots=True, repr=False)
class SASLResponse:
    """Goes on with a SASL exchange."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Query:
    """Runs a text of any number of statements."""

    text: bytes


@dataclass(frozen=True, slots=True)
class Parse:
    """Prepares `text` as `name`; the unnamed statement is ""."""

    name: str
    text: bytes
    types: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Bind:
    """Makes a portal of a prepared statement; a parameter None is NULL."""

    portal: str
    statement: str
    parameter_formats: tuple[int, ...] = ()
    parameters: tuple[bytes | None, ...] = ()
    result_formats: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Describe:
    """Asks for the shape of a statement (`S`) or portal (`P`)."""

    kind: Kind
    name: str


@dataclass(frozen=True, slots=True)
class Execute:
    """Runs a portal; `max_rows` 0 or less means all rows."""

    portal: str
    max_rows: int = 0


@dataclass(frozen=True, slots=True)
class Close:
    """Forgets a statement (`S`) or portal (`P`)."""

    kind: Kind
    name: str


@dataclass(frozen=True, slots=True)
class Flush:
    """Asks for what is ready."""


@dataclass(frozen=True, slots=True)
class Sync:
    """Ends a segment of the extended protocol."""


@dataclass(frozen=True, slots=True)
class Terminate:
    """Ends the session."""


@dataclass(frozen=True, slots=True)
class CopyFail:
    """Stops a COPY from the client with an error."""

    message: str


@dataclass(frozen=True, slots=True)
class FunctionCall:
    """Calls a function by its OID; always refused."""

    oid: int
    argument_formats: tuple[int, ...]
    arguments: tuple[bytes | None, ...]
    result_format: int


# --- Both ways -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class CopyData:
    """A piece of a COPY; its borders mean nothing."""

    data: bytes


@dataclass(frozen=True, slots=True)
class CopyDone:
    """The end of a COPY."""


# --- Backend, log-in -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class AuthenticationOk:
    """The log-in has succeeded."""


@dataclass(frozen=True, slots=True)
class AuthenticationCleartextPassword:
    """Asks for the password as it is."""


@dataclass(frozen=True, slots=True)
class AuthenticationMD5Password:
    """Asks for the password hashed with a salt of four bytes."""

    salt: bytes


@dataclass(frozen=True, slots=True)
class AuthenticationSASL:
    """Offers SASL mechanisms, the best first."""

    mechanisms: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class AuthenticationSASLContinue:
    """A server's SASL challenge."""

    data: bytes


@dataclass(frozen=True, slots=True)
class AuthenticationSASLFinal:
    """The server's last SASL data."""

    data: bytes


@dataclass(frozen=True, slots=True)
class AuthenticationOther:
    """Any other request (Kerberos, GSSAPI, SSPI): a log-in refuses it."""

    code: int
    data: bytes


@dataclass(frozen=True, slots=True)
class NegotiateProtocolVersion:
    """Tells the newest version and the protocol options that were not understood."""

    version: int
    options: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class BackendKeyData:
    """What a CancelRequest must carry."""

    process_id: int
    secret_key: bytes = field(repr=False)


# --- Backend ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ParameterStatus:
    """A setting's value now."""

    name: str
    value: str


@dataclass(frozen=True, slots=True)
class ReadyForQuery:
    """The server waits; idle, in a transaction, or in a failed one."""

    status: TransactionStatus


@dataclass(frozen=True, slots=True)
class ErrorResponse:
    """An error; its fields are (code, text) in the server's order."""

    fields: tuple[tuple[str, str], ...]

    def text(self, code: str) -> str:
        """Return the text of the first field `code`, empty if there is none."""
        return next((text for name, text in self.fields if name == code), "")


@dataclass(frozen=True, slots=True)
class NoticeResponse:
    """A notice; its fields are (code, text) in the server's order."""

    fields: tuple[tuple[str, str], ...]

    def text(self, code: str) -> str:
        """Return the text of the first field `code`, empty if there is none."""
        return next((text for name, text in self.fields if name == code), "")


@dataclass(frozen=True, slots=True)
class NotificationResponse:
    """A NOTIFY that this session listens to."""

    process_id: int
    channel: str
    payload: str


@dataclass(frozen=True, slots=True)
class ParameterDescription:
    """The parameter types of a statement."""

    types: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Field:
    """One column of a result; `table` and `column` are 0 where it comes from no table."""

    name: str
    table: int
    column: int
    type: int
    size: int
    modifier: int
    format: int


@dataclass(frozen=True, slots=True)
class RowDescription:
    """The columns of a result."""

    fields: tuple[Field, ...]


@dataclass(frozen=True, slots=True)
class NoData:
    """The statement or portal returns no rows."""


@dataclass(frozen=True, slots=True)
class DataRow:
    """One row; None is NULL. The row path hands over `frames.Rows` instead."""

    values: tuple[bytes | None, ...]


@dataclass(frozen=True, slots=True)
class CommandComplete:
    """A command has succeeded, e.g. `INSERT 0 1`."""

    tag: str


@dataclass(frozen=True, slots=True)
class EmptyQueryResponse:
    """The text held no statement."""


@dataclass(frozen=True, slots=True)
class ParseComplete:
    """A Parse has succeeded."""


@dataclass(frozen=True, slots=True)
class BindComplete:
    """A Bind has succeeded."""


@dataclass(frozen=True, slots=True)
class CloseComplete:
    """A Close has succeeded."""


@dataclass(frozen=True, slots=True)
class PortalSuspended:
    """The portal has more rows than Execute asked for."""


@dataclass(frozen=True, slots=True)
class CopyInResponse:
    """The server waits for CopyData; the formats are per column."""

    format: int
    columns: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class CopyOutResponse:
    """CopyData follows; the formats are per column."""

    format: int
    columns: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class CopyBothResponse:
    """Replication; never expected."""

    format: int
    columns: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class FunctionCallResponse:
    """The answer to FunctionCall; never expected."""

    value: bytes | None


FirstMessage = StartupMessage | SSLRequest | GSSENCRequest | CancelRequest

FrontendMessage = (
    PasswordMessage
    | Query
    | Parse
    | Bind
    | Describe
    | Execute
    | Close
    | Flush
    | Sync
    | Terminate
    | CopyData
    | CopyDone
    | CopyFail
    | FunctionCall
)

Authentication = (
    AuthenticationOk
    | AuthenticationCleartextPassword
    | AuthenticationMD5Password
    | AuthenticationSASL
    | AuthenticationSASLContinue
    | AuthenticationSASLFinal
    | AuthenticationOther
)

BackendMessage = (
    Authentication
    | NegotiateProtocolVersion
    | BackendKeyData
    | ParameterStatus
    | ReadyForQuery
    | ErrorResponse
    | NoticeResponse
    | NotificationResponse
    | ParameterDescription
    | RowDescription
    | NoData
    | DataRow
    | CommandComplete
    | EmptyQueryResponse
    | ParseComplete
    | BindComplete
    | CloseComplete
    | PortalSuspended
    | CopyInResponse
    | CopyOutResponse
    | CopyBothResponse
    | CopyData
    | CopyDone
    | FunctionCallResponse
)

Message = FirstMessage | FrontendMessage | SASLInitialResponse | SASLResponse | BackendMessage
