"""The client's half of a session: each message is decided, and forwarded or refused in its place.

1. Messages are taken in order. One that must wait (for analysis, for a name to settle, for the answer that may begin
   a COPY) holds everything behind it, in the reader, bounded.
2. A Parse is decided as text; a Bind is a statement with parameters, and gets the record; an Execute is checked again.
3. What the client wrote is encoded anew before it travels.
4. One event takes a slice of what has arrived: other sessions of the process have their turn before the next.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from vestibule.gate.outcome import Decided, Denied
from vestibule.gate.records import Shown
from vestibule.model.decision import Deny, Hold
from vestibule.model.effect import Pause, Resume
from vestibule.model.errors import ClientProtocolError
from vestibule.model.event import Side
from vestibule.model.statement import Analysis, Parameter, Parsed, Statement, Unknown, Unsupported
from vestibule.protocols.postgres import messages as pg
from vestibule.protocols.postgres.codec import decode_frontend, encode
from vestibule.protocols.postgres.errors import refusal
from vestibule.protocols.postgres.frames import Copied, Frame, Rows
from vestibule.protocols.postgres.names import Names, Unsettled
from vestibule.protocols.postgres.owed import Answer, Owed, Portal, Prepared, Running, Shape, storing
from vestibule.protocols.postgres.session import OWED_LIMIT, Session
from vestibule.protocols.postgres.states import CLIENT, Act, State
from vestibule.protocols.postgres.understanding import (
    PATH_CHANGED,
    TOO_MANY,
    Understanding,
    Waiting,
    copies,
    judge_bound,
    judge_types,
)
from vestibule.protocols.postgres.values import shown

#: Names of this beginning are the gateway's own.
RESERVED: Final = "vestibule_"
#: Bytes of the client that may wait behind a message that waits.
WAITING_BYTES: Final = 256 << 10
#: The same behind a statement that people decide about: a client that says nothing more is noticed when it goes.
HELD_BYTES: Final = 1 << 20
#: What is handled of a client's messages at once: 16 statements, fewer if they are large, more of what is no statement.
SLICE: Final = 64
_PART: Final = 512

#: The server cuts the names of messages too, where it looks them up: longer ones that begin alike are one to it.
NAME_BYTES: Final = 63

_LONG_NAME: Final = Unsupported(
    "42622", f"vestibule: names of statements and portals may have at most {NAME_BYTES} bytes", "Use a shorter name."
)
_BIND_AGAIN: Final = Unsupported(
    "0A000",
    "vestibule: what is masked for you, or what the statement runs, is no longer what it was when it was bound",
    "Bind it again.",
)
_RESERVED_NAME: Final = Unsupported("42602", f'names beginning with "{RESERVED}" are the gateway\'s own')
_FUNCTION_CALL: Final = Unsupported(
    "0A000", "vestibule: function calls by number (FunctionCall) are not supported", "Use SELECT function(...) instead."
)


class Asking:
    """Takes the client's bytes and asks the target, as far as that is allowed."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._head: pg.FrontendMessage | Copied | None = None
        self._understanding = Understanding(session)
        self._is_paused = False
        #: Messages that have arrived are left for the next slice.
        self.is_behind = False

    @property
    def is_at_rest(self) -> bool:
        """Whether all that the client has said is handled, or waits for people only."""
        is_done = self._head is None and not self.is_behind and len(self._session.client) == 0
        return is_done or bool(self._session.holding)

    def receive(self, data: bytes) -> None:
        """Take the client's bytes."""
        self._session.last_asked_at = self._session.now
        self._session.client.feed(data)
        self.advance()

    def analysed(self, result: Parsed | Unsupported | Unknown) -> None:
        """Take the analysis of a large text."""
        self._understanding.analysed(result)
        self.advance()

    def advance(self) -> None:
        """Handle messages until there are no more, one must wait, or the slice is used up."""
        session = self._session
        session.refuse_dropped()
        left, self.is_behind = SLICE, False
        while not (session.is_over or session.is_leaving):
            if self._head is None:
                if left <= 0:
                    self.is_behind = len(session.client) > 0
                    break
                if not self._take():
                    break
                left -= _cost(self._head)
            if self._head is not None and not self._handle(self._head):
                break
            self._head = None
        self._balance()

    def _take(self) -> bool:
        """Take the next message, or piece of a COPY, to the head of the line."""
        item = self._session.client.next()
        if item is None:
            return False
        if isinstance(item, Rows):
            raise ClientProtocolError("unexpected DataRow")
        self._head = decode_frontend(item.type, item.body) if isinstance(item, Frame) else item
        return True

    def _handle(self, message: pg.FrontendMessage | Copied) -> bool:
        state = self._session.state
        kind = pg.CopyData if isinstance(message, Copied) else type(message)
        act = CLIENT[state].get(kind)
        if act is None:
            raise ClientProtocolError(f"unexpected {kind.__name__} in the state {state.value}")
        try:
            if state is not State.SKIP:
                self._check_order(message)
            if act is Act.HANDLE:
                self._dispatch(message)
        except (Waiting, Unsettled):
            return False
        return True

    def _balance(self) -> None:
        """Let the client's bytes wait at the client when enough of them wait here."""
        has_to_wait = self._head is not None or self.is_behind
        is_held = bool(self._session.holding)
        waits = has_to_wait and len(self._session.client) > (HELD_BYTES if is_held else WAITING_BYTES)
        if waits != self._is_paused and not self._session.is_over:
            self._is_paused = waits
            self._session.effects.append(Pause(Side.CLIENT, is_held) if waits else Resume(Side.CLIENT))
            self._session.holding.note_full(waits)

    def _check_order(self, message: pg.FrontendMessage | Copied) -> None:
        session = self._session
        if isinstance(message, pg.Terminate):
            return
        if session.settling is not None or session.has_dropped or len(session.owed) >= OWED_LIMIT:
            raise Waiting
        if session.is_learning:
            raise Waiting
        if session.may_copy is None or session.state is State.COPY_IN or isinstance(message, (pg.Sync, pg.Flush)):
            return
        raise Waiting

    def _dispatch(self, message: pg.FrontendMessage | Copied) -> None:
        # What drivers send with every statement comes first: each case before a message's own costs a look.
        match message:
            case pg.Sync():
                self._session.sync()
            case pg.Bind():
                self._bind(message)
            case pg.Execute():
                self._execute(message)
            case pg.Describe():
                self._describe(message)
            case pg.Query():
                self._query(message)
            case pg.Parse():
                self._parse(message)
            case Copied():
                self._copy_data(message)
            case pg.Close():
                self._close(message)
            case pg.Flush():
                self._session.tell_target(encode(message))
            case pg.CopyDone() | pg.CopyFail():
                self._copy_end(message)
            case pg.FunctionCall():
                self._session.refuse_query(refusal(_FUNCTION_CALL), None)
            case pg.Terminate():
                self._session.leave()
            case _:
                raise ClientProtocolError(f"unexpected {type(message).__name__}")

    # --- the simple protocol -----------------------------------------------------------------------------------------

    def _query(self, message: pg.Query) -> None:
        session = self._session
        analyses = self._understanding.read(message.text)
        resolved = analyses if isinstance(analyses, Unsupported) else self._understanding.resolve(analyses)
        if isinstance(resolved, Unsupported):
            decided = self._refuse_text(message.text, resolved)
        else:
            decided = self._decided(Statement(message.text, resolved, meaning=self._texts(analyses)), ())
        labels, stored = session.known.labels_of(message.text), self._understanding.stored(message.text)
        self._understanding.settle()
        if decided.permit is None or isinstance(analyses, Unsupported):
            session.refuse_query(session.explain(decided), decided)
            return
        running = Running(decided)
        self._understanding.note(running, message.text, analyses)
        session.tell_target(encode(message), decided.permit)
        plans = tuple(analysis.plan for analysis in analyses)
        owed = Owed(Answer.QUERY, session.segment, running, copies=copies(analyses), plans=plans, labels=labels)
        owed.storing = storing(analyses, stored)
        session.owe(owed)
        session.may_copy = owed if owed.copies else None
        # A Query ends what the unnamed statement meant, and the unnamed portal is the Query's own from here on.
        session.prepared.forget("")
        if session.portals.current("") is not None:
            owed.change = session.portals.offer("", None, session.segment)
        session.is_unsynced = False
        session.segment += 1

    # --- the extended protocol ---------------------------------------------------------------------------------------

    def _parse(self, message: pg.Parse) -> None:
        session = self._session
        problem = _name_problem(message.name)
        if problem is None and not self._has_room(session.prepared, message.name):
            problem = TOO_MANY
        if problem is not None:
            session.refuse_extended(refusal(problem), None)
            return
        understanding = self._understanding
        analyses = understanding.read(message.text)
        resolved = analyses if isinstance(analyses, Unsupported) else understanding.resolve(analyses, is_run=False)
        resolved = judge_types(message.types, session.known.catalog) or resolved
        understanding.settle()
        if isinstance(resolved, Unsupported) or isinstance(analyses, Unsupported):
            decided = self._refuse_text(message.text, resolved if isinstance(resolved, Unsupported) else TOO_MANY)
            session.refuse_extended(session.explain(decided), decided)
            return
        statement = Statement(message.text, resolved)
        decision = session.gate.judge_statement(statement)
        if isinstance(decision, Deny):
            self._decide_or_refuse(statement, ())
            return
        if isinstance(decision, Hold):
            # The Bind behind it may come before a Sync, when nothing can be asked any more.
            understanding.know_present()
        prepared = understanding.prepared(message.text, analyses, message.types)
        change = session.prepared.offer(message.name, prepared, session.segment)
        owed = Owed(Answer.PARSE, session.segment, change=change, plans=prepared.plans, storing=prepared.storing)
        session.owe(owed)
        self._forward(message)

    def _bind(self, message: pg.Bind) -> None:
        session = self._session
        prepared = session.find_prepared(message.statement)
        problem = _name_problem(message.portal) or (_absent("S", message.statement) if prepared is None else None)
        if problem is None and not self._has_room(session.portals, message.portal):
            problem = TOO_MANY
        if problem is not None or prepared is None:
            session.refuse_extended(refusal(problem or TOO_MANY), None)
            return
        decided = self._decide_bound(prepared, message)
        if decided is None or decided.permit is None:
            return
        running = Running(decided, formats=message.result_formats)
        # A statement's own description says nothing of formats, which masks depend on.
        is_clear = not session.known.is_masked and prepared.stored is None
        shape = prepared.shape if prepared.shape.is_asked and is_clear else Shape()
        meaning = self._understanding.meaning(prepared.analyses)
        plans, labels = prepared.plans, session.known.labels_of(prepared.text)
        policy, stored = session.gate.gate.policy, prepared.storing
        portal = Portal(prepared, message, running, shape, policy, meaning, plans, labels, stored)
        replaced = session.portals.current(message.portal)
        change = session.portals.offer(message.portal, portal, session.segment)
        closing = replaced.value.running if replaced is not None and replaced.value is not None else None
        owed = Owed(Answer.BIND, session.segment, running, change=change, closing=closing, plans=plans)
        owed.storing = stored
        session.owe(owed)
        session.tell_target(encode(message), decided.permit)
        session.is_unsynced = True

    def _has_room(self, names: Names[Prepared] | Names[Portal], name: str) -> bool:
        """Whether a name may be given a meaning; open answers may yet make room, so they are waited for."""
        session = self._session
        if names.has_room(name):
            return True
        if not session.owed:
            return False
        if session.is_unsynced:
            # Without a Sync the target may keep its answers to itself.
            session.tell_target(encode(pg.Flush()))
        raise Waiting

    def _decide_bound(self, prepared: Prepared, message: pg.Bind) -> Decided | None:
        """Decide a statement with its parameters; a refusal is sent and gives None."""
        parameters = tuple(
            Parameter(_nth(prepared.types, at, 0), _format(message.parameter_formats, at), value)
            for at, value in enumerate(message.parameters)
        )
        analyses = self._understanding.reread(prepared)
        resolved = analyses if isinstance(analyses, Unsupported) else self._understanding.resolve(analyses)
        problem = resolved if isinstance(resolved, Unsupported) else judge_bound(resolved, parameters)
        self._understanding.settle()
        if problem is not None or isinstance(resolved, Unsupported):
            decided = self._refuse_text(prepared.text, problem or TOO_MANY)
            self._session.refuse_extended(self._session.explain(decided), decided)
            return None
        statement = Statement(
            prepared.text,
            resolved,
            parameters,
            message.parameter_formats,
            message.result_formats,
            parameter_types=prepared.declared,
            meaning=self._texts(prepared.analyses),
        )
        return self._decide_or_refuse(statement, shown(parameters))

    def _decide_or_refuse(self, statement: Statement, values: Sequence[Shown]) -> Decided | None:
        session = self._session
        decided = self._decided(statement, values)
        if decided.permit is None:
            session.refuse_extended(session.explain(decided), decided)
            return None
        return decided

    def _decided(self, statement: Statement, values: Sequence[Shown]) -> Decided:
        """Decide the statement at the head of the line; raise `Waiting` while people decide about it."""
        session = self._session
        if not session.holding:
            judged = session.gate.judge_statement(statement)
            if isinstance(judged, Hold):
                if not self._understanding.know_present():
                    return session.recorded(session.gate.refuse(statement, PATH_CHANGED, session.now))
                statement = replace(statement, catalog=session.known.meaning)
            decided = session.decide(statement, values, judged)
            if not session.holding:
                return decided
        released = session.holding.released()
        if released is None:
            raise Waiting
        return released

    def _texts(self, analyses: tuple[Analysis, ...] | Unsupported) -> tuple[bytes, ...]:
        """Give the texts that the names in a statement stand for: they are what it carries out."""
        if isinstance(analyses, Unsupported):
            return ()
        return tuple(named.text for named in self._understanding.meaning(analyses) if named is not None)

    def _describe(self, message: pg.Describe) -> None:
        session = self._session
        is_statement = message.kind == "S"
        found = session.find_prepared(message.name) if is_statement else session.find_portal(message.name)
        if found is None:
            session.refuse_extended(refusal(_absent(message.kind, message.name)), None)
            return
        found.shape.is_asked = True
        owed = Owed(Answer.DESCRIBE, session.segment, shape=found.shape, plans=found.plans)
        if isinstance(found, Portal):
            owed.labels = found.labels
        else:
            owed.prepared = found
        owed.storing = found.storing
        session.owe(owed)
        self._forward(message)

    def _execute(self, message: pg.Execute) -> None:
        session = self._session
        portal = session.find_portal(message.portal)
        if portal is None:
            session.refuse_extended(refusal(_absent("P", message.portal)), None)
            return
        if not self._still_allowed(portal):
            return
        self._describe_first(message.portal, portal)
        copying = copies(portal.prepared.analyses)
        plans = portal.plans
        owed = Owed(Answer.EXECUTE, session.segment, portal.running, shape=portal.shape, copies=copying, plans=plans)
        owed.storing = portal.storing
        session.owe(owed)
        session.may_copy = owed if owed.copies else None
        if not portal.prepared.is_inside:
            self._understanding.note(portal.running, portal.prepared.text, portal.prepared.analyses)
        session.tell_target(encode(message), portal.running.decided.permit)
        session.is_unsynced = True

    def _still_allowed(self, portal: Portal) -> bool:
        """Decide anew what was decided under another policy or for other names, or has used up its permit."""
        session = self._session
        meaning = self._understanding.meaning(portal.prepared.analyses)
        labels = session.known.labels_of(portal.prepared.text)
        if portal.labels != labels or (labels and portal.meaning != meaning):
            # What the target has bound is described, and masked, as it was then.
            session.refuse_extended(refusal(_BIND_AGAIN), None)
            return False
        is_same = portal.policy == session.gate.gate.policy and portal.meaning == meaning
        if is_same and not portal.running.is_finished:
            return True
        before = portal.running
        decided = self._decide_bound(portal.prepared, portal.bind)
        if decided is None:
            return False
        session.complete(before, "ok")
        portal.running = Running(decided, formats=portal.bind.result_formats)
        portal.policy, portal.meaning = session.gate.gate.policy, meaning
        stored = portal.prepared.storing
        if stored is not None:
            # What the target has bound is not what was read just now.
            portal.shape, portal.storing = Shape(), stored.nothing()
        return True

    def _describe_first(self, name: str, portal: Portal) -> None:
        """Ask for the shape of a portal that the client did not describe: rows are judged by it."""
        if not portal.shape.is_asked:
            portal.shape.is_asked = True
            plans = portal.plans
            owed = Owed(Answer.DESCRIBE, self._session.segment, shape=portal.shape, is_visible=False, plans=plans)
            owed.storing = portal.storing
            self._session.owe(owed)
            self._forward(pg.Describe("P", name))

    def _close(self, message: pg.Close) -> None:
        session = self._session
        if len(message.name.encode()) > NAME_BYTES:
            session.refuse_extended(refusal(_LONG_NAME), None)
            return
        owed = Owed(Answer.CLOSE, session.segment)
        if message.kind == "S" and session.prepared.current(message.name) is not None:
            owed.change = session.prepared.offer(message.name, None, session.segment)
        elif message.kind == "P":
            portal = session.portals.current(message.name)
            if portal is not None and portal.value is not None:
                owed.closing = portal.value.running
                owed.change = session.portals.offer(message.name, None, session.segment)
        session.owe(owed)
        self._forward(message)

    def _forward(self, message: pg.FrontendMessage) -> None:
        self._session.tell_target(encode(message))
        self._session.is_unsynced = True

    # --- COPY from the client ----------------------------------------------------------------------------------------

    def _copy_data(self, item: Copied) -> None:
        running = self._session.copying
        if running is not None:
            self._session.tell_target(item.data, running.decided.permit)

    def _copy_end(self, message: pg.CopyDone | pg.CopyFail) -> None:
        session = self._session
        running = session.copying
        if running is not None:
            session.tell_target(encode(message), running.decided.permit)
        session.copying, session.state = None, State.READY

    def _refuse_text(self, text: bytes, why: Unsupported) -> Decided:
        if self._session.holding:
            return self._session.holding.void(why)
        gate, now = self._session.gate, self._session.now
        if isinstance(why, Denied):
            return self._session.recorded(gate.decide(Statement(text, why.analyses), (), now, why.denial))
        return self._session.recorded(gate.refuse(Statement(text, ()), why, now))


def _cost(message: pg.FrontendMessage | Copied | None) -> int:
    """Estimate what a message takes to handle: texts are read, statements are decided, recorded and committed to."""
    match message:
        case pg.Query(text=text):
            return 4 + len(text) // _PART
        case pg.Parse(text=text):
            return 2 + len(text) // _PART
        case pg.Bind(parameters=parameters):
            return 4 + sum(len(value or b"") for value in parameters) // _PART
        case _:
            return 1


def _name_problem(name: str) -> Unsupported | None:
    if len(name.encode()) > NAME_BYTES:
        return _LONG_NAME
    return _RESERVED_NAME if name.startswith(RESERVED) else None


def _absent(kind: pg.Kind, name: str) -> Unsupported:
    if kind == "S":
        return Unsupported("26000", f'prepared statement "{name}" does not exist')
    return Unsupported("34000", f'portal "{name}" does not exist')


def _nth(values: tuple[int, ...], at: int, otherwise: int) -> int:
    return values[at] if at < len(values) else otherwise


def _format(formats: tuple[int, ...], at: int) -> int:
    return formats[0] if len(formats) == 1 else _nth(formats, at, 0)
