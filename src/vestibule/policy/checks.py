"""What the parts of a policy must not say together, and what it says in vain.

A fault refuses the file. A warning lets it take effect: what it warns of grants nothing and hides nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final

from vestibule.model.names import TargetName
from vestibule.model.statement import Impact
from vestibule.model.target import Target
from vestibule.policy import schema
from vestibule.policy.access import AccessEntry, Selector
from vestibule.policy.guardrails import Guardrail, Match
from vestibule.policy.masks import MaskEntry
from vestibule.policy.reading import spell, suggestion
from vestibule.policy.source import Path, Problem, Source

#: The name of the rule that decides where no entry does.
DEFAULT: Final = "default"


def faults(document: schema.Document, source: Source) -> Iterator[Problem]:
    """Find what refuses the file."""
    rules = [
        *_named("access", document.access),
        *_named("guardrails", document.guardrails),
        *_named("masks", document.masks),
    ]
    yield from _twice(source, rules, "name")
    yield from (_problem(source, path, f'"{DEFAULT}" is kept for what no rule decides; choose another name')
                for path, name in rules if name == DEFAULT)  # fmt: skip
    yield from _twice(source, _named("identity", document.identity), "name")
    issuers = [(("identity", n, "oidc", "issuer"), entry.oidc.issuer) for n, entry in enumerate(document.identity)]
    yield from _twice(source, issuers, "issuer")
    yield from _unknown_targets(document, source)
    for index, guardrail in enumerate(document.guardrails):
        yield from _faults_of_action(source, ("guardrails", index), guardrail)


def _named(
    section: str, entries: Sequence[schema.Access | schema.Guardrail | schema.Identity | schema.Mask]
) -> list[tuple[Path, str]]:
    return [((section, index, "name"), entry.name) for index, entry in enumerate(entries)]


def _twice(source: Source, named: Iterable[tuple[Path, str]], what: str) -> Iterator[Problem]:
    seen: dict[str, Path] = {}
    for path, name in named:
        if name in seen:
            line = source.place(seen[name]).line
            yield _problem(source, path, f'the {what} "{name}" is used in line {line} already; choose another')
        seen.setdefault(name, path)


def _unknown_targets(document: schema.Document, source: Source) -> Iterator[Problem]:
    used: list[tuple[Path, object]] = [
        (("access", index, "targets"), entry.targets) for index, entry in enumerate(document.access)
    ]
    used += [
        (("guardrails", n, "match", "targets"), entry.match.targets) for n, entry in enumerate(document.guardrails)
    ]
    used += [(("masks", index, "targets"), entry.targets) for index, entry in enumerate(document.masks)]
    for path, names in used:
        for index, name in enumerate(names if isinstance(names, list) else ()):
            if name not in document.targets:
                close = suggestion(name, document.targets)
                yield _problem(source, (*path, index), f'there is no target "{name}"; {close}')


def _faults_of_action(source: Source, path: Path, guardrail: schema.Guardrail) -> Iterator[Problem]:
    if guardrail.action == "hold":
        if guardrail.approvers is None:
            message = (
                '"approvers" is missing; action hold needs them; write for example approvers: {groups: [managers]}'
            )
            yield _problem(source, path, message)
        return
    for key in sorted({"approvers", "expires"} & guardrail.model_fields_set):
        message = f"nobody can approve what is denied; remove {key}, or write action: hold"
        yield _problem(source, (*path, key), message)
    if guardrail.reason is None:
        yield _problem(source, path, '"reason" is missing; write for example reason: "Migrations drop."')


def warnings(
    source: Source,
    targets: Mapping[TargetName, Target],
    access: Sequence[AccessEntry],
    guardrails: Sequence[Guardrail],
    masks: Sequence[MaskEntry],
) -> Iterator[Problem]:
    """Find what has no effect or a doubtful one."""
    for index, entry in enumerate(access):
        yield from _doubts_of_access(source, ("access", index), entry, targets, guardrails)
    for index, guardrail in enumerate(guardrails):
        path = ("guardrails", index)
        for doubt in _DOUBTS:
            if message := doubt(guardrail, guardrails[:index], targets, access):
                yield _problem(source, path, f'"{guardrail.name}" can never match: {message}')
                break
    for index, mask in enumerate(masks):
        yield from _doubts_of_mask(source, ("masks", index), mask, targets, access)
    for name, target in targets.items():
        yield from _doubts_of_target(source, ("targets", name), target, access)
    yield from _doubts_of_identity(source)


def _doubts_of_access(
    source: Source,
    path: Path,
    entry: AccessEntry,
    targets: Mapping[TargetName, Target],
    guardrails: Sequence[Guardrail],
) -> Iterator[Problem]:
    if not _selected(entry.targets, targets):
        yield _problem(source, (*path, "targets"), "no target carries these labels; this entry grants nothing")
    if Impact.UNKNOWN in entry.allow and not _holds_unknown(entry, targets, guardrails):
        message = "unknown leads to a hold at most, and no guardrail holds it: such statements are denied all the same"
        yield _problem(source, (*path, "allow"), message)


def _holds_unknown(entry: AccessEntry, targets: Mapping[TargetName, Target], guardrails: Sequence[Guardrail]) -> bool:
    """Tell whether some guardrail holds what somebody does whom `entry` lets do what is unknown."""
    holding = [guardrail for guardrail in guardrails if guardrail.holds and Impact.UNKNOWN in guardrail.match.impacts]
    return any(
        guardrail.match.concerns(entry.groups, target)
        for guardrail in holding
        for target in targets.values()
        if entry.targets.selects(target)
    )


def _doubts_of_mask(
    source: Source,
    path: Path,
    mask: MaskEntry,
    targets: Mapping[TargetName, Target],
    access: Sequence[AccessEntry],
) -> Iterator[Problem]:
    if mask.targets is not None and not _selected(mask.targets, targets):
        message = f'"{mask.name}" masks nothing: no target carries these labels'
        yield _problem(source, (*path, "targets"), message)
    known = frozenset(group for entry in access for group in entry.groups)
    if mask.clear_for and not mask.clear_for & known:
        message = f"no access entry names these groups; {suggestion(min(mask.clear_for), known)}"
        yield _problem(source, (*path, "clear_for"), message)


def _doubts_of_target(source: Source, path: Path, target: Target, access: Sequence[AccessEntry]) -> Iterator[Problem]:
    if not any(entry.targets.selects(target) for entry in access):
        yield _problem(source, path, "no access entry covers this target; nobody can reach it")
    if target.tls.mode in ("disable", "require"):
        message = f"mode {target.tls.mode} does not prove who the target is; write verify-full where you can"
        yield _problem(source, (*path, "tls", "mode"), message)
    if "cleartext" in target.authentication and target.tls.mode == "disable":
        yield _problem(source, (*path, "authentication"), "cleartext without TLS sends the password readable by all")


def _doubts_of_identity(source: Source) -> Iterator[Problem]:
    match source.data:
        case {"identity": [_, _, *_]}:
            message = (
                "several providers share one space of group names: each can put people into every group of this file"
            )
            yield _problem(source, ("identity",), message)
        case _:
            pass


_Doubt = Callable[
    [Guardrail, Sequence[Guardrail], Mapping[TargetName, Target], Sequence[AccessEntry]],
    str,
]


def _contradicts(guardrail: Guardrail, *_: object) -> str:
    return "" if guardrail.match.impacts else "impact and at_least have no impact in common"


def _selects_none(
    guardrail: Guardrail, _before: Sequence[Guardrail], targets: Mapping[TargetName, Target], _a: object
) -> str:
    selector = guardrail.match.targets
    return "no target carries these labels" if selector and not _selected(selector, targets) else ""


def _concerns_nobody(guardrail: Guardrail, _b: object, _t: object, access: Sequence[AccessEntry]) -> str:
    groups = guardrail.match.groups
    known = frozenset(group for entry in access for group in entry.groups)
    if not groups or groups & known:
        return ""
    return f"no access entry names its groups; {suggestion(min(groups), known)}"


def _is_shadowed(
    guardrail: Guardrail, before: Sequence[Guardrail], targets: Mapping[TargetName, Target], _a: object
) -> str:
    wider = next((other for other in before if _within(guardrail.match, other.match, targets)), None)
    return f'"{wider.name}" before it matches all that it matches' if wider else ""


_DOUBTS: Final[tuple[_Doubt, ...]] = (_contradicts, _selects_none, _concerns_nobody, _is_shadowed)


def _within(inner: Match, outer: Match, targets: Mapping[TargetName, Target]) -> bool:
    """Tell whether all that `inner` matches, `outer` matches too; may say no where the answer is yes."""
    return (
        inner.impacts <= outer.impacts
        and _subset(inner.verbs, outer.verbs)
        and _subset(frozenset(inner.objects), frozenset(outer.objects))
        and _subset(inner.groups, outer.groups)
        and (outer.targets is None or _reached(inner, targets) <= _selected(outer.targets, targets))
    )


def _subset(inner: frozenset[str], outer: frozenset[str]) -> bool:
    return not outer or (bool(inner) and inner <= outer)


def _reached(match: Match, targets: Mapping[TargetName, Target]) -> frozenset[TargetName]:
    return frozenset(targets) if match.targets is None else _selected(match.targets, targets)


def _selected(selector: Selector, targets: Mapping[TargetName, Target]) -> frozenset[TargetName]:
    return frozenset(name for name, target in targets.items() if selector.selects(target))


def _problem(source: Source, path: Path, message: str) -> Problem:
    return Problem(source.place(path), f"{spell(path)}: {message}")
