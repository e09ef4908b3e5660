"""How texts, catalogs and answers travel between a worker and its parser process: as JSON, bounded by the frame.

JSON, because the answer comes from a process that has read hostile text: nothing in it can be more than data.
"""

from __future__ import annotations

from dataclasses import fields
from typing import Any, Final

import orjson

from vestibule.analysis.sql.catalog import Catalog
from vestibule.model.statement import Analysis, Impact, Operation, Parsed, Span, Unsupported

#: The largest frame either side accepts.
FRAME: Final = 64 << 20


class Garbled(Exception):
    """The other side sent what it cannot mean."""


def encode_catalog(catalog: Catalog) -> bytes:
    """Write a catalog."""
    names = {field.name: getattr(catalog, field.name) for field in fields(catalog)}
    return orjson.dumps({name: value if isinstance(value, str) else sorted(value) for name, value in names.items()})


def decode_catalog(data: bytes) -> Catalog:
    """Read a catalog."""
    found: dict[str, Any] = orjson.loads(data)
    version = found.pop("version")
    return Catalog(version=version, **{name: frozenset(value) for name, value in found.items()})


def encode_answer(answer: Parsed | Unsupported) -> bytes:
    """Write an answer."""
    if isinstance(answer, Unsupported):
        return orjson.dumps({"unsupported": _refusal(answer)})
    return orjson.dumps({"statements": [_statement(analysis) for analysis in answer.statements]})


def decode_answer(data: bytes) -> Parsed | Unsupported:
    """Read an answer, or raise `Garbled`."""
    try:
        found = orjson.loads(data)
        if "unsupported" in found:
            return Unsupported(*found["unsupported"])
        return Parsed(tuple(_analysis(statement) for statement in found["statements"]))
    except (ValueError, TypeError, KeyError, IndexError) as error:
        raise Garbled(f"an answer that cannot be: {type(error).__name__}") from None


def _refusal(refusal: Unsupported) -> list[str | int]:
    return [refusal.code, refusal.message, refusal.hint, refusal.position]


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
    ]


def _analysis(parts: list[Any]) -> Analysis:
    kind, operations, start, end, edges, understood, names, settings, refusal, fingerprint, bound = parts
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
    )
