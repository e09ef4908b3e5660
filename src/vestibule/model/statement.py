"""What somebody asks for, in words that policy understands."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum

from vestibule.model.plan import Plan


class Impact(IntEnum):
    """How much an operation may change, from least to worst; doubt is the worst."""

    READ = 0
    WRITE = 1
    SCHEMA = 2
    ADMIN = 3
    UNKNOWN = 4

    @property
    def word(self) -> str:
        """The word of the policy file and of the records."""
        return self.name.lower()


@dataclass(frozen=True, slots=True)
class Operation:
    """One thing that a statement does: `verb` in lower case, `object` as written, maybe empty."""

    verb: str
    object: str
    impact: Impact


@dataclass(frozen=True, slots=True)
class Span:
    """A part of a text: UTF-8 byte offsets, `end` exclusive."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Analysis:
    """What one statement (not a message of several) does.

    `kind` is the parser's node name (`SelectStmt`); `literals` are the constants in the text,
    ascending and disjoint; `understood` is False when any operation is UNKNOWN. `names` carries
    what a session must remember (`PREPARE`, `EXECUTE`, `DEALLOCATE`, `DECLARE`, `CLOSE`, `FETCH`).
    `settings` are those it changes: a value of None is the default, or that of the parameter named
    in `bound_settings` (setting, number from 1). With a `refusal` it never travels. `plan` says what its answer may
    show, where columns are masked; `stored` what of it may be stored, where that is less: None is nothing of it.
    """

    kind: str
    operations: tuple[Operation, ...]
    start: int
    end: int
    literals: tuple[Span, ...] = ()
    understood: bool = True
    names: tuple[str, ...] = ()
    settings: tuple[tuple[str, str | None], ...] = ()
    refusal: Unsupported | None = None
    fingerprint: str = ""
    bound_settings: tuple[tuple[str, int], ...] = ()
    plan: Plan | None = None
    stored: Plan | None = None

    @property
    def impact(self) -> Impact:
        """The worst impact of all operations."""
        return max((operation.impact for operation in self.operations), default=Impact.READ)


@dataclass(frozen=True, slots=True)
class Unsupported:
    """A text or statement that never travels, whatever the policy says.

    `position` is the character (from 1) of the text that `message` is about, 0 if none is known. With `by_mask` it is a
    mask's refusal: where the policy denies the statement as well, that is told instead, because it says what to do.
    """

    code: str
    message: str
    hint: str = ""
    position: int = 0
    by_mask: bool = False


@dataclass(frozen=True, slots=True)
class Unknown:
    """Names of a text that the catalog does not have: load it again, and read the text again."""

    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Parsed:
    """The statements of one text in order; an empty text has none.

    With `is_lacking` one of them names what the catalog does not have, which matters for what is stored alone.
    """

    statements: tuple[Analysis, ...]
    is_lacking: bool = False


@dataclass(frozen=True, slots=True)
class Parameter:
    """One bound value; `value` None means NULL, `type` is the protocol's own type number."""

    type: int
    format: int
    value: bytes | None


@dataclass(frozen=True, slots=True)
class Statement:
    """One text with its parameters, as it would travel to the target.

    `parameter_types` are those that the client itself declared; `meaning` are the texts that names in it stand for;
    `catalog` is the version of what the target's own names mean, where people are to approve the statement.
    """

    text: bytes
    analyses: tuple[Analysis, ...]
    parameters: tuple[Parameter, ...] = ()
    parameter_formats: tuple[int, ...] = ()
    result_formats: tuple[int, ...] = ()
    flags: tuple[str, ...] = field(default=())
    parameter_types: tuple[int, ...] = ()
    meaning: tuple[bytes, ...] = ()
    catalog: str = ""

    @property
    def operations(self) -> tuple[Operation, ...]:
        """The operations of all statements of the text."""
        return tuple(operation for analysis in self.analyses for operation in analysis.operations)
