"""What analysis must know of a target: which names are not the built-in ones, and which of those are vouched for.

The gateway sends `QUERY` over its own connection when a session starts, and again after a statement that may have
changed the answer; `catalog` makes a value of the rows. Two targets that answer alike, and that
the gateway reaches as the same account, have the same `version`. The
search path of the session that asks and its temporary relations are in the answer, and no part of the catalog.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

NONE: Final[frozenset[str]] = frozenset()


@dataclass(frozen=True, slots=True)
class Catalog:
    """The names of one target's own functions, operators and types, as far as a statement can call them.

    `registered` holds `schema.name` of functions that the administrator vouched for, all of that name.
    """

    user_functions: frozenset[str] = NONE
    registered: frozenset[str] = NONE
    version: str = ""
    #: Those of them that somebody has put into `pg_catalog`.
    added: frozenset[str] = NONE
    #: Those of them that take one argument, which may be a row.
    row_functions: frozenset[str] = NONE
    #: Names of which every function is registered, whatever its schema.
    clean: frozenset[str] = NONE
    #: Operators that run SQL or a procedural language.
    user_operators: frozenset[str] = NONE
    #: Types for whose values SQL or a procedural language runs: by a cast of their own, by a domain's check, or by
    #: that of a part; and their numbers, by which a client names the types of parameters.
    user_types: frozenset[str] = NONE
    type_numbers: frozenset[str] = NONE
    #: The role with which the gateway itself logs in; empty where that is not known.
    account: str = ""


#: Rows of (kind, schema, name, language, volatility, and of a function whether it takes a row, of a type its number),
#: all text. `coding` is what runs SQL or a procedural language; `coded` are the types for whose values that happens:
#: to which a cast calls it, domains that check by it, and whatever is made of such a type.
QUERY: Final = """
WITH RECURSIVE coding(class, object) AS (
 SELECT 'pg_catalog.pg_proc'::pg_catalog.regclass, p.oid
 FROM pg_catalog.pg_proc p
 JOIN pg_catalog.pg_language l ON l.oid OPERATOR(pg_catalog.=) p.prolang
 WHERE p.oid OPERATOR(pg_catalog.>=) 16384 AND l.lanname OPERATOR(pg_catalog.<>) ALL ('{c,internal}'::pg_catalog.name[])
 UNION
 SELECT 'pg_catalog.pg_operator'::pg_catalog.regclass, o.oid
 FROM coding JOIN pg_catalog.pg_operator o ON o.oprcode OPERATOR(pg_catalog.=) coding.object
 WHERE coding.class OPERATOR(pg_catalog.=) 'pg_catalog.pg_proc'::pg_catalog.regclass
), coded(type) AS (
 SELECT c.casttarget
 FROM coding JOIN pg_catalog.pg_cast c ON c.castfunc OPERATOR(pg_catalog.=) coding.object
 WHERE coding.class OPERATOR(pg_catalog.=) 'pg_catalog.pg_proc'::pg_catalog.regclass
   AND c.casttarget OPERATOR(pg_catalog.>=) 16384
 UNION
 SELECT c.contypid
 FROM coding
 JOIN pg_catalog.pg_depend d ON d.refclassid OPERATOR(pg_catalog.=) coding.class
  AND d.refobjid OPERATOR(pg_catalog.=) coding.object
  AND d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_constraint'::pg_catalog.regclass
 JOIN pg_catalog.pg_constraint c ON c.oid OPERATOR(pg_catalog.=) d.objid
 WHERE c.contypid OPERATOR(pg_catalog.<>) 0
 UNION
 SELECT made.type FROM coded, LATERAL (
  SELECT d.objid
  FROM pg_catalog.pg_depend d
  WHERE d.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_type'::pg_catalog.regclass
    AND d.refobjid OPERATOR(pg_catalog.=) coded.type
    AND d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_type'::pg_catalog.regclass
  UNION ALL
  SELECT r.reltype
  FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_class r ON r.oid OPERATOR(pg_catalog.=) d.objid
  WHERE d.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_type'::pg_catalog.regclass
    AND d.refobjid OPERATOR(pg_catalog.=) coded.type
    AND d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_class'::pg_catalog.regclass
    AND r.reltype OPERATOR(pg_catalog.<>) 0
  UNION ALL
  SELECT c.contypid
  FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_constraint c ON c.oid OPERATOR(pg_catalog.=) d.objid
  WHERE d.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_type'::pg_catalog.regclass
    AND d.refobjid OPERATOR(pg_catalog.=) coded.type
    AND d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_constraint'::pg_catalog.regclass
    AND c.contypid OPERATOR(pg_catalog.<>) 0
 ) made(type)
)
SELECT 'function', n.nspname, p.proname, l.lanname, p.provolatile::pg_catalog.text,
       CASE WHEN p.pronargs OPERATOR(pg_catalog.>=) 1
             AND p.pronargs OPERATOR(pg_catalog.-) p.pronargdefaults OPERATOR(pg_catalog.<=) 1
             AND t.typtype OPERATOR(pg_catalog.=) ANY ('{c,d,p}'::pg_catalog."char"[]) THEN 't' ELSE 'f' END
FROM pg_catalog.pg_proc p
JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) p.pronamespace
JOIN pg_catalog.pg_language l ON l.oid OPERATOR(pg_catalog.=) p.prolang
LEFT JOIN pg_catalog.pg_type t ON t.oid OPERATOR(pg_catalog.=) p.proargtypes[0]
WHERE p.oid OPERATOR(pg_catalog.>=) 16384 OR n.nspname OPERATOR(pg_catalog.<>) 'pg_catalog'
UNION ALL
SELECT 'operator', n.nspname, o.oprname, l.lanname, p.provolatile::pg_catalog.text, 'f'
FROM pg_catalog.pg_operator o
JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) o.oprnamespace
JOIN pg_catalog.pg_proc p ON p.oid OPERATOR(pg_catalog.=) o.oprcode
JOIN pg_catalog.pg_language l ON l.oid OPERATOR(pg_catalog.=) p.prolang
WHERE o.oid OPERATOR(pg_catalog.>=) 16384
UNION ALL
SELECT 'type', n.nspname, t.typname, 'code', 'v', t.oid::pg_catalog.text
FROM coded
JOIN pg_catalog.pg_type t ON t.oid OPERATOR(pg_catalog.=) coded.type
JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) t.typnamespace
UNION ALL
SELECT 'session', 'search_path', pg_catalog.current_setting('search_path'), '', '', ''
UNION ALL
SELECT 'session', 'temporary', c.relname, c.oid::pg_catalog.text, '', ''
FROM pg_catalog.pg_class c
WHERE c.relnamespace OPERATOR(pg_catalog.=) pg_catalog.pg_my_temp_schema()
  AND c.relkind OPERATOR(pg_catalog.=) ANY ('{r,p,v,f,S,c}'::pg_catalog."char"[])
""".strip()

#: Languages whose code runs no SQL that somebody could have written into the target.
_MACHINE: Final = frozenset({"c", "internal"})
#: What initdb writes into `information_schema` for its views; drivers call them as well (JDBC's metadata). They are
#: vouched for as registered functions are: while the schema has no other function of the name.
HELPERS: Final = frozenset(
    f"information_schema._pg_{name}"
    for name in (
        *("char_max_length", "char_octet_length", "datetime_precision", "expandarray", "index_position"),
        *("interval_type", "numeric_precision", "numeric_precision_radix", "numeric_scale", "truetypid", "truetypmod"),
    )
)
_IDENTIFIER: Final = re.compile(r'"((?:[^"]|"")+)"|([^".(\s]+)')


def catalog(rows: Iterable[Sequence[str]], registered: Iterable[str] = (), account: str = "") -> Catalog:
    """Make the catalog from the rows of `QUERY`, and functions (`public.f(text)`) and account of the configuration."""
    ordered = sorted(tuple(row) for row in rows if row[0] != "session")
    functions = [row for row in ordered if row[0] == "function"]
    helpers = HELPERS.intersection(f"{row[1]}.{row[2]}" for row in functions)
    vouched = _vouched((*registered, *helpers), functions)
    names = frozenset(row[2] for row in functions)
    doubtful = frozenset(row[2] for row in functions if f"{row[1]}.{row[2]}" not in vouched)
    coded = [row for row in ordered if row[0] != "function" and row[3] not in _MACHINE]
    return Catalog(
        user_functions=names,
        registered=vouched,
        version=_digest(ordered, vouched, account),
        added=frozenset(row[2] for row in functions if row[1] == "pg_catalog"),
        row_functions=frozenset(row[2] for row in functions if row[5] == "t"),
        clean=names - doubtful,
        user_operators=frozenset(row[2] for row in coded if row[0] == "operator"),
        user_types=frozenset(row[2] for row in coded if row[0] == "type"),
        type_numbers=frozenset(row[5] for row in coded if row[0] == "type"),
        account=account,
    )


def search_path(rows: Iterable[Sequence[str]]) -> str:
    """Give the search path that is in force in the session that asked, from the rows of `QUERY`."""
    return next((row[2] for row in rows if row[:2] == ("session", "search_path")), "")


def temporaries(rows: Iterable[Sequence[str]]) -> dict[str, int]:
    """Give the temporary relations of the session that asked, with their numbers, from the rows of `QUERY`."""
    return {row[2]: int(row[3]) for row in rows if row[:2] == ("session", "temporary")}


def _vouched(registered: Iterable[str], functions: Iterable[Sequence[str]]) -> frozenset[str]:
    """Give the names of which as many functions are registered as there are: which one is called, arguments decide."""
    counts = Counter(map(qualified, registered))
    there = Counter(f"{row[1]}.{row[2]}" for row in functions)
    return frozenset(name for name, count in counts.items() if there[name] <= count)


def qualified(name: str) -> str:
    """Read `schema.name(arguments)` as the configuration has it: folded unless quoted, without the arguments."""
    parts: list[str] = []
    rest = name.strip()
    while (match := _IDENTIFIER.match(rest)) is not None:
        quoted, plain = match.groups()
        parts.append(plain.lower() if plain is not None else quoted.replace('""', '"'))
        rest = rest[match.end() :]
        if not rest.startswith("."):
            break
        rest = rest[1:]
    return ".".join(parts[-2:])


def _digest(rows: Iterable[tuple[str, ...]], registered: Iterable[str], account: str) -> str:
    digest = hashlib.sha256()
    for row in (*rows, ("registered", *sorted(registered)), ("account", account)):
        digest.update(b"".join(b"%d:%s" % (len(part), part) for part in (text.encode() for text in row)) + b"\n")
    return digest.hexdigest()
