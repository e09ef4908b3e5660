"""Hostile statement texts: deep, wide and slow, of any size."""

from __future__ import annotations

from collections.abc import Callable, Mapping

#: What is repeated, what stands before it, and what closes it again; each level is one deeper.
_SHAPES: Mapping[str, tuple[str, str, str, str]] = {
    "plus": ("SELECT ", "1+", "1", ""),
    "column": ("SELECT ", "a-", "a", ""),
    "operator": ("SELECT a", "+a", "", ""),
    "power": ("SELECT a", "^a", "", ""),
    "concatenation": ("SELECT a", "||a", "", ""),
    "not": ("SELECT ", "NOT ", "true", ""),
    "minus": ("SELECT ", "- ", "a", ""),
    "cast": ("SELECT 1", "::a", "", ""),
    "integer": ("SELECT 1", "::int", "", ""),
    "parenthesis": ("SELECT ", "(", "1", ")"),
    "subquery": ("SELECT ", "(SELECT ", "1", ")"),
    "from": ("SELECT ", "* FROM (SELECT ", "1", ")x"),
    "exists": ("SELECT ", "EXISTS(SELECT ", "1", ")"),
    "in": ("SELECT ", "a IN(", "1", ")"),
    "with": ("", "WITH a AS(", "SELECT", ")SELECT"),
    "case": ("SELECT ", "CASE WHEN ", "a", " THEN 1 END"),
    "coalesce": ("SELECT ", "coalesce(", "1", ")"),
    "call": ("SELECT ", "f(", "1", ")"),
    "filter": ("SELECT ", "f(", "1", ")FILTER(WHERE a)"),
    "window": ("SELECT ", "f(", "1", ")OVER()"),
    "array": ("SELECT ", "array[", "1", "]"),
    "brackets": ("SELECT array", "[", "1", "]"),
    "row": ("SELECT ", "row(", "1", ")"),
    "element": ("SELECT a", "[1]", "", ""),
    "field": ("SELECT (a)", ".a", "", ""),
    "fields": ("SELECT ", "(", "a", ").a"),
    "null": ("SELECT a", " ISNULL", "", ""),
    "boolean": ("SELECT a", " IS TRUE", "", ""),
    "collate": ("SELECT a", " COLLATE a", "", ""),
    "zone": ("SELECT a", " AT TIME ZONE a", "", ""),
    "json": ("SELECT a", " IS JSON", "", ""),
    "constructor": ("SELECT ", "json_array(", "1", ")"),
    "xml": ("SELECT ", "xmlelement(name a,", "a", ")"),
    "union": ("SELECT", " UNION ALL SELECT", "", ""),
    "join": ("SELECT FROM a", " JOIN a ON a", "", ""),
    "cross": ("SELECT FROM a", " CROSS JOIN a", "", ""),
    "and": ("SELECT a", " AND a", "", ""),
    "and or": ("SELECT a", " AND a OR(a", "", ")"),
    "grouping": ("SELECT GROUP BY ", "rollup(", "a", ")"),
    "list": ("SELECT 1", ",1", "", ""),
    "order": ("SELECT ORDER BY a", ",a", "", ""),
    "values": ("VALUES (1)", ",(1)", "", ""),
    "types": ("SELECT a::int", "[]", "", ""),
    "statements": ("", "SELECT;", "", ""),
    "check": ("CREATE TABLE a(a int CHECK ", "(", "a", "))"),
}
DEEP = tuple(name.replace(" ", "_") for name in _SHAPES)


def deep(name: str, size: int) -> bytes:
    """Give a text of at most `size` bytes, as deep or wide as that allows."""
    before, unit, middle, close = _SHAPES[name.replace("_", " ")]
    times = (size - len(before) - len(middle)) // (len(unit) + len(close))
    return (before + unit * times + middle + close * times).encode()


#: Texts that the scanner needs the square of their size for.
SLOW: Mapping[str, Callable[[int], bytes]] = {
    "operators": lambda size: b"SELECT " + b"+" * (size - 7),
    "comments": lambda size: b"/*" * (size // 4) + b"*/" * (size // 4),
}
