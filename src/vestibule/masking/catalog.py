"""The catalog snapshot of one target: its relations, their columns, and what carries a value on to somewhere else.

1. The gateway sends `QUERY` over its own connection; `snapshot` makes a value of the rows. The session's search path
   and operators of its own do not matter: every name is qualified, and definitions are written under an empty path.
2. `version` is the SHA-256 of all rows in their canonical order, whatever order the server gave them in.
3. Temporary relations are left out: they are each session's own.
4. What the query does not deliver in its form is a `ValueError`: a target that is not understood has no snapshot.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

#: The first number of an object that is not the server's own.
FIRST_OWN: Final = 16_384
#: What every TOAST relation has; the values are in the last.
_TOAST: Final = ("chunk_id", "chunk_seq", "chunk_data")
_WIDTH: Final = 7


class Attribute(NamedTuple):
    """A column of a relation that is not dropped."""

    number: int
    name: str
    type: int


@dataclass(frozen=True, slots=True)
class Relation:
    """What can stand in FROM, or is a row type.

    `flags` has `t` with triggers, `r` with rules of its own, `s` with row security.
    """

    oid: int
    schema: str
    name: str
    kind: str
    flags: str
    row_type: int
    columns: tuple[Attribute, ...]

    @property
    def numbers(self) -> frozenset[int]:
        """The numbers of its columns."""
        return frozenset(column.number for column in self.columns)

    @property
    def is_system(self) -> bool:
        """Whether it belongs to the server itself."""
        return self.oid < FIRST_OWN


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All that masking knows of a target (K)."""

    version: str
    relations: Mapping[int, Relation]
    #: Object numbers by schema and name.
    names: Mapping[tuple[str, str], int]
    #: Names in whatever schema.
    known: frozenset[str]
    #: Inheritance and partitions: (child, parent).
    children: tuple[tuple[int, int], ...] = ()
    #: Foreign keys: (relation that refers, relation referred to).
    references: tuple[tuple[int, int], ...] = ()
    #: Texts of views and materialized views of users.
    definitions: Mapping[int, str] = field(default_factory=dict)
    #: Expressions of generated columns.
    generated: tuple[tuple[int, int, str], ...] = ()
    #: Types that contain another: (container, contained).
    contains: tuple[tuple[int, int], ...] = ()
    #: Functions, operators and types that run SQL or a procedural language, as (what, schema, name); and aggregates,
    #: which may.
    coded: frozenset[tuple[str, str, str]] = frozenset()
    #: Names of constraints and unique indexes of users' relations.
    constraints: frozenset[str] = frozenset()


QUERY: Final = """
WITH path AS MATERIALIZED (
 SELECT pg_catalog.set_config('search_path', '', true) AS value
), relation AS (
 SELECT c.oid, n.nspname, c.relname, c.relkind, c.relrowsecurity, c.reltype
 FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace
 WHERE c.relkind OPERATOR(pg_catalog.=) ANY ('{r,p,v,m,f,S,c,t}'::pg_catalog."char"[])
   AND c.relpersistence OPERATOR(pg_catalog.<>) 't'
), coding AS (
 SELECT p.oid, n.nspname, p.proname
 FROM pg_catalog.pg_proc p
 JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) p.pronamespace
 JOIN pg_catalog.pg_language l ON l.oid OPERATOR(pg_catalog.=) p.prolang
 WHERE p.oid OPERATOR(pg_catalog.>=) 16384
   AND (p.prokind OPERATOR(pg_catalog.=) 'a'
        OR l.lanname OPERATOR(pg_catalog.<>) ALL ('{c,internal}'::pg_catalog.name[]))
)
SELECT 'relation', r.oid::pg_catalog.text, r.nspname::pg_catalog.text, r.relname::pg_catalog.text,
       r.relkind::pg_catalog.text,
       CASE WHEN EXISTS (
        SELECT FROM pg_catalog.pg_trigger t WHERE t.tgrelid OPERATOR(pg_catalog.=) r.oid AND NOT t.tgisinternal
       ) THEN 't' ELSE '' END OPERATOR(pg_catalog.||)
       CASE WHEN EXISTS (
        SELECT FROM pg_catalog.pg_rewrite w
        WHERE w.ev_class OPERATOR(pg_catalog.=) r.oid AND w.rulename OPERATOR(pg_catalog.<>) '_RETURN'
       ) THEN 'r' ELSE '' END OPERATOR(pg_catalog.||)
       CASE WHEN r.relrowsecurity THEN 's' ELSE '' END,
       r.reltype::pg_catalog.text
FROM relation r
UNION ALL
SELECT 'column', a.attrelid::pg_catalog.text, a.attnum::pg_catalog.text, a.attname::pg_catalog.text,
       a.atttypid::pg_catalog.text, a.atttypmod::pg_catalog.text, a.attgenerated::pg_catalog.text
FROM relation r JOIN pg_catalog.pg_attribute a ON a.attrelid OPERATOR(pg_catalog.=) r.oid
WHERE a.attnum OPERATOR(pg_catalog.>) 0 AND NOT a.attisdropped AND r.relkind OPERATOR(pg_catalog.<>) 't'
UNION ALL
SELECT 'inherits', i.inhrelid::pg_catalog.text, i.inhparent::pg_catalog.text, '', '', '', ''
FROM pg_catalog.pg_inherits i JOIN relation r ON r.oid OPERATOR(pg_catalog.=) i.inhrelid
UNION ALL
SELECT DISTINCT 'references', c.conrelid::pg_catalog.text, c.confrelid::pg_catalog.text, '', '', '', ''
FROM pg_catalog.pg_constraint c
WHERE c.contype OPERATOR(pg_catalog.=) 'f'
UNION ALL
SELECT DISTINCT 'constraint', c.conname::pg_catalog.text, '', '', '', '', ''
FROM pg_catalog.pg_constraint c
WHERE c.oid OPERATOR(pg_catalog.>=) 16384
UNION ALL
SELECT 'constraint', r.relname::pg_catalog.text, '', '', '', '', ''
FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class r ON r.oid OPERATOR(pg_catalog.=) i.indexrelid
WHERE i.indisunique AND i.indexrelid OPERATOR(pg_catalog.>=) 16384
UNION ALL
SELECT 'definition', r.oid::pg_catalog.text,
       CASE WHEN path.value IS NOT NULL THEN pg_catalog.pg_get_viewdef(r.oid) END, '', '', '', ''
FROM path, relation r
WHERE r.oid OPERATOR(pg_catalog.>=) 16384 AND r.relkind OPERATOR(pg_catalog.=) ANY ('{v,m}'::pg_catalog."char"[])
UNION ALL
SELECT 'generated', d.adrelid::pg_catalog.text, d.adnum::pg_catalog.text,
       CASE WHEN path.value IS NOT NULL THEN pg_catalog.pg_get_expr(d.adbin, d.adrelid) END, '', '', ''
FROM path, pg_catalog.pg_attrdef d
JOIN pg_catalog.pg_attribute a ON a.attrelid OPERATOR(pg_catalog.=) d.adrelid
 AND a.attnum OPERATOR(pg_catalog.=) d.adnum
WHERE a.attgenerated OPERATOR(pg_catalog.<>) ''
UNION ALL
SELECT 'contains', t.oid::pg_catalog.text, p.part::pg_catalog.text, '', '', '', ''
FROM pg_catalog.pg_type t, LATERAL (VALUES (t.typelem), (t.typbasetype)) p(part)
WHERE t.oid OPERATOR(pg_catalog.>=) 16384 AND p.part OPERATOR(pg_catalog.<>) 0::pg_catalog.oid
UNION ALL
SELECT 'contains', g.rngtypid::pg_catalog.text, g.rngsubtype::pg_catalog.text, '', '', '', ''
FROM pg_catalog.pg_range g
WHERE g.rngtypid OPERATOR(pg_catalog.>=) 16384
UNION ALL
SELECT 'contains', m.multirange, g.rngtypid::pg_catalog.text, '', '', '', ''
FROM pg_catalog.pg_range g,
     LATERAL (SELECT pg_catalog.to_jsonb(g) OPERATOR(pg_catalog.->>) 'rngmultitypid') m(multirange)
WHERE g.rngtypid OPERATOR(pg_catalog.>=) 16384 AND m.multirange IS NOT NULL
UNION ALL
SELECT 'coded', 'function', coding.nspname::pg_catalog.text, coding.proname::pg_catalog.text, '', '', ''
FROM coding
UNION ALL
SELECT 'coded', 'operator', n.nspname::pg_catalog.text, o.oprname::pg_catalog.text, '', '', ''
FROM coding JOIN pg_catalog.pg_operator o ON o.oprcode OPERATOR(pg_catalog.=) coding.oid
JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) o.oprnamespace
UNION ALL
SELECT 'coded', 'type', n.nspname::pg_catalog.text, t.typname::pg_catalog.text, '', '', ''
FROM coding JOIN pg_catalog.pg_cast c ON c.castfunc OPERATOR(pg_catalog.=) coding.oid
JOIN pg_catalog.pg_type t ON t.oid OPERATOR(pg_catalog.=) c.casttarget
JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) t.typnamespace
""".strip()


def snapshot(rows: Iterable[Sequence[str | None]]) -> Snapshot:
    """Make the snapshot of the rows of `QUERY`."""
    ordered = sorted(tuple(cell or "" for cell in row) for row in rows)
    kinds: defaultdict[str, list[tuple[str, ...]]] = defaultdict(list)
    for row in ordered:
        if len(row) != _WIDTH:
            raise ValueError(f"a row of the catalog query has {len(row)} columns instead of {_WIDTH}")
        kinds[row[0]].append(row)
    relations = _relations(kinds["relation"], kinds["column"])
    return Snapshot(
        version=hashlib.sha256(json.dumps(ordered, separators=(",", ":")).encode()).hexdigest(),
        relations=relations,
        names={(relation.schema, relation.name): oid for oid, relation in relations.items()},
        known=frozenset(relation.name for relation in relations.values()),
        children=_pairs(kinds["inherits"]),
        references=_pairs(kinds["references"]),
        definitions={int(row[1]): row[2] for row in kinds["definition"]},
        generated=tuple((int(row[1]), int(row[2]), row[3]) for row in kinds["generated"]),
        contains=_pairs(kinds["contains"]),
        coded=frozenset((row[1], row[2], row[3]) for row in kinds["coded"]),
        constraints=frozenset(row[1] for row in kinds["constraint"]),
    )


def _pairs(rows: Iterable[Sequence[str]]) -> tuple[tuple[int, int], ...]:
    return tuple((int(row[1]), int(row[2])) for row in rows)


def _relations(rows: Iterable[Sequence[str]], columns: Iterable[Sequence[str]]) -> dict[int, Relation]:
    found: defaultdict[str, list[Attribute]] = defaultdict(list)
    for _, oid, number, name, type_, _, _ in columns:
        found[oid].append(Attribute(int(number), name, int(type_)))
    toast = tuple(Attribute(number, name, 0) for number, name in enumerate(_TOAST, 1))
    relations: dict[int, Relation] = {}
    for _, oid, schema, name, kind, flags, row_type in rows:
        own = toast if kind == "t" else tuple(sorted(found[oid]))
        if len({column.name for column in own}) < len(own):
            raise ValueError(f"relation {oid} has two columns of one name")
        relations[int(oid)] = Relation(int(oid), schema, name, kind, flags, int(row_type), own)
    return relations
