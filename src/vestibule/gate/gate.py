"""What a data process decides by: the policy in force, and the keys of what it records."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from vestibule.gate.kept import Recording
from vestibule.gate.masks import Masks
from vestibule.model.decision import Decision
from vestibule.model.identity import Identity
from vestibule.model.names import Digest, TargetName
from vestibule.model.plan import Label
from vestibule.model.statement import Operation
from vestibule.model.target import Target
from vestibule.policy.engine import Engine, SessionLimits


@dataclass(frozen=True, slots=True)
class StorageKey:
    """The key of the tokens that stand for sensitive values in stored text."""

    id: str
    key: bytes = field(repr=False)


class Gate:
    """Decides by the policy in force; one for all conversations of a process."""

    def __init__(self, engine: Engine, storage_key: StorageKey) -> None:
        """Start with the policy of `engine`."""
        self._engine = engine
        self.storage_key = storage_key
        self.masks = Masks()
        #: Of which targets results are recorded; of none unless the application says so.
        self.recording = Recording()

    @property
    def engine(self) -> Engine:
        """The policy in force; another object once another one is."""
        return self._engine

    @property
    def policy(self) -> Digest:
        """The digest of the policy document in force."""
        return self._engine.digest

    def apply(self, engine: Engine) -> None:
        """Let another policy take effect, for the next decision of every session."""
        self._engine = engine

    def target(self, identity: Identity, name: TargetName) -> Target | None:
        """Find a target that the identity may use; unknown and not granted look alike."""
        return self._engine.target(identity, name)

    def targets(self, identity: Identity) -> tuple[Target, ...]:
        """List the targets that the identity may use."""
        return tuple(self._engine.targets_of(identity))

    def is_masked(self, target: Target) -> bool:
        """Tell whether the policy says of anything at the target that it is sensitive."""
        return bool(self._engine.masks(target.name))

    def lifted(self, identity: Identity, target: Target, names: frozenset[str]) -> tuple[Decision, tuple[Label, ...]]:
        """Say who must approve that a statement sees through masks, and what is masked all the same."""
        return self._engine.lifted(identity, target, names)

    def limits(self, identity: Identity, target: Target) -> SessionLimits:
        """Say how long a session of the identity may last."""
        return self._engine.session_limits(identity, target)

    def decide(self, identity: Identity, target: Target, operations: Sequence[Operation]) -> Decision:
        """Decide by the policy in force."""
        return self._engine.decide(identity, target, operations)
