"""What is done with each node of the grammar: the statements of the table, what expressions call, and leaves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from vestibule.analysis.sql import expressions, functions, special
from vestibule.analysis.sql.parser import Node
from vestibule.analysis.sql.statements import TABLE
from vestibule.analysis.sql.visit import Action, Scope, Visit, statement

_LEAVES: Final = (
    "A_Const A_Star AccessPriv alias BitString Boolean Float Integer ObjectWithArgs ParamRef RoleSpec SetToDefault "
    "SQLValueFunction String "
    # in a function's definition; as a statement it is judged by itself
    "VariableSetStmt "
    # bound before its statement is visited
    "withClause"
)


def _syntax(names: tuple[str, ...]) -> Action:
    def act(visit: Visit, node: Node, _: Scope) -> Node:
        return expressions.syntax(visit, names, node)

    return act


ACTIONS: Final[Mapping[str, Action | None]] = {
    **{kind: statement(kind) for kind in TABLE},
    **special.SPECIAL,
    # nodes and fields with nothing in them that could do anything
    **dict.fromkeys(_LEAVES.split()),
    **{node: _syntax(names) for node, names in functions.SYNTAX.items()},
    # fields that hold a node without its name
    "larg": special.select,
    "rarg": special.select,
    "typeName": expressions.type_name,
    # expressions
    "A_Expr": expressions.operator,
    "A_Indirection": expressions.field,
    "CaseExpr": expressions.case,
    "ColumnRef": expressions.column,
    "FuncCall": expressions.call,
    "JoinExpr": expressions.join,
    "PartitionCmd": special.partition,
    "RangeTableSample": expressions.sample,
    "SortBy": expressions.sort,
    "SubLink": expressions.sublink,
    "TypeCast": expressions.cast,
    "TypeName": expressions.type_name,
}
