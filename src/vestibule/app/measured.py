"""What the control process says of itself among the metrics, and where they are served."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from vestibule import __version__
from vestibule.control.exposition import application
from vestibule.control.health import Readiness
from vestibule.control.https import Web
from vestibule.control.integrator import Integrator
from vestibule.control.measuring import Measuring, expiry_of
from vestibule.control.policy import PolicyKeeper
from vestibule.metrics import Key, Snapshot
from vestibule.model.login import StateUnavailable
from vestibule.model.names import SECOND, Instant
from vestibule.protocols.postgres import rows
from vestibule.settings import Listeners, MetricsListener
from vestibule.stores.approvals import ApprovalStore
from vestibule.stores.segments import Journal
from vestibule.vitals import Vitals

PROCESS = "control"


@dataclass(frozen=True, slots=True)
class Sources:
    """What is looked at."""

    listeners: Listeners
    journal: Journal
    log: Integrator
    policy: PolicyKeeper
    approvals: ApprovalStore
    readiness: Readiness
    vitals: Vitals
    now: Callable[[], Instant]

    async def snapshot(self) -> Snapshot:
        """Say how the control process and what it keeps are now."""
        vitals, journal = self.vitals.snapshot(), self.journal.measured(PROCESS)
        gauges: dict[Key, float] = {
            ("vestibule_build_info", (__version__, platform.python_version(), rows.BUILD)): 1,
            ("vestibule_ready", ()): not await self.readiness.problems(),
            ("vestibule_policy_file_rejected", ()): not self.policy.is_file_in_force,
            **self._of_log(),
            **await self._of_approvals(),
            **self._of_certificates(),
        }
        return Snapshot({**vitals.counts, **journal.counts}, {}, {**gauges, **vitals.gauges, **journal.gauges})

    def _of_log(self) -> dict[Key, float]:
        log = self.log
        found: dict[Key, float] = {
            ("vestibule_log_records", ()): log.size,
            ("vestibule_log_published_records", ()): log.published_size,
            ("vestibule_log_behind_seconds", ()): log.behind_seconds,
            ("vestibule_log_stopped", ()): log.rolled_back is not None,
            ("vestibule_log_stopped_chains", ()): len(log.faults),
        }
        if (age := log.checkpoint_age) is not None:
            found["vestibule_log_checkpoint_age_seconds", ()] = age
        return found

    async def _of_approvals(self) -> dict[Key, float]:
        try:
            count, oldest = await self.approvals.waiting()
        except StateUnavailable:
            return {}
        age = 0.0 if oldest is None else max(0.0, (self.now() - oldest) / SECOND)
        return {("vestibule_approvals_waiting", ()): count, ("vestibule_approvals_oldest_seconds", ()): age}

    def _of_certificates(self) -> dict[Key, float]:
        found: dict[Key, float] = {}
        for name, certificate in certificates(self.listeners):
            if (seconds := expiry_of(certificate)) is not None:
                found["vestibule_certificate_expiry_seconds", (name,)] = seconds
        return found


def certificates(listeners: Listeners) -> Iterator[tuple[str, Path]]:
    """List the listeners' certificates by the listeners' names."""
    yield "postgres", listeners.postgres.certificate
    yield "control", listeners.control.certificate
    if listeners.metrics is not None and listeners.metrics.certificate is not None:
        yield "metrics", listeners.metrics.certificate


def web(listener: MetricsListener, measuring: Measuring) -> Web:
    """Make the server of the metrics."""
    return Web(application(measuring.snapshot), listener.certificate, listener.key)
