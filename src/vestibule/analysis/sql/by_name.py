"""A row of `pg_settings` that is picked by its name: there `name` is that name, wherever it stands in the select list.

pg_dump sets a setting only where the server has it: `SELECT set_config(name, 'view, foreign-table', false) FROM
pg_settings WHERE name = 'restrict_nonsystem_relation_kind'`. With the name written in its place the call is judged like
any other. That setting and its own words alone: a temporary relation may be called pg_settings too, and a collation may
call other names equal.
"""

from __future__ import annotations

from typing import Any, Final

Node = dict[str, Any]

_NAME: Final = [{"String": {"sval": "name"}}]
_EQUALS: Final = [{"String": {"sval": "="}}]
_SET: Final = {"String": {"sval": "set_config"}}
_SCHEMAS: Final = (None, "pg_catalog")
_SETTING: Final = "restrict_nonsystem_relation_kind"
_WORDS: Final = frozenset({"view", "foreign-table"})
#: What such a query has, and nothing else: another clause could bring in another `name`.
_CLAUSES: Final = frozenset({"targetList", "fromClause", "whereClause", "limitOption", "op"})


def settle(statement: Node) -> None:
    """Write the name in the place of `name` where a statement calls `set_config` for one row of `pg_settings`."""
    query = statement["stmt"].get("SelectStmt")
    if query is None or "whereClause" not in query or not _CLAUSES.issuperset(query):
        return
    wanted = _picked(query)
    if wanted is None:
        return
    for target in query.get("targetList", []):
        call = target["ResTarget"].get("val", {}).get("FuncCall")
        if call is None or call["funcname"][-1] != _SET:
            continue
        given = call.get("args", [])
        if len(given) == 3 and _is_name(given[0]) and _is_harmless(_text(given[1])):
            given[0] = wanted


def _picked(query: Node) -> Node | None:
    """Give the constant that the query's one row is picked by, if it is `pg_settings` and that is all it asks."""
    sources, condition = query.get("fromClause", []), query["whereClause"].get("A_Expr", {})
    if len(sources) != 1 or condition.get("kind") != "AEXPR_OP" or condition.get("name") != _EQUALS:
        return None
    relation = sources[0].get("RangeVar", {})
    if relation.get("relname") != "pg_settings" or relation.get("schemaname") not in _SCHEMAS or "alias" in relation:
        return None
    wanted: Node = condition.get("rexpr", {})
    return wanted if _is_name(condition.get("lexpr", {})) and _text(wanted) == _SETTING else None


def _text(node: Node) -> str | None:
    """Give the text of a constant that is one."""
    found: str | None = node.get("A_Const", {}).get("sval", {}).get("sval")
    return found


def _is_harmless(value: str | None) -> bool:
    return value is not None and _WORDS.issuperset(word.strip() for word in value.split(","))


def _is_name(node: Node) -> bool:
    return bool(node.get("ColumnRef", {}).get("fields") == _NAME)
