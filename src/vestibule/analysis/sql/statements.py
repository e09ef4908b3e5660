"""What each statement of the grammar does: the table that policy rests on.

1. A row says: verb, impact, and where the node names the objects. A statement that is not here is UNKNOWN.
2. What the objects' fields hold has been taken; the rest of the node is visited, so that relations read, functions
   called and statements inside are found wherever they stand.
3. DDL on something temporary is WRITE. DDL on what belongs to the whole server, to roles or to foreign data is ADMIN.
4. A row without a verb does nothing itself: what it does stands inside it, or is said in `special`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from vestibule.analysis.sql import nodes
from vestibule.analysis.sql.parser import Node
from vestibule.model.statement import Impact

#: Objects as (name, surely temporary).
Objects = list[tuple[str, bool]]

READ, WRITE, SCHEMA, ADMIN, UNKNOWN = Impact.READ, Impact.WRITE, Impact.SCHEMA, Impact.ADMIN, Impact.UNKNOWN

#: Kinds of object that DDL touches only with the impact ADMIN.
ADMINISTERED: Final = frozenset(
    f"OBJECT_{kind}"
    for kind in (
        "FDW",
        "FOREIGN_SERVER",
        "FOREIGN_TABLE",
        "PARAMETER_ACL",
        "ROLE",
        "SUBSCRIPTION",
        "TABLESPACE",
        "USER_MAPPING",
    )
)
#: Kinds of object that a session may have for itself.
PERSONAL: Final = frozenset(f"OBJECT_{kind}" for kind in ("TABLE", "VIEW", "SEQUENCE", "INDEX"))


@dataclass(frozen=True, slots=True)
class Row:
    """What a statement does to the objects that `objects` finds in the fields `taken`."""

    verb: str
    impact: Impact
    objects: Callable[[Node], Objects]
    taken: frozenset[str]
    #: A field without which the verb is the other one.
    unless: tuple[str, str] | None = None
    #: The field that says what kind of object it is.
    kind: str = ""
    #: Relations that change with the object: the verb is `alter`.
    on: str = ""

    def word(self, node: Node) -> str:
        """The verb for this node."""
        return self.verb if self.unless is None or node.get(self.unless[0]) else self.unless[1]

    def weight(self, node: Node, is_temporary: bool) -> Impact:
        """The impact on one object of this node."""
        kind = node.get(self.kind, "")
        if kind in ADMINISTERED:
            return ADMIN
        if is_temporary and self.impact is SCHEMA and (not kind or kind in PERSONAL):
            return WRITE
        return self.impact


def _row(verb: str, impact: Impact, objects: tuple[str, Callable[[Node], Objects]] | None = None, **more: str) -> Row:
    """Make a row; `unless` is written `field: verb`."""
    field, find = objects or ("", _nothing)
    unless = more.get("unless", "").split(": ")
    return Row(
        verb,
        impact,
        find,
        frozenset(part for part in (*field.split(), more.get("on", "")) if part),
        (unless[0], unless[1]) if len(unless) == 2 else None,
        more.get("kind", ""),
        more.get("on", ""),
    )


def _nothing(_: Node) -> Objects:
    return []


def one(field: str) -> tuple[str, Callable[[Node], Objects]]:
    """The relation in `field`, if it is there."""

    def find(node: Node) -> Objects:
        found = node.get(field)
        return [] if found is None else [(nodes.relation(found), nodes.is_temporary(found))]

    return field, find


def many(field: str, inside: str = "") -> tuple[str, Callable[[Node], Objects]]:
    """The relations of the list in `field`; `inside` is the wrapper that holds each."""

    def find(node: Node) -> Objects:
        found = (item[inside]["relation"] if inside else item["RangeVar"] for item in node.get(field, ()))
        return [(nodes.relation(item), nodes.is_temporary(item)) for item in found if "relname" in item]

    return field, find


def text(*fields: str) -> tuple[str, Callable[[Node], Objects]]:
    """The first of `fields` that holds a plain name."""

    def find(node: Node) -> Objects:
        return [(nodes.spelled([node[field]]), False) for field in fields if node.get(field)][:1]

    return " ".join(fields), find


def dotted(field: str) -> tuple[str, Callable[[Node], Objects]]:
    """The name in parts in `field`."""

    def find(node: Node) -> Objects:
        # No relation, so it serves the whole database even where the session's own schema holds it.
        return [(nodes.spelled(nodes.strings(node[field])), False)]

    return field, find


def several(field: str) -> tuple[str, Callable[[Node], Objects]]:
    """The objects of the list in `field`, whatever they are."""

    def find(node: Node) -> Objects:
        return [_object(item) for item in node.get(field, ())]

    return field, find


def either(relation: str, other: str, plain: str = "") -> tuple[str, Callable[[Node], Objects]]:
    """The relation in one field, else the object in another, else a plain name."""

    def find(node: Node) -> Objects:
        if relation in node:
            return one(relation)[1](node)
        if other in node:
            return [_object(node[other])]
        return [(node[plain], False)] if node.get(plain) else []

    return f"{relation} {other}", find


def role(field: str) -> tuple[str, Callable[[Node], Objects]]:
    """The role in `field`."""

    def find(node: Node) -> Objects:
        return [(nodes.role(node[field]), False)] if field in node else []

    return field, find


def argument(field: str) -> tuple[str, Callable[[Node], Objects]]:
    """The function, operator or type in `field` that is not wrapped."""

    def find(node: Node) -> Objects:
        found = node[field]
        return [(nodes.spelled(nodes.strings(found.get("objname") or found["names"])), False)]

    return field, find


def _object(node: Node) -> tuple[str, bool]:
    parts = nodes.named(node)
    if "RangeVar" in node:
        return parts[0], nodes.is_temporary(node["RangeVar"])
    return nodes.spelled(parts), len(parts) > 1 and parts[0] == "pg_temp"


TABLE: Final[Mapping[str, Row]] = {
    # --- data
    "SelectStmt": _row("", READ),
    "InsertStmt": _row("insert", WRITE, one("relation")),
    "UpdateStmt": _row("update", WRITE, one("relation")),
    "DeleteStmt": _row("delete", WRITE, one("relation")),
    "MergeStmt": _row("merge", WRITE, one("relation")),
    "TruncateStmt": _row("truncate", WRITE, many("relations")),
    "CopyStmt": _row("", READ),
    "LockStmt": _row("lock", WRITE, many("relations")),
    "RefreshMatViewStmt": _row("refresh", WRITE, one("relation")),
    # --- statements around statements
    "ExplainStmt": _row("", READ),
    "PrepareStmt": _row("", READ),
    "ExecuteStmt": _row("execute", READ, text("name")),
    "DeallocateStmt": _row("deallocate", READ, text("name")),
    "DeclareCursorStmt": _row("", READ),
    "FetchStmt": _row("move", READ, text("portalname"), unless="ismove: fetch"),
    "ClosePortalStmt": _row("close", READ, text("portalname")),
    # --- the session
    "TransactionStmt": _row("", READ),
    "VariableSetStmt": _row("", READ),
    "VariableShowStmt": _row("show", READ, text("name")),
    "ConstraintsSetStmt": _row("set", WRITE, many("constraints")),
    "DiscardStmt": _row("discard", READ),
    "ListenStmt": _row("listen", READ, text("conditionname")),
    "UnlistenStmt": _row("unlisten", READ, text("conditionname")),
    "NotifyStmt": _row("notify", WRITE, text("conditionname")),
    # --- upkeep
    "VacuumStmt": _row("vacuum", WRITE, many("rels", "VacuumRelation"), unless="is_vacuumcmd: analyze"),
    "ReindexStmt": _row("reindex", WRITE, either("relation", "object", "name")),
    "ClusterStmt": _row("cluster", WRITE, one("relation")),
    "CheckPointStmt": _row("checkpoint", WRITE),
    # --- code
    "DoStmt": _row("do", UNKNOWN),
    "CallStmt": _row("", UNKNOWN),
    "CreateFunctionStmt": _row("create", SCHEMA, dotted("funcname")),
    "AlterFunctionStmt": _row("alter", SCHEMA, argument("func")),
    "CreatePLangStmt": _row("create", SCHEMA, text("plname")),
    "CreateExtensionStmt": _row("create", SCHEMA, text("extname")),
    "AlterExtensionStmt": _row("alter", SCHEMA, text("extname")),
    "AlterExtensionContentsStmt": _row("alter", SCHEMA, text("extname"), kind="objtype"),
    "LoadStmt": _row("load", ADMIN),
    # --- relations
    "CreateStmt": _row("create", SCHEMA, one("relation")),
    "CreateTableAsStmt": _row("", SCHEMA),
    "AlterTableStmt": _row("alter", SCHEMA, one("relation"), kind="objtype"),
    "AlterTableMoveAllStmt": _row("alter", ADMIN, text("orig_tablespacename")),
    "ViewStmt": _row("create", SCHEMA, one("view")),
    "IndexStmt": _row("create", SCHEMA, text("idxname"), on="relation"),
    "CreateSeqStmt": _row("create", SCHEMA, one("sequence")),
    "AlterSeqStmt": _row("alter", SCHEMA, one("sequence")),
    "CreateStatsStmt": _row("create", SCHEMA, dotted("defnames")),
    "AlterStatsStmt": _row("alter", SCHEMA, dotted("defnames")),
    "CreateTrigStmt": _row("create", SCHEMA, text("trigname"), on="relation"),
    "RuleStmt": _row("create", SCHEMA, text("rulename"), on="relation"),
    "CreatePolicyStmt": _row("create", SCHEMA, text("policy_name"), on="table"),
    "AlterPolicyStmt": _row("alter", SCHEMA, text("policy_name"), on="table"),
    "CreatePublicationStmt": _row("create", SCHEMA, text("pubname")),
    "AlterPublicationStmt": _row("alter", SCHEMA, text("pubname")),
    # --- types, operators and the rest of a schema
    "CreateSchemaStmt": _row("create", SCHEMA, text("schemaname")),
    "DefineStmt": _row("create", SCHEMA, dotted("defnames")),
    "CompositeTypeStmt": _row("create", SCHEMA, one("typevar")),
    "CreateEnumStmt": _row("create", SCHEMA, dotted("typeName")),
    "AlterEnumStmt": _row("alter", SCHEMA, dotted("typeName")),
    "CreateRangeStmt": _row("create", SCHEMA, dotted("typeName")),
    "CreateDomainStmt": _row("create", SCHEMA, dotted("domainname")),
    "AlterDomainStmt": _row("alter", SCHEMA, dotted("typeName")),
    "AlterTypeStmt": _row("alter", SCHEMA, dotted("typeName")),
    "AlterCollationStmt": _row("alter", SCHEMA, dotted("collname")),
    "AlterOperatorStmt": _row("alter", SCHEMA, argument("opername")),
    "CreateOpClassStmt": _row("create", SCHEMA, dotted("opclassname")),
    "CreateOpFamilyStmt": _row("create", SCHEMA, dotted("opfamilyname")),
    "AlterOpFamilyStmt": _row("alter", SCHEMA, dotted("opfamilyname")),
    "CreateConversionStmt": _row("create", SCHEMA, dotted("conversion_name")),
    "CreateCastStmt": _row("create", SCHEMA, argument("targettype")),
    "CreateTransformStmt": _row("create", SCHEMA, argument("type_name")),
    "CreateAmStmt": _row("create", SCHEMA, text("amname")),
    "CreateEventTrigStmt": _row("create", SCHEMA, text("trigname")),
    "AlterEventTrigStmt": _row("alter", SCHEMA, text("trigname")),
    "AlterTSDictionaryStmt": _row("alter", SCHEMA, dotted("dictname")),
    "AlterTSConfigurationStmt": _row("alter", SCHEMA, dotted("cfgname")),
    # --- any kind of object
    "DropStmt": _row("drop", SCHEMA, several("objects"), kind="removeType"),
    "RenameStmt": _row("alter", SCHEMA, either("relation", "object", "subname"), kind="renameType"),
    "AlterOwnerStmt": _row("alter", SCHEMA, either("relation", "object"), kind="objectType"),
    "AlterObjectSchemaStmt": _row("alter", SCHEMA, either("relation", "object"), kind="objectType"),
    "AlterObjectDependsStmt": _row("alter", SCHEMA, either("relation", "object"), kind="objectType"),
    "CommentStmt": _row("comment", SCHEMA, either("", "object"), kind="objtype"),
    "SecLabelStmt": _row("label", ADMIN, either("", "object")),
    # --- databases
    "CreatedbStmt": _row("create", SCHEMA, text("dbname")),
    "AlterDatabaseStmt": _row("alter", SCHEMA, text("dbname")),
    "AlterDatabaseRefreshCollStmt": _row("alter", SCHEMA, text("dbname")),
    "AlterDatabaseSetStmt": _row("alter", ADMIN, text("dbname")),
    "DropdbStmt": _row("drop", SCHEMA, text("dbname")),
    # --- roles and rights
    "GrantStmt": _row("grant", ADMIN, several("objects"), unless="is_grant: revoke"),
    "GrantRoleStmt": _row("grant", ADMIN, several("granted_roles"), unless="is_grant: revoke"),
    "AlterDefaultPrivilegesStmt": _row("alter", ADMIN),
    "CreateRoleStmt": _row("create", ADMIN, text("role")),
    "AlterRoleStmt": _row("alter", ADMIN, role("role")),
    "AlterRoleSetStmt": _row("alter", ADMIN, role("role")),
    "DropRoleStmt": _row("drop", ADMIN, several("roles")),
    "DropOwnedStmt": _row("drop", ADMIN, several("roles")),
    "ReassignOwnedStmt": _row("alter", ADMIN, several("roles")),
    # --- the server and others
    "AlterSystemStmt": _row("alter", ADMIN),
    "CreateTableSpaceStmt": _row("create", ADMIN, text("tablespacename")),
    "AlterTableSpaceOptionsStmt": _row("alter", ADMIN, text("tablespacename")),
    "DropTableSpaceStmt": _row("drop", ADMIN, text("tablespacename")),
    "CreateFdwStmt": _row("create", ADMIN, text("fdwname")),
    "AlterFdwStmt": _row("alter", ADMIN, text("fdwname")),
    "CreateForeignServerStmt": _row("create", ADMIN, text("servername")),
    "AlterForeignServerStmt": _row("alter", ADMIN, text("servername")),
    "CreateForeignTableStmt": _row("", ADMIN),
    "CreateUserMappingStmt": _row("create", ADMIN, text("servername")),
    "AlterUserMappingStmt": _row("alter", ADMIN, text("servername")),
    "DropUserMappingStmt": _row("drop", ADMIN, text("servername")),
    "ImportForeignSchemaStmt": _row("create", ADMIN, text("local_schema")),
    "CreateSubscriptionStmt": _row("create", ADMIN, text("subname")),
    "AlterSubscriptionStmt": _row("alter", ADMIN, text("subname")),
    "DropSubscriptionStmt": _row("drop", ADMIN, text("subname")),
}
