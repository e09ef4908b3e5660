"""What the target still owes, in order; the heart of staying in step.

1. Each message that asks for an answer adds one entry; answers are matched with the head, never guessed.
2. After an error in the extended protocol the target answers nothing more up to the next Sync, a Query included.
3. The poison of a refusal is owed an error, which is replaced by ours.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from enum import Enum

from vestibule.gate.outcome import Decided, Finished, Outcome, Result
from vestibule.masking.sensitive import Sensitive
from vestibule.masking.steps import RowMask
from vestibule.model.plan import Label, Plan
from vestibule.model.statement import Analysis
from vestibule.protocols.postgres import messages as pg
from vestibule.protocols.postgres.learning import Learning
from vestibule.protocols.postgres.names import Change


class Answer(Enum):
    """Which answer is owed."""

    PARSE = "parse"
    BIND = "bind"
    DESCRIBE = "describe"
    EXECUTE = "execute"
    CLOSE = "close"
    SYNC = "sync"
    QUERY = "query"
    POISON = "poison"


@dataclass(frozen=True, slots=True)
class Storing:
    """What of the answers may be stored, where that is less than what is shown; None is nothing of that answer."""

    plans: tuple[Plan | None, ...]
    sensitive: Sensitive

    def nothing(self) -> Storing:
        """Store nothing of the answers after all."""
        return replace(self, plans=(None,) * len(self.plans))

    @property
    def is_reduced(self) -> bool:
        """Whether errors may quote what is not stored."""
        return any(plan is None or plan.is_reduced for plan in self.plans)


@dataclass(slots=True, eq=False)
class Shape:
    """The rows of a statement or portal: how many columns and how masked, once a Describe has been answered."""

    is_asked: bool = False
    columns: int | None = None
    #: How the columns are masked, where any is.
    mask: RowMask | None = None
    #: How they are masked where they are stored, where that is something else.
    stored: RowMask | None = None
    fields: tuple[pg.Field, ...] = ()


@dataclass(slots=True, eq=False)
class Prepared:
    """A prepared statement; `types` are the client's parameter types, completed by the target's."""

    text: bytes
    analyses: tuple[Analysis, ...]
    types: tuple[int, ...] = ()
    #: The version of the catalog that the analyses are good for.
    catalog: str = ""
    shape: Shape = field(default_factory=Shape)
    #: The types as the client declared them.
    declared: tuple[int, ...] = ()
    #: What of its answers may be stored is held against this; None where that is what is shown.
    stored: Sensitive | None = None
    #: The text is a PREPARE or DECLARE, and what the name runs is the statement inside it.
    is_inside: bool = False

    @property
    def plans(self) -> tuple[Plan | None, ...]:
        """What the answers of its statements may show."""
        return tuple(analysis.plan for analysis in self.analyses)

    @property
    def storing(self) -> Storing | None:
        """What of its answers may be stored."""
        return storing(self.analyses, self.stored)

    @property
    def weight(self) -> int:
        """About how many bytes it keeps."""
        return len(self.text) + 1_024


@dataclass(frozen=True, slots=True, eq=False)
class Renaming:
    """What one statement of SQL does to a name, in each map that may have it, once the target says `tag`."""

    tag: str
    changes: tuple[Change[Prepared] | Change[Portal], ...]
    #: The statements whose portal or cursor goes.
    closing: tuple[Running, ...] = ()

    def settle(self) -> None:
        """The target has done it."""
        for change in self.changes:
            change.settle()

    def revert(self) -> None:
        """The target has not done it."""
        for change in self.changes:
            change.revert()


@dataclass(slots=True, eq=False)
class Running:
    """A decided statement on its way, until its outcome is recorded."""

    decided: Decided
    #: What SQL does to names (PREPARE, DEALLOCATE, DECLARE, CLOSE) once the target has done it.
    changes: deque[Renaming] = field(default_factory=deque)
    results: list[Result] = field(default_factory=list)
    result: Result | None = None
    rows: int = 0
    bytes_from_target: int = 0
    outcome: Outcome | None = None
    forwarded: bool = True
    is_copying_out: bool = False
    #: The formats that the client chose for its columns; None where the target's description has them.
    formats: tuple[int, ...] | None = None
    #: The description of its rows as they are recorded, made with the first of them.
    head: bytes | None = None
    error: tuple[str, str] = ("", "")
    is_finished: bool = False

    def end(self, outcome: Outcome, error: tuple[str, str] = ("", "")) -> None:
        """Settle the outcome; the first one stands. A portal that is run again fails, and changes no name either."""
        if self.outcome is None:
            self.outcome, self.error = outcome, error
        for renaming in self.changes:
            renaming.revert()
        self.changes.clear()

    def summary(self, transaction: str) -> Finished:
        """Say how it ended, for the record; what a statement that was cut off has disclosed counts too."""
        code, text = self.error
        open_results = [] if self.result is None else [self.result]
        return Finished(
            self.outcome or "unknown",
            self.forwarded,
            [*self.results, *open_results],
            self.rows,
            self.bytes_from_target,
            code,
            text,
            transaction,
        )


@dataclass(slots=True, eq=False)
class Portal:
    """A bound statement: what Execute runs."""

    prepared: Prepared
    bind: pg.Bind
    running: Running
    shape: Shape
    policy: str
    #: What the names that it runs stood for when it was decided.
    meaning: tuple[Prepared | Portal | None, ...] = ()
    #: What its rows may show, and by which masks that was decided: the statement may have been read anew since.
    plans: tuple[Plan | None, ...] = ()
    labels: tuple[Label, ...] = ()
    #: What of its rows may be stored; None where that is what is shown.
    storing: Storing | None = None

    @property
    def text(self) -> bytes:
        """The text that it runs."""
        return self.prepared.text

    @property
    def weight(self) -> int:
        """About how many bytes it keeps."""
        return sum(len(value or b"") for value in self.bind.parameters) + 1_024


@dataclass(slots=True, eq=False)
class Owed:
    """One answer that the target owes."""

    answer: Answer
    segment: int
    running: Running | None = None
    change: Change[Prepared] | Change[Portal] | None = None
    #: COPYs from the client that may still begin.
    copies: int = 0
    #: The statement whose portal goes when this is answered.
    closing: Running | None = None
    #: The gateway's own question, whose answer is taken here and not shown.
    learning: Learning | None = None
    #: The error that takes the place of the poison's.
    error: pg.ErrorResponse | None = None
    #: What a description tells of: the statement whose parameter types it completes, and the shape it fills.
    prepared: Prepared | None = None
    shape: Shape | None = None
    #: A Sync of ours behind a refused Query: its ReadyForQuery stands in the place of the Query's.
    is_inserted: bool = False
    #: The client did not ask for it, so the answer is not for the client.
    is_visible: bool = True
    #: Something unsynced was sent before it.
    is_behind: bool = False
    #: What the answers of the statements in it may show; and which of them is being answered.
    plans: tuple[Plan | None, ...] = ()
    place: int = 0
    #: By which masks that was decided: by those of now, unless it says others.
    labels: tuple[Label, ...] | None = None
    #: What of them may be stored; None where that is what is shown.
    storing: Storing | None = None

    @property
    def stored_plan(self) -> Plan | None:
        """What of the answer that comes now may be stored, where that is less than what is shown."""
        plans = () if self.storing is None else self.storing.plans
        return plans[self.place] if self.place < len(plans) else None

    @property
    def plan(self) -> Plan | None:
        """What the answer that comes now may show; where there is a plan for none, nothing is masked."""
        return self.plans[self.place] if self.place < len(self.plans) else None

    @property
    def is_reduced(self) -> bool:
        """Whether errors and notices may quote what is masked.

        The end of a transaction, which a Query behind unsynced messages is too, speaks of all that was done in it.
        """
        if not self.labels:
            return False
        is_end = not self.plans or (self.answer is Answer.QUERY and self.is_behind)
        return is_end or any(plan is not None and plan.is_reduced for plan in self.plans)

    def stands_on(self, names: frozenset[str]) -> bool:
        """Whether what it answers was sent under one of these records."""
        running = self.running
        if running is None or not (running.forwarded or self.answer is Answer.POISON):
            return False
        permit = running.decided.permit
        return running.decided.record.name in names or (permit is not None and permit.record in names)

    def withdraw(self) -> None:
        """The target will not answer: undo what the message would have changed."""
        if self.change is not None:
            self.change.revert()
        if self.answer is Answer.DESCRIBE and self.shape is not None:
            self.shape.is_asked = False


def storing(analyses: Iterable[Analysis], sensitive: Sensitive | None) -> Storing | None:
    """Say what of the answers may be stored; None where that is what is shown."""
    return None if sensitive is None else Storing(tuple(analysis.stored for analysis in analyses), sensitive)
