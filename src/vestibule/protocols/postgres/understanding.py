"""What a text means in this session: its analysis, and what SQL-level names add to it.

1. A large text is analysed outside the pump; the message that brought it waits at the head of the line. It may be gone
   when the answer comes, so an answer is good for the text and the catalog that it was asked about, and no other.
2. What the session may have changed in the catalog is asked again before the next text is read by it.
3. PREPARE, DECLARE and their like change names when the target says that they have. To the target portals and SQL's
   cursors are one namespace, so what makes or drops one name drops it from the other map too.
4. EXECUTE and FETCH do what the statement does that they name when they run: they are judged as that one, by the
   policy of then.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from vestibule.analysis.sql.analyse import small
from vestibule.analysis.sql.catalog import Catalog
from vestibule.analysis.sql.settings import judge
from vestibule.gate.outcome import Denied
from vestibule.gate.reading import Named
from vestibule.gate.unmasking import unmasking
from vestibule.masking.sensitive import Sensitive
from vestibule.model.decision import Deny
from vestibule.model.effect import Analyse
from vestibule.model.statement import Analysis, Impact, Parameter, Parsed, Unknown, Unsupported
from vestibule.protocols.postgres import messages as pg
from vestibule.protocols.postgres.owed import Portal, Prepared, Renaming, Running, Shape
from vestibule.protocols.postgres.session import Session

#: Statements that run what a prepared statement's name stands for.
_EXECUTING: Final = frozenset({"ExecuteStmt", "ExplainStmt", "CreateTableAsStmt"})
#: What SQL's own PREPARE takes. A client may prepare anything with a Parse, and EXECUTE would run it: names would
#: change, and copies begin, without a statement that says so.
_PREPARABLE: Final = frozenset({"SelectStmt", "InsertStmt", "UpdateStmt", "DeleteStmt", "MergeStmt"})
#: Statements that change what names mean, with the tag by which the target says so.
_NAMING: Final = {
    "PrepareStmt": "PREPARE",
    "DeallocateStmt": "DEALLOCATE",
    "DeclareCursorStmt": "DECLARE CURSOR",
    "ClosePortalStmt": "CLOSE CURSOR",
}
#: Statements after which a name may call something else than before.
_CATALOG_CHANGING: Final = frozenset(
    {
        "AlterDomainStmt",
        "AlterExtensionContentsStmt",
        "AlterExtensionStmt",
        "AlterFunctionStmt",
        "AlterObjectSchemaStmt",
        "AlterOperatorStmt",
        "AlterTypeStmt",
        "CallStmt",
        "CreateCastStmt",
        "CreateDomainStmt",
        "CreateExtensionStmt",
        "CreateFunctionStmt",
        "CreateSchemaStmt",
        "DefineStmt",
        "DoStmt",
        "RenameStmt",
    }
)
#: Statements with nothing in them that could call anything: what went before cannot change how they are judged.
_CALLING_NOTHING: Final = frozenset({"AlterOwnerStmt", "AlterTSConfigurationStmt", "CommentStmt", "GrantStmt"})
#: Statements after which a session may have other temporary relations, or its first settings.
_MAKING: Final = frozenset(
    {"CreateStmt", "CreateTableAsStmt", "DropStmt", "DiscardStmt", "RenameStmt", "CreateSeqStmt"}
)
#: How a transaction ends, in part or as a whole; COMMIT undoes what has failed.
_ENDS: Final = frozenset({"rollback", "rollback to", "commit"})
_CATALOG_CHANGED: Final = Unsupported(
    "0A000",
    "vestibule: a statement right behind one that changes functions, operators or types cannot be judged",
    "Send it by itself, after the answer to the one before (in a pipeline: after Sync).",
)

PATH_CHANGED: Final = Unsupported(
    "0A000",
    "vestibule: a statement that needs approval cannot follow a change of search_path in one pipeline",
    "Send it by itself, after the answer to the one before (in a pipeline: after Sync).",
)
_SEEING: Final = frozenset({"SelectStmt", "CopyStmt"})
_ONLY_A_QUERY: Final = Unsupported(
    "0A000",
    "vestibule: only a query that keeps and changes nothing can see through masks",
    "Write a SELECT, or COPY (SELECT ...) TO STDOUT, behind the comment.",
)
_ABORTED: Final = Unsupported(
    "25P02", "current transaction is aborted, commands ignored until end of transaction block"
)
TOO_MANY: Final = Unsupported("54000", "too many prepared statements or portals in one session")
_NOT_BY_EXECUTE: Final = Unsupported(
    "0A000",
    "vestibule: EXECUTE runs SELECT, VALUES, INSERT, UPDATE, DELETE and MERGE only",
    "Send the statement by itself, or bind and execute it by the protocol.",
)
_VALUE_IN_EXECUTE: Final = Unsupported(
    "0A000",
    "vestibule: EXECUTE cannot give the value of a setting",
    "Write SET name = value, or give the parameter by the protocol (Bind).",
)

_CODED_TYPE: Final = Unsupported(
    "42501",
    "vestibule: a parameter of a type whose values run code at the target cannot be judged",
    "Leave the parameter's type to the server.",
)

Analyses = tuple[Analysis, ...]
Answer = Parsed | Unsupported | Unknown


class Waiting(Exception):
    """The message at the head of the line must wait."""


class Understanding:
    """Reads the texts of one session."""

    def __init__(self, session: Session) -> None:
        self._session = session
        #: The large text that was sent to be read, with the version of the knowledge; and its answer, once there.
        self._asked: tuple[bytes, str] | None = None
        self._answer: Answer | None = None

    def analysed(self, answer: Answer) -> None:
        """Take the answer about the large text that was asked about."""
        self._answer = answer

    def settle(self) -> None:
        """Forget an answer that has come: the message whose text was large has been handled."""
        if self._answer is not None:
            self._asked = self._answer = None
        self._session.known.settle()

    def read(self, text: bytes) -> Analyses | Unsupported:
        """Say what a text does, or why it never travels; raise `Waiting` while that is not known yet."""
        session = self._session
        if not self._is_known():
            return _CATALOG_CHANGED
        knowledge = session.known.knowledge(text)
        answer = session.reader.read(text, knowledge, self._stands_for) if small(text) else self._large(text)
        match answer:
            case Unsupported():
                return answer
            case Unknown(names=names):
                return self._look_for(names)
            case Parsed(statements=statements) if self._asks_for_more(text, statements):
                return _ONLY_A_QUERY
            case Parsed(statements=statements, is_lacking=is_lacking):
                if is_lacking and session.status != "E" and session.known.lacks():
                    # If nobody can ask now, what is not known is not stored.
                    self._learn()
                return self._travelling(statements)

    def _asks_for_more(self, text: bytes, analyses: Analyses) -> bool:
        """Whether a text that asks to see through masks would keep or write what it sees."""
        if not self._session.known.is_masked or unmasking(text) is None:
            return False
        is_query = all(analysis.kind in _SEEING and analysis.impact is Impact.READ for analysis in analyses)
        return not is_query or any(_changes_session(analysis) for analysis in analyses)

    def _look_for(self, names: Sequence[str]) -> Unsupported:
        """Have the relations asked again for a name that is not known, and wait; refuse where nobody can ask."""
        session = self._session
        if session.status == "E":
            return _ABORTED
        if session.known.lacks() and not self._learn():
            return _CATALOG_CHANGED
        return Unsupported("42P01", f'relation "{names[0]}" does not exist')

    def _travelling(self, analyses: Analyses) -> Analyses | Unsupported:
        """Refuse a text of which one statement never travels, or cannot be judged before another has run."""
        refusal = next((analysis.refusal for analysis in analyses if analysis.refusal is not None), None)
        if refusal is not None:
            return self._denied(refusal, analyses) if refusal.by_mask else refusal
        is_masked = self._session.known.is_masked
        calling = [place for place, analysis in enumerate(analyses) if analysis.kind not in _CALLING_NOTHING]
        is_late = any(
            self._changes_catalog(analysis) or (is_masked and self._changes_own(analysis))
            for analysis in analyses[: calling[-1] if calling else 0]
        )
        return _CATALOG_CHANGED if is_late else self._if_known(self._doubted(analyses))

    def _denied(self, refusal: Unsupported, analyses: Analyses) -> Unsupported:
        """Let the policy speak first where it denies what a mask refuses: its rule says what to do."""
        decision = self._session.gate.judge([operation for each in analyses for operation in each.operations])
        if not isinstance(decision, Deny):
            return refusal
        return Denied(refusal.code, refusal.message, refusal.hint, analyses=analyses, denial=decision)

    def _doubted(self, analyses: Analyses) -> Analyses:
        """Store nothing of an answer behind a statement of the same text that changes what names mean."""
        doubted: list[Analysis] = []
        is_late = False
        for analysis in analyses:
            doubted.append(replace(analysis, stored=None) if is_late else analysis)
            is_late = is_late or self._changes_relations(analysis)
        return tuple(doubted) if is_late and len(analyses) > 1 else analyses

    def _changes_relations(self, analysis: Analysis) -> bool:
        """Whether relations may be others behind a statement, where its session may change them at all."""
        is_doubtful = not analysis.understood or analysis.impact >= Impact.SCHEMA
        return is_doubtful or self._changes_catalog(analysis) or self._changes_own(analysis)

    def _changes_catalog(self, analysis: Analysis) -> bool:
        """Whether names may call something else behind a statement: the end of a transaction may undo a change."""
        return analysis.kind in _CATALOG_CHANGING or (_is_end(analysis) and self._session.known.has_changed_catalog)

    def _changes_own(self, analysis: Analysis) -> bool:
        """The same of the session's own search path and temporary relations."""
        return _changes_session(analysis) or (_is_end(analysis) and self._session.known.has_changed_own)

    def _if_known(self, analyses: Analyses) -> Analyses | Unsupported:
        """Refuse what is read by old knowledge: in a failed transaction nobody can ask, and only its end is due."""
        session = self._session
        if not session.known.is_stale or all(analysis.kind == "TransactionStmt" for analysis in analyses):
            return analyses
        return _ABORTED if session.status == "E" and session.is_idle else _CATALOG_CHANGED

    def _stands_for(self, analysis: Analysis) -> Named | None:
        """Say what the name in an EXECUTE or FETCH stands for."""
        found = self._meant(analysis) if _uses_name(analysis) else None
        match found:
            case None:
                return None
            case Prepared():
                return Named(found.text, None)
            case Portal() if found.labels == self._session.known.labels and len(found.plans) == 1:
                # What may be stored rests on the policy too.
                is_same = found.policy == self._session.gate.gate.policy
                return Named(found.text, found.plans[0], found.storing.plans[0] if is_same and found.storing else None)
            case Portal():
                # Its rows were judged by other masks.
                return Named(found.text, None)

    def _large(self, text: bytes) -> Answer:
        """Have a large text read outside the pump, one at a time: also one whose message was skipped meanwhile."""
        session = self._session
        knowledge = session.known.knowledge(text)
        wanted = (text, knowledge.version)
        if self._asked is not None and self._answer is None:
            raise Waiting
        if self._asked == wanted and self._answer is not None:
            return self._answer
        self._asked, self._answer = wanted, None
        session.effects.append(Analyse(text, knowledge))
        raise Waiting

    def reread(self, prepared: Prepared) -> Analyses | Unsupported:
        """Say what a prepared statement does now: anew if what is known is another thing since."""
        if not self._is_known():
            return _CATALOG_CHANGED
        known = self._session.known
        # What EXECUTE and FETCH show depends on what their names stand for now.
        is_same = prepared.catalog == known.knowledge(prepared.text).version
        if is_same and not any(map(_uses_name, prepared.analyses)):
            return self._if_known(prepared.analyses)
        analyses = self.read(prepared.text)
        if not isinstance(analyses, Unsupported):
            prepared.analyses, prepared.catalog = analyses, known.knowledge(prepared.text).version
            prepared.stored = self.stored(prepared.text)
        return analyses

    def _is_known(self) -> bool:
        """Ask again what the session may have changed, and wait; False where that would be to wait for ever."""
        session = self._session
        if session.status == "E" and (session.is_idle or session.is_unsynced):
            # Its end may be on its way already: see `_if_known`.
            return True
        is_due = session.known.must_survey(session.now)
        if session.known.must_ask():
            return self._learn()
        if is_due or session.known.should_ask():
            # The one there is will do until the client has said Sync.
            self._learn()
        return True

    def know_present(self) -> bool:
        """Ask what people are to approve rests on, and wait; False if the session has changed it and nobody can ask."""
        session = self._session
        known = session.known
        if known.is_current(session.now) and not known.is_own_stale:
            return True
        if session.status == "E" and session.is_idle:
            return not known.is_own_stale
        # Behind a Parse nobody can ask before the Sync; what was known then is as good as present.
        return self._learn() or not known.is_own_stale

    def _learn(self) -> bool:
        session = self._session
        if session.is_unsynced:
            return False
        if session.is_idle:
            session.learn()
        raise Waiting

    def prepared(self, text: bytes, analyses: Analyses, types: tuple[int, ...] = ()) -> Prepared:
        """Make what a name will stand for."""
        knowledge = self._session.known.knowledge(text)
        stored = self.stored(text)
        return Prepared(text, analyses, types, knowledge.version, declared=types, stored=stored)

    def stored(self, text: bytes) -> Sensitive | None:
        """Say what of the answers of a text may be stored is held against; None where that is what is shown."""
        scene = self._session.known.knowledge(text).stored
        return None if scene is None else scene.sensitive

    # --- names -------------------------------------------------------------------------------------------------------

    def resolve(self, analyses: Analyses, *, is_run: bool = True) -> Analyses | Unsupported:
        """Let an EXECUTE or a FETCH do what the statement does that it names.

        What is only prepared may name what there will be: it is resolved again when it is bound.
        """
        if is_run and not self._has_room(analyses):
            return TOO_MANY
        if not any(_uses_name(analysis) for analysis in analyses):
            return analyses
        own: dict[tuple[bool, str], Prepared] = {}
        resolved = []
        for analysis in analyses:
            if analysis.kind in ("PrepareStmt", "DeclareCursorStmt"):
                is_cursor = analysis.kind == "DeclareCursorStmt"
                own |= {(is_cursor, name): self._inside(b"", analysis) for name in analysis.names}
            if _uses_name(analysis):
                found = own.get((analysis.kind == "FetchStmt", analysis.names[0])) or self._named(analysis)
                problem = _absent(analysis) if found is None else _unfit(analysis, found)
                if found is not None and problem is None:
                    analysis = _with_operations(analysis, found)
                elif problem is not None and (is_run or found is not None):
                    return problem
            resolved.append(analysis)
        return tuple(resolved)

    def _has_room(self, analyses: Analyses) -> bool:
        """Whether the names that SQL makes have room."""
        rooms = {
            "PrepareStmt": self._session.prepared.has_room,
            "DeclareCursorStmt": self._session.cursors.has_room,
        }
        making = ((rooms[analysis.kind], analysis.names) for analysis in analyses if analysis.kind in rooms)
        return all(has_room(name) for has_room, names in making for name in names)

    def meaning(self, analyses: Analyses) -> tuple[Prepared | Portal | None, ...]:
        """Say what the names that a statement runs stand for: the server asks when it runs, not when it is bound."""
        return tuple(self._meant(analysis) for analysis in analyses if _uses_name(analysis))

    def _meant(self, analysis: Analysis) -> Prepared | Portal | None:
        """Find what the name in a statement stands for in this session."""
        session, name = self._session, analysis.names[0]
        return session.find_portal(name) if analysis.kind == "FetchStmt" else session.find_prepared(name)

    def _named(self, analysis: Analysis) -> Prepared | None:
        """Find the statement that the name in a statement stands for."""
        found = self._meant(analysis)
        return found.prepared if isinstance(found, Portal) else found

    def note(self, running: Running, text: bytes, analyses: Analyses) -> None:
        """Note what the statement will do to names and to the catalog."""
        known = self._session.known
        known.is_catalog_stale |= any(map(self._changes_catalog, analyses))
        known.has_changed_catalog |= any(analysis.kind in _CATALOG_CHANGING for analysis in analyses)
        known.is_own_stale |= any(map(self._changes_own, analyses))
        known.has_changed_own |= any(map(_changes_session, analyses))
        if known.is_apart and any(map(self._changes_relations, analyses)):
            known.change()
        for analysis in analyses:
            tag = _NAMING.get(analysis.kind)
            if tag is not None:
                running.changes.extend(self._change(tag, name, running, text, analysis) for name in analysis.names)

    def _change(self, tag: str, name: str, running: Running, text: bytes, analysis: Analysis) -> Renaming:
        session = self._session
        match tag:
            case "PREPARE":
                return Renaming(tag, (session.prepared.offer(name, self._inside(text, analysis), session.segment),))
            case "DEALLOCATE":
                return Renaming(tag, (session.prepared.offer(name, None, session.segment),))
            case _:
                prepared = self._inside(text, analysis)
                policy, labels = session.gate.gate.policy, session.known.labels
                bind, plans = pg.Bind(name, ""), prepared.plans
                cursor = Portal(prepared, bind, running, Shape(), policy, plans=plans, labels=labels)
                cursor.storing = prepared.storing
                before = (session.portals.current(name), session.cursors.current(name))
                gone = [change.value.running for change in before if change is not None and change.value is not None]
                return Renaming(
                    tag,
                    (
                        session.cursors.offer(name, cursor if tag == "DECLARE CURSOR" else None, session.segment),
                        session.portals.offer(name, None, session.segment),
                    ),
                    # A text that declares a cursor and closes it ends by itself.
                    tuple(closing for closing in gone if closing is not running),
                )

    def _inside(self, text: bytes, analysis: Analysis) -> Prepared:
        """Give the statement inside a PREPARE or DECLARE, with its own part of the text."""
        known, part = self._session.known, text[analysis.start : analysis.end]
        version, stored = known.knowledge(part).version, self.stored(b"")
        return Prepared(part, (analysis,), catalog=version, is_inside=True, stored=stored)


def judge_bound(analyses: Analyses, parameters: Sequence[Parameter]) -> Unsupported | None:
    """Judge the settings whose values are parameters, now that those are known."""
    for analysis in analyses:
        for name, number in analysis.bound_settings:
            parameter = parameters[number - 1] if number <= len(parameters) else None
            if parameter is None or parameter.value is None:
                continue
            problem = judge(name, parameter.value.decode(errors="replace"))
            if problem is not None:
                return problem
    return None


def judge_types(types: Sequence[int], catalog: Catalog) -> Unsupported | None:
    """Judge the types that a client gives to parameters: a value that is bound becomes one, as by a cast."""
    return _CODED_TYPE if any(str(number) in catalog.type_numbers for number in types) else None


def copies(analyses: Analyses) -> int:
    """Count the COPYs from the client that may begin; a COPY that only reads is none."""
    return sum(analysis.kind == "CopyStmt" and analysis.impact > Impact.READ for analysis in analyses)


def _is_end(analysis: Analysis) -> bool:
    return analysis.kind == "TransactionStmt" and any(end.verb in _ENDS for end in analysis.operations)


def _changes_session(analysis: Analysis) -> bool:
    """Whether a statement may change the search path, or which temporary relations there are."""
    if analysis.kind in _MAKING or any(operation.verb == "create" for operation in analysis.operations):
        return True
    named = {name.lower() for name, _ in analysis.settings} | {name.lower() for name, _ in analysis.bound_settings}
    return not named.isdisjoint({"search_path", "all"})


def _uses_name(analysis: Analysis) -> bool:
    """Whether a statement runs what a name stands for."""
    return bool(analysis.names) and (analysis.kind in _EXECUTING or analysis.kind == "FetchStmt")


def _unfit(analysis: Analysis, prepared: Prepared) -> Unsupported | None:
    """Say why a statement may not run what it names, if it may not."""
    if analysis.kind == "FetchStmt":
        return None
    if not prepared.is_inside and any(inner.kind not in _PREPARABLE for inner in prepared.analyses):
        return _NOT_BY_EXECUTE
    # The value would be an expression of the EXECUTE, which nobody here computes.
    return _VALUE_IN_EXECUTE if any(inner.bound_settings for inner in prepared.analyses) else None


def _absent(analysis: Analysis) -> Unsupported:
    name = analysis.names[0]
    if analysis.kind == "FetchStmt":
        return Unsupported("34000", f'cursor "{name}" does not exist')
    return Unsupported("26000", f'prepared statement "{name}" does not exist')


def _with_operations(analysis: Analysis, prepared: Prepared) -> Analysis:
    more = tuple(operation for inner in prepared.analyses for operation in inner.operations)
    understood = analysis.understood and all(inner.understood for inner in prepared.analyses)
    return replace(analysis, operations=analysis.operations + more, understood=understood)
