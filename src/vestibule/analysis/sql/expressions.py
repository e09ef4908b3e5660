"""What expressions may call: functions, operators, casts, and columns that are functions.

The actions give the part of the node that is still to be visited.
"""

from __future__ import annotations

from typing import Final

from vestibule.analysis.sql import functions, nodes, settings
from vestibule.analysis.sql.parser import Node, Tree
from vestibule.analysis.sql.visit import Scope, Visit
from vestibule.model.statement import Impact, Unsupported

_REGISTRY: Final = frozenset(
    f"reg{kind}"
    for kind in (
        *("class", "collation", "config", "dictionary", "namespace"),
        *("oper", "operator", "proc", "procedure", "role", "type"),
    )
)
_EQUALS: Final[list[Node]] = [{"String": {"sval": "="}}]
#: What BETWEEN compares with.
_ORDERING: Final[list[list[Node]]] = [[{"String": {"sval": sign}}] for sign in ("<", "<=", ">", ">=")]
_BESIDE_ARGUMENTS: Final = frozenset({"over", "agg_filter", "agg_order"})

_HOW: Final = "Write set_config('name', 'value', false), or a parameter for the value."
_NEEDS_NAME: Final = Unsupported("42501", "vestibule: set_config needs the setting's name as a literal", _HOW)
_NEEDS_VALUE: Final = Unsupported("42501", "vestibule: set_config needs the value as a literal or a parameter", _HOW)


def call(visit: Visit, node: Node, _: Scope) -> Tree | None:
    """A function call."""
    name = nodes.strings(node["funcname"])
    if name[-1] == "set_config" and name[:-1] in ((), ("pg_catalog",)):
        _set_config(visit, node)
    else:
        impact = functions.called(name, visit.catalog)
        if impact is not Impact.READ:
            visit.call("call", nodes.spelled(name), impact)
    if _BESIDE_ARGUMENTS.isdisjoint(node):
        return node.get("args")
    return {key: value for key, value in node.items() if key != "funcname"}


def _set_config(visit: Visit, node: Node) -> None:
    arguments = node.get("args", [])
    name = nodes.constant(arguments[0]) if len(arguments) == 3 else None
    if name is None:
        visit.refuse(_NEEDS_NAME, "set", "")
        return
    key = name.lower()
    number = arguments[1].get("ParamRef", {}).get("number")
    value = nodes.constant(arguments[1])
    if value is None and number is None:
        visit.refuse(_NEEDS_VALUE, "set", key)
        return
    assign(visit, key, value)
    if number is not None:
        visit.bound.append((key, number))
    if "set_config" in visit.catalog.user_functions:
        visit.call("call", "set_config", Impact.UNKNOWN)


def assign(visit: Visit, name: str, value: str | None) -> None:
    """Note that the setting `name` becomes `value`, or say why it may not."""
    problem = settings.judge(name, value)
    if problem is not None:
        visit.refuse(problem, "set", name)
        return
    if name == "search_path" and value is not None:
        value = settings.written(settings.schemas(value) or ())
    visit.call("set", name, Impact.ADMIN if name in settings.PEOPLE else Impact.READ)
    visit.settings.append((name, value))


def operator(visit: Visit, node: Node, _: Scope) -> Tree | None:
    """An operator between expressions."""
    _use(visit, node["name"])
    if "BETWEEN" in node["kind"]:
        for sign in _ORDERING:
            _use(visit, sign)
    return [side for side in (node.get("lexpr"), node.get("rexpr")) if side]


def sublink(visit: Visit, node: Node, _: Scope) -> Tree | None:
    """A subquery in an expression, maybe with an operator before it; IN is `= ANY`."""
    _use(visit, node.get("operName", _EQUALS if node.get("subLinkType") == "ANY_SUBLINK" else []))
    return node


def case(visit: Visit, node: Node, _: Scope) -> Tree | None:
    """A CASE; one over an expression compares it."""
    if "arg" in node:
        _use(visit, _EQUALS)
    return node


def join(visit: Visit, node: Node, _: Scope) -> Tree | None:
    """A join; USING and NATURAL compare columns."""
    if "usingClause" in node or node.get("isNatural"):
        _use(visit, _EQUALS)
    return node


def sort(visit: Visit, node: Node, _: Scope) -> Tree | None:
    """An item of ORDER BY, maybe with USING an operator."""
    _use(visit, node.get("useOp", []))
    item: Node = node["node"]
    return item


def _use(visit: Visit, written: list[Node]) -> None:
    name = nodes.strings(written)
    if not name:
        return
    own = len(name) > 1 and name[-2] != "pg_catalog"
    if own or (len(name) == 1 and name[0] in visit.catalog.user_operators):
        visit.call("call", nodes.spelled(name), Impact.UNKNOWN)


def cast(visit: Visit, node: Node, _: Scope) -> Tree | None:
    """A cast; to a `reg*` type it looks something up, and quotes what it does not find."""
    name = nodes.strings(node["typeName"].get("names", []))
    type_name(visit, node["typeName"], _)
    if name and name[-1] in _REGISTRY and not _is_given(node["arg"]):
        visit.casts.append(name[-1])
    value: Node = node["arg"]
    return value


def _is_given(node: Node) -> bool:
    """Whether the client itself gives the value: a constant or a parameter, maybe cast."""
    while "TypeCast" in node:
        node = node["TypeCast"]["arg"]
    return "A_Const" in node or "ParamRef" in node


def type_name(visit: Visit, node: Node, _: Scope) -> None:
    """A type; some run code of their own when a value becomes one."""
    name = nodes.strings(node.get("names", [])) if type(node) is dict else ()
    if name and name[-1] in visit.catalog.user_types and name[:-1] != ("pg_catalog",):
        visit.call("cast", nodes.spelled(name), Impact.UNKNOWN)


def field(visit: Visit, node: Node, _: Scope) -> Tree | None:
    """A field, an element or a slice of an expression; what looks like a field may be a function."""
    for step in node["indirection"]:
        if "String" in step:
            impact = functions.field(step["String"]["sval"], visit.catalog)
            if impact is not Impact.READ:
                visit.call("call", nodes.spelled([step["String"]["sval"]]), impact)
    return [node["arg"], *node["indirection"]]


def column(visit: Visit, node: Node, _: Scope) -> None:
    """A column; what follows a relation's name may be a function."""
    fields = node["fields"]
    if len(fields) > 1 and "String" in fields[-1]:
        impact = functions.column(fields[-1]["String"]["sval"], visit.catalog)
        if impact is not Impact.READ:
            visit.call("call", nodes.spelled(nodes.strings(fields)), impact)


def sample(visit: Visit, node: Node, _: Scope) -> Tree | None:
    """A sampling method, which is a function of the server's."""
    name = nodes.strings(node["method"])
    own = len(name) > 1 and name[-2] != "pg_catalog"
    if own or name[-1] not in functions.SAMPLING or (len(name) == 1 and name[-1] in visit.catalog.user_functions):
        visit.call("call", nodes.spelled(name), Impact.UNKNOWN)
    return [node["relation"], *node.get("args", []), *([node["repeatable"]] if "repeatable" in node else [])]


def syntax(visit: Visit, names: tuple[str, ...], node: Node) -> Node:
    """What newer grammars read as syntax, and older servers as a call of one of `names`."""
    for name in names:
        if name in visit.catalog.user_functions and name not in visit.catalog.clean:
            visit.call("call", name, Impact.UNKNOWN)
    return node
