"""PostgreSQL's own rules of the conversation, as a small pure server: what it answers, and what it commits.

It knows the texts below and no more SQL. Written from the manual's chapter "Message Flow" and held against a real
server by `tests/end_to_end/test_pg_model.py`.

    VALUES ('1'), ('2')               as many rows of one column; LIMIT 0 behind it: none
    INSERT INTO played VALUES ('x')   an effect, kept if committed; NULL instead fails when it runs
    COPY played FROM STDIN            an effect for each line; a line of two columns fails
    COPY (VALUES ('1')) TO STDOUT     one line
    BEGIN, COMMIT, ROLLBACK           as everywhere
    anything else                     fails when it is parsed
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from vestibule.protocols.postgres import messages as pg

COLUMN: Final = pg.Field("column1", 0, 0, 25, -1, -1, 0)
COPY_IN: Final = b"COPY played FROM STDIN"
COPY_OUT: Final = b"COPY (VALUES ('1')) TO STDOUT"
_ROWS: Final = re.compile(rb"VALUES (\('\d+'\)(?:, \('\d+'\))*)( LIMIT 0)?")
_EFFECT: Final = re.compile(rb"INSERT INTO played VALUES \((?:'(\w+)'|NULL)\)")
_ENDS: Final = (b"COMMIT", b"ROLLBACK")


class Failure(Exception):
    """An error of the server's."""

    def __init__(self, code: str, text: str = "") -> None:
        super().__init__(code)
        self.code, self.text = code, text


@dataclass
class Portal:
    """A bound statement and how many of its rows have been given."""

    text: bytes
    given: int = 0
    is_done: bool = False


@dataclass
class ModelServer:
    """One session of it."""

    status: pg.TransactionStatus = "I"
    #: Effects of the open transaction, and those that stand.
    pending: list[bytes] = field(default_factory=list)
    committed: list[bytes] = field(default_factory=list)
    #: Every text that began to run, in order.
    executed: list[bytes] = field(default_factory=list)
    prepared: dict[str, bytes] = field(default_factory=dict)
    portals: dict[str, Portal] = field(default_factory=dict)
    is_skipping: bool = False
    #: Whether a text that cannot be parsed leaves the unnamed statement, as a refusal by the gateway does.
    keeps_unnamed: bool = False
    is_over: bool = False
    _copy: Iterator[list[pg.BackendMessage]] | None = None
    _line: pg.CopyData | pg.CopyDone | pg.CopyFail | None = None

    def receive(self, message: pg.FrontendMessage) -> list[pg.BackendMessage]:
        """Take a message and answer."""
        if self.is_over or isinstance(message, pg.Terminate):
            self.is_over = True
            return []
        if self._copy is not None:
            return self._copying(message)
        if isinstance(message, pg.CopyData | pg.CopyDone | pg.CopyFail | pg.Flush):
            return []
        if isinstance(message, pg.Sync):
            self.is_skipping = False
            return [*self._finish(), self._ready()]
        if self.is_skipping:
            return []
        if isinstance(message, pg.Query):
            return self._start(self._query(message.text))
        return self._start(self._extended(message))

    # --- running what may stop in the middle for a COPY --------------------------------------------------------------

    def _start(self, steps: Iterator[list[pg.BackendMessage]]) -> list[pg.BackendMessage]:
        self._copy = steps
        return self._advance()

    def _advance(self) -> list[pg.BackendMessage]:
        """Run to the end, or to where a line of a COPY is awaited."""
        answers: list[pg.BackendMessage] = []
        assert self._copy is not None
        for step in self._copy:
            answers += step
            if step and isinstance(step[-1], pg.CopyInResponse):
                return answers
            if not step:
                return answers
        self._copy = None
        return answers

    def _copying(self, message: pg.FrontendMessage) -> list[pg.BackendMessage]:
        if isinstance(message, pg.Sync | pg.Flush):
            return []
        if not isinstance(message, pg.CopyData | pg.CopyDone | pg.CopyFail):
            self.is_over, self._copy = True, None
            return [_error(Failure("08P01"), "FATAL")]
        self._line = message
        return self._advance()

    # --- the simple protocol -----------------------------------------------------------------------------------------

    def _query(self, text: bytes) -> Iterator[list[pg.BackendMessage]]:
        unnamed = self.prepared.pop("", None)
        try:
            statements = [part.strip() for part in text.split(b";") if part.strip()]
            if self.keeps_unnamed and unnamed is not None and not all(map(_is_known, statements)):
                self.prepared[""] = unnamed
            for statement in statements:
                _check(statement)
            if not statements:
                yield [pg.EmptyQueryResponse()]
            for statement in statements:
                self._check_alive(statement)
                self.portals.pop("", None)
                if _ROWS.fullmatch(statement):
                    yield [pg.RowDescription((COLUMN,))]
                yield from self._run(Portal(statement), 0)
                if statement in (b"BEGIN", *_ENDS):
                    yield self._transact(statement)
        except Failure as failure:
            yield [self._fail(failure)]
        yield [*self._finish(), self._ready()]

    # --- the extended protocol ---------------------------------------------------------------------------------------

    def _extended(self, message: pg.FrontendMessage) -> Iterator[list[pg.BackendMessage]]:
        try:
            match message:
                case pg.Parse():
                    yield [self._parse(message)]
                case pg.Bind():
                    yield [self._bind(message)]
                case pg.Describe():
                    yield self._describe(message)
                case pg.Execute():
                    yield from self._execute(message)
                case pg.Close():
                    (self.prepared if message.kind == "S" else self.portals).pop(message.name, None)
                    yield [pg.CloseComplete()]
                case _:
                    raise AssertionError(f"the model does not know {message}")
        except Failure as failure:
            self.is_skipping = True
            yield [self._fail(failure)]

    def _parse(self, message: pg.Parse) -> pg.BackendMessage:
        text = message.text.strip()
        if not message.name and not (self.keeps_unnamed and text and not _is_known(text)):
            self.prepared.pop("", None)
        if text:
            _check(text)
            self._check_alive(text)
        if message.name in self.prepared:
            raise Failure("42P05")
        self.prepared[message.name] = text
        return pg.ParseComplete()

    def _bind(self, message: pg.Bind) -> pg.BackendMessage:
        text = self._statement(message.statement)
        if message.parameters:
            raise Failure("08P01")
        self._check_alive(text)
        if message.portal and message.portal in self.portals:
            raise Failure("42P03")
        self.portals[message.portal] = Portal(text)
        return pg.BindComplete()

    def _describe(self, message: pg.Describe) -> list[pg.BackendMessage]:
        text = self._statement(message.name) if message.kind == "S" else self._portal(message.name).text
        has_rows = _ROWS.fullmatch(text) is not None
        if self.status == "E" and has_rows:
            raise Failure("25P02")
        shape = pg.RowDescription((COLUMN,)) if has_rows else pg.NoData()
        return [pg.ParameterDescription(()), shape] if message.kind == "S" else [shape]

    def _execute(self, message: pg.Execute) -> Iterator[list[pg.BackendMessage]]:
        portal = self._portal(message.portal)
        if not portal.text:
            yield [pg.EmptyQueryResponse()]
            return
        self._check_alive(portal.text)
        if portal.is_done and not _ROWS.fullmatch(portal.text):
            raise Failure("55000")
        yield from self._run(portal, max(message.max_rows, 0))
        if portal.text in (b"BEGIN", *_ENDS):
            yield self._transact(portal.text)

    def _statement(self, name: str) -> bytes:
        if name not in self.prepared:
            raise Failure("26000")
        return self.prepared[name]

    def _portal(self, name: str) -> Portal:
        if name not in self.portals:
            raise Failure("34000")
        return self.portals[name]

    # --- statements --------------------------------------------------------------------------------------------------

    def _run(self, portal: Portal, most: int) -> Iterator[list[pg.BackendMessage]]:
        if not portal.given and not portal.is_done:
            self.executed.append(portal.text)
        if rows := _ROWS.fullmatch(portal.text):
            yield self._rows(portal, [] if rows[2] else re.findall(rb"\d+", rows[1]), most)
        elif effect := _EFFECT.fullmatch(portal.text):
            if effect[1] is None:
                raise Failure("23502")
            self.pending.append(effect[1])
            yield [pg.CommandComplete("INSERT 0 1")]
        elif portal.text == COPY_OUT:
            yield [pg.CopyOutResponse(0, (0,)), pg.CopyData(b"1\n"), pg.CopyDone(), pg.CommandComplete("COPY 1")]
        elif portal.text == COPY_IN:
            yield from self._copy_in()
        # Transaction commands answer in `_transact`.
        portal.is_done = True

    def _rows(self, portal: Portal, values: list[bytes], most: int) -> list[pg.BackendMessage]:
        left = values[portal.given :]
        given = left[:most] if most else left
        portal.given += len(given)
        # The server knows that a portal is done only when it has looked for one row more.
        is_suspended = bool(most) and len(given) == most
        end = pg.PortalSuspended() if is_suspended else pg.CommandComplete(f"SELECT {len(given)}")
        return [*(pg.DataRow((value,)) for value in given), end]

    def _copy_in(self) -> Iterator[list[pg.BackendMessage]]:
        lines = 0
        yield [pg.CopyInResponse(0, (0,))]
        while isinstance(line := self._line, pg.CopyData):
            if b"\t" in line.data:
                raise Failure("22P04")
            self.pending += line.data.split()
            lines += len(line.data.split())
            yield []
        if isinstance(line, pg.CopyFail):
            raise Failure("57014")
        yield [pg.CommandComplete(f"COPY {lines}")]

    # --- transactions ------------------------------------------------------------------------------------------------

    def _transact(self, text: bytes) -> list[pg.BackendMessage]:
        was, tag = self.status, text.decode()
        if text == b"BEGIN":
            self.status = "T"
            warning = [_warning("25001")] if was == "T" else []
            return [*warning, pg.CommandComplete(tag)]
        warning = [_warning("25P01")] if was == "I" else []
        # Without a block, COMMIT and ROLLBACK warn, and end what the segment has done so far.
        if was == "E" or text == b"ROLLBACK":
            tag = "ROLLBACK"
            self.pending.clear()
        self.committed += self.pending
        self.pending.clear()
        self.portals.clear()
        self.status = "I"
        return [*warning, pg.CommandComplete(tag)]

    def _finish(self) -> list[pg.BackendMessage]:
        if self.status == "I":
            self.committed += self.pending
            self.pending.clear()
            self.portals.clear()
        return []

    def _fail(self, failure: Failure) -> pg.BackendMessage:
        self.pending.clear()
        if self.status == "I":
            self.portals.clear()
        else:
            self.status = "E"
            for portal in self.portals.values():
                portal.is_done = True
        return _error(failure)

    def _check_alive(self, text: bytes) -> None:
        if self.status == "E" and text not in _ENDS:
            raise Failure("25P02")

    def _ready(self) -> pg.BackendMessage:
        return pg.ReadyForQuery(self.status)


def _is_known(text: bytes) -> bool:
    if text in (b"BEGIN", *_ENDS, COPY_IN, COPY_OUT):
        return True
    return bool(_ROWS.fullmatch(text) or _EFFECT.fullmatch(text))


def _check(text: bytes) -> None:
    if not _is_known(text):
        raise Failure("42601")


def _error(failure: Failure, severity: str = "ERROR") -> pg.ErrorResponse:
    return pg.ErrorResponse((("S", severity), ("V", severity), ("C", failure.code), ("M", failure.code)))


def _warning(code: str) -> pg.NoticeResponse:
    return pg.NoticeResponse((("S", "WARNING"), ("V", "WARNING"), ("C", code), ("M", code)))
