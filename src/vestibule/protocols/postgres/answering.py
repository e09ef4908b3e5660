"""The target's half of a session: each answer is matched with what is owed, and passed on or replaced.

1. A message that nothing owes, or that the head of the line does not owe, ends the session.
2. Rows belong to the statement whose Execute or Query is at the head, and are judged by that one's description.
3. Notices, parameter changes and notifications may come at any point.
4. Where columns are masked, an answer is held against its plan before a row of it passes; rows leave the reader masked.
5. What the client is shown of a statement is kept before it is sent, where the session is recorded.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Final

from vestibule.gate.masks import Charted
from vestibule.masking.diagnostics import reduced
from vestibule.masking.layout import Fault, Field, layout
from vestibule.masking.steps import RowMask, row_mask
from vestibule.model.effect import Compute
from vestibule.model.errors import TargetProtocolError
from vestibule.protocols.postgres import messages as pg
from vestibule.protocols.postgres.codec import decode_backend, encode
from vestibule.protocols.postgres.frames import Copied, Frame, Rows
from vestibule.protocols.postgres.keeping import Keeping
from vestibule.protocols.postgres.learning import Learned, Surveyed
from vestibule.protocols.postgres.owed import Answer, Owed, Running, Shape
from vestibule.protocols.postgres.session import Session
from vestibule.protocols.postgres.states import State

#: Settings whose changes the client is told of (manual, "Asynchronous Operations", and PostgreSQL 18's search_path).
REPORTED: Final = frozenset(
    {
        "server_version",
        "server_encoding",
        "client_encoding",
        "application_name",
        "DateStyle",
        "IntervalStyle",
        "TimeZone",
        "integer_datetimes",
        "standard_conforming_strings",
        "in_hot_standby",
        "default_transaction_read_only",
        "scram_iterations",
        "is_superuser",
        "session_authorization",
        "search_path",
    }
)
#: Settings without which the text that was judged is not the text that the target reads.
PINNED: Final = {"client_encoding": "UTF8", "standard_conforming_strings": "on"}

#: Words and counts: nothing that a value could stand in.
_TAG: Final = re.compile(r"[A-Z]+(?: [A-Z]+)*(?: [0-9]+){0,2}")

_ANYTIME: Final = (pg.NoticeResponse, pg.NotificationResponse, pg.ParameterStatus)
_COMPLETES: Final = {
    pg.ParseComplete: Answer.PARSE,
    pg.BindComplete: Answer.BIND,
    pg.CloseComplete: Answer.CLOSE,
    pg.NoData: Answer.DESCRIBE,
    pg.PortalSuspended: Answer.EXECUTE,
}


class Answering:
    """Takes the target's bytes and answers the client."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._keeping = Keeping(session)

    def receive(self, data: bytes) -> None:
        """Take the target's bytes."""
        session, target = self._session, self._session.target
        target.feed(data)
        while not session.is_over:
            shape = self._shape()
            if shape is None:
                target.columns = target.layout = target.stored = None
            else:
                target.columns, target.layout, target.stored = shape.columns, shape.mask, shape.stored
            item = target.next()
            if item is None:
                break
            match item:
                case Rows():
                    self._rows(item)
                case Copied():
                    self._copied(item)
                case Frame():
                    self._message(decode_backend(item.type, item.body))

    def _shape(self) -> Shape | None:
        """What a row would be like now, None where none may come."""
        head = self._session.owed[0] if self._session.owed else None
        if head is not None and head.learning is not None:
            return Shape(True, head.learning.columns)
        if head is None or head.answer not in (Answer.EXECUTE, Answer.QUERY):
            return None
        return head.shape

    # --- data --------------------------------------------------------------------------------------------------------

    def _rows(self, item: Rows) -> None:
        learning = self._head(pg.DataRow).learning
        if learning is not None:
            learning.take_rows(item)
            return
        self._disclose(item.data, item.count, item)
        self._session.gate.counts.values_masked += item.masked
        self._session.is_mid_message = not item.complete

    def _copied(self, item: Copied) -> None:
        head = self._head(pg.CopyData)
        if head.running is None or head.running.result is None or not head.running.is_copying_out:
            raise TargetProtocolError("unexpected CopyData of the target")
        self._disclose(item.data, 0)

    def _disclose(self, data: bytes, rows: int, item: Rows | None = None) -> None:
        running = self._running()
        if running.result is None:
            running.result = self._session.gate.result()
        running.result.disclose(data, rows)
        running.bytes_from_target += len(data)
        self._keeping.data(running, data, rows, item)
        self._session.tell_client(data)

    # --- messages ----------------------------------------------------------------------------------------------------

    def _message(self, message: pg.BackendMessage) -> None:
        if self._learn(message):
            return
        # What every statement brings comes first: each case before a message's own costs a look.
        match message:
            case pg.ReadyForQuery():
                self._ready(message)
            case pg.CommandComplete() | pg.EmptyQueryResponse():
                self._command_complete(message)
            case pg.RowDescription():
                self._row_description(message)
            case pg.BindComplete() | pg.ParseComplete() | pg.CloseComplete() | pg.NoData() | pg.PortalSuspended():
                self._completed(message)
            case pg.NoticeResponse():
                self._notice(message)
            case pg.NotificationResponse():
                self._session.notify_client(message)
            case pg.ParameterStatus():
                self._parameter_status(message)
            case pg.ErrorResponse():
                self._error(message)
            case pg.ParameterDescription():
                self._parameters(message)
            case pg.CopyInResponse():
                self._copy_in(message)
            case pg.CopyOutResponse():
                self._copy_out(message)
            case pg.CopyDone():
                self._running().is_copying_out = False
                self._session.tell_client(encode(message))
            case _:
                raise TargetProtocolError(f"unexpected target message {type(message).__name__}")

    def _notice(self, message: pg.NoticeResponse) -> None:
        fields = self._reduced(message.fields) if self._is_reduced() else message.fields
        self._session.tell_client(encode(pg.NoticeResponse(fields)))

    def _is_reduced(self) -> bool:
        """Whether what the target says now may quote masked values; of no statement it is said in doubt."""
        session = self._session
        return session.owed[0].is_reduced if session.owed else session.known.is_masked

    def _reduced(self, fields: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
        """Leave out of an error or notice what may quote masked values."""
        return tuple(reduced(dict(fields), self._session.known.constraints).items())

    def _learn(self, message: pg.BackendMessage) -> bool:
        """Take what answers the gateway's own question; what may come at any point does not."""
        session = self._session
        learning = session.owed[0].learning if session.owed else None
        if learning is None or isinstance(message, _ANYTIME):
            return False
        if isinstance(message, pg.ErrorResponse) and _is_fatal(message):
            return False
        match learning.take(message):
            case Learned() as learned:
                session.owed.popleft()
                session.known.learn(replace(learned, catalog=session.reader.shared(learned.catalog)), session.now)
                session.holding.check()
            case Surveyed() as surveyed:
                session.owed.popleft()
                self._survey(surveyed)
                session.holding.check()
        return True

    def _survey(self, surveyed: Surveyed) -> None:
        """Have a snapshot made of what the target has said: of thousands of relations that takes long."""
        self._session.surveyed = surveyed
        self._session.effects.append(Compute(self._session.known.charting(surveyed)))

    def computed(self, result: object) -> None:
        """Take the snapshot that was made."""
        session = self._session
        surveyed, session.surveyed = session.surveyed, None
        if surveyed is None or not isinstance(result, Charted):
            raise TargetProtocolError("a snapshot of the relations that cannot be")
        session.known.survey(result, session.now, is_of_now=surveyed.is_of_now)

    def _parameter_status(self, message: pg.ParameterStatus) -> None:
        if PINNED.get(message.name, message.value) != message.value:
            raise TargetProtocolError(f"{message.name} is no longer {PINNED[message.name]}")
        if message.name in REPORTED:
            self._session.tell_client(encode(message))

    def _completed(self, message: pg.BackendMessage) -> None:
        """Handle an answer that only completes its message."""
        session = self._session
        owed = self._pop(_COMPLETES[type(message)], message)
        if owed.change is not None:
            owed.change.settle()
        if owed.closing is not None:
            session.complete(owed.closing, "ok")
        if isinstance(message, pg.PortalSuspended) and owed.running is not None:
            session.keep(owed.running, encode(message))
        self._pass(message, owed)

    def _parameters(self, message: pg.ParameterDescription) -> None:
        owed = self._head(type(message))
        if owed.answer is not Answer.DESCRIBE or owed.prepared is None:
            raise TargetProtocolError("unexpected ParameterDescription of the target")
        owed.prepared.types = message.types
        self._pass(message, owed)

    def _row_description(self, message: pg.RowDescription) -> None:
        owed = self._head(type(message))
        if owed.answer is Answer.QUERY:
            mask, stored = self._mask(message, owed), self._keeping.mask(message, owed)
            owed.shape = Shape(True, len(message.fields), mask, stored, message.fields)
            running = self._running()
            running.result, running.head = self._session.gate.result(), None
        else:
            self._pop(Answer.DESCRIBE, message)
            if owed.shape is not None:
                shape = owed.shape
                shape.columns, shape.fields = len(message.fields), message.fields
                # A statement's own description brings no rows, and says nothing of formats: each portal has its own.
                if owed.prepared is None:
                    shape.mask, shape.stored = self._mask(message, owed), self._keeping.mask(message, owed)
        self._pass(message, owed)

    def _mask(self, message: pg.RowDescription, owed: Owed) -> RowMask | None:
        """Hold what the target says of its answer against what was decided; a difference ends the session."""
        known = self._session.known
        sensitive = known.sensitive(owed.labels or ())
        if sensitive is None:
            return None
        if owed.plan is None:
            raise TargetProtocolError("an answer that nobody has decided about")
        own = known.temporary_numbers
        fields = [
            # What a session has made itself, of clean columns, is of no relation that others know.
            Field(each.name, 0 if each.table in own else each.table, each.column, each.type, each.format)
            for each in message.fields
        ]
        found = layout(owed.plan, fields, sensitive)
        if isinstance(found, Fault):
            raise TargetProtocolError(found.reason)
        if found.is_stale:
            known.lacks()
        if found.is_clear:
            return None
        transforms = [None if column is None else column.transform for column in found.columns]
        described = [(each.type, each.format, each.modifier) for each in message.fields]
        return row_mask(transforms, *zip(*described, strict=True))

    def _command_complete(self, message: pg.CommandComplete | pg.EmptyQueryResponse) -> None:
        session = self._session
        owed = self._head(type(message))
        running = self._running()
        streamed = 0 if running.result is None else running.result.rows
        self._close_result(running)
        session.keep(running, encode(message))
        if isinstance(message, pg.CommandComplete):
            if owed.labels and _TAG.fullmatch(message.tag) is None:
                raise TargetProtocolError("a command tag that no command has")
            # The tag of a portal's last batch counts that batch alone.
            running.rows += max(streamed, _rows_of(message.tag))
            self._settle_names(running, message.tag)
        if owed.answer is Answer.QUERY:
            # A COPY from the client may follow among the Query's other statements.
            owed.shape = None
            owed.place += 1
        else:
            session.owed.popleft()
            session.complete(running, "ok")
            self._lift_copy(owed)
        self._pass(message, owed)

    def _settle_names(self, running: Running, tag: str) -> None:
        """SQL has made or dropped prepared statements: the names now mean what the target did."""
        session = self._session
        if running.changes and running.changes[0].tag == tag:
            renaming = running.changes.popleft()
            renaming.settle()
            for closing in renaming.closing:
                session.complete(closing, "ok")
        if tag in ("DEALLOCATE ALL", "DISCARD ALL"):
            session.prepared.drop_settled()
        if tag in ("CLOSE CURSOR ALL", "DISCARD ALL"):
            for portal in (*session.cursors.drop_settled(), *session.portals.drop_settled()):
                if portal.running is not running:
                    session.complete(portal.running, "ok")

    def _close_result(self, running: Running | None) -> None:
        if running is not None and running.result is not None:
            running.results.append(running.result)
            running.result = None

    # --- COPY --------------------------------------------------------------------------------------------------------

    def _copy_in(self, message: pg.CopyInResponse) -> None:
        session = self._session
        owed = self._head(type(message))
        if session.may_copy is not owed:
            raise TargetProtocolError("the target asks for a COPY that nobody asked for")
        session.copying, session.state = self._running(), State.COPY_IN
        # What the client sent behind it were Syncs, and in copy mode the server ignores them.
        while len(session.owed) > 1:
            session.owed.pop()
            session.is_unsynced = owed.answer is Answer.EXECUTE
        owed.copies -= 1
        if owed.copies == 0:
            self._lift_copy(owed)
        self._pass(message, owed)

    def _copy_out(self, message: pg.CopyOutResponse) -> None:
        owed = self._head(type(message))
        running = self._running()
        if owed.labels and (owed.plan is None or owed.plan.columns is not None):
            raise TargetProtocolError("the target begins a COPY of what may only come masked")
        running.result, running.is_copying_out = self._session.gate.result(), True
        running.head = encode(message)
        self._keeping.begin_copy(running, owed)
        self._pass(message, owed)

    def _lift_copy(self, owed: Owed) -> None:
        if self._session.may_copy is owed:
            self._session.may_copy = None

    def _end_copy(self) -> None:
        session = self._session
        session.copying = None
        if session.state is State.COPY_IN:
            session.state = State.READY

    # --- errors and the end of a segment -----------------------------------------------------------------------------

    def _error(self, message: pg.ErrorResponse) -> None:
        session = self._session
        if _is_fatal(message):
            if self._is_reduced():
                message = pg.ErrorResponse(self._reduced(message.fields))
            session.tell_client(encode(message))
            if session.owed and session.owed[0].running is not None:
                session.owed[0].running.end("unknown", self._keeping.error_of(message, session.owed[0]))
            session.end("target_closed", "", fault=f"the target ended the session: {message.text('C')}")
            return
        owed = self._head(type(message))
        if owed.is_reduced:
            message = pg.ErrorResponse(self._reduced(message.fields))
        error = self._keeping.error_of(message, owed)
        match owed.answer:
            case Answer.POISON:
                self._poisoned(owed)
            case Answer.SYNC:
                session.fail_completed(error)
                session.tell_client(encode(message))
            case Answer.QUERY:
                self._fail(owed, error)
                session.tell_client(encode(message))
            case _:
                session.owed.popleft()
                if owed.answer is Answer.PARSE and owed.change is not None:
                    owed.change.fail()
                self._withdraw(owed)
                self._fail(owed, error)
                session.tell_client(encode(message))
                self._skip_to_sync()

    def _poisoned(self, owed: Owed) -> None:
        session = self._session
        session.owed.popleft()
        if owed.error is not None:
            session.tell_client(encode(owed.error))
        if owed.running is not None:
            session.complete(owed.running, "refused")
        self._skip_to_sync()

    def _fail(self, owed: Owed, error: tuple[str, str]) -> None:
        self._end_copy()
        self._lift_copy(owed)
        owed.shape = None if owed.answer is Answer.QUERY else owed.shape
        if owed.running is not None:
            self._close_result(owed.running)
            self._keeping.error(owed.running, error)
            self._session.complete(owed.running, "cancelled" if error[0] == "57014" else "error", error)

    def _skip_to_sync(self) -> None:
        """The target answers nothing more up to the next Sync; if none has been sent, the client's own is awaited."""
        session = self._session
        while session.owed and session.owed[0].answer is not Answer.SYNC:
            owed = session.owed.popleft()
            self._withdraw(owed)
            self._lift_copy(owed)
            if owed.running is not None:
                session.skip(owed.running)
            self._unsettle(owed)
        if not session.owed:
            session.state = State.SKIP

    def _withdraw(self, owed: Owed) -> None:
        owed.withdraw()
        if owed.closing is not None:
            # Its transaction has failed with this message: the portal gives no more rows either way.
            self._session.complete(owed.closing, "ok")

    def _unsettle(self, owed: Owed) -> None:
        """A refused Query that the target skipped: its Sync is not answered to the client, who must send one."""
        session = self._session
        settling = session.settling
        if owed.answer is Answer.POISON and settling is not None and session.owed and session.owed[0] is settling:
            settling.is_visible = False

    def _ready(self, message: pg.ReadyForQuery) -> None:
        session = self._session
        owed = self._head(type(message))
        if owed.answer not in (Answer.SYNC, Answer.QUERY):
            raise TargetProtocolError(f"ReadyForQuery while {owed.answer.value} is owed")
        session.owed.popleft()
        session.status = message.status
        self._end_copy()
        self._lift_copy(owed)
        if owed.running is not None:
            session.complete(owed.running, "ok")
        session.say_skipped()
        self._close_portals(owed, message.status)
        if owed.change is not None:
            owed.change.settle()
        session.write_completed(message.status)
        if owed is session.settling:
            session.settling = None
            session.state = session.state if owed.is_visible else State.SKIP
        self._pass(message, owed)

    def _close_portals(self, owed: Owed, status: str) -> None:
        """Portals end with their transaction; the unnamed one with any Query."""
        session = self._session
        if status == "I":
            gone = session.portals.drop_settled()
        elif owed.answer is Answer.QUERY:
            gone = session.portals.drop_settled("")
        else:
            return
        for portal in gone:
            session.complete(portal.running, "ok")

    # --- the line ----------------------------------------------------------------------------------------------------

    def _head(self, kind: type) -> Owed:
        if not self._session.owed:
            raise TargetProtocolError(f"the target sent {kind.__name__} while nothing was owed")
        return self._session.owed[0]

    def _pop(self, answer: Answer, message: pg.BackendMessage) -> Owed:
        owed = self._head(type(message))
        if owed.answer is not answer:
            raise TargetProtocolError(f"the target sent {type(message).__name__} while {owed.answer.value} was owed")
        return self._session.owed.popleft()

    def _running(self) -> Running:
        owed = self._head(pg.DataRow)
        if owed.answer not in (Answer.EXECUTE, Answer.QUERY) or owed.running is None:
            raise TargetProtocolError(f"the target sent a result while {owed.answer.value} was owed")
        return owed.running

    def _pass(self, message: pg.BackendMessage, owed: Owed) -> None:
        if owed.is_visible:
            self._session.tell_client(encode(message))


def _is_fatal(message: pg.ErrorResponse) -> bool:
    return (message.text("V") or message.text("S")) in ("FATAL", "PANIC")


def _rows_of(tag: str) -> int:
    """Read the row count of a command tag; tags of commands without rows have none."""
    last = tag.rpartition(" ")[2]
    return int(last) if last.isascii() and last.isdigit() and len(last) < 19 else 0
