"""Which temporary relations a statement makes and takes away, for whoever keeps the session's list.

What a rolled back transaction undoes need not be followed: a temporary relation never has the name of another one, so
that a name too many means nothing at the target either.
"""

from __future__ import annotations

from typing import Any

from vestibule.masking.scene import Temporary

Node = dict[str, Any]


def made(tree: Node) -> tuple[str, Temporary] | None:
    """Give the name of the temporary relation that a statement makes, and its columns if the text has them."""
    kind, node = next(iter(tree["stmt"].items()))
    if kind == "CreateStmt":
        return node["relation"]["relname"], Temporary(_listed(node.get("tableElts", [])))
    if kind == "CreateTableAsStmt":
        return node["into"]["rel"]["relname"], Temporary()
    if kind == "SelectStmt":
        while "larg" in node and node.get("op", "SETOP_NONE") != "SETOP_NONE":
            node = node["larg"]
        if "intoClause" in node:
            return node["intoClause"]["rel"]["relname"], Temporary()
    return None


def _listed(elements: list[Node]) -> tuple[str, ...] | None:
    if any("TableLikeClause" in element for element in elements):
        return None
    return tuple(element["ColumnDef"]["colname"] for element in elements if "ColumnDef" in element)


def dropped(tree: Node) -> tuple[str, ...]:
    """Give the names of the temporary relations that a statement that may pass takes away."""
    kind, node = next(iter(tree["stmt"].items()))
    if kind != "DropStmt":
        return ()
    return tuple(item["List"]["items"][-1]["String"]["sval"] for item in node["objects"])
