"""What one statement may show of sensitive columns: the form of its answer, or why it is not forwarded.

1. A statement that refers to no sensitive column is CLEAN. One that only carries them on to its own output columns, or
   counts them, or asks whether they are NULL, is PLAIN: the plan says which output columns are masked. Everything
   else is refused with the column, the construct, and what is allowed.
2. Statements are an allow-list: what `STATEMENTS` does not name is refused, and so is a node that is not known.
3. What is kept for later (cursors, prepared statements, temporary tables, COPY data) carries no sensitive column.
4. A name that the catalog does not have is `Unknown` once. After that, if nothing has that name, the server may say
   so, and only of a query: such a plan has `columns=()`, as any row would be a surprise.
5. Whatever cannot be understood is refused; nothing is raised.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

from vestibule.masking import scene as scenes
from vestibule.masking.refusal import RefusedError, UnknownError
from vestibule.masking.scene import Scene
from vestibule.masking.scope import Source
from vestibule.masking.shades import Shade
from vestibule.masking.survey import WRITES, Survey, nowhere
from vestibule.masking.writes import Writer
from vestibule.model.names import Digest
from vestibule.model.plan import Column, Form, Plan
from vestibule.model.statement import Unknown, Unsupported

__all__ = ["STATEMENTS", "decide"]

Node = dict[str, Any]

_UNEXPECTED: Final = (AttributeError, IndexError, KeyError, StopIteration, TypeError, ValueError)
_TOO_DEEP: Final = Unsupported(
    "54001",
    "vestibule: the statement is nested too deeply to be understood",
    "Write it with fewer subqueries inside each other.",
)
_LATER: Final = "Select the masked columns directly; what is kept for later can hold only columns that are not masked."


def decide(tree: Node, text: bytes, scene: Scene) -> Plan | Unsupported | Unknown:
    """Decide one statement: `tree` is its entry in the parser's list, `text` the whole text it stands in."""
    try:
        kind, node = next(iter(tree["stmt"].items()))
        return _sealed(_statement(kind, node, scene), scene)
    except RefusedError as refused:
        return refused.said(text)
    except UnknownError as unknown:
        return Unknown((unknown.name,))
    except RecursionError:
        return _TOO_DEEP
    except _UNEXPECTED:
        return RefusedError("the statement has a form that is not understood").said(text)


def _sealed(plan: Plan, scene: Scene) -> Plan:
    """Give the plan its digest: of all that was decided, and what it rests on."""
    columns = None if plan.columns is None else [_written(column) for column in plan.columns]
    whole = [plan.form, columns, plan.is_reduced, scene.sensitive.version]
    digest = hashlib.sha256(json.dumps(whole, separators=(",", ":")).encode()).hexdigest()
    return replace(plan, digest=Digest(digest))


def _written(column: Column) -> list[object]:
    mask = column.mask
    shown = None if mask is None else [mask.rule, mask.transform.kind, mask.transform.first, mask.transform.last]
    return [column.name, column.origin, shown]


def _statement(kind: str, node: Node, scene: Scene) -> Plan:
    action = STATEMENTS.get(kind)
    if action is None:
        raise RefusedError(f"{_spoken(kind)} is refused where columns are masked for you")
    return action(kind, node, scene)


def _spoken(kind: str) -> str:
    return kind if kind.isidentifier() else "this statement"


def _plan(*, is_reduced: bool = False) -> Plan:
    return Plan(Form.CLEAN, Digest(""), None, is_reduced)


# --- queries and statements that write


class _Statement(Writer):
    """Reads a statement in its scene."""

    def __init__(self, scene: Scene) -> None:
        super().__init__(self._relation_of, is_strict=True)
        self._scene = scene

    def _relation_of(self, node: Node) -> Source:
        meant = scenes.relation(self._scene, node)
        if meant is None:
            raise nowhere(node)
        if isinstance(meant, int):
            return self._scene.sensitive.source(meant)
        columns = [Shade(name) for name in meant.columns or ()]
        source = Source(columns, node["relname"], is_open=meant.columns is None)
        source.is_table = True
        return source

    def called(self, shade: Shade) -> str:
        if shade.origin is None:
            return super().called(shade)
        return self._scene.sensitive.spelled(shade.origin)

    def doubt(self, name: str) -> None:
        if not self._scene.is_fresh:
            raise UnknownError(name)


def _query(kind: str, node: Node, scene: Scene) -> Plan:
    """A query or a statement that writes."""
    node, into = _split(node)
    if into is not None:
        _made(into["rel"], scene)
    survey = Survey(scene)
    survey.walk({kind: node})
    sensitive = scene.sensitive
    is_reduced = not (sensitive.exposed.isdisjoint(survey.written) and sensitive.touching.isdisjoint(survey.read))
    for oid in survey.written:
        if "r" in sensitive.snapshot.relations[oid].flags:
            raise RefusedError("a relation with rules cannot be written where columns are masked for you")
    if survey.hopeless is not None:
        _give_up(kind, survey.hopeless, survey)
        if into is not None:
            raise nowhere(survey.hopeless)
        return Plan(Form.CLEAN, Digest(""), (), is_reduced)
    if not survey.is_sensitive:
        return _plan(is_reduced=is_reduced)
    reader = _Statement(scene)
    answer = reader.write(kind, node) if kind in WRITES else reader.query(node)
    if not reader.is_touched:
        return _plan(is_reduced=is_reduced)
    plan = Plan(Form.PLAIN, Digest(""), _columns(answer), is_reduced=True)
    return plan if into is None else _kept(plan)


def _give_up(kind: str, node: Node, survey: Survey) -> None:
    """Let the server say that a relation is not there only if rows are all that could come of a mistake.

    Where the server's encoding is another one, it cuts long names elsewhere than the parser does here.
    """
    if kind != "SelectStmt" or survey.written or survey.is_sensitive or not node["relname"].isascii():
        raise nowhere(node)


def _split(node: Node) -> tuple[Node, Node | None]:
    """Take INTO out of a query: the server takes it from the first query of a set operation."""
    if node.get("op", "SETOP_NONE") != "SETOP_NONE" and "larg" in node:
        first, into = _split(node["larg"])
        return {**node, "larg": first} if into is not None else node, into
    if "intoClause" not in node:
        return node, None
    return {key: value for key, value in node.items() if key != "intoClause"}, node["intoClause"]


def _columns(answer: Source) -> tuple[Column, ...] | None:
    """Give the output columns if any of them is masked."""
    if answer.row() is None:
        return None
    if answer.is_open:
        raise RefusedError("the columns of the answer are not known beforehand", "Name the columns one by one.")
    return tuple(Column(shade.name or "", shade.origin, shade.mask) for shade in answer.columns)


def _kept(plan: Plan) -> Plan:
    """Refuse what would keep masked columns for later, or rows that nobody expects."""
    if plan.columns == ():
        raise RefusedError("a relation of the query does not exist", code="42P01")
    if plan.columns is not None and plan.form is Form.PLAIN:
        column = next(column for column in plan.columns if column.mask is not None)
        raise RefusedError(f"{column.name} is masked for you and cannot be kept", _LATER)
    return plan


def _inside(node: Node, scene: Scene) -> Plan:
    """Decide the statement inside another."""
    kind, inner = next(iter(node.items()))
    return _statement(kind, inner, scene)


# --- statements around statements


def _prepare(_: str, node: Node, scene: Scene) -> Plan:
    return _kept(_inside(node["query"], scene))


def _declare(_: str, node: Node, scene: Scene) -> Plan:
    return _kept(_inside(node["query"], scene))


def _execute(_: str, node: Node, scene: Scene) -> Plan:
    """EXECUTE is decided as what was prepared, in the scene of now: the server reads its names again too."""
    prepared = scene.prepared.get(node["name"])
    if prepared is None:
        raise RefusedError("only what this session has prepared with PREPARE can be executed", code="26000")
    Survey(scene).walk(node.get("params", []))
    try:
        return _prepare("PrepareStmt", prepared["PrepareStmt"], scene)
    except RefusedError as refused:
        # Its place is in another text.
        refused.offset = -1
        raise


def _fetch(_: str, node: Node, scene: Scene) -> Plan:
    plan = scene.cursors.get(node["portalname"])
    if plan is None:
        raise RefusedError("only cursors that this session has declared can be used", code="34000")
    return _kept(plan)


def _explain(_: str, node: Node, scene: Scene) -> Plan:
    """EXPLAIN shows the text's own constants, names and estimates; with ANALYZE it also carries out."""
    inner = _inside(node["query"], scene)
    if any(option["DefElem"]["defname"] == "analyze" for option in node.get("options", [])):
        inner = _kept(inner)
    if inner.columns == ():
        return inner
    return _plan(is_reduced=inner.is_reduced)


def _create_as(_: str, node: Node, scene: Scene) -> Plan:
    if node.get("objtype") != "OBJECT_TABLE":
        raise RefusedError("a materialized view is refused where columns are masked for you")
    _made(node["into"]["rel"], scene)
    return _kept(_inside(node["query"], scene))


def _create(_: str, node: Node, scene: Scene) -> Plan:
    """CREATE TEMP TABLE with a list of columns."""
    if not _CREATED.issuperset(node):
        raise RefusedError("only a plain temporary table can be created where columns are masked for you")
    _made(node["relation"], scene)
    survey = Survey(scene)
    survey.walk(node.get("tableElts", []), _ELEMENTS)
    survey.walk(node.get("constraints", []), _ELEMENTS)
    if survey.is_sensitive or survey.hopeless is not None:
        raise RefusedError("a temporary table cannot refer to a relation with columns that are masked for you")
    return _plan()


_CREATED: Final = frozenset({"relation", "tableElts", "constraints", "oncommit", "if_not_exists", "options"})
_ELEMENTS: Final = frozenset({"Constraint", "TableLikeClause", "DefElem"})


def _made(node: Node, scene: Scene) -> None:
    """Refuse what is not temporary, and names that something else has or could be taken for."""
    if node.get("relpersistence") != "t" and node.get("schemaname") != "pg_temp":
        raise RefusedError(
            "only temporary tables can be created where columns are masked for you", "Write CREATE TEMP TABLE."
        )
    if node["relname"] in scene.sensitive.snapshot.known:
        raise RefusedError(f"a relation {node['relname']} exists already", "Choose another name.", code="42P07")


def _drop(_: str, node: Node, scene: Scene) -> Plan:
    """DROP TABLE of the session's own temporary tables."""
    if node["removeType"] == "OBJECT_TABLE":
        names = [[part["String"]["sval"] for part in item["List"]["items"]] for item in node["objects"]]
        if all(name[-1] in scene.temporaries and name[:-1] in ([], ["pg_temp"]) for name in names):
            return _plan()
    raise RefusedError("only temporary tables of this session can be dropped where columns are masked for you")


def _copy(_: str, node: Node, scene: Scene) -> Plan:
    if "filename" in node or node.get("is_program"):
        raise RefusedError("COPY with a file or a program is refused where columns are masked for you")
    if "query" in node:
        return _kept(_inside(node["query"], scene))
    survey = Survey(scene)
    if node.get("is_from"):
        survey.write(node["relation"])
        if survey.is_sensitive and "whereClause" in node:
            raise RefusedError("COPY ... WHERE into a relation with masked columns is refused")
        survey.walk(node.get("whereClause", []))
        if survey.hopeless is not None:
            raise nowhere(survey.hopeless)
        return _plan(is_reduced=not scene.sensitive.exposed.isdisjoint(survey.written))
    survey.relation(node["relation"])
    if survey.is_sensitive:
        raise RefusedError(
            f"{scenes.spelled(node['relation'])} has columns that are masked for you and cannot be copied",
            "Write COPY (SELECT column, ...) TO STDOUT, with columns that are not masked.",
            offset=node["relation"].get("location", -1),
        )
    if survey.hopeless is not None:
        raise nowhere(survey.hopeless)
    return _plan()


# --- the rest


def _passes(*, is_reduced: bool = False) -> Callable[[str, Node, Scene], Plan]:
    """A statement that gives no values, and has no other inside."""

    def act(_: str, __: Node, ___: Scene) -> Plan:
        return _plan(is_reduced=is_reduced)

    return act


def _set(_: str, node: Node, __: Scene) -> Plan:
    name = node.get("name", "").lower()
    if name in ("role", "session_authorization") and node["kind"] in ("VAR_SET_VALUE", "VAR_SET_CURRENT"):
        raise RefusedError("you may not become somebody else where columns are masked for you")
    return _plan()


def _transaction(_: str, node: Node, __: Scene) -> Plan:
    """Deferred constraints speak at the end."""
    return _plan(is_reduced=node["kind"] in _SPEAKING)


_SPEAKING: Final = frozenset({"TRANS_STMT_COMMIT", "TRANS_STMT_PREPARE", "TRANS_STMT_COMMIT_PREPARED"})


_Decide = Callable[[str, Node, Scene], Plan]
#: Every statement that may pass, and how it is decided.
STATEMENTS: Final[Mapping[str, _Decide]] = {
    "SelectStmt": _query,
    **dict.fromkeys(WRITES, _query),
    "PrepareStmt": _prepare,
    "ExecuteStmt": _execute,
    "DeallocateStmt": _passes(),
    "DeclareCursorStmt": _declare,
    "FetchStmt": _fetch,
    "ClosePortalStmt": _passes(),
    "ExplainStmt": _explain,
    "CopyStmt": _copy,
    "CreateTableAsStmt": _create_as,
    "CreateStmt": _create,
    "DropStmt": _drop,
    "TransactionStmt": _transaction,
    "VariableSetStmt": _set,
    "VariableShowStmt": _passes(),
    "ConstraintsSetStmt": _passes(is_reduced=True),
    "DiscardStmt": _passes(),
    "ListenStmt": _passes(),
    "UnlistenStmt": _passes(),
    "NotifyStmt": _passes(),
    "LockStmt": _passes(),
    "TruncateStmt": _passes(is_reduced=True),
    "VacuumStmt": _passes(is_reduced=True),
    "ReindexStmt": _passes(is_reduced=True),
    "ClusterStmt": _passes(is_reduced=True),
    "RefreshMatViewStmt": _passes(is_reduced=True),
    "CheckPointStmt": _passes(),
}
