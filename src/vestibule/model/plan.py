"""What of an answer is masked, and why."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from vestibule.model.names import Digest, RuleName


class Form(StrEnum):
    """How a statement that may travel treats sensitive columns."""

    #: It refers to none: its answer passes as it is.
    CLEAN = "clean"
    #: It gives them only as they are, in columns of the answer, which are masked.
    PLAIN = "plain"


@dataclass(frozen=True, slots=True)
class Transform:
    """What is shown of a value: nothing, its first and last characters, or NULL."""

    kind: Literal["hide", "keep", "null"] = "hide"
    first: int = 0
    last: int = 0


@dataclass(frozen=True, slots=True)
class Label:
    """Policy's statement that columns are sensitive; the pattern is `schema.table.column` with `*` and `?`."""

    rule: RuleName
    columns: tuple[str, ...]
    transform: Transform


@dataclass(frozen=True, slots=True)
class Mask:
    """The rule that masks a column, and how."""

    rule: RuleName
    transform: Transform


@dataclass(frozen=True, slots=True)
class Column:
    """One column of an answer: where it comes from as (relation's oid, attribute number), and its mask if it has one.

    Without a mask the column is proven clean.
    """

    name: str
    origin: tuple[int, int] | None = None
    mask: Mask | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """What the answer of one statement may show; `digest` is the SHA-256 of all that was decided.

    `columns` is None where none is masked, and their number is not foretold. With `is_reduced` the target's errors and
    notices may quote sensitive values, so only their codes pass.
    """

    form: Form
    digest: Digest
    columns: tuple[Column, ...] | None = None
    is_reduced: bool = False
