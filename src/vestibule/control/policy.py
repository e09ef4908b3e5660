"""The policy in force: read from its file, recorded, then handed to everybody.

1. A policy takes effect only after `PolicyApplied` with its text is durable.
2. A file that is wrong, or cannot be recorded, changes nothing: the policy in force stays, and the operator is told.
3. The file is looked at every second. A change drops no session, except where its target is no longer granted.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

import structlog

from vestibule.model.errors import ConfigurationError, EvidenceUnavailable
from vestibule.model.names import Instant, stamp
from vestibule.model.record import Kind, Record
from vestibule.policy.document import TEXT_LIMIT, Policy, diff, load

log = structlog.get_logger(__name__)

LOOK_EVERY: Final = 1.0

Persist = Callable[[Record], Awaitable[None]]
Apply = Callable[[Policy], Awaitable[None]]


class PolicyKeeper:
    """Keeps the policy in force."""

    def __init__(self, path: Path, persist: Persist, now: Callable[[], Instant]) -> None:
        """Start with no policy; `persist` returns once a record is durable."""
        self._path, self._persist, self._now = path, persist, now
        self._policy: Policy | None = None
        self._seen: tuple[int, int, int] | None = None
        #: Whether the file, as it was read last, is the policy in force.
        self.is_file_in_force = True

    @property
    def policy(self) -> Policy:
        """The policy in force."""
        if self._policy is None:
            raise AssertionError("a policy is read before anything is served")
        return self._policy

    async def begin(self, previous: str | None) -> Policy:
        """Read the policy at start; `previous` is the digest of the one that was in force last."""
        policy = self._read()
        if policy.digest != previous:
            await self._persist(self._record(policy, None, previous))
        self._policy = policy
        return policy

    async def watch(self, apply: Apply) -> None:
        """Let changes of the file take effect, for ever."""
        while True:
            await asyncio.sleep(LOOK_EVERY)
            if self._has_changed():
                await self.reload(apply)

    async def reload(self, apply: Apply) -> bool:
        """Read the file again; tell whether another policy took effect."""
        try:
            policy = self._read()
            if policy.digest == self.policy.digest:
                self.is_file_in_force = True
                return False
            await self._persist(self._record(policy, self.policy, self.policy.digest))
        except (ConfigurationError, EvidenceUnavailable) as error:
            self.is_file_in_force = False
            log.error("policy_not_applied", reason=str(error), in_force=self.policy.digest)
            return False
        self._policy, self.is_file_in_force = policy, True
        await apply(policy)
        log.info("policy_applied", policy=policy.digest)
        return True

    def _has_changed(self) -> bool:
        return self._mark() != self._seen

    def _mark(self) -> tuple[int, int, int] | None:
        try:
            status = self._path.stat()
        except OSError:
            return None
        return status.st_mtime_ns, status.st_size, status.st_ino

    def _read(self) -> Policy:
        self._seen = self._mark()
        try:
            text = self._path.read_bytes()
        except OSError as error:
            raise ConfigurationError(f"{self._path}: cannot be read: {error.strerror}") from None
        return load(text, str(self._path))

    def _record(self, policy: Policy, old: Policy | None, previous: str | None) -> Record:
        text = policy.text.decode("utf-8-sig")
        changes = diff(old, policy) if old is not None else ""
        members = {"policy": policy.digest, "text": text, "source": "file", "effective_at": stamp(self._now())}
        if previous is not None:
            members["previous"] = previous
        if changes and len(changes.encode()) + len(text.encode()) < TEXT_LIMIT:
            members["diff"] = changes
        return Record(Kind.POLICY_APPLIED, members)
