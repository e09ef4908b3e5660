"""From a text to what its statements do.

1. `analyse` is a function of text and catalog alone. It gives `Parsed` or `Unsupported` for whatever bytes, and raises
   nothing: a tree of a form that is not expected is a statement that is not understood.
2. What a text creates, its later statements no longer take for built in.
3. An answer is never much larger than the text: statements, operations and literals have limits.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from vestibule.analysis.sql import account, parser, special
from vestibule.analysis.sql.actions import ACTIONS
from vestibule.analysis.sql.catalog import Catalog
from vestibule.analysis.sql.parser import Node, small
from vestibule.analysis.sql.visit import NOWHERE, Visit
from vestibule.model.statement import Analysis, Impact, Operation, Parsed, Span, Unsupported

__all__ = ["analyse", "analyse_trees", "small"]

STATEMENTS: Final = 4_096
OPERATIONS: Final = 4_096

_PARTS: Final = "Send it in parts."
_UNEXPECTED: Final = (AttributeError, IndexError, KeyError, StopIteration, TypeError, ValueError)
#: Statements that are queries, or hold one: without a relation they still read.
_QUERIES: Final = frozenset({"SelectStmt", "ExplainStmt", "PrepareStmt", "DeclareCursorStmt"})
_CALLING: Final = frozenset({"call", "cast", "unknown"})


def analyse(text: bytes, catalog: Catalog) -> Parsed | Unsupported:
    """Say what each statement of `text` does, or why the text never travels."""
    trees = parser.parse(text)
    return trees if isinstance(trees, Unsupported) else analyse_trees(trees, text, catalog)


def analyse_trees(trees: Sequence[Node], text: bytes, catalog: Catalog) -> Parsed | Unsupported:
    """The same for a text that was parsed already, as whoever else looks into the trees has done."""
    if len(trees) > STATEMENTS:
        return Unsupported("54000", f"vestibule: a text of more than {STATEMENTS} statements is too long", _PARTS)
    spans = parser.literals(text)
    analyses: list[Analysis] = []
    for tree in trees:
        visit = _visit(tree, catalog)
        operations = _operations(visit)
        if len(operations) > OPERATIONS:
            return Unsupported("54001", f"vestibule: a statement of more than {OPERATIONS} operations", _PARTS)
        start = tree.get("stmt_location", 0)
        end = start + tree["stmt_len"] if "stmt_len" in tree else len(text)
        own = (text, spans) if len(trees) == 1 else (text[start:end], _between(spans, start, end))
        analyses.append(_analysis(visit, operations, Span(start, end), *own))
        if visit.made:
            catalog = replace(catalog, user_functions=catalog.user_functions.union(visit.made))
    return Parsed(tuple(analyses))


def _analysis(
    visit: Visit, operations: tuple[Operation, ...], place: Span, text: bytes, literals: tuple[Span, ...]
) -> Analysis:
    return Analysis(
        kind=visit.kind,
        operations=operations,
        start=place.start,
        end=place.end,
        literals=literals,
        understood=all(operation.impact is not Impact.UNKNOWN for operation in operations),
        names=tuple(visit.names),
        settings=tuple(visit.settings),
        refusal=visit.refusal,
        fingerprint=parser.fingerprint(text),
        bound_settings=tuple(visit.bound),
    )


def _visit(tree: Node, catalog: Catalog) -> Visit:
    kind, node = next(iter(tree["stmt"].items()))
    visit = Visit(kind, catalog, ACTIONS)
    try:
        if kind == "VariableSetStmt":
            special.variable(visit, node, NOWHERE)
        else:
            visit.walk({kind: node})
            visit.refusal = visit.refusal or account.lockout(kind, node, catalog.account)
    except _UNEXPECTED:
        # Neither the table nor an action knows a node of this form.
        visit.call("unknown", kind, Impact.UNKNOWN)
    return visit


def _operations(visit: Visit) -> tuple[Operation, ...]:
    """Every statement does something, if only SELECT without a relation."""
    found = visit.operations()
    if visit.kind in _QUERIES and all(operation.verb in _CALLING for operation in found):
        return (Operation("explain" if visit.is_planned_only else "select", "", Impact.READ), *found)
    return found or (Operation("unknown", visit.kind, Impact.UNKNOWN),)


def _between(spans: tuple[Span, ...], start: int, end: int) -> tuple[Span, ...]:
    """Take those of ascending spans that lie in a statement; one that goes on behind it is cut."""
    first = bisect_left(spans, start, key=lambda span: span.end - 1)
    last = bisect_left(spans, end, key=lambda span: span.start)
    return tuple(
        span if start <= span.start and span.end <= end else Span(max(span.start, start), min(span.end, end))
        for span in spans[first:last]
    )
