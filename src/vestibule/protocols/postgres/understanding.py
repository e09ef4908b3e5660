"""What a text means in this session: its analysis, and what SQL-level names add to it.

1. A large text is analysed outside the pump; the message that brought it waits at the head of the line.
2. What the session may have changed in the catalog is asked again before the next text is read by it.
3. PREPARE, DECLARE and their like change names when the target says that they have.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from vestibule.analysis.sql.analyse import small
from vestibule.analysis.sql.settings import judge
from vestibule.model.effect import Analyse
from vestibule.model.statement import Analysis, Impact, Parameter, Parsed, Unsupported
from vestibule.protocols.postgres import messages as pg
from vestibule.protocols.postgres.names import Change
from vestibule.protocols.postgres.owed import Portal, Prepared, Running, Shape
from vestibule.protocols.postgres.session import Session

#: Statements that run what a name stands for.
_EXECUTING: Final = frozenset({"ExecuteStmt", "ExplainStmt", "CreateTableAsStmt"})
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
_CATALOG_CHANGED: Final = Unsupported(
    "0A000",
    "vestibule: a statement right behind one that changes functions, operators or types cannot be judged",
    "Send it by itself, after the answer to the one before (in a pipeline: after Sync).",
)

Analyses = tuple[Analysis, ...]


class Waiting(Exception):
    """The message at the head of the line must wait."""


class Understanding:
    """Reads the texts of one session."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._is_asked = False
        self._answer: Parsed | Unsupported | None = None

    def analysed(self, answer: Parsed | Unsupported) -> None:
        """Take the analysis of a large text."""
        self._answer = answer

    def settle(self) -> None:
        """Forget the answer: the message whose text was large has left the head of the line."""
        self._is_asked, self._answer = False, None

    def read(self, text: bytes) -> Analyses | Unsupported:
        """Say what a text does, or why it never travels; raise `Waiting` while that is not known yet."""
        session = self._session
        if not self._know_catalog():
            return _CATALOG_CHANGED
        answer = session.analyst.analyse(text, session.catalog) if small(text) else self._answer
        if answer is None:
            if not self._is_asked:
                self._is_asked = True
                session.effects.append(Analyse(text, session.catalog))
            raise Waiting
        return answer if isinstance(answer, Unsupported) else _travelling(answer.statements)

    def reread(self, prepared: Prepared) -> Analyses | Unsupported:
        """Say what a prepared statement does now: anew if the catalog is another one since."""
        if not self._know_catalog():
            return _CATALOG_CHANGED
        if prepared.catalog == self._session.catalog.version:
            return prepared.analyses
        analyses = self.read(prepared.text)
        if not isinstance(analyses, Unsupported):
            prepared.analyses, prepared.catalog = analyses, self._session.catalog.version
        return analyses

    def _know_catalog(self) -> bool:
        """Ask again what the session may have changed, and wait; False where that would be to wait for ever."""
        session = self._session
        if not session.is_catalog_stale or session.status == "E":
            return True
        if session.is_unsynced:
            return False
        if session.is_idle:
            session.learn()
        raise Waiting

    def prepared(self, text: bytes, analyses: Analyses, types: tuple[int, ...] = ()) -> Prepared:
        """Make what a name will stand for."""
        return Prepared(text, analyses, types, self._session.catalog.version)

    # --- names -------------------------------------------------------------------------------------------------------

    def resolve(self, analyses: Analyses) -> Analyses | Unsupported:
        """Let an EXECUTE do what the statement does that it names."""
        if not any(analysis.names and analysis.kind in _EXECUTING for analysis in analyses):
            return analyses
        own: dict[str, Prepared] = {}
        resolved = []
        for analysis in analyses:
            if analysis.kind == "PrepareStmt":
                own |= {name: Prepared(b"", (analysis,)) for name in analysis.names}
            if analysis.names and analysis.kind in _EXECUTING:
                name = analysis.names[0]
                found = own.get(name) or self._session.prepared.find(name, self._session.segment)
                if found is None:
                    return Unsupported("26000", f'prepared statement "{name}" does not exist')
                analysis = _with_operations(analysis, found)
            resolved.append(analysis)
        return tuple(resolved)

    def note(self, running: Running, text: bytes, analyses: Analyses) -> None:
        """Note what the statement will do to names and to the catalog."""
        self._session.is_catalog_stale |= any(analysis.kind in _CATALOG_CHANGING for analysis in analyses)
        for analysis in analyses:
            tag = _NAMING.get(analysis.kind)
            if tag is not None:
                changes = [self._change(tag, name, running, text, analysis) for name in analysis.names]
                running.changes.extend((tag, change) for change in changes)

    def _change(
        self, tag: str, name: str, running: Running, text: bytes, analysis: Analysis
    ) -> Change[Prepared] | Change[Portal]:
        session = self._session
        match tag:
            case "PREPARE":
                return session.prepared.offer(name, self._inner(text, analysis), session.segment)
            case "DEALLOCATE":
                return session.prepared.offer(name, None, session.segment)
            case "DECLARE CURSOR":
                prepared = self._inner(text, analysis)
                cursor = Portal(prepared, pg.Bind(name, ""), running, Shape(), session.gate.gate.policy)
                return session.cursors.offer(name, cursor, session.segment)
            case _:
                return session.cursors.offer(name, None, session.segment)

    def _inner(self, text: bytes, analysis: Analysis) -> Prepared:
        """Give the statement inside a PREPARE or DECLARE, with its own part of the text."""
        return self.prepared(text[analysis.start : analysis.end], (analysis,))


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


def may_copy(analyses: Analyses) -> bool:
    """Whether a COPY from the client may begin; a COPY that only reads never does."""
    return any(analysis.kind == "CopyStmt" and analysis.impact > Impact.READ for analysis in analyses)


def _travelling(analyses: Analyses) -> Analyses | Unsupported:
    """Refuse a text of which one statement never travels, or cannot be judged before another has run."""
    refusal = next((analysis.refusal for analysis in analyses if analysis.refusal is not None), None)
    if refusal is not None:
        return refusal
    if any(analysis.kind in _CATALOG_CHANGING for analysis in analyses[:-1]):
        return _CATALOG_CHANGED
    return analyses


def _with_operations(analysis: Analysis, prepared: Prepared) -> Analysis:
    more = tuple(operation for inner in prepared.analyses for operation in inner.operations)
    understood = analysis.understood and all(inner.understood for inner in prepared.analyses)
    return replace(analysis, operations=analysis.operations + more, understood=understood)
