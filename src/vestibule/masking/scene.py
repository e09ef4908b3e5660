"""Where a statement is decided: the target's sensitive columns, the session's names, and what a relation's name means.

1. A name is found as the server finds it: the session's own temporary relations, then `pg_catalog` unless the search
   path says where, then the path.
2. Doubt counts as sensitive: when the path is not certain, or a temporary relation has the name of a sensitive one,
   a name that could mean a sensitive relation is refused.
3. TOAST relations and other sessions' temporary relations are refused by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from vestibule.masking.refusal import RefusedError
from vestibule.masking.refusal import UnknownError as UnknownError
from vestibule.masking.sensitive import Sensitive
from vestibule.model.plan import Plan

#: A node of the parser's tree, decoded.
Node = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Temporary:
    """A temporary relation of this session, made by a clean statement; `columns` is None if they are not known.

    One that `is_closed` was made when other columns were masked, so what it holds may be masked now.
    """

    columns: tuple[str, ...] | None = None
    is_closed: bool = False


@dataclass(frozen=True, slots=True)
class Scene:
    """What a decision depends on besides the statement.

    `prepared` are the `stmt` trees of this session's PREPARE statements, `cursors` the plans of its DECLARE
    statements. With `is_fresh` the catalog has just been loaded, so that an unknown name stays unknown.
    """

    sensitive: Sensitive
    search_path: tuple[str, ...] = ("public",)
    temporaries: Mapping[str, Temporary] = field(default_factory=dict)
    prepared: Mapping[str, Node] = field(default_factory=dict)
    cursors: Mapping[str, Plan] = field(default_factory=dict)
    is_fresh: bool = False
    is_path_certain: bool = True


def relation(scene: Scene, node: Node) -> int | Temporary | None:
    """Say what a RangeVar that is no WITH query means: an object number, a temporary relation, or nothing known."""
    meant = _meant(scene, node)
    if isinstance(meant, Temporary) and meant.is_closed:
        raise RefusedError(
            f"{node['relname']} was made when other columns were masked for you", "Drop it, and make it again."
        )
    return meant


def _meant(scene: Scene, node: Node) -> int | Temporary | None:
    schema, name = node.get("schemaname"), node["relname"]
    if schema is None:
        return _unqualified(scene, node)
    if schema == "pg_temp":
        return scene.temporaries.get(name)
    if schema.startswith(("pg_temp_", "pg_toast")):
        raise RefusedError(f"schema {schema} is closed for you")
    return scene.sensitive.snapshot.names.get((schema, name))


def _unqualified(scene: Scene, node: Node) -> int | Temporary | None:
    name = node["relname"]
    names = scene.sensitive.snapshot.names
    path = scene.search_path if "pg_catalog" in scene.search_path else ("pg_catalog", *scene.search_path)
    found = [oid for schema in path if (oid := names.get((schema, name))) is not None]
    temporary = scene.temporaries.get(name)
    if temporary is None and (scene.is_path_certain or len(found) < 2):
        return found[0] if found else None
    if any(scene.sensitive.is_sensitive(oid) for oid in found):
        raise RefusedError(
            f"{name} may mean a relation with columns that are masked for you", "Write the name with its schema."
        )
    return temporary if temporary is not None else Temporary()


def is_hopeless(scene: Scene, node: Node) -> bool:
    """Tell whether no relation anywhere has the name of a RangeVar, so that the server can only say so."""
    return node["relname"] not in scene.sensitive.snapshot.known and node["relname"] not in scene.temporaries


def spelled(node: Node) -> str:
    """Write the name of a RangeVar as it was written."""
    return ".".join(part for part in (node.get("schemaname"), node["relname"]) if part)
