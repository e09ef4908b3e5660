"""What the target says of its answer, held against the plan: which columns of the rows are masked.

1. The answer has as many columns as the plan foretold, or the plan was wrong (`Fault`): nothing of it may pass.
2. A column that the target itself says is sensitive, and the plan did not mask, is a fault too.
3. A column of a relation or of a number that the snapshot does not have is hidden, and the snapshot is old.
4. A column of no relation passes only as the plan has proven it clean.
5. What the plan masks is masked, whatever the target says of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from vestibule.masking.catalog import FIRST_OWN
from vestibule.masking.sensitive import Sensitive
from vestibule.model.plan import Plan, Transform


class Field(NamedTuple):
    """One column of a RowDescription."""

    name: str
    relation: int
    number: int
    type: int
    format: int


class Masking(NamedTuple):
    """How one column of the rows is masked."""

    transform: Transform
    type: int
    format: int


@dataclass(frozen=True, slots=True)
class Layout:
    """For each column of the rows how it is masked, or None; `is_stale` asks for a new snapshot."""

    columns: tuple[Masking | None, ...]
    is_stale: bool = False

    @property
    def is_clear(self) -> bool:
        """Whether the rows pass as they are."""
        return not any(self.columns)


@dataclass(frozen=True, slots=True)
class Fault:
    """The answer is not what was decided: the session is closed before any row is sent."""

    reason: str


_HIDE: Final = Transform("hide")


def layout(plan: Plan, fields: Sequence[Field], sensitive: Sensitive) -> Layout | Fault:
    """Say how the rows of an answer with these columns are masked."""
    planned = plan.columns
    if planned is not None and len(planned) != len(fields):
        return Fault(f"an answer of {len(fields)} columns where {len(planned)} were foretold")
    columns: list[Masking | None] = []
    is_stale = False
    for place, field in enumerate(fields):
        mask = planned[place].mask if planned is not None else None
        is_known = _is_known(field, sensitive)
        is_stale = is_stale or not is_known
        if mask is not None:
            columns.append(Masking(mask.transform, field.type, field.format))
        elif (field.relation, field.number) in sensitive.masks:
            return Fault(f"column {place + 1} of the answer is {_spelled(field, sensitive)}, which was not foretold")
        else:
            columns.append(None if is_known else Masking(_HIDE, field.type, field.format))
    return Layout(tuple(columns), is_stale)


def _spelled(field: Field, sensitive: Sensitive) -> str:
    return sensitive.spelled((field.relation, field.number))


def _is_known(field: Field, sensitive: Sensitive) -> bool:
    """Tell whether the snapshot knows the column, or nothing in a user's relation is meant."""
    if field.relation < FIRST_OWN:
        return True
    relation = sensitive.snapshot.relations.get(field.relation)
    # A system column has a number below 0, and each relation has them.
    return relation is not None and (field.number <= 0 or field.number in relation.numbers)
