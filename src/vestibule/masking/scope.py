"""What the names of columns mean at one place of a query: the sources of each level, from the innermost out.

1. A column is looked for in all sources of a level, then in those of the level around it; a relation's alias by
   itself is a whole row, if no level has a column of that name.
2. A source that may have a column of any name (`is_vague`) may have this one: the search goes on behind it, and
   whatever is found counts.
3. Two columns of one name count as both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from vestibule.masking.shades import Shade, stricter
from vestibule.model.plan import Mask

SYSTEM_COLUMNS: Final = frozenset({"ctid", "tableoid", "xmin", "xmax", "cmin", "cmax"})


class Source:
    """One thing in FROM, or the answer of a query."""

    __slots__ = (
        "alias",
        "columns",
        "index",
        "is_open",
        "is_table",
        "is_vague",
        "mask",
        "shows_columns",
        "table",
    )

    def __init__(
        self,
        columns: Sequence[Shade],
        alias: str | None = None,
        *,
        is_open: bool = False,
        mask: Mask | None = None,
        table: tuple[str, str] | None = None,
    ) -> None:
        """Hold `columns`; those that are not known have `mask`."""
        self.columns = columns
        self.alias = alias
        #: Whether there may be more columns than these, and whether one may have any name.
        self.is_open = is_open
        self.is_vague = is_open
        self.mask = mask
        #: Its schema and name, if it is a relation without an alias.
        self.table = table
        self.is_table = table is not None
        #: Whether names without an alias find its columns.
        self.shows_columns = True
        self.index: dict[str, Shade] = {}
        for column in columns:
            self._add(column)

    def _add(self, column: Shade) -> None:
        if column.name is None:
            self.is_vague = True
            self.mask = stricter(self.mask, column.mask)
        elif column.name not in self.index:
            self.index[column.name] = column
        else:
            both = stricter(self.index[column.name].mask, column.mask)
            self.index[column.name] = Shade(column.name, both)

    def row(self) -> Mask | None:
        """Give the mask of the row as a whole."""
        mask = self.mask
        for column in self.columns:
            if column.mask is not None:
                mask = stricter(mask, column.mask)
        return mask

    def first(self) -> Shade | None:
        """Give one of the columns that are masked."""
        return next((column for column in self.columns if column.mask is not None), None)

    def renamed(self, alias: str | None, names: Sequence[str]) -> Source:
        """Give the same under another alias, the first columns under other names."""
        columns = self.columns
        if names:
            shown = [column._replace(name=name) for name, column in zip(names, self.columns, strict=False)]
            shown += self.columns[len(names) :]
            if self.is_open:
                shown += [Shade(name, self.mask) for name in names[len(self.columns) :]]
            columns = shown
        source = Source(columns, alias, is_open=self.is_open, mask=self.mask)
        source.is_table = self.is_table
        return source


class Scope:
    """The sources of one level, the level around it, and the WITH queries that can be named."""

    __slots__ = ("outer", "queries", "sources")

    def __init__(self, sources: Sequence[Source], outer: Scope | None, queries: Mapping[str, Any]) -> None:
        """Begin a level inside `outer`."""
        self.sources = sources
        self.outer = outer
        self.queries = queries


class Found:
    """What a reference means: a column as it is, or something made of one or more."""

    __slots__ = ("is_bare", "shade")

    def __init__(self, shade: Shade, is_bare: bool) -> None:
        """Hold what was found; `is_bare` if it is exactly one column."""
        self.shade = shade
        self.is_bare = is_bare


def unqualified(scope: Scope | None, name: str) -> Found | None:
    """Find what `name` by itself means; None if nothing has it."""
    level = scope
    doubt: Mask | None = None
    is_doubtful = False
    while level is not None:
        hits: list[Shade] = []
        for source in level.sources:
            if not source.shows_columns:
                continue
            hit = source.index.get(name)
            if hit is not None:
                hits.append(hit)
            elif source.is_vague:
                is_doubtful = True
                doubt = stricter(doubt, source.mask)
            elif source.is_table and name in SYSTEM_COLUMNS:
                hits.append(Shade(name))
        if hits:
            return _merged(name, hits, doubt, is_doubtful)
        level = level.outer
    row = aliased(scope, name)
    if row is not None:
        first = row.first()
        return Found(Shade(name, stricter(row.row(), doubt), first and first.origin), is_bare=False)
    return Found(Shade(name, doubt), is_bare=False) if is_doubtful else None


def _merged(name: str, hits: Sequence[Shade], doubt: Mask | None, is_doubtful: bool) -> Found:
    if len(hits) == 1 and not is_doubtful:
        return Found(hits[0], is_bare=True)
    for hit in hits:
        doubt = stricter(doubt, hit.mask)
    if len(hits) == 1 and hits[0].mask is not None:
        # The doubt is whether this one is meant at all; shown it must not be, so it stays what it is.
        return Found(hits[0]._replace(mask=doubt), is_bare=True)
    return Found(Shade(name, doubt, None), is_bare=False)


def aliased(scope: Scope | None, alias: str) -> Source | None:
    """Find the nearest source of this alias; two of one level count as both."""
    while scope is not None:
        found = [source for source in scope.sources if source.alias == alias]
        if found:
            return found[0] if len(found) == 1 else joined(found)
        scope = scope.outer
    return None


def qualified(scope: Scope | None, schema: str, table: str) -> Source | None:
    """Find the sources that are this table without an alias, at whatever level; several count as all."""
    found: list[Source] = []
    while scope is not None:
        found += [source for source in scope.sources if source.table == (schema, table)]
        scope = scope.outer
    return joined(found) if found else None


def joined(sources: Sequence[Source]) -> Source:
    """Give one source with the columns of several."""
    mask: Mask | None = None
    for source in sources:
        mask = stricter(mask, source.mask)
    if len(sources) == 1:
        return sources[0]
    columns = [column for source in sources for column in source.columns]
    return Source(columns, is_open=any(source.is_open for source in sources), mask=mask)
