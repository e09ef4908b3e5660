"""Statements that write: nothing that decides what is written, or where, may be a sensitive column.

1. The target may be sensitive; so may other relations, as long as none of their sensitive columns is read.
2. RETURNING gives columns like a query; in WITH it gives none that is sensitive.
3. ON CONFLICT over a sensitive relation names the columns it is about, none of them sensitive: which rows are in
   conflict tells what is there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from vestibule.masking.query import NONE, Queries, Reader
from vestibule.masking.refusal import RefusedError
from vestibule.masking.scope import Scope, Source

Node = dict[str, Any]

_WRITTEN: Final = "Write constants or parameters; values of masked columns cannot be copied."


class Writer(Reader):
    """Reads whole statements: queries, and those that write."""

    def writing(self, kind: str, node: Node, outer: Scope | None, queries: Queries) -> Source:
        """Read a statement of WITH that writes."""
        answer = self.write(kind, node, outer, queries)
        self._unused(answer, "RETURNING in WITH")
        return answer

    def write(self, kind: str, node: Node, outer: Scope | None = None, queries: Queries = NONE) -> Source:
        """Read a statement that writes, and give the columns that it returns."""
        action = _ACTIONS.get(kind)
        if action is None:
            raise RefusedError(f"{kind} is not understood")
        read, fields = action
        if not fields.issuperset(node):
            raise RefusedError(f"{kind} with {min(node.keys() - fields)} is not understood")
        if "withClause" in node:
            queries = self.with_queries(node["withClause"], outer, queries)
        return read(self, node, outer, queries)

    def _unused(self, answer: Source, place: str) -> None:
        shade = answer.first()
        if shade is not None:
            self.touch(shade, place)

    def _insert(self, node: Node, outer: Scope | None, queries: Queries) -> Source:
        target = self.relation(node["relation"], NONE)
        alone = Scope([target], outer, queries)
        if "selectStmt" in node:
            self._unused(self.query(node["selectStmt"]["SelectStmt"], outer, queries), "INSERT ... SELECT")
        for column in node.get("cols", []):
            self.expression(column["ResTarget"].get("indirection", []), alone, "INSERT")
        if "onConflictClause" in node:
            self._conflict(node["onConflictClause"], target, alone)
        return self._returned(node, [target], outer, queries)

    def _conflict(self, node: Node, target: Source, alone: Scope) -> None:
        infer = node.get("infer")
        if target.row() is not None and (infer is None or "conname" in infer):
            raise RefusedError(
                "ON CONFLICT over a relation with masked columns must name the columns it is about",
                "Write ON CONFLICT (column), with columns that are not masked.",
            )
        if infer is not None:
            self._infer(infer, alone)
        excluded = target.renamed("excluded", ())
        excluded.shows_columns = False
        scope = Scope([*alone.sources, excluded], alone.outer, alone.queries)
        self._assign(node.get("targetList", []), scope)
        if "whereClause" in node:
            self.expression(node["whereClause"], scope, "ON CONFLICT ... WHERE")

    def _infer(self, node: Node, alone: Scope) -> None:
        for item in node.get("indexElems", []):
            element = item["IndexElem"]
            if "name" in element:
                field = {"ColumnRef": {"fields": [{"String": {"sval": element["name"]}}]}}
                self.expression(field, alone, "ON CONFLICT")
            if "expr" in element:
                self.expression(element["expr"], alone, "ON CONFLICT")
        if "whereClause" in node:
            self.expression(node["whereClause"], alone, "ON CONFLICT")

    def _assign(self, targets: Sequence[Node], scope: Scope) -> None:
        for item in targets:
            target = item["ResTarget"]
            self.expression([target.get("val", {}), target.get("indirection", [])], scope, "SET")

    def _update(self, node: Node, outer: Scope | None, queries: Queries) -> Source:
        target = self.relation(node["relation"], NONE)
        sources = [target, *self._beside(node.get("fromClause", []), target, outer, queries)]
        scope = Scope(sources, outer, queries)
        self._assign(node["targetList"], scope)
        if "whereClause" in node:
            self.expression(node["whereClause"], scope, "WHERE")
        return self._returned(node, sources, outer, queries)

    def _delete(self, node: Node, outer: Scope | None, queries: Queries) -> Source:
        target = self.relation(node["relation"], NONE)
        sources = [target, *self._beside(node.get("usingClause", []), target, outer, queries)]
        if "whereClause" in node:
            self.expression(node["whereClause"], Scope(sources, outer, queries), "WHERE")
        return self._returned(node, sources, outer, queries)

    def _beside(self, items: Sequence[Node], target: Source, outer: Scope | None, queries: Queries) -> list[Source]:
        """Read what stands beside the target; parts of it with LATERAL see the target."""
        found: list[Source] = []
        for item in items:
            found += self._item(item, [target, *found], outer, queries)
        return found

    def _merge(self, node: Node, outer: Scope | None, queries: Queries) -> Source:
        target = self.relation(node["relation"], NONE)
        sources = [target, *self.sources([node["sourceRelation"]], outer, queries)]
        scope = Scope(sources, outer, queries)
        self.expression(node["joinCondition"], scope, "MERGE ... ON")
        for item in node["mergeWhenClauses"]:
            clause = item["MergeWhenClause"]
            self._assign(clause.get("targetList", []), scope)
            self.expression([clause.get("condition", {}), clause.get("values", [])], scope, "WHEN")
        answer = self._returned(node, [*sources[1:], target], outer, queries)
        self._unused(answer, "RETURNING of MERGE")
        return answer

    def _returned(self, node: Node, sources: Sequence[Source], outer: Scope | None, queries: Queries) -> Source:
        """Read RETURNING, which may also name the row as it was and as it is."""
        clause = node.get("returningClause")
        if clause is None:
            return Source(())
        rows = [sources[0] if "sourceRelation" not in node else sources[-1]] * 2
        names = {"RETURNING_OPTION_OLD": "old", "RETURNING_OPTION_NEW": "new"}
        for item in clause.get("options", []):
            names[item["ReturningOption"]["option"]] = item["ReturningOption"]["value"]
        given = [row.renamed(name, ()) for row, name in zip(rows, names.values(), strict=True)]
        for source in given:
            source.shows_columns = False
        return self.outputs(clause["exprs"], Scope([*sources, *given], outer, queries))


_BOTH: Final = frozenset({"relation", "returningClause", "withClause"})
_Read = Callable[[Writer, Node, Scope | None, Queries], Source]
_ACTIONS: Final[Mapping[str, tuple[_Read, frozenset[str]]]] = {
    "InsertStmt": (Writer._insert, _BOTH | {"cols", "selectStmt", "onConflictClause", "override"}),
    "UpdateStmt": (Writer._update, _BOTH | {"targetList", "whereClause", "fromClause"}),
    "DeleteStmt": (Writer._delete, _BOTH | {"usingClause", "whereClause"}),
    "MergeStmt": (Writer._merge, _BOTH | {"sourceRelation", "joinCondition", "mergeWhenClauses"}),
}
