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
from vestibule.model.effect import Analyse
from vestibule.model.statement import Analysis, Impact, Parameter, Parsed, Unsupported
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


class Waiting(Exception):
    """The message at the head of the line must wait."""


class Understanding:
    """Reads the texts of one session."""

    def __init__(self, session: Session) -> None:
        self._session = session
        #: The large text that was sent to be analysed, with the version of the catalog; and its answer, once there.
        self._asked: tuple[bytes, str] | None = None
        self._answer: Parsed | Unsupported | None = None

    def analysed(self, answer: Parsed | Unsupported) -> None:
        """Take the analysis of the large text that was asked about."""
        self._answer = answer

    def settle(self) -> None:
        """Forget an answer that has come: the message whose text was large has been handled."""
        if self._answer is not None:
            self._asked = self._answer = None

    def read(self, text: bytes) -> Analyses | Unsupported:
        """Say what a text does, or why it never travels; raise `Waiting` while that is not known yet."""
        session = self._session
        if not self._know_catalog():
            return _CATALOG_CHANGED
        answer = session.analyst.analyse(text, session.catalog) if small(text) else self._large(text)
        return answer if isinstance(answer, Unsupported) else self._travelling(answer.statements)

    def _travelling(self, analyses: Analyses) -> Analyses | Unsupported:
        """Refuse a text of which one statement never travels, or cannot be judged before another has run."""
        refusal = next((analysis.refusal for analysis in analyses if analysis.refusal is not None), None)
        if refusal is not None:
            return refusal
        is_late = any(self._changes_catalog(analysis) for analysis in analyses[:-1])
        return _CATALOG_CHANGED if is_late or not self._is_known_for(analyses) else analyses

    def _changes_catalog(self, analysis: Analysis) -> bool:
        """Whether names may call something else behind a statement: the end of a transaction may undo a change."""
        is_end = analysis.kind == "TransactionStmt" and any(end.verb in _ENDS for end in analysis.operations)
        return analysis.kind in _CATALOG_CHANGING or (is_end and self._session.has_changed_catalog)

    def _changes_path(self, analysis: Analysis) -> bool:
        is_end = analysis.kind == "TransactionStmt" and any(end.verb in _ENDS for end in analysis.operations)
        return _sets_path(analysis) or (is_end and self._session.has_changed_path)

    def _is_known_for(self, analyses: Analyses) -> bool:
        """Whether the catalog is known: in a failed transaction nobody can ask, and only its end is carried out."""
        return not self._session.is_catalog_stale or all(analysis.kind == "TransactionStmt" for analysis in analyses)

    def _large(self, text: bytes) -> Parsed | Unsupported:
        """Have a large text analysed outside the pump, one at a time: also one whose message was skipped meanwhile."""
        session = self._session
        wanted = (text, session.catalog.version)
        if self._asked is not None and self._answer is None:
            raise Waiting
        if self._asked == wanted and self._answer is not None:
            return self._answer
        self._asked, self._answer = wanted, None
        session.effects.append(Analyse(text, session.catalog))
        raise Waiting

    def reread(self, prepared: Prepared) -> Analyses | Unsupported:
        """Say what a prepared statement does now: anew if the catalog is another one since."""
        if not self._know_catalog():
            return _CATALOG_CHANGED
        if prepared.catalog == self._session.catalog.version:
            return prepared.analyses if self._is_known_for(prepared.analyses) else _CATALOG_CHANGED
        analyses = self.read(prepared.text)
        if not isinstance(analyses, Unsupported):
            prepared.analyses, prepared.catalog = analyses, self._session.catalog.version
        return analyses

    def _know_catalog(self) -> bool:
        """Ask again what the session may have changed, and wait; False where that would be to wait for ever."""
        session = self._session
        return not session.is_catalog_stale or session.status == "E" or self._learn()

    def know_path(self) -> bool:
        """The same for the search path, which is part of what people approve."""
        return not self._session.is_path_stale or self._learn()

    def _learn(self) -> bool:
        session = self._session
        if session.is_unsynced:
            return False
        if session.is_idle:
            session.learn()
        raise Waiting

    def prepared(self, text: bytes, analyses: Analyses, types: tuple[int, ...] = ()) -> Prepared:
        """Make what a name will stand for."""
        return Prepared(text, analyses, types, self._session.catalog.version, declared=types)

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

    def meaning(self, analyses: Analyses) -> tuple[Prepared | None, ...]:
        """Say what the names that a statement runs stand for: the server asks when it runs, not when it is bound."""
        return tuple(self._named(analysis) for analysis in analyses if _uses_name(analysis))

    def _named(self, analysis: Analysis) -> Prepared | None:
        """Find what the name in a statement stands for in this session."""
        session, name = self._session, analysis.names[0]
        if analysis.kind != "FetchStmt":
            return session.prepared.find(name, session.segment)
        portal = session.find_portal(name)
        return None if portal is None else portal.prepared

    def note(self, running: Running, text: bytes, analyses: Analyses) -> None:
        """Note what the statement will do to names and to the catalog."""
        self._session.is_catalog_stale |= any(map(self._changes_catalog, analyses))
        self._session.has_changed_catalog |= any(analysis.kind in _CATALOG_CHANGING for analysis in analyses)
        self._session.is_path_stale |= any(map(self._changes_path, analyses))
        self._session.has_changed_path |= any(map(_sets_path, analyses))
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
                cursor = Portal(prepared, pg.Bind(name, ""), running, Shape(), session.gate.gate.policy)
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
        catalog = self._session.catalog.version
        return Prepared(text[analysis.start : analysis.end], (analysis,), catalog=catalog, is_inside=True)


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


def _sets_path(analysis: Analysis) -> bool:
    """Whether a statement may change the search path; DISCARD sets all settings back."""
    named = {name.lower() for name, _ in analysis.settings} | {name.lower() for name, _ in analysis.bound_settings}
    return not named.isdisjoint({"search_path", "all"}) or analysis.kind == "DiscardStmt"


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
