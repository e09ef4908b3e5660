"""What the server calls an output column that has no AS: its own rules, as far as they are simple.

Where they are not, there is no name (None), and whoever looks for a column takes such a one for any.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

Node = dict[str, Any]

#: Expressions with a name of their own.
_NAMED: Final[Mapping[str, str]] = {
    "CoalesceExpr": "coalesce",
    "GroupingFunc": "grouping",
    "A_ArrayExpr": "array",
    "RowExpr": "row",
    "MergeSupportFunc": "merge_action",
}
#: Expressions for which the server has no name.
_NAMELESS: Final = frozenset({"A_Const", "A_Expr", "BoolExpr", "NullTest", "BooleanTest", "ParamRef"})
_EXTREMES: Final[Mapping[str, str]] = {"IS_GREATEST": "greatest", "IS_LEAST": "least"}
NAMELESS: Final = "?column?"


def title(value: Node) -> str | None:
    """Give the name of the column that this expression makes."""
    kind, node = next(iter(value.items()))
    match kind:
        case "ColumnRef":
            return _last(node["fields"])
        case "A_Indirection":
            return _last(node["indirection"]) if "String" in node["indirection"][-1] else title(node["arg"])
        case "FuncCall":
            return _last(node["funcname"])
        case "CollateClause":
            return title(node["arg"])
        case "MinMaxExpr":
            return _EXTREMES.get(node.get("op", ""))
        case "TypeCast":
            name = title(node["arg"])
            return name if _is_strong(node["arg"]) else _last(node["typeName"]["names"])
    if kind in _NAMELESS:
        return NAMELESS
    return _NAMED.get(kind)


def _is_strong(value: Node) -> bool:
    """Tell whether a name counts more than that of a cast around it."""
    kind, node = next(iter(value.items()))
    if kind in ("TypeCast", "CollateClause"):
        return _is_strong(node["arg"])
    if kind == "A_Indirection":
        return "String" in node["indirection"][-1] or _is_strong(node["arg"])
    return kind not in _NAMELESS


def _last(parts: list[Node]) -> str | None:
    return parts[-1]["String"].get("sval") if "String" in parts[-1] else None
