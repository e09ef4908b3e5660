"""Statements that do more than one row of the table can say. Each action gives what is still to be visited."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from vestibule.analysis.sql import nodes, settings
from vestibule.analysis.sql.expressions import assign
from vestibule.analysis.sql.parser import Node, Tree
from vestibule.analysis.sql.visit import Action, Scope, Visit, statement
from vestibule.model.statement import Impact

_MERGES: Final[Mapping[str, str]] = {"CMD_INSERT": "insert", "CMD_UPDATE": "update", "CMD_DELETE": "delete"}

#: Kind of TransactionStmt, the verb, and whether something that outlives the session changes.
_TRANSACTIONS: Final[Mapping[str, tuple[str, Impact]]] = {
    "TRANS_STMT_BEGIN": ("begin", Impact.READ),
    "TRANS_STMT_START": ("begin", Impact.READ),
    "TRANS_STMT_COMMIT": ("commit", Impact.READ),
    "TRANS_STMT_ROLLBACK": ("rollback", Impact.READ),
    "TRANS_STMT_SAVEPOINT": ("savepoint", Impact.READ),
    "TRANS_STMT_RELEASE": ("release", Impact.READ),
    "TRANS_STMT_ROLLBACK_TO": ("rollback to", Impact.READ),
    "TRANS_STMT_PREPARE": ("prepare transaction", Impact.WRITE),
    "TRANS_STMT_COMMIT_PREPARED": ("commit prepared", Impact.WRITE),
    "TRANS_STMT_ROLLBACK_PREPARED": ("rollback prepared", Impact.WRITE),
}

#: The number of ACCESS SHARE, which is what every query takes of what it reads.
_ACCESS_SHARE: Final = 1
_INHERITING: Final = frozenset({"AT_AddInherit", "AT_DropInherit"})
_OFF: Final = frozenset({"off", "false", "0"})
_BY_ROW: Final[Mapping[str, Action]] = {
    kind: statement(kind)
    for kind in (
        "InsertStmt",
        "MergeStmt",
        "AlterTableStmt",
        "CreateFunctionStmt",
        "CreateStmt",
        "ExecuteStmt",
        "LockStmt",
        "RenameStmt",
    )
}


def _without(node: Node, *fields: str) -> Node:
    return {key: value for key, value in node.items() if key not in fields}


def select(visit: Visit, node: Node, scope: Scope) -> Node:
    """A query; INTO makes a relation, FOR UPDATE and FOR SHARE lock rows."""
    if "intoClause" in node:
        _into(visit, node["intoClause"])
    if "lockingClause" in node:
        for name in _locked(node, scope) or [""]:
            visit.note("select", name, Impact.WRITE)
        return _without(node, "intoClause", "lockingClause")
    return _without(node, "intoClause") if "intoClause" in node else node


def _into(visit: Visit, into: Node) -> None:
    made = into["rel"]
    visit.note("create", nodes.relation(made), Impact.WRITE if nodes.is_temporary(made) else Impact.SCHEMA)


def _locked(node: Node, scope: Scope) -> list[str]:
    """Name the relations that a locking clause locks: those it lists, or all that the query names directly."""
    wanted = [
        item["RangeVar"]["relname"]
        for clause in node["lockingClause"]
        for item in clause["LockingClause"].get("lockedRels", [])
    ]
    direct = [source for item in node.get("fromClause", []) for source in _sources(item)]
    tables = [source for source in direct if "schemaname" in source or source["relname"] not in scope]
    named = [source for source in tables if source.get("alias", {}).get("aliasname", source["relname"]) in wanted]
    return [nodes.relation(source) for source in named or tables]


def _sources(item: Node) -> list[Node]:
    found: list[Node] = []
    stack = [item]
    while stack:
        item = stack.pop()
        if "RangeVar" in item:
            found.append(item["RangeVar"])
        elif "JoinExpr" in item:
            stack += [item["JoinExpr"]["rarg"], item["JoinExpr"]["larg"]]
    return found


def insert(visit: Visit, node: Node, scope: Scope) -> Tree | None:
    """An INSERT, which updates too if it says so."""
    if node.get("onConflictClause", {}).get("action") == "ONCONFLICT_UPDATE":
        visit.note("insert", nodes.relation(node["relation"]), Impact.WRITE)
        visit.note("update", nodes.relation(node["relation"]), Impact.WRITE)
    return _BY_ROW["InsertStmt"](visit, node, scope)


def merge(visit: Visit, node: Node, scope: Scope) -> Tree | None:
    """A MERGE does what its branches do."""
    rest = _BY_ROW["MergeStmt"](visit, node, scope)
    for clause in node.get("mergeWhenClauses", []):
        verb = _MERGES.get(clause["MergeWhenClause"].get("commandType", ""))
        if verb is not None:
            visit.note(verb, nodes.relation(node["relation"]), Impact.WRITE)
    return rest


def copy(visit: Visit, node: Node, _: Scope) -> Node:
    """A COPY: between the client and a table it reads or writes, a file or a program is for administrators."""
    name = nodes.relation(node["relation"]) if "relation" in node else ""
    if "filename" in node or node.get("is_program"):
        visit.note("copy", name, Impact.ADMIN)
    elif node.get("is_from"):
        visit.note("copy", name, Impact.WRITE)
    else:
        visit.note("copy", name, visit.reading(node["relation"]) if "relation" in node else Impact.READ)
    return _without(node, "relation", "options")


def explain(visit: Visit, node: Node, _: Scope) -> Tree | None:
    """EXPLAIN is the statement inside; without ANALYZE that is planned only."""
    visit.is_planned_only = not any(_analyzes(option["DefElem"]) for option in node.get("options", []))
    query: Node = node["query"]
    return query


def _analyzes(option: Node) -> bool:
    if option["defname"] != "analyze":
        return False
    argument = option.get("arg")
    if argument is None:
        return True
    value = argument.get("String", {}).get("sval") if "String" in argument else None
    if "Integer" in argument:
        value = str(argument["Integer"].get("ival", 0))
    return value is None or value.lower() not in _OFF


def create_as(visit: Visit, node: Node, _: Scope) -> Tree | None:
    """CREATE TABLE AS and CREATE MATERIALIZED VIEW."""
    _into(visit, node["into"])
    query: Node = node["query"]
    return query


def create(visit: Visit, node: Node, scope: Scope) -> Tree | None:
    """CREATE TABLE; what it inherits from, or is a partition of, changes too."""
    rest = _BY_ROW["CreateStmt"](visit, node, scope)
    for parent in node.get("inhRelations", []):
        _inherit(visit, parent["RangeVar"])
    return rest


def _inherit(visit: Visit, parent: Node) -> None:
    visit.note("alter", nodes.relation(parent), Impact.WRITE if nodes.is_temporary(parent) else Impact.SCHEMA)


def create_function(visit: Visit, node: Node, scope: Scope) -> Tree | None:
    """CREATE FUNCTION has a verb of its own besides, for a policy that lets people make tables but no code."""
    rest = _BY_ROW["CreateFunctionStmt"](visit, node, scope)
    name = nodes.strings(node["funcname"])
    visit.note("create function", nodes.spelled(name), Impact.SCHEMA)
    visit.made.append(name[-1])
    return rest


def rename(visit: Visit, node: Node, scope: Scope) -> Tree | None:
    """ALTER .. RENAME; what gets a new name may be a function."""
    visit.made.append(node["newname"])
    return _BY_ROW["RenameStmt"](visit, node, scope)


def create_foreign_table(visit: Visit, node: Node, _: Scope) -> Tree | None:
    """CREATE FOREIGN TABLE holds a whole CREATE TABLE."""
    visit.note("create", nodes.relation(node["base"]["relation"]), Impact.ADMIN)
    return _without(node["base"], "relation")


def alter_table(visit: Visit, node: Node, scope: Scope) -> Tree | None:
    """ALTER TABLE; to drop a column is to drop something."""
    rest = _BY_ROW["AlterTableStmt"](visit, node, scope)
    name = nodes.relation(node["relation"])
    for item in node.get("cmds", []):
        command = item["AlterTableCmd"]
        if command.get("subtype") == "AT_DropColumn":
            visit.note("drop", f"{name}.{nodes.spelled([command['name']])}", Impact.SCHEMA)
        elif command.get("subtype") in _INHERITING:
            _inherit(visit, command["def"]["RangeVar"])
    return rest


def partition(visit: Visit, node: Node, _: Scope) -> Tree | None:
    """ATTACH and DETACH PARTITION change the partition too."""
    visit.note("alter", nodes.relation(node["name"]), Impact.SCHEMA)
    return _without(node, "name")


def call(visit: Visit, node: Node, _: Scope) -> Tree | None:
    """A procedure does what nobody here can see."""
    procedure = node["funccall"]
    visit.note("call", nodes.spelled(nodes.strings(procedure["funcname"])), Impact.UNKNOWN)
    return _without(procedure, "funcname")


def transaction(visit: Visit, node: Node, _: Scope) -> None:
    """Transactions; what is prepared for two phases outlives the session."""
    verb, impact = _TRANSACTIONS.get(node["kind"], ("unknown", Impact.UNKNOWN))
    visit.note(verb, nodes.spelled([node.get("savepoint_name") or node.get("gid") or ""]), impact)


def discard(visit: Visit, node: Node, _: Scope) -> None:
    """DISCARD; ALL brings the settings back as RESET ALL does."""
    what = node["target"].removeprefix("DISCARD_").lower()
    visit.note("discard", what, Impact.READ)
    if what == "all":
        visit.settings.append(("all", None))


def execute(visit: Visit, node: Node, scope: Scope) -> Tree | None:
    """EXECUTE does what the session prepared under that name, which only the session knows."""
    visit.names.append(node["name"])
    return _BY_ROW["ExecuteStmt"](visit, node, scope)


def lock(visit: Visit, node: Node, scope: Scope) -> Tree | None:
    """LOCK keeps others from writing, but for ACCESS SHARE, which is no more than reading takes: pg_dump does so."""
    if node.get("mode") != _ACCESS_SHARE:
        return _BY_ROW["LockStmt"](visit, node, scope)
    for item in node["relations"]:
        visit.note("lock", nodes.relation(item["RangeVar"]), Impact.READ)
    return None


def naming(field: str, kind: str) -> Action:
    """A statement that makes, uses or drops a name of the session."""
    act = statement(kind)

    def note(visit: Visit, node: Node, scope: Scope) -> Tree | None:
        if node.get(field) and visit.kind == kind:
            visit.names.append(node[field])
        return act(visit, node, scope)

    return note


def variable(visit: Visit, node: Node, _: Scope) -> None:
    """SET and RESET."""
    name = node.get("name", "").lower()
    match node["kind"]:
        case "VAR_SET_VALUE":
            assign(visit, name, _value(name, node["args"]))
        case "VAR_SET_DEFAULT":
            assign(visit, name, None)
        case "VAR_RESET":
            visit.call("reset", name, Impact.ADMIN if name in settings.PEOPLE else Impact.READ)
            visit.settings.append((name, None))
        case "VAR_RESET_ALL":
            visit.call("reset", "all", Impact.READ)
            visit.settings.append(("all", None))
        case "VAR_SET_MULTI":
            visit.call("set", name, Impact.READ)
        case _:
            visit.call("set", name, Impact.UNKNOWN)


def _value(name: str, arguments: list[Node]) -> str | None:
    """Write the values of a SET as the server would show them; None for an interval as time zone."""
    if name == "timezone" and "TypeCast" in arguments[0]:
        return None
    texts = [nodes.constant(argument) or "" for argument in arguments]
    return settings.written(texts) if name == "search_path" else ", ".join(texts)


SPECIAL: Final[Mapping[str, Action]] = {
    "SelectStmt": select,
    "InsertStmt": insert,
    "MergeStmt": merge,
    "CopyStmt": copy,
    "ExplainStmt": explain,
    "LockStmt": lock,
    "PrepareStmt": naming("name", "PrepareStmt"),
    "ExecuteStmt": execute,
    "DeallocateStmt": naming("name", "DeallocateStmt"),
    "DeclareCursorStmt": naming("portalname", "DeclareCursorStmt"),
    "FetchStmt": naming("portalname", "FetchStmt"),
    "ClosePortalStmt": naming("portalname", "ClosePortalStmt"),
    "TransactionStmt": transaction,
    "VariableSetStmt": variable,
    "DiscardStmt": discard,
    "CallStmt": call,
    "CreateStmt": create,
    "CreateFunctionStmt": create_function,
    "RenameStmt": rename,
    "CreateForeignTableStmt": create_foreign_table,
    "CreateTableAsStmt": create_as,
    "AlterTableStmt": alter_table,
}
