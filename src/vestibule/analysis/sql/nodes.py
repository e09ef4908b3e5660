"""How the parser's nodes name things: identifiers, relations, constants."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

from vestibule.analysis.sql.parser import Node

#: The fields of an A_Const, and what the parser leaves out.
_CONSTANTS: Final[Mapping[str, object]] = {"sval": "", "ival": 0, "fval": "", "bsval": ""}
_NEEDS_QUOTES: Final = re.compile(r'[."]')


def spelled(parts: Sequence[str]) -> str:
    """Write a name with dots; a part that has a dot or a quote in it is quoted."""
    return ".".join('"' + part.replace('"', '""') + '"' if _NEEDS_QUOTES.search(part) else part for part in parts)


def strings(nodes: Sequence[Node]) -> tuple[str, ...]:
    """Take the values of a list of String nodes; other nodes are left out."""
    return tuple(node["String"].get("sval", "") for node in nodes if "String" in node)


def relation(node: Node) -> str:
    """Write the name of a RangeVar as it was written."""
    parts = (node.get("catalogname"), node.get("schemaname"), node["relname"])
    return spelled([part for part in parts if part])


def is_temporary(node: Node) -> bool:
    """Tell whether a RangeVar is surely a temporary relation."""
    return node.get("relpersistence") == "t" or node.get("schemaname") == "pg_temp"


def named(node: Node) -> tuple[str, ...]:
    """Take the name out of whatever node stands for an object: a list, a string, a type, a function with arguments."""
    kind, value = next(iter(node.items()))
    match kind:
        case "String":
            return (value.get("sval", ""),)
        case "List":
            return tuple(part for item in value["items"] for part in named(item))
        case "ObjectWithArgs":
            return strings(value["objname"])
        case "TypeName":
            return strings(value["names"])
        case "RangeVar":
            return (relation(value),)
        case "RoleSpec":
            return (role(value),)
        case "AccessPriv":
            return (value.get("priv_name", ""),)
        case _:
            return ()


def role(node: Node) -> str:
    """Write the name of a RoleSpec; a word like CURRENT_USER stands for itself."""
    return str(node.get("rolename") or node["roletype"].removeprefix("ROLESPEC_").lower())


def constant(node: Node) -> str | None:
    """Give the value of an A_Const as text; None if the node is no constant, or NULL."""
    value = node.get("A_Const")
    if value is None or "isnull" in value:
        return None
    for field, otherwise in _CONSTANTS.items():
        if field in value:
            return str(value[field].get(field, otherwise))
    return str(value["boolval"].get("boolval", False)).lower() if "boolval" in value else None
