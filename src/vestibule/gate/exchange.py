"""How knowledge and answers travel between a worker and its parser process, bounded by the frame.

1. An answer is JSON, because it comes from a process that has read hostile text: nothing in it can be more than data.
2. Knowledge goes the other way only, from the worker: its scenes are pickled, as they are large and made of our own
   objects.
"""

from __future__ import annotations

import pickle
from dataclasses import fields
from typing import Any, Final

import orjson

from vestibule.analysis.sql.catalog import Catalog
from vestibule.gate.reading import Knowledge
from vestibule.model.names import Digest, RuleName
from vestibule.model.plan import Column, Form, Mask, Plan, Transform
from vestibule.model.statement import Analysis, Impact, Operation, Parsed, Span, Unknown, Unsupported

#: The largest frame either side accepts.
FRAME: Final = 64 << 20


class Garbled(Exception):
    """The other side sent what it cannot mean."""


def encode_knowledge(knowledge: Knowledge) -> bytes:
    """Write what is known of a target."""
    catalog = knowledge.catalog
    names = {field.name: getattr(catalog, field.name) for field in fields(catalog)}
    written = orjson.dumps({name: value if isinstance(value, str) else sorted(value) for name, value in names.items()})
    return len(written).to_bytes(4, "big") + written + pickle.dumps((knowledge.scene, knowledge.stored))


def decode_knowledge(data: bytes) -> Knowledge:
    """Read what is known of a target, in the parser process."""
    end = 4 + int.from_bytes(data[:4], "big")
    found: dict[str, Any] = orjson.loads(data[4:end])
    read: dict[str, Any] = {name: each if isinstance(each, str) else frozenset(each) for name, each in found.items()}
    catalog = Catalog(**read)
    scene, stored = pickle.loads(data[end:])  # noqa: S301 - written by the worker, our parent
    return Knowledge(catalog, scene, stored)


def encode_answer(answer: Parsed | Unsupported | Unknown) -> bytes:
    """Write an answer."""
    if isinstance(answer, Unsupported):
        return orjson.dumps({"unsupported": _refusal(answer)})
    if isinstance(answer, Unknown):
        return orjson.dumps({"unknown": answer.names})
    statements = [_statement(analysis) for analysis in answer.statements]
    return orjson.dumps({"statements": statements, "lacking": answer.is_lacking})


def decode_answer(data: bytes) -> Parsed | Unsupported | Unknown:
    """Read an answer, or raise `Garbled`."""
    try:
        found = orjson.loads(data)
        if "unsupported" in found:
            return Unsupported(*found["unsupported"])
        if "unknown" in found:
            return Unknown(tuple(map(str, found["unknown"])))
        statements = tuple(_analysis(statement) for statement in found["statements"])
        return Parsed(statements, found["lacking"] is True)
    except (ValueError, TypeError, KeyError, IndexError) as error:
        raise Garbled(f"an answer that cannot be: {type(error).__name__}") from None


def _refusal(refusal: Unsupported) -> list[str | int]:
    return [refusal.code, refusal.message, refusal.hint, refusal.position, refusal.by_mask]


def _statement(analysis: Analysis) -> list[Any]:
    return [
        analysis.kind,
        [(operation.verb, operation.object, int(operation.impact)) for operation in analysis.operations],
        analysis.start,
        analysis.end,
        [edge for span in analysis.literals for edge in (span.start, span.end)],
        analysis.understood,
        analysis.names,
        analysis.settings,
        None if analysis.refusal is None else _refusal(analysis.refusal),
        analysis.fingerprint,
        analysis.bound_settings,
        None if analysis.plan is None else _plan(analysis.plan),
        None if analysis.stored is None else _plan(analysis.stored),
    ]


def _plan(plan: Plan) -> list[Any]:
    columns = None if plan.columns is None else [_column(column) for column in plan.columns]
    return [plan.form.value, plan.digest, columns, plan.is_reduced]


def _column(column: Column) -> list[Any]:
    mask = column.mask
    shown = None
    if mask is not None:
        shown = [mask.rule, mask.transform.kind, mask.transform.first, mask.transform.last]
    return [column.name, column.origin, shown]


def _analysis(parts: list[Any]) -> Analysis:
    kind, operations, start, end, edges, understood, names, settings, refusal, fingerprint, bound, plan, stored = parts
    return Analysis(
        kind=kind,
        operations=tuple(Operation(verb, name, Impact(impact)) for verb, name, impact in operations),
        start=start,
        end=end,
        literals=tuple(Span(*edge) for edge in zip(edges[::2], edges[1::2], strict=True)),
        understood=understood,
        names=tuple(names),
        settings=tuple((name, value) for name, value in settings),
        refusal=None if refusal is None else Unsupported(*refusal),
        fingerprint=fingerprint,
        bound_settings=tuple((name, number) for name, number in bound),
        plan=None if plan is None else _planned(*plan),
        stored=None if stored is None else _planned(*stored),
    )


def _planned(form: str, digest: str, columns: list[Any] | None, is_reduced: object) -> Plan:
    shown = None if columns is None else tuple(_shown(*column) for column in columns)
    # What is not plainly false is reduced: doubt closes.
    return Plan(Form(form), Digest(str(digest)), shown, is_reduced is not False)


def _shown(name: str, origin: list[int] | None, mask: list[Any] | None) -> Column:
    where = None if origin is None else (int(origin[0]), int(origin[1]))
    if mask is None:
        return Column(str(name), where)
    rule, kind, first, last = mask
    if kind not in ("hide", "keep", "null"):
        raise ValueError("a transform that there is not")
    return Column(str(name), where, Mask(RuleName(str(rule)), Transform(kind, int(first), int(last))))
