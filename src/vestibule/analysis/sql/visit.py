"""The one walk over a statement's tree: notes what it does to which relation, and which functions it calls.

1. The tree is visited once, with an explicit stack, in the order of the text.
2. A relation is what has a `relname`; it is read, unless a statement of the table has taken it or it is the name of
   a WITH query. Those names are lexical: in `WITH t AS (SELECT * FROM t) ..` the inner `t` is the table.
3. A node that is not listed is UNKNOWN, and visited all the same.
4. The system catalogs are no tables: to write there is for administrators, and to write to `pg_settings` is SET.
   Some show files or passwords.
5. Under EXPLAIN without ANALYZE nothing is carried out, but planning may already call functions: those still count.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from vestibule.analysis.sql import built_in, nodes
from vestibule.analysis.sql.catalog import Catalog
from vestibule.analysis.sql.parser import Node, Tree
from vestibule.analysis.sql.statements import TABLE
from vestibule.model.statement import Impact, Operation, Unsupported

#: Names of WITH queries that a relation may mean.
Scope = frozenset[str]
NOWHERE: Final[Scope] = frozenset()
#: A part of the tree with what its names may mean.
Part = tuple[Tree, Scope]

#: What is done with a node or a field: gives what of it is to be visited, or None.
Action = Callable[["Visit", Any, Scope], Tree | None]

_PLAIN: Final = (
    "AlterTableCmd ATAlterConstraint A_ArrayExpr A_Indices BooleanTest BoolExpr CaseWhen CoalesceExpr "
    "CollateClause ColumnDef CommonTableExpr Constraint CreateOpClassItem CTECycleClause CTESearchClause CurrentOfExpr "
    "DefElem FunctionParameter GroupingFunc GroupingSet IndexElem InferClause JsonArgument JsonBehavior "
    "JsonFormat JsonIsPredicate JsonKeyValue JsonOutput JsonReturning JsonTableColumn JsonTablePathSpec JsonValueExpr "
    "List LockingClause MergeWhenClause MinMaxExpr MultiAssignRef NamedArgExpr NullTest OnConflictClause "
    "PartitionBoundSpec PartitionElem PartitionRangeDatum PartitionSpec PublicationObjSpec PublicationTable "
    "RangeFunction RangeSubselect RangeTableFunc RangeTableFuncCol RangeVar ReplicaIdentityStmt ResTarget "
    "ReturningClause ReturningOption ReturnStmt RowExpr StatsElem TableLikeClause TriggerTransition VacuumRelation "
    "WindowDef WithClause XmlExpr XmlSerialize"
)
#: Nodes that do nothing themselves.
PLAIN: Final = frozenset(_PLAIN.split())

_TELLING: Final = (
    "pg_stats pg_stats_ext pg_stats_ext_exprs pg_statistic pg_statistic_ext_data pg_largeobject pg_authid pg_shadow "
    "pg_user_mapping pg_user_mappings pg_subscription pg_stat_activity pg_stat_statements"
)
#: System catalogs that hold values of columns, other people's statements, or secrets.
TELLING: Final = frozenset(_TELLING.split())
#: System catalogs and views that read the server's files, or hold the passwords of its roles.
RESERVED: Final = frozenset(
    {"pg_hba_file_rules", "pg_ident_file_mappings", "pg_file_settings", "pg_authid", "pg_shadow"}
)

_WRITING: Final = frozenset({"insert", "update", "delete", "merge", "truncate", "copy"})
_SYSTEM: Final = frozenset({"pg_catalog", "information_schema"})
_BY_SETTINGS: Final = Unsupported(
    "42501", "vestibule: settings may not be changed through pg_settings", "Write SET name = value instead."
)


class Visit:
    """What has been found so far in one statement."""

    __slots__ = (
        "actions",
        "bound",
        "casts",
        "catalog",
        "found",
        "is_planned_only",
        "kind",
        "leaves_the_catalogs",
        "made",
        "names",
        "refusal",
        "settings",
    )

    def __init__(self, kind: str, catalog: Catalog, actions: Mapping[str, Action | None]) -> None:
        """Start with nothing found in a statement of this kind."""
        self.kind = kind
        self.catalog = catalog
        self.actions = actions
        self.found: dict[tuple[str, str], Impact] = {}
        self.names: list[str] = []
        #: Names of functions that there are from now on.
        self.made: list[str] = []
        self.settings: list[tuple[str, str | None]] = []
        self.bound: list[tuple[str, int]] = []
        self.refusal: Unsupported | None = None
        self.is_planned_only = False
        #: Casts to `reg*` types of what is no literal.
        self.casts: list[str] = []
        self.leaves_the_catalogs = False

    def note(self, verb: str, name: str, impact: Impact) -> None:
        """Note what is done to an object when the statement is carried out."""
        if self.is_planned_only:
            verb, impact = "explain", Impact.READ
        elif impact is Impact.WRITE and verb in _WRITING and _is_system(name):
            impact = Impact.ADMIN
            if name.endswith("pg_settings"):
                self.refuse(_BY_SETTINGS, verb, name)
        self.call(verb, name, impact)

    def call(self, verb: str, name: str, impact: Impact) -> None:
        """Note what may be done even if the statement is only planned."""
        key = (verb, name)
        known = self.found.get(key)
        if known is None or known < impact:
            self.found[key] = impact

    def refuse(self, refusal: Unsupported, verb: str, name: str) -> None:
        """Note that the statement never travels; the first reason stays."""
        self.refusal = self.refusal or refusal
        self.call(verb, name, Impact.UNKNOWN)

    def operations(self) -> tuple[Operation, ...]:
        """Everything found, in the order of the text."""
        if self.leaves_the_catalogs:
            for name in self.casts:
                self.call("cast", name, Impact.UNKNOWN)
        return tuple(Operation(verb, name, impact) for (verb, name), impact in self.found.items())

    def walk(self, root: Tree, scope: Scope = NOWHERE) -> None:
        """Visit everything below `root`."""
        actions = self.actions
        stack: list[Part] = [(root, scope)]
        while stack:
            node, scope = stack.pop()
            if isinstance(node, list):
                stack.extend([(item, scope) for item in reversed(node)])
                continue
            if "relname" in node:
                self.relation(node, scope)
                continue
            bodies: list[Part] = []
            if "withClause" in node:
                bodies, scope = _with(node["withClause"], scope)
            for key, value in reversed(node.items()):
                if type(value) is not dict and type(value) is not list:
                    continue
                if key in actions:
                    action = actions[key]
                    value = None if action is None else action(self, value, scope)
                elif key[0] <= "Z" and key not in PLAIN:
                    self.call("unknown", key, Impact.UNKNOWN)
                if value:
                    stack.append((value, scope))
            stack.extend(bodies)

    def relation(self, node: Node, scope: Scope) -> None:
        """Note that a relation is read, unless it is a WITH query."""
        schema = node.get("schemaname")
        name = node["relname"]
        if schema is None and name in scope:
            return
        if not _is_catalog(node) or name in TELLING:
            self.leaves_the_catalogs = True
        self.note("select", nodes.relation(node), self.reading(node))

    def reading(self, node: Node) -> Impact:
        """Say what it takes to read a relation."""
        name = node["relname"]
        # A view of the settings can be written to, and would set them.
        is_reserved = name in RESERVED or (name == "pg_settings" and self.kind == "ViewStmt")
        return Impact.ADMIN if is_reserved and _is_catalog(node) else Impact.READ


def _is_catalog(node: Node) -> bool:
    return node.get("schemaname") in (None, "pg_catalog") and node["relname"] in built_in.CATALOGS


def _is_system(name: str) -> bool:
    schema, _, relation = name.rpartition(".")
    return schema.rpartition(".")[2] in _SYSTEM or (not schema and relation in built_in.CATALOGS)


def _with(clause: Node, scope: Scope) -> tuple[list[Part], Scope]:
    """Give the queries of a WITH clause, last first, each with what it sees; and what the statement sees."""
    queries = [item["CommonTableExpr"] for item in clause["ctes"]]
    whole = scope | {query["ctename"] for query in queries}
    bodies: list[Part] = []
    seen = scope
    for query in queries:
        bodies.append((query, whole if clause.get("recursive") else seen))
        seen = seen | {query["ctename"]}
    return bodies[::-1], whole


def statement(kind: str) -> Action:
    """Make the action for a statement from its row in the table."""
    row = TABLE[kind]

    def act(visit: Visit, node: Node, scope: Scope) -> Node:
        if row.verb:
            word = row.word(node)
            for name, is_temporary in row.objects(node) or [("", False)]:
                visit.note(word, name, row.weight(node, is_temporary))
        if row.on and row.on in node:
            visit.note("alter", nodes.relation(node[row.on]), row.weight(node, nodes.is_temporary(node[row.on])))
        return {key: value for key, value in node.items() if key not in row.taken} if row.taken else node

    return act
