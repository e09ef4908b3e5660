"""Gates, admitted conversations and statements for tests."""

from __future__ import annotations

from uuid import UUID

from tests.support.policies import HEAD, RULES, identity, sample
from vestibule.gate.gate import Gate, StorageKey
from vestibule.gate.session import SessionGate
from vestibule.model.event import Admission, Dialed
from vestibule.model.identity import Identity, Peer
from vestibule.model.names import Instant, TargetName
from vestibule.model.statement import Analysis, Impact, Operation, Parameter, Span, Statement
from vestibule.policy.document import load
from vestibule.policy.engine import Engine

SESSION = UUID("018f0000-0000-7000-8000-000000000001")
CLIENT = Peer("192.0.2.7", 50_000)
NOW = Instant(1_700_000_000_000_000)
DATA_KEY = bytes(range(32))
DATA_KEY_ID = str(UUID(int=9))


#: What is held, beside the sample's rules: deleting, for the people who look after the databases.
HOLDING = """
  - name: deleting needs a second person
    match: {verbs: [delete]}
    action: hold
    approvers: {groups: [dba-managers], quorum: 1}
    expires: 15m
"""


def gate() -> Gate:
    """A gate with the sample policy."""
    return Gate(Engine(sample()), StorageKey("k1", bytes(32)))


def holding_engine(more: str = "") -> Engine:
    """The sample policy with a guardrail that holds; `more` makes it another policy."""
    return Engine(load((HEAD + RULES + HOLDING + more).encode(), "policy.yaml"))


def holding_gate(more: str = "") -> Gate:
    """A gate where deleting is held."""
    return Gate(holding_engine(more), StorageKey("k1", bytes(32)))


def admission(*groups: str) -> Admission:
    """What the control process gives with an accepted proof."""
    return Admission(identity(*(groups or ("engineering",))), DATA_KEY_ID, DATA_KEY)


def admitted(*groups: str, at: Gate | None = None, target: str = "core-banking") -> SessionGate:
    """A conversation whose access was granted and whose session is open."""
    session = SessionGate(at or gate(), SESSION, CLIENT, "postgres")
    proof = admission(*groups)
    found = session.gate.target(proof.identity, TargetName(target))
    assert found is not None
    session.admit(proof, found, found.databases[0], "alice+" + target)
    session.opened(Dialed(Peer("10.0.0.5", 5432), 40_000, None, b""), None, "psql", 4711, ("", ""), NOW)
    return session


def person(session: SessionGate) -> Identity:
    """Whoever was admitted."""
    assert session.identity is not None
    return session.identity


def statement(
    text: str = "SELECT 1",
    impact: Impact = Impact.READ,
    verb: str = "select",
    about: str = "",
    literals: tuple[Span, ...] = (),
    parameters: tuple[Parameter, ...] = (),
) -> Statement:
    """A statement of one operation."""
    analysis = Analysis("X", (Operation(verb, about, impact),), 0, len(text), literals)
    return Statement(text.encode(), (analysis,), parameters)
