"""Statements and what they do, as lines of text that one can read: `select public.t read`."""

from __future__ import annotations

from vestibule.analysis.sql.analyse import analyse
from vestibule.analysis.sql.catalog import Catalog
from vestibule.model.statement import Analysis, Impact, Operation, Parsed, Unsupported

EMPTY = Catalog()


def parsed(text: str | bytes, catalog: Catalog = EMPTY) -> tuple[Analysis, ...]:
    """Give the statements of a text that is understood as one."""
    result = analyse(text.encode() if isinstance(text, str) else text, catalog)
    assert isinstance(result, Parsed), result
    return result.statements


def only(text: str | bytes, catalog: Catalog = EMPTY) -> Analysis:
    """Give the one statement of a text."""
    (analysis,) = parsed(text, catalog)
    return analysis


def spoken(operation: Operation) -> str:
    """Write an operation as `verb object impact`; no object leaves no gap."""
    return " ".join(part for part in (operation.verb, operation.object, operation.impact.word) if part)


def does(text: str | bytes, catalog: Catalog = EMPTY) -> list[str]:
    """Say everything that the statements of a text do."""
    return [spoken(operation) for analysis in parsed(text, catalog) for operation in analysis.operations]


def worst(text: str | bytes, catalog: Catalog = EMPTY) -> Impact:
    """Give the worst impact of a text; what never travels is worse than all."""
    result = analyse(text.encode() if isinstance(text, str) else text, catalog)
    if isinstance(result, Unsupported):
        return Impact.UNKNOWN
    return max((analysis.impact for analysis in result.statements), default=Impact.READ)
