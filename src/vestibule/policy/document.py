"""The policy document as values: what it says, word for word, and what it means.

A policy is its bytes: two policies are equal if their digests are.
"""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, Literal

from vestibule.model.names import Digest, GroupName, RuleName, TargetName
from vestibule.model.plan import Transform
from vestibule.model.statement import Impact
from vestibule.model.target import Credential, RegisteredFunction, Target, TargetTls
from vestibule.policy import schema
from vestibule.policy.access import AccessEntry, Selector, SessionLimits
from vestibule.policy.checks import faults, warnings
from vestibule.policy.guardrails import EVERY_IMPACT, Approval, Guardrail, Match
from vestibule.policy.masks import MaskEntry
from vestibule.policy.reading import InvalidFile, check
from vestibule.policy.source import Faulty, Place, Problem, Source, parse

#: A policy's whole text is evidence, and one record must hold it.
TEXT_LIMIT: Final = 40 * 1024


class PolicyError(InvalidFile):
    """The policy cannot take effect; the text names file, line and what to write instead."""


@dataclass(frozen=True, slots=True)
class Provider:
    """An OpenID provider whose tokens prove an identity; durations in microseconds."""

    name: str
    issuer: str
    client_id: str
    groups_claim: str
    name_claim: str
    scopes: tuple[str, ...]
    algorithms: tuple[str, ...]
    leeway_us: int
    max_token_age_us: int
    login_max_us: int


@dataclass(frozen=True, slots=True)
class Policy:
    """One version of the policy; `text` are the exact bytes and `digest` is their SHA-256."""

    digest: Digest
    text: bytes = field(compare=False, repr=False)
    providers: tuple[Provider, ...] = field(compare=False, repr=False)
    roles: Mapping[str, frozenset[GroupName]] = field(compare=False, repr=False)
    targets: Mapping[TargetName, Target] = field(compare=False, repr=False)
    access: tuple[AccessEntry, ...] = field(compare=False, repr=False)
    guardrails: tuple[Guardrail, ...] = field(compare=False, repr=False)
    masks: tuple[MaskEntry, ...] = field(default=(), compare=False, repr=False)
    warnings: tuple[Problem, ...] = field(default=(), compare=False, repr=False)


def load(text: bytes, filename: str) -> Policy:
    """Read a policy; raise `PolicyError` with everything that is wrong in it."""
    try:
        if len(text) > TEXT_LIMIT:
            message = (
                f"the policy has {len(text)} bytes; its text is recorded as evidence, which takes {TEXT_LIMIT} at most"
            )
            raise Faulty(Problem(Place(1, 1), message))
        source = parse(text, schema.WORDED)
        document = check(schema.Document, source, schema.LATER)
        if problems := tuple(faults(document, source)):
            raise Faulty(*problems)
    except Faulty as faulty:
        raise PolicyError(filename, faulty.problems) from None
    return _policy(text, document, source)


def diff(old: Policy | None, new: Policy) -> str:
    """Write what changed from `old` to `new` as a unified diff, each side named by its digest."""
    before = old.text.decode("utf-8-sig").splitlines() if old else []
    after = new.text.decode("utf-8-sig").splitlines()
    names = (f"policy {old.digest}" if old else "/dev/null", f"policy {new.digest}")
    return "\n".join(difflib.unified_diff(before, after, *names, lineterm="")) + "\n"


def _policy(text: bytes, document: schema.Document, source: Source) -> Policy:
    targets = {TargetName(name): _target(TargetName(name), entry) for name, entry in document.targets.items()}
    access = tuple(_access(entry) for entry in document.access)
    guardrails = tuple(_guardrail(entry) for entry in document.guardrails)
    masks = tuple(_mask(entry) for entry in document.masks)
    return Policy(
        digest=Digest(hashlib.sha256(text).hexdigest()),
        text=text,
        providers=tuple(_provider(entry) for entry in document.identity),
        roles=MappingProxyType({role: _groups(members.groups) for role, members in document.roles.items()}),
        targets=MappingProxyType(targets),
        access=access,
        guardrails=guardrails,
        masks=masks,
        warnings=tuple(sorted(warnings(source, targets, access, guardrails, masks))),
    )


def _provider(entry: schema.Identity) -> Provider:
    oidc = entry.oidc
    return Provider(
        name=entry.name,
        issuer=oidc.issuer,
        client_id=oidc.client_id,
        groups_claim=oidc.groups_claim,
        name_claim=oidc.name_claim,
        scopes=tuple(oidc.scopes),
        algorithms=tuple(oidc.algorithms),
        leeway_us=oidc.leeway,
        max_token_age_us=oidc.max_token_age,
        login_max_us=entry.login.max,
    )


def _target(name: TargetName, entry: schema.Target) -> Target:
    return Target(
        name=name,
        protocol=entry.protocol,
        hosts=tuple(entry.hosts),
        databases=tuple(entry.databases),
        search_path=tuple(entry.search_path),
        tls=TargetTls(entry.tls.mode, entry.tls.ca, entry.tls.direct, entry.tls.channel_binding),
        credential=Credential(entry.credential.username, entry.credential.password),
        authentication=frozenset(entry.authentication),
        functions=tuple(RegisteredFunction(function.name, function.result) for function in entry.functions),
        labels=MappingProxyType(dict(entry.labels)),
    )


def _access(entry: schema.Access) -> AccessEntry:
    return AccessEntry(
        name=RuleName(entry.name),
        groups=_groups(entry.groups),
        targets=_selector(entry.targets),
        allow=frozenset(entry.allow),
        limits=SessionLimits(entry.session.max, entry.session.idle),
    )


def _guardrail(entry: schema.Guardrail) -> Guardrail:
    return Guardrail(RuleName(entry.name), _match(entry.match), entry.reason or "", _approval(entry))


def _approval(entry: schema.Guardrail) -> Approval | None:
    if entry.approvers is None:
        return None
    return Approval(_groups(entry.approvers.groups), entry.approvers.quorum, entry.expires)


def _mask(entry: schema.Mask) -> MaskEntry:
    return MaskEntry(
        name=RuleName(entry.name),
        columns=tuple(entry.columns),
        transform=_transform(entry.transform),
        clear_for=_groups(entry.clear_for.groups if entry.clear_for else ()),
        targets=None if entry.targets is None else _selector(entry.targets),
        unmask=None if entry.unmask is None else _unmask(entry.unmask),
    )


def _unmask(entry: schema.Unmask) -> Approval:
    return Approval(_groups(entry.groups), entry.quorum, entry.expires)


def _transform(entry: schema.Keep | Literal["hide", "null"]) -> Transform:
    if isinstance(entry, schema.Keep):
        return Transform("keep", entry.keep_first or 0, entry.keep_last or 0)
    return Transform(entry)


def _match(entry: schema.Match) -> Match:
    exactly = EVERY_IMPACT if entry.impact is None else frozenset(entry.impact)
    least = Impact.READ if entry.at_least is None else entry.at_least
    return Match(
        impacts=frozenset(impact for impact in exactly if impact >= least),
        verbs=frozenset(entry.verbs or ()),
        objects=tuple(entry.objects or ()),
        targets=None if entry.targets is None else _selector(entry.targets),
        groups=_groups(entry.groups or ()),
    )


def _selector(entry: list[str] | schema.Labelled) -> Selector:
    if isinstance(entry, schema.Labelled):
        return Selector(labels=MappingProxyType(dict(entry.labels)))
    return Selector(names=frozenset(TargetName(name) for name in entry))


def _groups(names: Iterable[str]) -> frozenset[GroupName]:
    return frozenset(GroupName(name) for name in names)
