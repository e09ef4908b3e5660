"""Reads a text: what its statements do (analysis), and what their answers may show (masking).

1. `read` is a function of the text and of what is known of the target, and raises nothing.
2. Where columns are masked, a statement that is not understood never travels, whatever the policy grants.
3. Where less may be stored than shown (`stored`), each statement is decided a second time, for what is stored. That
   decision refuses nothing; what it does not allow is not stored.
4. What the names of EXECUTE and FETCH stand for is asked of the session, so such answers are not remembered.
5. `Reader` remembers answers by the exact text and the version of the knowledge, within a number of bytes.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from vestibule.analysis.sql import parser
from vestibule.analysis.sql.analyse import analyse, analyse_trees
from vestibule.analysis.sql.catalog import Catalog
from vestibule.masking.decide import decide
from vestibule.masking.scene import Scene
from vestibule.model.plan import Plan
from vestibule.model.statement import Analysis, Parsed, Unknown, Unsupported

REMEMBERED: Final = 64 << 20
#: Catalogs that a process keeps for the next session.
CATALOGS: Final = 64

_NOT_UNDERSTOOD: Final = Unsupported(
    "42501",
    "vestibule: the statement is not understood, and is refused where columns are masked for you",
    "Use functions and statements that Vestibule knows.",
)


@dataclass(frozen=True, slots=True)
class Named:
    """What a name of EXECUTE or FETCH stands for: its text, or the plans of its rows, as shown and as stored."""

    text: bytes
    plan: Plan | None
    stored: Plan | None = None


#: Gives what a name in a statement (of PREPARE or the protocol; of a cursor or portal) stands for.
Names = Callable[[Analysis], Named | None]


@dataclass(frozen=True, slots=True)
class Knowledge:
    """What is known of a target when a text is read; without a `scene` nothing is masked.

    `stored` is the scene for what is stored; without it that is what is shown.
    """

    catalog: Catalog
    scene: Scene | None = None
    stored: Scene | None = None
    version: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        """Name everything that an answer depends on."""
        parts = [self.catalog.version]
        for scene in (self.scene, self.stored):
            if scene is None:
                parts.append("")
                continue
            names = sorted((name, made.is_closed) for name, made in scene.temporaries.items())
            parts += [scene.sensitive.version, repr(scene.search_path), repr(names), str(scene.is_fresh)]
        object.__setattr__(self, "version", "/".join(parts))


def _nothing(_: Analysis) -> Named | None:
    return None


def read(text: bytes, knowledge: Knowledge, names: Names = _nothing) -> Parsed | Unsupported | Unknown:
    """Say what each statement of `text` does and may show, why the text never travels, or which names are unknown."""
    if knowledge.scene is None and knowledge.stored is None:
        return analyse(text, knowledge.catalog)
    trees = parser.parse(text)
    if isinstance(trees, Unsupported):
        return trees
    parsed = analyse_trees(trees, text, knowledge.catalog)
    if isinstance(parsed, Unsupported):
        return parsed
    planned: list[Analysis] = []
    is_lacking = False
    for analysis, tree in zip(parsed.statements, trees, strict=True):
        scene = knowledge.scene
        result = analysis if scene is None else _plan(analysis, tree, text, scene, names)
        if isinstance(result, Unknown):
            return result
        stored = None if knowledge.stored is None else _stored(analysis, tree, text, knowledge.stored, names)
        is_lacking = is_lacking or isinstance(stored, Unknown)
        planned.append(replace(result, stored=stored) if isinstance(stored, Plan) else result)
    return Parsed(tuple(planned), is_lacking)


def _plan(analysis: Analysis, tree: Any, text: bytes, scene: Scene, names: Names) -> Analysis | Unknown:  # noqa: ANN401 - a tree
    if analysis.refusal is not None:
        return analysis
    if not analysis.understood:
        return replace(analysis, refusal=_NOT_UNDERSTOOD)
    if analysis.names:
        scene = _with_names(scene, analysis, names, lambda named: named.plan)
    plan = decide(tree, text, scene)
    match plan:
        case Plan():
            return replace(analysis, plan=plan)
        case Unsupported():
            return replace(analysis, refusal=replace(plan, by_mask=True))
        case _:
            return plan


def _stored(analysis: Analysis, tree: Any, text: bytes, scene: Scene, names: Names) -> Plan | Unknown | None:  # noqa: ANN401 - a tree
    """Say what of an answer may be stored, if anything."""
    if analysis.refusal is not None or not analysis.understood:
        return None
    if analysis.names:
        scene = _with_names(scene, analysis, names, lambda named: named.stored)
    plan = decide(tree, text, scene)
    return None if isinstance(plan, Unsupported) else plan


def _with_names(scene: Scene, analysis: Analysis, names: Names, of: Callable[[Named], Plan | None]) -> Scene:
    """Let the scene know what the name in a statement stands for."""
    named = names(analysis)
    if named is None:
        return scene
    name = analysis.names[0]
    if analysis.kind == "FetchStmt":
        plan = of(named)
        return scene if plan is None else replace(scene, cursors={name: plan})
    trees = parser.parse(named.text)
    if isinstance(trees, Unsupported) or len(trees) != 1:
        return scene
    statement: Mapping[str, Any] = trees[0]["stmt"]
    prepared = dict(statement) if "PrepareStmt" in statement else {"PrepareStmt": {"query": dict(statement)}}
    return replace(scene, prepared={name: prepared})


class Reader:
    """Reads texts, and remembers the answers to those it saw last."""

    def __init__(self, limit: int = REMEMBERED) -> None:
        """Remember about `limit` bytes of texts and answers."""
        self._limit = limit
        self._size = 0
        self._catalogs: dict[str, Catalog] = {}
        self._known: OrderedDict[tuple[str, bytes], tuple[Parsed | Unsupported | Unknown, int]] = OrderedDict()

    def shared(self, catalog: Catalog) -> Catalog:
        """Give the one catalog that all sessions with targets like this one hold: it may have thousands of names."""
        kept = self._catalogs.pop(catalog.version, catalog)
        self._catalogs[catalog.version] = kept
        if len(self._catalogs) > CATALOGS:
            del self._catalogs[next(iter(self._catalogs))]
        return kept

    def read(self, text: bytes, knowledge: Knowledge, names: Names = _nothing) -> Parsed | Unsupported | Unknown:
        """Say what `text` does to a target that is known so."""
        key = (knowledge.version, text)
        known = self._known.get(key)
        if known is not None:
            self._known.move_to_end(key)
            return known[0]
        asked = False

        def asking(analysis: Analysis) -> Named | None:
            nonlocal asked
            asked = True
            return names(analysis)

        result = read(text, knowledge, asking)
        if not asked:
            self._remember(key, result)
        return result

    def _remember(self, key: tuple[str, bytes], result: Parsed | Unsupported | Unknown) -> None:
        size = len(key[0]) + _weight(key[1], result)
        if size > self._limit:
            return
        self._known[key] = (result, size)
        self._size += size
        while self._size > self._limit:
            self._size -= self._known.popitem(last=False)[1][1]


def _weight(text: bytes, result: Parsed | Unsupported | Unknown) -> int:
    """Estimate what a remembered answer takes, in bytes."""
    size = len(text) + 500
    if isinstance(result, Parsed):
        for analysis in result.statements:
            size += 500 + 250 * len(analysis.operations) + 120 * len(analysis.literals)
            for plan in (analysis.plan, analysis.stored):
                size += 0 if plan is None else 300 * len(plan.columns or ())
    return size
