"""`vestibule policy`: is a policy right, what does it decide, who can do what. No gateway needs to run for it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, assert_never

import typer

from vestibule.cli.commands import example
from vestibule.cli.exits import CommandError, Exit
from vestibule.model.decision import Allow, Decision, Deny, Hold
from vestibule.model.names import GroupName, TargetName
from vestibule.model.plan import Label
from vestibule.model.statement import Impact, Operation, Parsed, Unsupported
from vestibule.model.target import Target
from vestibule.policy.document import Policy, PolicyError, load
from vestibule.policy.engine import Engine
from vestibule.policy.explain import Explanation, Holder, explain, shown, who_can
from vestibule.policy.reading import suggestion
from vestibule.policy.source import LIMIT, Problem
from vestibule.policy.values import spelled

if TYPE_CHECKING:
    from vestibule.analysis.sql.catalog import Catalog

app = typer.Typer(help="Check and explain the policy file.", no_args_is_help=True)

_PATH = Path("policy.yaml")
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
PolicyFile = Annotated[Path, typer.Option("--policy", metavar="FILE", help="The policy file.")]
TargetOption = Annotated[str, typer.Option("--target", metavar="NAME", help="A target of the policy.")]


@app.command("check", epilog=example("vestibule policy check policy.yaml"))
def check(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The policy file.")] = _PATH,
    as_json: Json = False,
) -> None:
    """Say what is wrong in a policy file.

    Everything that is wrong is told at once, and what the policy says in vain as a warning.
    Ends with 0 if the policy can take effect (warnings allow that), with 1 if it cannot.
    """
    problems: tuple[Problem, ...] = ()
    policy = None
    try:
        policy = load(_read(file), str(file))
    except PolicyError as error:
        problems = error.problems
    typer.echo(_checked_json(file, policy, problems) if as_json else "\n".join(_checked(file, policy, problems)))
    if policy is None:
        raise typer.Exit(Exit.FAILED)


@app.command(
    "explain",
    epilog=example("vestibule policy explain --group engineering --target core-banking 'DROP TABLE accounts'"),
)
def explain_(
    sql: Annotated[str, typer.Argument(metavar="SQL", help="The text that the person would send.")],
    target: TargetOption,
    group: Annotated[list[str], typer.Option("--group", metavar="GROUP", help="A group of the person; repeatable.")],
    policy: PolicyFile = _PATH,
    as_json: Json = False,
) -> None:
    """Say step by step how a text is decided, and which masks hide what from whoever is in these groups.

    The target is not asked: functions of the target's own count as unknown unless the policy registers them.
    Ends with 0 if the text would be allowed, with 4 if it would be held for approval, with 1 if it would be refused.
    """
    engine = Engine(load(_read(policy), str(policy)))
    told = _tell(engine, frozenset(map(GroupName, group)), _target(engine.policy, target), sql)
    typer.echo(json.dumps(told.as_json(), indent=2) if as_json else "\n".join(told.as_text()))
    raise typer.Exit(told.exit)


@app.command("who-can", epilog=example("vestibule policy who-can --target core-banking --allow write"))
def who_can_(
    target: TargetOption,
    allow: Annotated[str, typer.Option("--allow", metavar="IMPACT", help="read, write, schema, admin or unknown.")],
    verb: Annotated[str, typer.Option("--verb", metavar="VERB", help="One verb, such as drop; any if left out.")] = "",
    policy: PolicyFile = _PATH,
    as_json: Json = False,
) -> None:
    """List who may do something on a target.

    Names the access entries with their groups, and the guardrails that may still deny, or hold for approval.
    Who can do something only with an approval is listed too, and it is said. Ends with 0, whether or not anybody can.
    """
    engine = Engine(load(_read(policy), str(policy)))
    holders = who_can(engine, _target(engine.policy, target), _impact(allow), verb.lower())
    typer.echo(_holders_json(holders) if as_json else "\n".join(_holders(holders, target, allow)))


# --- what they read --------------------------------------------------------------------------------------------------


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(LIMIT + 1)
    except OSError as error:
        raise CommandError(f"{path}: {error.strerror}; name the policy file", Exit.USAGE) from None


def _target(policy: Policy, name: str) -> Target:
    found = policy.targets.get(TargetName(name))
    if found is None:
        raise CommandError(f'there is no target "{name}"; {suggestion(name, policy.targets)}', Exit.USAGE)
    return found


def _impact(word: str) -> Impact:
    words = {impact.word: impact for impact in Impact}
    if word not in words:
        raise CommandError(f'"{word}" is no impact; {suggestion(word, words)}', Exit.USAGE)
    return words[word]


# --- check -----------------------------------------------------------------------------------------------------------


def _checked(file: Path, policy: Policy | None, problems: Sequence[Problem]) -> Iterator[str]:
    yield from (problem.render(str(file)) for problem in problems)
    if policy is None:
        yield f"{file}: {len(problems)} to correct; this policy cannot take effect"
        return
    yield from (warning.render(str(file), "warning") for warning in policy.warnings)
    yield (
        f"{file}: right, {len(policy.warnings)} warnings; {len(policy.targets)} targets, {len(policy.access)} access "
        f"entries, {len(policy.guardrails)} guardrails, {len(policy.masks)} masks; SHA-256 {policy.digest}"
    )


def _checked_json(file: Path, policy: Policy | None, problems: Sequence[Problem]) -> str:
    warnings = policy.warnings if policy else ()
    return json.dumps(
        {
            "file": str(file),
            "valid": policy is not None,
            "policy": policy.digest if policy else None,
            "problems": [_problem_json(problem) for problem in problems],
            "warnings": [_problem_json(warning) for warning in warnings],
        },
        indent=2,
    )


def _problem_json(problem: Problem) -> dict[str, object]:
    return {"line": problem.place.line, "column": problem.place.column, "message": problem.message}


# --- explain ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Told:
    """The answer to `policy explain`; `refusal` is what holds whatever the policy says."""

    operations: tuple[Operation, ...]
    explanation: Explanation | None
    refusal: Unsupported | None

    @property
    def exit(self) -> Exit:
        """How the command ends."""
        if self.refusal is not None or self.explanation is None:
            return Exit.FAILED
        match decision := self.explanation.decision:
            case Allow():
                return Exit.OK
            case Hold():
                return Exit.HELD
            case Deny():
                return Exit.FAILED
            case _:
                assert_never(decision)

    def as_text(self) -> Iterator[str]:
        if self.refusal is not None:
            yield f"refused whatever the policy says: {self.refusal.message} ({self.refusal.code})"
            yield from filter(None, [self.refusal.hint])
        if self.explanation is None:
            return
        yield from (f'{step.section} "{step.rule}": {step.text}' for step in self.explanation.steps)
        yield from (_mask(label, shown(label.transform)) for label in self.explanation.masked)
        yield from (_mask(label, "clear for these groups") for label in self.explanation.clear)
        if self.refusal is None or isinstance(self.explanation.decision, Deny):
            yield from _decided(self.explanation.decision)

    def as_json(self) -> dict[str, object]:
        told: dict[str, object] = {
            "allowed": self.exit is Exit.OK,
            "operations": [
                {"verb": one.verb, "object": one.object, "impact": one.impact.word} for one in self.operations
            ],
        }
        if self.refusal is not None:
            told["refused"] = asdict(self.refusal)
        if self.explanation is not None:
            decision = self.explanation.decision
            told |= {"decision": type(decision).__name__.lower(), "rule": asdict(decision.rule)}
            told["steps"] = [asdict(step) for step in self.explanation.steps]
            told |= _decided_json(decision)
            told["masks"] = [
                *(_mask_json(label, is_clear=False) for label in self.explanation.masked),
                *(_mask_json(label, is_clear=True) for label in self.explanation.clear),
            ]
        return told


def _decided(decision: Decision) -> Iterator[str]:
    match decision:
        case Allow():
            yield f'allowed by "{decision.rule.name}"'
        case Deny():
            yield f'denied by rule "{decision.rule.name}" ({decision.rule.section}): {decision.reason}'
            yield from filter(None, [decision.hint])
        case Hold():
            yield f'held by rule "{decision.rule.name}" ({decision.rule.section}): {decision.reason}'
            people = "1 person" if decision.quorum == 1 else f"{decision.quorum} people"
            groups = ", ".join(sorted(decision.approvers))
            yield f"to be approved by {people} of: {groups}; within {spelled(decision.expires_us)}"
        case _:
            assert_never(decision)


def _decided_json(decision: Decision) -> dict[str, object]:
    match decision:
        case Allow():
            return {}
        case Deny():
            return {"reason": decision.reason, "hint": decision.hint}
        case Hold():
            return {
                "reason": decision.reason,
                "approvers": sorted(decision.approvers),
                "quorum": decision.quorum,
                "expires": spelled(decision.expires_us),
            }
        case _:
            assert_never(decision)


def _mask(label: Label, what: str) -> str:
    return f'masks "{label.rule}": {", ".join(label.columns)}: {what}'


def _mask_json(label: Label, *, is_clear: bool) -> dict[str, object]:
    return {**asdict(label), "is_clear": is_clear}


def _tell(engine: Engine, groups: frozenset[GroupName], target: Target, sql: str) -> _Told:
    # The parser is a heavy import, and only this command needs it.
    from vestibule.analysis.sql.analyse import analyse

    result = analyse(sql.encode(), _catalog(target))
    if isinstance(result, Unsupported):
        return _Told((), None, result)
    operations = _operations(result)
    refusal = next((one.refusal for one in result.statements if one.refusal is not None), None)
    return _Told(operations, explain(engine, groups, target, operations), refusal)


def _operations(parsed: Parsed) -> tuple[Operation, ...]:
    return tuple(operation for statement in parsed.statements for operation in statement.operations)


def _catalog(target: Target) -> Catalog:
    """Make the catalog of a target that has the registered functions and no other of its own."""
    from vestibule.analysis.sql.catalog import catalog, qualified

    names = [function.name for function in target.functions]
    rows = [("function", *qualified(name).rsplit(".", 1), "sql", "v", "f") for name in names]
    return catalog(rows, names, target.credential.username)


# --- who-can ---------------------------------------------------------------------------------------------------------


def _holders(holders: Sequence[Holder], target: str, allow: str) -> Iterator[str]:
    if not holders:
        yield f'nobody is granted "{allow}" on {target}, or a guardrail denies it to all'
    for holder in holders:
        always = ", only with approval" if holder.is_always_held else ""
        yield f'"{holder.entry}": groups {", ".join(holder.groups)}{always}'
        for guardrail in holder.guardrails:
            yield f'  except what the guardrail "{guardrail}" denies'
        for guardrail in holder.holds:
            yield f'  with approval for what the guardrail "{guardrail}" holds'


def _holders_json(holders: Sequence[Holder]) -> str:
    return json.dumps([asdict(holder) for holder in holders], indent=2)
