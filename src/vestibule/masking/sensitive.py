"""The sensitive columns of a target (S): what policy labels, and wherever that is carried on to.

1. The closure only adds: a label more, or a step more, never takes a mask away.
2. A column that is exactly a sensitive one has its mask; one that is made of any shows nothing of it.
3. What is not understood is sensitive: all columns of a view whose definition cannot be read.
4. Inheritance goes both ways by the column's name: a parent's answer holds the rows of its children.
5. The system's own columns of `built_in` are always in. Labels reach system schemas only when they name them.
6. Code of the target in a view's column makes it sensitive, unless the function is vouched for (`clean`).
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any, Final

from vestibule.masking import built_in
from vestibule.masking.catalog import Relation, Snapshot
from vestibule.masking.query import Reader
from vestibule.masking.refusal import RefusedError
from vestibule.masking.scope import Scope, Source
from vestibule.masking.shades import Shade, made_of, stricter
from vestibule.model.names import Digest
from vestibule.model.plan import Label, Mask

Node = dict[str, Any]
#: The parser: gives the statements of a text, or anything else if it has none.
Parse = Callable[[bytes], object]

_UNEXPECTED: Final = (AttributeError, IndexError, KeyError, RecursionError, StopIteration, TypeError, ValueError)


class Sensitive:
    """The closure of some labels under a snapshot."""

    __slots__ = ("_owners", "_sources", "exposed", "masks", "snapshot", "touching", "version")

    def __init__(
        self,
        snapshot: Snapshot,
        masks: Mapping[tuple[int, int], Mask],
        touching: Collection[int],
        exposed: Collection[int],
        version: Digest,
    ) -> None:
        """Hold what `close` found."""
        self.snapshot = snapshot
        self.masks = masks
        #: Relations where reading a clean column may end in an error that quotes a sensitive one: views over such,
        #: foreign tables, and those with row security.
        self.touching = frozenset(touching)
        #: Relations where a write may end in an error that quotes a sensitive value.
        self.exposed = frozenset(exposed)
        self.version = version
        self._owners = frozenset(oid for oid, _ in masks)
        self._sources: dict[int, Source] = {}

    def is_sensitive(self, oid: int) -> bool:
        """Tell whether the relation has a sensitive column."""
        return oid in self._owners

    def source(self, oid: int) -> Source:
        """Give the columns of a relation, by its own name."""
        known = self._sources.get(oid)
        if known is None:
            known = self._sources[oid] = _source(self.snapshot.relations[oid], self.masks)
        return known

    def spelled(self, origin: tuple[int, int]) -> str:
        """Write a column's name for people: `customers.ssn`."""
        relation = self.snapshot.relations[origin[0]]
        column = next((column.name for column in relation.columns if column.number == origin[1]), "?")
        return f"{relation.name}.{column}"


def _source(relation: Relation, masks: Mapping[tuple[int, int], Mask]) -> Source:
    oid = relation.oid
    columns = [Shade(name, masks.get((oid, number)), (oid, number)) for number, name, _ in relation.columns]
    return Source(columns, relation.name, table=(relation.schema, relation.name))


def close(snapshot: Snapshot, labels: Iterable[Label], parse: Parse, clean: Iterable[str] = ()) -> Sensitive:
    """Find all sensitive columns; `clean` are functions (`schema.name`) that give no sensitive value."""
    labels, clean = tuple(labels), frozenset(clean)
    closure = _Closure(snapshot, parse, clean)
    closure.label(labels)
    closure.close()
    return Sensitive(snapshot, closure.masks, closure.touching, closure.exposed(), _version(snapshot, labels, clean))


def count_columns(snapshot: Snapshot, pattern: str) -> int:
    """Count the columns that a label's pattern names by itself; 0 may be a mistake in writing."""
    named = _Pattern(pattern)
    covered = (relation for relation in snapshot.relations.values() if named.covers(relation))
    return sum(bool(named.column.fullmatch(name)) for relation in covered for _, name, _ in relation.columns)


def _version(snapshot: Snapshot, labels: Iterable[Label], clean: Iterable[str]) -> Digest:
    told = [[label.rule, label.columns, _transform(label)] for label in labels]
    built = [[*name, *sorted(columns)] for name, columns in sorted(built_in.COLUMNS.items())]
    whole = json.dumps([told, snapshot.version, sorted(clean), built], separators=(",", ":"))
    return Digest(hashlib.sha256(whole.encode()).hexdigest())


def _transform(label: Label) -> list[str | int]:
    return [label.transform.kind, label.transform.first, label.transform.last]


class _Closure:
    """The fixed point while it is being found."""

    def __init__(self, snapshot: Snapshot, parse: Parse, clean: frozenset[str]) -> None:
        self.snapshot = snapshot
        self.parse = parse
        self.coded = frozenset(
            entry for entry in snapshot.coded if entry[0] != "function" or f"{entry[1]}.{entry[2]}" not in clean
        )
        self.masks: dict[tuple[int, int], Mask] = {}
        self.touching: set[int] = set()
        self.columns = {
            oid: {name: number for number, name, _ in relation.columns} for oid, relation in snapshot.relations.items()
        }
        self.trees: dict[int, Node | None] = {}
        #: Which views read a relation.
        self.readers: defaultdict[int, set[int]] = defaultdict(set)
        self.kin: defaultdict[int, set[int]] = defaultdict(set)
        #: Which types contain a type, and which columns have it.
        self.holders: defaultdict[int, list[int]] = defaultdict(list)
        self.by_type: defaultdict[int, list[tuple[int, int]]] = defaultdict(list)
        for container, contained in snapshot.contains:
            self.holders[contained].append(container)
        for oid, relation in snapshot.relations.items():
            for number, _, type_ in relation.columns:
                self.by_type[type_].append((oid, number))
        views = (relation for relation in snapshot.relations.values() if relation.kind in ("v", "m"))
        self.stale = {relation.oid for relation in views if not relation.is_system}
        self.grown: list[tuple[int, int]] = []

    def add(self, oid: int, number: int, mask: Mask) -> None:
        """Mask a column, at least so strictly."""
        known = self.masks.get((oid, number))
        strict = stricter(known, mask)
        if strict is not None and strict != known:
            self.masks[oid, number] = strict
            self.grown.append((oid, number))

    # --- where it begins

    def label(self, labels: Iterable[Label]) -> None:
        """Mask what the labels and the built-in ones name."""
        for oid, relation in self.snapshot.relations.items():
            for name in self._built_in(relation):
                self.add(oid, self.columns[oid][name], built_in.HIDDEN)
        for label in labels:
            for pattern in label.columns:
                self._label(_Pattern(pattern), Mask(label.rule, label.transform))

    def _label(self, pattern: _Pattern, mask: Mask) -> None:
        for oid, relation in self.snapshot.relations.items():
            if pattern.covers(relation):
                for number, name, _ in relation.columns:
                    if pattern.column.fullmatch(name):
                        self.add(oid, number, mask)

    def _built_in(self, relation: Relation) -> Iterator[str]:
        wanted = built_in.COLUMNS.get((relation.schema, relation.name)) or built_in.ANYWHERE.get(relation.name)
        if relation.kind == "t":
            wanted = built_in.ALL
        if wanted is None:
            return
        yield from (name for _, name, _ in relation.columns if name in wanted or wanted is built_in.ALL)

    # --- until it ends

    def close(self) -> None:
        """Carry every mask on to wherever its column goes, until nothing is added."""
        for child, parent in self.snapshot.children:
            self.kin[child].add(parent)
            self.kin[parent].add(child)
        self._settle()
        # Row security is asked before the answer; a file of a foreign table is read with all its columns.
        for oid in {oid for oid, _ in self.masks}:
            relation = self.snapshot.relations[oid]
            if relation.kind == "f" or "s" in relation.flags:
                self.touching.add(oid)
        waiting = list(self.touching)
        while waiting:
            for reader in self.readers[waiting.pop()] - self.touching:
                self.touching.add(reader)
                waiting.append(reader)

    def _settle(self) -> None:
        while self.grown or self.stale:
            grown, self.grown = self.grown, []
            for oid, number in grown:
                self._inherit(oid, number)
                self.stale |= self.readers[oid]
            touched = {oid for oid, _ in grown}
            self._generate(touched)
            self._contain()
            stale, self.stale = self.stale, set()
            for oid in stale:
                self._view(oid)

    def _inherit(self, oid: int, number: int) -> None:
        name = next(name for name, other in self.columns[oid].items() if other == number)
        for relative in self.kin[oid]:
            other = self.columns.get(relative, {}).get(name)
            if other is not None:
                self.add(relative, other, self.masks[oid, number])

    def _generate(self, touched: Collection[int]) -> None:
        """Generated columns of relations with new masks."""
        for oid, number, expression in self.snapshot.generated:
            if oid not in touched:
                continue
            mask = self._made(oid, expression)
            if mask is not None:
                self.add(oid, number, mask)

    def _made(self, oid: int, expression: str) -> Mask | None:
        source = self._source(oid)
        try:
            node = self._parsed(f"SELECT {expression}")
            if node is None:
                return made_of(source.row())
            reader = _Definition(self, set())
            return made_of(reader.expression(node["targetList"], Scope([source], None, {}), "a generated column"))
        except (RefusedError, *_UNEXPECTED):
            return made_of(source.row())

    def _contain(self) -> None:
        """Columns of types that hold the row of a sensitive relation."""
        rows: dict[int, Mask] = {}
        for (oid, _), mask in self.masks.items():
            row_type = self.snapshot.relations[oid].row_type
            if row_type:
                rows[row_type] = _both(rows.get(row_type), mask)
        waiting = list(rows)
        while waiting:
            type_ = waiting.pop()
            mask = rows[type_]
            for column in self.by_type[type_]:
                self.add(*column, _both(None, mask))
            for container in self.holders[type_]:
                if container not in rows:
                    rows[container] = mask
                    waiting.append(container)

    # --- views

    def _view(self, oid: int) -> None:
        relation = self.snapshot.relations[oid]
        reads: set[int] = set()
        try:
            answer = self._read(oid, reads)
            masks = [shade.mask for shade in answer.columns]
            is_understood = len(masks) == len(relation.columns) and not answer.is_open
        except (RefusedError, *_UNEXPECTED):
            is_understood, masks = False, []
        for other in reads:
            self.readers[other].add(oid)
        if not is_understood:
            masks = [built_in.HIDDEN] * len(relation.columns)
            self.touching.add(oid)
        for (number, _, _), mask in zip(relation.columns, masks, strict=True):
            if mask is not None:
                self.add(oid, number, mask)

    def _read(self, oid: int, reads: set[int]) -> Source:
        if oid not in self.trees:
            self.trees[oid] = self._parsed(self.snapshot.definitions.get(oid, ""))
        tree = self.trees[oid]
        if tree is None:
            raise RefusedError("the definition is not understood")
        reader = _Definition(self, reads)
        if self.snapshot.relations[oid].name in built_in.ANYWHERE:
            # The columns of the extension's own view are listed one by one.
            reader.vouched = frozenset(built_in.ANYWHERE)
        answer = reader.query(tree)
        if reader.is_touched:
            self.touching.add(oid)
        return answer

    def _parsed(self, text: str) -> Node | None:
        trees = self.parse(text.encode())
        if not isinstance(trees, list) or len(trees) != 1:
            return None
        query: Node | None = trees[0]["stmt"].get("SelectStmt")
        return query

    def _source(self, oid: int) -> Source:
        return _source(self.snapshot.relations[oid], self.masks)

    # --- what writing may tell

    def exposed(self) -> set[int]:
        """Relations where a write may end in an error about a sensitive one: itself, by a key, a trigger, a view."""
        relations = self.snapshot.relations
        found = {oid for oid, _ in self.masks}
        found |= {oid for oid, relation in relations.items() if relation.kind == "v" or relation.flags}
        grows = True
        while grows:
            before = len(found)
            found |= {to for of, to in self.snapshot.references if of in found}
            found |= {child for child, parent in self.snapshot.children if parent in found}
            found |= {parent for child, parent in self.snapshot.children if child in found}
            grows = len(found) > before
        return found


def _both(known: Mask | None, mask: Mask) -> Mask:
    """Give the mask of a row that holds what has this one."""
    both = made_of(stricter(known, mask))
    return both if both is not None else mask


class _Definition(Reader):
    """Reads the definitions that the server keeps, where every name that is not the system's has its schema."""

    def __init__(self, closure: _Closure, reads: set[int]) -> None:
        super().__init__(self._relation_of, is_strict=False)
        self._closure = closure
        self._reads = reads
        self.coded = closure.coded

    def _relation_of(self, node: Node) -> Source:
        oid = self._closure.snapshot.names.get((node.get("schemaname", "pg_catalog"), node["relname"]))
        if oid is None:
            raise RefusedError("a relation of the definition is not known")
        self._reads.add(oid)
        return self._closure._source(oid)


class _Pattern:
    """A label's `schema.table.column`; parts that are left out at the front are any."""

    def __init__(self, text: str) -> None:
        parts = ["*", "*", *text.split(".")][-3:]
        self.schema, self.table, self.column = map(_compiled, parts)
        self.names_schema = not set(parts[0]) & set("*?")

    def covers(self, relation: Relation) -> bool:
        """Tell whether columns of this relation can be meant."""
        if relation.is_system and not self.names_schema:
            return False
        return bool(self.schema.fullmatch(relation.schema) and self.table.fullmatch(relation.name))


def _compiled(part: str) -> re.Pattern[str]:
    """Read a part of a pattern; more is masked when the case does not count."""
    text = "".join({"*": ".*", "?": "."}.get(character) or re.escape(character) for character in part)
    return re.compile(text, re.IGNORECASE | re.DOTALL)
