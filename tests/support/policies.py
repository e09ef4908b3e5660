"""Policies and identities for tests, made from the words of the file."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from uuid import UUID

from vestibule.model.identity import Identity, Proof, Who
from vestibule.model.names import GroupName, Instant, LoginName, TargetName
from vestibule.model.statement import Impact, Operation
from vestibule.policy.document import Policy, load

HEAD = """\
version: 1
identity:
  - name: corp
    oidc: {issuer: https://idp.bank.example/realms/staff, client_id: vestibule, groups_claim: groups}
roles:
  administrator: {groups: [platform]}
  auditor: {groups: [internal-audit]}
targets:
  core-banking:
    protocol: postgres
    hosts: [db1.internal:5432, db2.internal:5432]
    databases: [core, reports]
    search_path: [public]
    tls: {mode: verify-full, ca: file:/etc/vestibule/db-ca.pem}
    credential: {username: vestibule_rw, password: file:/etc/vestibule/core.password}
    functions: [{name: "public.state_count(text)", result: clean}]
    labels: {env: production, data: npi}
  sandbox:
    protocol: postgres
    hosts: [db3.internal:5432]
    databases: [sandbox]
    credential: {username: vestibule_rw, password: env:SANDBOX_PASSWORD}
    labels: {env: test}
  vault-room:
    protocol: postgres
    hosts: [db4.internal:5432]
    databases: [vault]
    credential: {username: vestibule_ro, password: env:VAULT_ROOM_PASSWORD}
"""

#: The access and the guardrails of the reference, with what this version can enforce of them.
RULES = """\
access:
  - name: engineers work in production
    groups: [engineering]
    targets: {labels: {env: production}}
    allow: [read, write]
    session: {max: 8h, idle: 30m}
  - name: engineers own the sandbox
    groups: [engineering, interns]
    targets: [sandbox]
    allow: [read, write, schema]
  - name: migrations
    groups: [migrators]
    targets: {labels: {env: production}}
    allow: [schema, unknown]
    session: {max: 1h}
  - name: database administrators
    groups: [dba]
    targets: [core-banking, sandbox]
    allow: [read, admin]
guardrails:
  - name: no dropping
    match: {impact: schema, verbs: [drop, truncate]}
    action: deny
    reason: "Schema objects are dropped by migration only."
  - name: customers are not deleted
    match: {verbs: [delete], objects: [public.customers], targets: {labels: {env: production}}}
    action: deny
    reason: "Close the account instead."
  - name: interns only look
    match: {at_least: write, groups: [interns]}
    action: deny
    reason: "Interns read."
"""


@cache
def sample() -> Policy:
    """Load the sample policy; a policy never changes, so that everybody may have the same."""
    return load((HEAD + RULES).encode(), "policy.yaml")


def identity(*groups: str, targets: Iterable[str] | None = None) -> Identity:
    """Make a proven person in `groups`, with a token scoped to `targets`."""
    who = Who("https://idp.bank.example/realms/staff", "s-1", LoginName("alice"), "human", UUID(int=1))
    scope = None if targets is None else frozenset(TargetName(name) for name in targets)
    return Identity(who, frozenset(GroupName(group) for group in groups), Proof("token", "t-1"), Instant(10**15), scope)


def operation(words: str) -> Operation:
    """Read `write delete public.customers` as an operation."""
    impact, verb, *rest = words.split(" ", 2)
    return Operation(verb, rest[0] if rest else "", Impact[impact.upper()])
