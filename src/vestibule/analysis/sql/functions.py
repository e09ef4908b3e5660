"""What a call may do, by the function's name.

1. An unqualified name is the built-in function only if the target has no function of its own by that name: which one
   the server would take is decided by `search_path` and argument types, and that is doubt.
2. `pg_catalog.f` is the built-in function. Any other schema: registered by the administrator, or UNKNOWN.
3. `(x).f` and `t.f` are calls too, when a function `f` fits and no column does: `('pg_hba.conf').pg_read_file` reads
   the file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from vestibule.analysis.sql import built_in
from vestibule.analysis.sql.catalog import Catalog
from vestibule.model.statement import Impact

BUILT_IN: Final[Mapping[str, Impact]] = (
    dict.fromkeys(built_in.READ, Impact.READ)
    | dict.fromkeys(built_in.WRITE, Impact.WRITE)
    | dict.fromkeys(built_in.ADMIN, Impact.ADMIN)
    | dict.fromkeys(built_in.UNKNOWN, Impact.UNKNOWN)
)

#: What newer grammars read as syntax an older server looks up as a function: by which name.
SYNTAX: Final[Mapping[str, tuple[str, ...]]] = {
    "JsonFuncExpr": ("json_exists", "json_query", "json_value"),
    "JsonTable": ("json_table",),
    "JsonParseExpr": ("json",),
    "JsonScalarExpr": ("json_scalar",),
    "JsonSerializeExpr": ("json_serialize",),
    "JsonObjectConstructor": ("json_object",),
    "JsonArrayConstructor": ("json_array",),
    "JsonArrayQueryConstructor": ("json_array",),
    "JsonObjectAgg": ("json_objectagg",),
    "JsonArrayAgg": ("json_arrayagg",),
    "MergeSupportFunc": ("merge_action",),
}
#: Names that the newer grammar qualifies with `pg_catalog` by itself, and an older server does not.
_QUALIFIED_BY_THE_GRAMMAR: Final = frozenset({"json_object", "normalize", "is_normalized", "system_user", "xmltext"})

#: How names of the server's own functions begin that do something.
_SYSTEM: Final = ("pg_", "lo_", "binary_upgrade_")

SAMPLING: Final = frozenset({"bernoulli", "system"})


def called(name: Sequence[str], catalog: Catalog) -> Impact:
    """Say what a call of the function `name`, as written in parts, may do."""
    function = name[-1]
    if len(name) == 1:
        return _unqualified(function, catalog)
    if name[-2] != "pg_catalog":
        return Impact.READ if f"{name[-2]}.{function}" in catalog.registered else Impact.UNKNOWN
    if function in catalog.added or (function in _QUALIFIED_BY_THE_GRAMMAR and function in catalog.user_functions):
        return Impact.UNKNOWN
    return BUILT_IN.get(function, Impact.UNKNOWN)


def _unqualified(function: str, catalog: Catalog) -> Impact:
    if function not in catalog.user_functions:
        return BUILT_IN.get(function, Impact.UNKNOWN)
    if function in catalog.clean and BUILT_IN.get(function, Impact.READ) is Impact.READ:
        return Impact.READ
    return Impact.UNKNOWN


def field(name: str, catalog: Catalog) -> Impact:
    """Say what `(expression).name` may do: mostly take a field, but a function or a cast can be meant."""
    if name in catalog.user_types or (name in catalog.user_functions and name not in catalog.clean):
        return Impact.UNKNOWN
    # Other versions of the server have functions that are not listed, and hardly anybody names a column so.
    return BUILT_IN.get(name, Impact.UNKNOWN if name.startswith(_SYSTEM) else Impact.READ)


def column(name: str, catalog: Catalog) -> Impact:
    """Say what `relation.name` may do: a function that takes the relation's row can be meant."""
    if name in catalog.row_functions and name not in catalog.clean:
        return Impact.UNKNOWN
    # Of the built-in functions that take a row, only some for administrators do more than read.
    impact = BUILT_IN.get(name, Impact.READ)
    return impact if impact is Impact.ADMIN else Impact.READ
