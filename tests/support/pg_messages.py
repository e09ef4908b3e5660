"""Any PostgreSQL message, for property tests."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from hypothesis import strategies as st

from vestibule.protocols.postgres import messages as pg

names = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)
texts = names.map(str.encode)
blobs = st.binary(max_size=40)
values = st.lists(st.none() | blobs, max_size=6).map(tuple)
formats = st.lists(st.integers(0, 1), max_size=6).map(tuple)
oids = st.integers(0, 2**32 - 1)
int32s = st.integers(-(2**31), 2**31 - 1)
int16s = st.integers(-(2**15), 2**15 - 1)
notes = st.lists(st.tuples(st.characters(min_codepoint=1, max_codepoint=127), names), max_size=6).map(tuple)
columns = st.lists(st.builds(pg.Field, names, oids, int16s, oids, int16s, int32s, st.integers(0, 1)), max_size=4).map(
    tuple
)
pairs = st.lists(st.tuples(names.filter(bool), names), max_size=6).map(tuple)


def _with_formats(draw: Any, count: int) -> tuple[int, ...]:
    size = draw(st.sampled_from([0, 1, count]))
    return tuple(draw(st.lists(st.integers(0, 1), min_size=size, max_size=size)))


@st.composite
def binds(draw: Any) -> pg.Bind:
    """Any Bind that the manual allows."""
    bound = draw(values)
    return pg.Bind(draw(names), draw(names), _with_formats(draw, len(bound)), bound, draw(formats))


@st.composite
def calls(draw: Any) -> pg.FunctionCall:
    """Any FunctionCall that the manual allows."""
    arguments = draw(values)
    return pg.FunctionCall(draw(oids), _with_formats(draw, len(arguments)), arguments, draw(st.integers(0, 1)))


kinds = st.sampled_from(["S", "P"])

FIRST: dict[type, st.SearchStrategy[Any]] = {
    pg.StartupMessage: st.builds(pg.StartupMessage, st.integers(3 << 16, (4 << 16) - 1), pairs),
    pg.SSLRequest: st.builds(pg.SSLRequest),
    pg.GSSENCRequest: st.builds(pg.GSSENCRequest),
    pg.CancelRequest: st.builds(pg.CancelRequest, int32s, st.binary(min_size=4, max_size=4)),
}

COPY: dict[type, st.SearchStrategy[Any]] = {
    pg.CopyData: st.builds(pg.CopyData, blobs),
    pg.CopyDone: st.builds(pg.CopyDone),
}

FRONTEND: dict[type, st.SearchStrategy[Any]] = {
    pg.PasswordMessage: st.builds(pg.PasswordMessage, blobs),
    pg.Query: st.builds(pg.Query, texts),
    pg.Parse: st.builds(pg.Parse, names, texts, st.lists(oids, max_size=4).map(tuple)),
    pg.Bind: binds(),
    pg.Describe: st.builds(pg.Describe, kinds, names),
    pg.Execute: st.builds(pg.Execute, names, int32s),
    pg.Close: st.builds(pg.Close, kinds, names),
    pg.Flush: st.builds(pg.Flush),
    pg.Sync: st.builds(pg.Sync),
    pg.Terminate: st.builds(pg.Terminate),
    pg.CopyFail: st.builds(pg.CopyFail, names),
    pg.FunctionCall: calls(),
    **COPY,
}

BACKEND: dict[type, st.SearchStrategy[Any]] = {
    pg.AuthenticationOk: st.builds(pg.AuthenticationOk),
    pg.AuthenticationCleartextPassword: st.builds(pg.AuthenticationCleartextPassword),
    pg.AuthenticationMD5Password: st.builds(pg.AuthenticationMD5Password, st.binary(min_size=4, max_size=4)),
    pg.AuthenticationSASL: st.builds(pg.AuthenticationSASL, st.lists(names.filter(bool), max_size=4).map(tuple)),
    pg.AuthenticationSASLContinue: st.builds(pg.AuthenticationSASLContinue, blobs),
    pg.AuthenticationSASLFinal: st.builds(pg.AuthenticationSASLFinal, blobs),
    pg.AuthenticationOther: st.builds(pg.AuthenticationOther, st.integers(13, 2**32 - 1), blobs),
    pg.NegotiateProtocolVersion: st.builds(pg.NegotiateProtocolVersion, oids, st.lists(names, max_size=4).map(tuple)),
    pg.BackendKeyData: st.builds(pg.BackendKeyData, int32s, st.binary(min_size=4, max_size=256)),
    pg.ParameterStatus: st.builds(pg.ParameterStatus, names, names),
    pg.ReadyForQuery: st.builds(pg.ReadyForQuery, st.sampled_from(["I", "T", "E"])),
    pg.ErrorResponse: st.builds(pg.ErrorResponse, notes),
    pg.NoticeResponse: st.builds(pg.NoticeResponse, notes),
    pg.NotificationResponse: st.builds(pg.NotificationResponse, int32s, names, names),
    pg.ParameterDescription: st.builds(pg.ParameterDescription, st.lists(oids, max_size=4).map(tuple)),
    pg.RowDescription: st.builds(pg.RowDescription, columns),
    pg.NoData: st.builds(pg.NoData),
    pg.DataRow: st.builds(pg.DataRow, values),
    pg.CommandComplete: st.builds(pg.CommandComplete, names),
    pg.EmptyQueryResponse: st.builds(pg.EmptyQueryResponse),
    pg.ParseComplete: st.builds(pg.ParseComplete),
    pg.BindComplete: st.builds(pg.BindComplete),
    pg.CloseComplete: st.builds(pg.CloseComplete),
    pg.PortalSuspended: st.builds(pg.PortalSuspended),
    pg.CopyInResponse: st.builds(pg.CopyInResponse, st.integers(0, 1), formats),
    pg.CopyOutResponse: st.builds(pg.CopyOutResponse, st.integers(0, 1), formats),
    pg.CopyBothResponse: st.builds(pg.CopyBothResponse, st.integers(0, 1), formats),
    pg.FunctionCallResponse: st.builds(pg.FunctionCallResponse, st.none() | blobs),
    **COPY,
}

first_messages = st.one_of(*FIRST.values())
frontend_messages = st.one_of(*FRONTEND.values())
backend_messages = st.one_of(*BACKEND.values())


def size_of(message: type) -> int:
    """How many fields a message has."""
    return len(fields(message))
