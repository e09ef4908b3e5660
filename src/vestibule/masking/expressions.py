"""What expressions refer to: the walk that finds every column in them, wherever it stands.

1. Every ColumnRef below an expression is resolved, whatever the nodes around it are.
2. A subquery in an expression is read as a query; what it gives is used by the expression, except under EXISTS.
3. A strict reader refuses what it finds; the other gathers it (`reached`), also what code of the target may give.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from vestibule.masking import built_in
from vestibule.masking import scope as scopes
from vestibule.masking.refusal import ELSEWHERE, RefusedError
from vestibule.masking.scope import Found, Scope, Source
from vestibule.masking.shades import Shade, stricter
from vestibule.model.plan import Mask

Node = dict[str, Any]
Tree = Node | list[Any]

#: `pg_catalog.count` with nothing but one argument.
_COUNTS: Final = frozenset({"funcname", "args", "agg_distinct", "funcformat", "location"})
#: What a row may be cast to as if it were a column of it.
_CASTS: Final = frozenset({"text", "name", "varchar", "bpchar"})
_EXISTS: Final = "EXISTS_SUBLINK"
COUNT: Final = "Select the column by itself, or count(column)."
#: What pg_dump is told, which reads such columns before it comes to any table.
OF_THE_SYSTEM: Final = (
    "This column of the system can hold values of masked ones. To copy rows, write COPY (SELECT column, ...) TO "
    "STDOUT; a whole dump takes somebody to whom the policy shows all columns."
)


class Expressions:
    """The part of a reader that reads expressions."""

    def __init__(self, *, is_strict: bool) -> None:
        """Begin with nothing reached."""
        self.is_strict = is_strict
        #: The mask of all that was found since somebody looked, and whether anything ever was.
        self.reached: Mask | None = None
        self.is_touched = False
        #: Names of functions, operators and types that may give sensitive values: (what, schema, name).
        self.coded: frozenset[tuple[str, str, str]] = frozenset()
        #: Functions of `built_in` that are known here.
        self.vouched: frozenset[str] = frozenset()

    def subquery(self, node: Node, scope: Scope) -> Source:
        """Read a query below an expression."""
        raise NotImplementedError

    def called(self, shade: Shade) -> str:
        """Say which column it is, for the client."""
        return shade.name or "a column"

    def doubt(self, name: str) -> None:
        """Doubt a name that nothing here has, if it may be new."""

    def unknown(self, name: str) -> Mask | None:
        """Judge a column that nothing here has."""
        self.doubt(name)
        shown = name if "." in name else f'"{name}"'
        raise RefusedError(f"column {shown} does not exist", code="42703")

    def note(self, shade: Shade) -> None:
        """Note that a column is carried on."""
        if shade.mask is not None:
            self.is_touched = True
            self.reached = stricter(self.reached, shade.mask)

    def touch(self, shade: Shade, place: str, offset: int = -1) -> None:
        """Note that a sensitive column is used in a construct; a strict reader refuses."""
        self.note(shade)
        if self.is_strict:
            hint = COUNT if place in ("an expression", "a whole row") else ELSEWHERE
            if shade.mask is not None and shade.mask.rule == built_in.RULE:
                hint = OF_THE_SYSTEM
            raise RefusedError(
                f"{self.called(shade)} is masked for you and cannot be used in {place}", hint, offset=offset
            )

    def expression(self, root: Tree, scope: Scope, place: str) -> Mask | None:
        """Read an expression or a list of them, and give the mask of all that it reaches."""
        before, self.reached = self.reached, None
        stack: list[Any] = [root]
        while stack:
            node = stack.pop()
            if type(node) is list:
                stack.extend(reversed(node))
                continue
            for key, value in node.items():
                if type(value) is not dict and type(value) is not list:
                    continue
                special = _SPECIAL.get(key)
                if special is None:
                    stack.append(value)
                else:
                    rest = special(self, value, scope, place)
                    if rest is not None:
                        stack.append(rest)
        found = self.reached
        self.reached = stricter(before, found)
        # What a strict reader has not refused is clean, such as EXISTS over a query that carries something on.
        return None if self.is_strict else found

    def column(self, node: Node, scope: Scope) -> Found:
        """Resolve a reference that is not `*`."""
        fields = node["fields"]
        if "A_Star" in fields[-1]:
            return Found(self._whole(self.star(node, scope)), is_bare=False)
        names = [field["String"].get("sval", "") for field in fields]
        if len(names) == 1:
            found = scopes.unqualified(scope, names[0])
            return found if found is not None else Found(Shade(names[0], self.unknown(names[0])), is_bare=False)
        source = self._source(names[:-1], scope)
        return self._field(source, names[-1], ".".join(names))

    def _field(self, source: Source, name: str, spelled: str) -> Found:
        """A column of a source; if it has none of that name, a function of its row may be meant."""
        shade = source.index.get(name)
        if shade is not None:
            return Found(shade, is_bare=True)
        if source.is_table and name in scopes.SYSTEM_COLUMNS:
            return Found(Shade(name), is_bare=True)
        row = self._whole(source)
        if row.mask is None and not source.is_vague and name not in _CASTS:
            return Found(Shade(name, self.unknown(spelled)), is_bare=False)
        return Found(row, is_bare=False)

    def _whole(self, source: Source) -> Shade:
        shade = source.first()
        if shade is None:
            return Shade(source.alias, source.row())
        return Shade(shade.name, source.row(), shade.origin)

    def _source(self, names: list[str], scope: Scope) -> Source:
        source = scopes.aliased(scope, names[0]) if len(names) == 1 else scopes.qualified(scope, *names[-2:])
        if source is None:
            self.doubt(".".join(names))
            raise RefusedError(f'missing FROM-clause entry for table "{names[-1]}"', code="42P01")
        return source

    def star(self, node: Node, scope: Scope) -> Source:
        """Give the columns that a `*` stands for."""
        names = [field["String"].get("sval", "") for field in node["fields"][:-1]]
        if names:
            source = self._source(names, scope)
        else:
            source = scopes.joined([source for source in scope.sources if source.shows_columns])
        for shade in source.columns:
            self.note(shade)
        return source

    # --- what is found on the way; each gives what of it is still to be read

    def _reference(self, node: Node, scope: Scope, place: str) -> None:
        found = self.column(node, scope)
        if found.shade.mask is not None:
            what = place if found.is_bare else f"{place} as a whole row"
            self.touch(found.shade, what, node.get("location", -1))

    def _sublink(self, node: Node, scope: Scope, place: str) -> Tree | None:
        self._operator(node.get("operName", []))
        query = node["subselect"].get("SelectStmt")
        if query is None:
            raise RefusedError("a subquery that is no SELECT is not understood")
        self._subquery(query, scope, place, is_used=node.get("subLinkType") != _EXISTS)
        rest: Tree | None = node.get("testexpr")
        return rest

    def _query(self, node: Node, scope: Scope, place: str) -> None:
        self._subquery(node, scope, place, is_used=True)

    def _subquery(self, node: Node, scope: Scope, place: str, *, is_used: bool) -> None:
        answer = self.subquery(node, scope)
        if not is_used:
            return
        shade = answer.first()
        if shade is not None:
            self.touch(shade, f"a subquery in {place}")
        self.reached = stricter(self.reached, answer.row())

    def _call(self, node: Node, scope: Scope, place: str) -> Tree | None:
        names = [part["String"].get("sval", "") for part in node["funcname"]]
        if names in (["count"], ["pg_catalog", "count"]) and self._is_alone(node, scope):
            return None
        if names[-1] == "system_user":
            self._keyword(names[-1], scope, place)
        if not self.is_strict:
            self._code("function", names)
            if built_in.is_reaching(names[-1]) and names[-1] not in self.vouched:
                self._reach()
        return {key: value for key, value in node.items() if key != "funcname"}

    def _keyword(self, name: str, scope: Scope, place: str) -> None:
        """Read a word that is a keyword to the parser, and the name of a column to servers before it."""
        found = scopes.unqualified(scope, name)
        if found is not None and found.shade.mask is not None:
            self.touch(found.shade, place)

    def _is_alone(self, node: Node, scope: Scope) -> bool:
        """Tell whether a call counts a column and does nothing besides."""
        arguments = node.get("args", [])
        if len(arguments) != 1 or not _COUNTS.issuperset(node) or "ColumnRef" not in arguments[0]:
            return False
        return self._is_column(arguments[0]["ColumnRef"], scope)

    def _is_column(self, node: Node, scope: Scope) -> bool:
        if "A_Star" in node["fields"][-1]:
            return False
        found = self.column(node, scope)
        if found.is_bare and found.shade.mask is not None:
            self.is_touched = True
        return found.is_bare

    def _null_test(self, node: Node, scope: Scope, _: str) -> Tree | None:
        argument: Node = node["arg"]
        if "ColumnRef" in argument and self._is_column(argument["ColumnRef"], scope):
            return None
        return argument

    def _expression(self, node: Node, *_: object) -> Tree | None:
        self._operator(node.get("name", []))
        return [side for side in (node.get("lexpr"), node.get("rexpr")) if side]

    def _cast(self, node: Node, *_: object) -> Tree | None:
        if not self.is_strict:
            self._code("type", [part["String"].get("sval", "") for part in node["typeName"].get("names", [])])
        value: Node = node["arg"]
        return value

    def _misplaced(self, *_: object) -> None:
        raise RefusedError("a relation inside an expression is not understood")

    def _operator(self, name: list[Node]) -> None:
        if name and not self.is_strict:
            self._code("operator", [part["String"].get("sval", "") for part in name])

    def _code(self, what: str, names: list[str]) -> None:
        """Count what runs code of the target as sensitive."""
        if len(names) > 1 and (what, names[-2], names[-1]) in self.coded:
            self._reach()

    def _reach(self) -> None:
        self.is_touched = True
        self.reached = stricter(self.reached, built_in.HIDDEN)


_Action = Callable[[Expressions, Any, Scope, str], Tree | None]
_SPECIAL: Final[Mapping[str, _Action]] = {
    "ColumnRef": Expressions._reference,
    "SubLink": Expressions._sublink,
    "SelectStmt": Expressions._query,
    "FuncCall": Expressions._call,
    "NullTest": Expressions._null_test,
    "A_Expr": Expressions._expression,
    "TypeCast": Expressions._cast,
    "RangeVar": Expressions._misplaced,
}
