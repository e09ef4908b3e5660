"""The first look at a statement: only nodes that are known, no function that reaches rows unseen, and its relations.

1. The tree is visited once, with an explicit stack. A node that is not listed refuses the statement.
2. Relations are found wherever they stand. Names of WITH queries are lexical, and never mean what is written to.
3. Without a sensitive relation nothing more has to be known: such a statement is clean.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final

from vestibule.masking import built_in
from vestibule.masking import scene as scenes
from vestibule.masking.refusal import RefusedError
from vestibule.masking.scene import Scene, Temporary

Node = dict[str, Any]
Names = frozenset[str]

_EXPRESSIONS: Final = (
    "A_ArrayExpr A_Const A_Expr A_Indices A_Indirection A_Star BitString BoolExpr Boolean BooleanTest CaseExpr "
    "CaseWhen CoalesceExpr CollateClause ColumnRef CurrentOfExpr Float FuncCall GroupingFunc GroupingSet Integer "
    "List MinMaxExpr MultiAssignRef NamedArgExpr NullTest ParamRef RowExpr SQLValueFunction SetToDefault SortBy "
    "String SubLink TypeCast TypeName WindowDef XmlExpr XmlSerialize JsonAggConstructor JsonArgument JsonArrayAgg "
    "JsonArrayConstructor JsonArrayQueryConstructor JsonBehavior JsonFormat JsonFuncExpr JsonIsPredicate "
    "JsonKeyValue JsonObjectAgg JsonObjectConstructor JsonOutput JsonParseExpr JsonReturning JsonScalarExpr "
    "JsonSerializeExpr JsonValueExpr"
)
_QUERIES: Final = (
    "CTECycleClause CTESearchClause ColumnDef CommonTableExpr JoinExpr JsonTable JsonTableColumn JsonTablePathSpec "
    "LockingClause RangeFunction RangeSubselect RangeTableFunc RangeTableFuncCol RangeTableSample RangeVar ResTarget "
    "SelectStmt WithClause"
)
_WRITES: Final = (
    "DeleteStmt IndexElem InferClause InsertStmt MergeStmt MergeSupportFunc MergeWhenClause OnConflictClause "
    "ReturningClause ReturningOption UpdateStmt"
)
#: Nodes that queries, and statements that write, are made of.
NODES: Final = frozenset(f"{_EXPRESSIONS} {_QUERIES} {_WRITES}".split())
WRITES: Final = frozenset({"InsertStmt", "UpdateStmt", "DeleteStmt", "MergeStmt"})
_NONE: Final[Names] = frozenset()
_PEOPLE: Final = frozenset({"role", "session_authorization"})


class Survey:
    """What the first look finds."""

    __slots__ = ("hopeless", "is_sensitive", "read", "scene", "written")

    def __init__(self, scene: Scene) -> None:
        """Begin with nothing found."""
        self.scene = scene
        #: Object numbers of relations that are read, and that are written.
        self.read: set[int] = set()
        self.written: set[int] = set()
        #: The first name that no relation anywhere has.
        self.hopeless: Node | None = None
        self.is_sensitive = False

    def walk(self, root: Node, more: Collection[str] = ()) -> None:
        """Visit everything below `root`; nodes in `more` are known too."""
        stack: list[tuple[Any, Names]] = [(root, _NONE)]
        while stack:
            node, names = stack.pop()
            if type(node) is list:
                stack.extend([(item, names) for item in reversed(node)])
                continue
            if "relname" in node:
                self.relation(node, names)
                continue
            if "withClause" in node:
                names = self._with(node["withClause"], names, stack)
            for key, value in node.items():
                if type(value) is not dict and type(value) is not list:
                    continue
                if key[0] <= "Z":
                    if key not in NODES and key not in more:
                        raise RefusedError(f"{key} is not understood, and so is refused")
                    if key in _LOOKED_AT:
                        stack.append((self._look(key, value), names))
                        continue
                elif key == "withClause":
                    continue
                elif key == "intoClause":
                    raise RefusedError("INTO is not understood here")
                stack.append((value, names))

    def _with(self, clause: Node, names: Names, stack: list[tuple[Any, Names]]) -> Names:
        """Visit the queries of a WITH clause, each with what it can name; give what the statement can name."""
        queries = [item["CommonTableExpr"] for item in clause["ctes"]]
        whole = names | {query["ctename"] for query in queries}
        seen = names
        for query in queries:
            stack.append((query, whole if clause.get("recursive") else seen))
            seen = seen | {query["ctename"]}
        return whole

    def _look(self, kind: str, node: Any) -> Node:  # noqa: ANN401 - a value of the tree
        if kind == "FuncCall":
            _judge_call(node)
        elif kind == "LockingClause":
            return {}
        elif kind == "A_Indirection":
            for step in node["indirection"]:
                if "String" in step:
                    _judge_name(step["String"].get("sval", ""), -1)
        elif kind == "ColumnRef":
            fields = node["fields"]
            if len(fields) > 1 and "String" in fields[-1]:
                _judge_name(fields[-1]["String"].get("sval", ""), node.get("location", -1))
            return {}
        else:
            self.write(node["relation"])
            return {key: value for key, value in node.items() if key != "relation"}
        rest: Node = node
        return rest

    def write(self, node: Node) -> None:
        """Note a relation that is written."""
        meant = self._meant(node)
        if isinstance(meant, int):
            self.written.add(meant)

    def relation(self, node: Node, names: Names = _NONE) -> None:
        """Note a relation that is read, unless it is a WITH query."""
        if "schemaname" not in node and node["relname"] in names:
            return
        meant = self._meant(node)
        if isinstance(meant, int):
            self.read.add(meant)

    def _meant(self, node: Node) -> int | Temporary | None:
        meant = scenes.relation(self.scene, node)
        if meant is None:
            self._unknown(node)
        elif isinstance(meant, int) and self.scene.sensitive.is_sensitive(meant):
            self.is_sensitive = True
        return meant

    def _unknown(self, node: Node) -> None:
        """A relation that nobody knows: the server says so, but only if nothing could be meant."""
        if not self.scene.is_fresh:
            raise scenes.UnknownError(scenes.spelled(node))
        if not scenes.is_hopeless(self.scene, node):
            raise nowhere(node)
        self.hopeless = self.hopeless or node


def nowhere(node: Node) -> RefusedError:
    """Say what the server says of a relation that is not there."""
    return RefusedError(
        f'relation "{scenes.spelled(node)}" does not exist', code="42P01", offset=node.get("location", -1)
    )


_LOOKED_AT: Final = WRITES | {"FuncCall", "LockingClause", "A_Indirection", "ColumnRef"}


def _judge_call(node: Node) -> None:
    name = node["funcname"][-1]["String"].get("sval", "")
    _judge_name(name, node.get("location", -1))
    if name != "set_config":
        return
    constant = node.get("args", [{}])[0].get("A_Const", {}).get("sval", {}).get("sval")
    if constant is None or constant.lower() in _PEOPLE:
        raise RefusedError("set_config may not make you somebody else where columns are masked for you")


def _judge_name(name: str, offset: int) -> None:
    if built_in.is_reaching(name):
        raise RefusedError(f"{name} can give values that are masked for you", "Name columns instead.", offset=offset)
