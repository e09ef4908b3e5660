"""The one way through a query: which columns each part of it refers to, and what its own columns are made of.

1. A reader of statements (`is_strict`) refuses at the first place where a sensitive column is more than carried on;
   so whatever a query gives is either a sensitive column as it is, or clean.
2. A reader of definitions refuses nothing: what is made of a sensitive column is sensitive.
3. `count(c)`, `count(DISTINCT c)` and `c IS NULL` are clean, with `c` a column by itself and nothing beside.
4. Names of WITH queries are lexical. What a part may see of its neighbours follows LATERAL, as on the server.
5. A form that is not known is not understood, whatever is in it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from vestibule.masking import scope as scopes
from vestibule.masking.expressions import Expressions
from vestibule.masking.refusal import RefusedError
from vestibule.masking.scope import Scope, Source
from vestibule.masking.shades import Shade, made_of, stricter
from vestibule.masking.titles import title
from vestibule.model.plan import Mask

Node = dict[str, Any]

FIELDS: Final = frozenset(
    {
        *("distinctClause", "intoClause", "targetList", "fromClause", "whereClause", "groupClause", "groupDistinct"),
        *("havingClause", "windowClause", "valuesLists", "sortClause", "limitOffset", "limitCount", "limitOption"),
        *("lockingClause", "withClause", "op", "all", "larg", "rarg"),
    }
)
_SETS: Final[Mapping[str, str]] = {
    "SETOP_UNION": "UNION",
    "SETOP_INTERSECT": "INTERSECT",
    "SETOP_EXCEPT": "EXCEPT",
}
#: Functions in FROM that give one column, named like the source.
_SCALAR: Final = frozenset({"generate_series", "generate_subscripts"})
_ROUNDS: Final = 8
#: The server's own limit.
_COLUMNS: Final = 1_664
#: Each level of recursion reads a part again, so that a short text could keep us busy.
_QUERIES: Final = 2_048
_WEIGHT: Final = 1 << 17


class Cte:
    """A query of a WITH clause, read when it is first named."""

    __slots__ = ("is_in_progress", "is_more", "name", "names", "outer", "queries", "query", "source")

    def __init__(self, node: Node, outer: Scope | None) -> None:
        """Wait to be read."""
        self.query: Node = node["ctequery"]
        self.name: str = node["ctename"]
        self.names = strings(node.get("aliascolnames", []))
        self.outer = outer
        self.queries: Mapping[str, Cte] = {}
        #: What it gives; while it is being read, what is known so far.
        self.source: Source | None = None
        self.is_in_progress = False
        #: SEARCH and CYCLE add columns.
        self.is_more = "search_clause" in node or "cycle_clause" in node


#: The WITH queries that can be named at one place.
Queries = Mapping[str, Cte]
NONE: Final[Queries] = {}


def strings(nodes: Sequence[Node]) -> tuple[str, ...]:
    """Take the values of a list of String nodes."""
    return tuple(node["String"].get("sval", "") for node in nodes)


class Reader(Expressions):
    """Reads queries; `find` gives the source that a RangeVar which is no WITH query means."""

    def __init__(self, find: Callable[[Node], Source], *, is_strict: bool) -> None:
        """Begin with nothing read."""
        super().__init__(is_strict=is_strict)
        self._find = find
        self._count = 0
        self._weight = 0

    def query(self, node: Node, outer: Scope | None = None, queries: Queries = NONE) -> Source:
        """Read a SELECT or VALUES, and give its columns."""
        self._count += 1
        if self._count > _QUERIES:
            raise RefusedError("the statement has too many subqueries", code="54001")
        if not FIELDS.issuperset(node):
            raise RefusedError(f"a query with {min(node.keys() - FIELDS)} is not understood")
        clause = node.get("withClause")
        if clause is not None:
            queries = self.with_queries(clause, outer, queries)
        if node.get("op", "SETOP_NONE") != "SETOP_NONE":
            return self._combined(node, outer, queries)
        if "valuesLists" in node:
            return self._values(node, outer, queries)
        return self._select(node, outer, queries)

    def subquery(self, node: Node, scope: Scope) -> Source:
        """Read a query below an expression."""
        return self.query(node, scope, scope.queries)

    # --- WITH

    def with_queries(self, clause: Node, outer: Scope | None, queries: Queries) -> Queries:
        """Read the queries of a WITH clause, and give all that can be named behind it."""
        is_recursive = bool(clause.get("recursive"))
        seen: dict[str, Cte] = dict(queries)
        own = [Cte(item["CommonTableExpr"], outer) for item in clause["ctes"]]
        for cte in own:
            cte.queries = seen if is_recursive else dict(seen)
            seen[cte.name] = cte
        for cte in own:
            self._cte(cte)
        return seen

    def _cte(self, cte: Cte) -> Source:
        if cte.source is not None:
            return cte.source
        if cte.is_in_progress:
            raise RefusedError(f"the recursion of {cte.name} is not understood")
        cte.is_in_progress = True
        kind, node = next(iter(cte.query.items()))
        if kind != "SelectStmt":
            cte.source = self._settled(cte, self.writing(kind, node, cte.outer, cte.queries))
        elif node.get("op", "SETOP_NONE") != "SETOP_NONE" and cte.queries.get(cte.name) is cte:
            cte.source = self._recursive(cte, node)
        else:
            cte.source = self._settled(cte, self.query(node, cte.outer, cte.queries))
        cte.is_in_progress = False
        return cte.source

    def _recursive(self, cte: Cte, node: Node) -> Source:
        """Read a query that may name itself: what it gives is known when it grows no more."""
        queries = cte.queries
        if "withClause" in node:
            queries = self.with_queries(node["withClause"], cte.outer, queries)
            node = {key: value for key, value in node.items() if key != "withClause"}
        start = self.query(node["larg"], cte.outer, queries)
        for _ in range(_ROUNDS):
            cte.source = self._settled(cte, start)
            whole = self.query(node, cte.outer, queries)
            if [shade.mask for shade in whole.columns] == [shade.mask for shade in start.columns]:
                return self._settled(cte, whole)
            start = whole
        raise RefusedError(f"the recursion of {cte.name} is not understood")

    def _settled(self, cte: Cte, source: Source) -> Source:
        settled = source.renamed(cte.name, cte.names)
        settled.is_table = False
        if cte.is_more:
            settled.is_open = True
            settled.mask = settled.row()
        return settled

    def writing(self, kind: str, node: Node, outer: Scope | None, queries: Queries) -> Source:
        """Read a statement in WITH that writes; only statements have such."""
        raise RefusedError(f"{kind} in WITH is not understood")

    # --- set operations and VALUES

    def _combined(self, node: Node, outer: Scope | None, queries: Queries) -> Source:
        left = self.query(node["larg"], outer, queries)
        right = self.query(node["rarg"], outer, queries)
        columns = [
            Shade(one.name, one.mask if one.mask == other.mask else made_of(stricter(one.mask, other.mask)))
            for one, other in zip(left.columns, right.columns, strict=False)
        ]
        is_open = left.is_open or right.is_open
        if len(left.columns) != len(right.columns) and not is_open:
            raise RefusedError("each query of a set operation must have the same number of columns", code="42601")
        mask = stricter(left.mask, right.mask)
        if is_open:
            mask = stricter(mask, stricter(left.row(), right.row()))
        source = Source(columns, is_open=is_open, mask=made_of(mask))
        for shade in (left.first(), right.first()):
            if shade is not None:
                self.touch(shade, _SETS.get(node["op"], "a set operation"))
        self._sorted(node, source, Scope((), outer, queries))
        return source

    def _values(self, node: Node, outer: Scope | None, queries: Queries) -> Source:
        scope = Scope((), outer, queries)
        masks: list[Mask | None] = []
        for row in node["valuesLists"]:
            for number, value in enumerate(row["List"].get("items", [])):
                mask = made_of(self.expression(value, scope, "VALUES"))
                if number == len(masks):
                    masks.append(None)
                masks[number] = stricter(masks[number], mask)
        source = Source([Shade(f"column{number}", mask) for number, mask in enumerate(masks, 1)])
        self._sorted(node, source, scope)
        return source

    # --- SELECT

    def _select(self, node: Node, outer: Scope | None, queries: Queries) -> Source:
        scope = Scope(self.sources(node.get("fromClause", []), outer, queries), outer, queries)
        answer = self.outputs(node.get("targetList", []), scope)
        for field, place in (("whereClause", "WHERE"), ("havingClause", "HAVING"), ("windowClause", "WINDOW")):
            if field in node:
                self.expression(node[field], scope, place)
        if "groupClause" in node:
            self._by(node["groupClause"], answer, scope, "GROUP BY")
        distinct = node.get("distinctClause")
        if distinct is not None:
            shade = answer.first()
            if shade is not None:
                self.touch(shade, "DISTINCT")
            self._by([item for item in distinct if item], answer, scope, "DISTINCT ON")
        self._sorted(node, answer, scope)
        return answer

    def _sorted(self, node: Node, answer: Source, scope: Scope) -> None:
        """Read what stands behind a query: in which order and how many."""
        if "sortClause" in node:
            self._by([item["SortBy"]["node"] for item in node["sortClause"]], answer, scope, "ORDER BY")
        for field in ("limitCount", "limitOffset"):
            if field in node:
                self.expression(node[field], scope, "LIMIT")

    def _by(self, items: Sequence[Node], answer: Source, scope: Scope, place: str) -> None:
        """Read items of GROUP BY, ORDER BY or DISTINCT ON, which may be numbers and names of output columns."""
        for item in items:
            kind, node = next(iter(item.items()))
            if kind == "GroupingSet":
                self._by(node.get("content", []), answer, scope, place)
            elif kind in ("List", "RowExpr"):
                self._by(node.get("items") or node.get("args") or [], answer, scope, place)
            elif kind == "A_Const" and "ival" in node:
                self._by_number(node["ival"].get("ival", 0), answer, place)
            else:
                self._by_name(item, answer, scope, place)

    def _by_number(self, number: int, answer: Source, place: str) -> None:
        if answer.is_open:
            shade = answer.first()
        else:
            shade = answer.columns[number - 1] if 0 < number <= len(answer.columns) else None
        if shade is not None and shade.mask is not None:
            self.touch(shade, place)

    def _by_name(self, item: Node, answer: Source, scope: Scope, place: str) -> None:
        fields: Sequence[Node] = item["ColumnRef"]["fields"] if "ColumnRef" in item else ()
        if len(fields) == 1 and "String" in fields[0]:
            name = fields[0]["String"].get("sval", "")
            shade = answer.index.get(name)
            if shade is not None:
                if shade.mask is not None:
                    self.touch(shade, place, item["ColumnRef"].get("location", -1))
                if scopes.unqualified(scope, name) is None:
                    return
        self.expression(item, scope, place)

    def outputs(self, targets: Sequence[Node], scope: Scope) -> Source:
        """Read a list of output columns."""
        columns: list[Shade] = []
        is_open = False
        mask: Mask | None = None
        for target in targets:
            node = target["ResTarget"]
            value = node["val"]
            if "ColumnRef" in value and "A_Star" in value["ColumnRef"]["fields"][-1]:
                source = self.star(value["ColumnRef"], scope)
                columns += source.columns
                is_open = is_open or source.is_open
                mask = stricter(mask, source.mask)
            elif "A_Indirection" in value and "A_Star" in value["A_Indirection"]["indirection"][-1]:
                is_open = True
                mask = stricter(mask, made_of(self.expression(value, scope, "an expression")))
            else:
                columns.append(self.output(node.get("name"), value, scope))
            if len(columns) > _COLUMNS:
                raise RefusedError(f"a query can have at most {_COLUMNS} columns", code="54011")
        return Source(columns, is_open=is_open, mask=mask)

    def output(self, name: str | None, value: Node, scope: Scope) -> Shade:
        """Read one output column."""
        if name is None:
            name = title(value)
        if "ColumnRef" not in value:
            return Shade(name, made_of(self.expression(value, scope, "an expression")))
        found = self.column(value["ColumnRef"], scope)
        if found.is_bare:
            self.note(found.shade)
            return found.shade._replace(name=name)
        if found.shade.mask is not None:
            self.touch(found.shade, "a whole row", value["ColumnRef"].get("location", -1))
        return Shade(name, made_of(found.shade.mask))

    # --- FROM

    def sources(self, items: Sequence[Node], outer: Scope | None, queries: Queries) -> list[Source]:
        """Read a FROM clause."""
        found: list[Source] = []
        for item in items:
            found += self._item(item, found, outer, queries)
        return found

    def _item(self, item: Node, left: Sequence[Source], outer: Scope | None, queries: Queries) -> list[Source]:
        kind, node = next(iter(item.items()))
        match kind:
            case "RangeVar":
                return [self.relation(node, queries)]
            case "JoinExpr":
                return self._join(node, left, outer, queries)
            case "RangeSubselect":
                around = Scope(left, outer, queries) if node.get("lateral") else outer
                return [self._aliased(self.query(node["subquery"]["SelectStmt"], around, queries), node)]
            case "RangeFunction":
                return [self._function(node, Scope(left, outer, queries))]
            case "RangeTableSample":
                self.expression(node.get("args", []), Scope(left, outer, queries), "TABLESAMPLE")
                self.expression(node.get("repeatable", []), Scope(left, outer, queries), "TABLESAMPLE")
                return self._item(node["relation"], left, outer, queries)
            case "RangeTableFunc" | "JsonTable":
                mask = made_of(self.expression(node, Scope(left, outer, queries), _TABLES[kind]))
                return [self._aliased(Source((), is_open=True, mask=mask), node)]
        raise RefusedError(f"{kind} in FROM is not understood")

    def relation(self, node: Node, queries: Queries) -> Source:
        """Read a relation or the name of a WITH query."""
        cte = queries.get(node["relname"]) if "schemaname" not in node else None
        if cte is not None:
            return self._aliased(self._cte(cte), node)
        return self._aliased(self._find(node), node)

    def _aliased(self, source: Source, node: Node) -> Source:
        """Give a source under the alias of its node, if it has one; never the same object twice."""
        self._weight += len(source.columns)
        if self._weight > _WEIGHT:
            raise RefusedError("the statement has too many columns", code="54001")
        alias = node.get("alias")
        if alias is None:
            shown = source.renamed(source.alias, ())
            shown.table = source.table
            return shown
        return source.renamed(alias["aliasname"], strings(alias.get("colnames", [])))

    def _function(self, node: Node, scope: Scope) -> Source:
        """Read functions in FROM: what they give is made of what they take."""
        mask = made_of(self.expression(node.get("functions", []), scope, "a function in FROM"))
        given: list[list[Node]] = [item["List"]["items"] for item in node.get("functions", [])]
        lists = [*node.get("coldeflist", []), *(column for items in given for column in _defined(items))]
        call = given[0][0].get("FuncCall") if len(given) == 1 else None
        alias = node.get("alias", {}).get("aliasname") or (call["funcname"][-1]["String"]["sval"] if call else None)
        if len(given) == 1 and lists and not node.get("ordinality"):
            columns = [Shade(column["ColumnDef"]["colname"], mask) for column in lists]
            return self._aliased(Source(columns, alias), node)
        if call is not None and call["funcname"][-1]["String"]["sval"] in _SCALAR:
            columns = [Shade(alias, mask), *([Shade("ordinality")] if node.get("ordinality") else [])]
            return self._aliased(Source(columns, alias), node)
        known = [Shade(alias, mask)] if alias is not None and len(given) == 1 else []
        names = strings(node.get("alias", {}).get("colnames", []))
        return Source([Shade(name, mask) for name in names] or known, alias, is_open=True, mask=mask)

    def _join(self, node: Node, left: Sequence[Source], outer: Scope | None, queries: Queries) -> list[Source]:
        one = self._item(node["larg"], left, outer, queries)
        other = self._item(node["rarg"], [*left, *one], outer, queries)
        both = [*one, *other]
        if "quals" in node:
            self.expression(node["quals"], Scope(both, outer, queries), "JOIN ... ON")
        if not node.get("isNatural") and "usingClause" not in node:
            return [self._aliased(expanded(both), node)] if "alias" in node else both
        merged = self._merged(node, expanded(one), expanded(other))
        if "alias" in node:
            return [self._aliased(merged, node)]
        for source in both:
            source.shows_columns = False
        if "join_using_alias" in node:
            names = strings(node.get("usingClause", []))
            columns = [merged.index.get(name, Shade(name)) for name in names]
            using = Source(columns, node["join_using_alias"]["aliasname"])
            using.shows_columns = False
            return [*both, merged, using]
        return [*both, merged]

    def _merged(self, node: Node, left: Source, right: Source) -> Source:
        """Join two sides by columns of one name: USING and NATURAL compare them."""
        names = strings(node.get("usingClause", []))
        place = "JOIN ... USING"
        if node.get("isNatural"):
            place = "NATURAL JOIN"
            if (left.is_vague and right.row()) or (right.is_vague and left.row()):
                raise RefusedError("NATURAL JOIN with what has unknown columns is not understood", "Write ON.")
            names = tuple(name for name in left.index if name in right.index)
        columns: list[Shade] = []
        for name in names:
            mask: Mask | None = None
            for side in (left, right):
                shade = side.index.get(name, Shade(name, side.mask if side.is_vague else None))
                if shade.mask is not None:
                    self.touch(shade, place)
                mask = stricter(mask, shade.mask)
            columns.append(Shade(name, made_of(mask)))
        rest = [shade for side in (left, right) for shade in side.columns if shade.name not in names]
        is_open = left.is_open or right.is_open
        return Source([*columns, *rest], is_open=is_open, mask=stricter(left.mask, right.mask))


_TABLES: Final[Mapping[str, str]] = {"RangeTableFunc": "XMLTABLE", "JsonTable": "JSON_TABLE"}


def expanded(sources: Sequence[Source]) -> Source:
    """Give the columns that `*` stands for."""
    return scopes.joined([source for source in sources if source.shows_columns])


def _defined(items: Sequence[Node]) -> list[Node]:
    """Take the column definitions out of an item of ROWS FROM."""
    return [column for item in items[1:] if "List" in item for column in item["List"].get("items", [])]
