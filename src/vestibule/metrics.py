"""What is counted: every metric's name, and how a process counts without a cost that anybody feels.

1. Labels have values out of small sets that we choose (a decision, an outcome) or that the policy names (a target).
   Never a person, a network address, or anything that a client sent.
2. Counting is a step in a dictionary or a list: no lock, no clock, no object for each event.
3. A process tells what it has counted since its start. `Sums` adds processes up, and what one had counted stays when
   another takes its place: no counter ever falls while the control process lives.
4. Whatever happens, a family has at most `SERIES` combinations of labels; what is beyond is counted as `other`.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

SERIES: Final = 600
OTHER: Final = "other"

#: Upper bounds of the histograms' buckets, in seconds.
BUCKETS: Final = (
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0
)  # fmt: skip

Kind = Literal["counter", "gauge", "histogram"]
Labels = tuple[str, ...]
Json = None | bool | int | float | str | Sequence["Json"] | Mapping[str, "Json"]


@dataclass(frozen=True, slots=True)
class Family:
    """One metric: `help` is what it says, `labels` their names in order."""

    name: str
    kind: Kind
    help: str
    labels: Labels = ()


def _families() -> Iterator[Family]:
    yield Family("vestibule_build_info", "gauge", "Always 1; the labels say what runs.", ("version", "python", "build"))
    yield Family("vestibule_ready", "gauge", "1 while /readyz would say so: nothing keeps new sessions out.")
    yield Family("vestibule_data_processes", "gauge", "Data processes that there are to be.")
    yield Family("vestibule_data_processes_ready", "gauge", "Data processes that answer.")
    yield Family("vestibule_data_process_restarts_total", "counter", "Data processes that ended and were replaced.")
    yield Family("vestibule_policy_file_rejected", "gauge", "1 while the policy file is not the policy in force.")
    yield Family("vestibule_clock_steps_total", "counter", "Times that the wall clock was set by more than a second.")
    yield Family(
        "vestibule_certificate_expiry_seconds",
        "gauge",
        "Seconds until a listener's certificate expires; below 0 it has.",
        ("listener",),
    )
    yield from _of_sessions()
    yield from _of_targets()
    yield from _of_statements()
    yield from _of_evidence()
    yield from _of_processes()


def _of_sessions() -> Iterator[Family]:
    yield Family("vestibule_sign_ins_total", "counter", "Sign-ins at the identity provider, by result.", ("result",))
    yield Family("vestibule_logins_total", "counter", "Log-ins of clients to targets, by result.", ("result",))
    yield Family("vestibule_connections_pending", "gauge", "Connections that have not proven an identity yet.")
    yield Family("vestibule_sessions_open", "gauge", "Sessions that are open.")
    yield Family("vestibule_sessions_opened_total", "counter", "Sessions that opened.", ("target",))
    yield Family("vestibule_sessions_closed_total", "counter", "Sessions that ended, by cause.", ("target", "cause"))


def _of_targets() -> Iterator[Family]:
    yield Family(
        "vestibule_target_failures_total",
        "counter",
        "Admitted log-ins that ended because the target could not be reached or did not let the gateway in.",
        ("target",),
    )
    yield Family(
        "vestibule_target_faults_total",
        "counter",
        "Sessions that ended because the target broke the protocol, or answered otherwise than foretold.",
        ("target",),
    )


def _of_statements() -> Iterator[Family]:
    yield Family(
        "vestibule_statements_decided_total",
        "counter",
        "Decisions about statements, by the worst impact of what they do.",
        ("target", "protocol", "decision", "impact"),
    )
    yield Family(
        "vestibule_statements_denied_total",
        "counter",
        "Denied statements, by the part of the policy that denied; unsupported: refused whatever the policy says.",
        ("target", "cause"),
    )
    yield Family(
        "vestibule_statements_refused_total",
        "counter",
        "Statements that the gateway answered itself, by the SQLSTATE of the answer.",
        ("target", "code"),
    )
    yield Family(
        "vestibule_statements_finished_total", "counter", "Statements that ended, by outcome.", ("target", "outcome")
    )
    yield Family("vestibule_rows_sent_total", "counter", "Rows that clients were sent.", ("target",))
    yield Family("vestibule_sent_bytes_total", "counter", "Bytes of results that clients were sent.", ("target",))
    yield Family(
        "vestibule_masked_values_total", "counter", "Values that were masked, counted at a session's end.", ("target",)
    )
    yield Family("vestibule_approvals_asked_total", "counter", "Requests for approval.", ("target",))
    yield Family("vestibule_approvals_answered_total", "counter", "Final answers to requests.", ("answer",))
    yield Family("vestibule_approvals_waiting", "gauge", "Requests that wait for an answer now.")
    yield Family(
        "vestibule_approvals_oldest_seconds", "gauge", "How long the oldest of them waits; 0 if there is none."
    )
    yield Family("vestibule_decision_seconds", "histogram", "Reading and deciding what one event of a client brought.")
    yield Family(
        "vestibule_snapshot_seconds",
        "histogram",
        "Making a snapshot of all relations of a target, beside everything else.",
    )
    yield Family("vestibule_commit_seconds", "histogram", "From a decision's hand-over until it is durable.")
    yield Family("vestibule_target_wait_seconds", "histogram", "From the last byte to a target to its first answer.")
    yield Family(
        "vestibule_added_seconds",
        "histogram",
        "What the gateway adds: to_target from a client's bytes to what is sent on, to_client the way back.",
        ("leg",),
    )


def _of_evidence() -> Iterator[Family]:
    yield Family("vestibule_journal_records_total", "counter", "Records made durable.", ("process",))
    yield Family("vestibule_journal_bytes_total", "counter", "Bytes made durable.", ("process",))
    yield Family(
        "vestibule_journal_commits_total", "counter", "Writes with a sync; one for all that wait.", ("process",)
    )
    yield Family("vestibule_journal_waiting_records", "gauge", "Records that wait for the disk.", ("process",))
    yield Family("vestibule_journal_free_bytes", "gauge", "Room on the journal's volume.", ("process",))
    yield Family("vestibule_journal_fault", "gauge", "1 while decisions cannot be made durable.", ("process",))
    yield Family("vestibule_commits_failed_total", "counter", "Batches of records that were refused or late.")
    yield Family("vestibule_audit_faults_total", "counter", "AuditFault records that began, by fault.", ("fault",))
    yield Family("vestibule_log_records", "gauge", "Records in the evidence log.")
    yield Family("vestibule_log_published_records", "gauge", "Records under the newest checkpoint.")
    yield Family("vestibule_log_checkpoint_age_seconds", "gauge", "Age of the newest checkpoint.")
    yield Family("vestibule_log_behind_seconds", "gauge", "Time since everything durable was in the log.")
    yield Family("vestibule_log_stopped", "gauge", "1 while nothing is signed: the log was rolled back or changed.")
    yield Family("vestibule_log_stopped_chains", "gauge", "Writers whose journal does not continue.")
    yield Family(
        "vestibule_spool_bytes", "gauge", "Recorded results that are not in the object store yet.", ("process",)
    )


def _of_processes() -> Iterator[Family]:
    yield Family("vestibule_process_cpu_seconds_total", "counter", "CPU time, user and system.", ("process",))
    yield Family("vestibule_process_resident_memory_bytes", "gauge", "Resident memory.", ("process",))
    yield Family("vestibule_process_open_fds", "gauge", "Open descriptors.", ("process",))
    yield Family("vestibule_process_max_fds", "gauge", "How many descriptors the process may open.", ("process",))
    yield Family(
        "vestibule_process_loop_lag_seconds",
        "gauge",
        "The longest that the event loop was late since the last look.",
        ("process",),
    )


#: Every metric, by its name.
FAMILIES: Final[Mapping[str, Family]] = {family.name: family for family in _families()}


class Histogram:
    """How many observations were at most as long as each of `BUCKETS`, one more for longer ones, and their sum."""

    __slots__ = ("counts", "sum")

    def __init__(self) -> None:
        """Start without observations."""
        self.counts = [0] * (len(BUCKETS) + 1)
        self.sum = 0.0

    def observe(self, seconds: float) -> None:
        """Count one."""
        self.counts[bisect_left(BUCKETS, seconds)] += 1
        self.sum += seconds


class Tally:
    """What one process has counted since its start."""

    __slots__ = ("_counts", "_times")

    def __init__(self) -> None:
        """Start at nothing."""
        self._counts: dict[str, dict[Labels, float]] = {}
        self._times: dict[str, dict[Labels, Histogram]] = {}

    def add(self, family: str, labels: Labels = (), by: float = 1) -> None:
        """Count `by` more."""
        series = self._counts.get(family)
        if series is None:
            series = self._counts[family] = {}
        if labels not in series and len(series) >= SERIES:
            labels = (OTHER,) * len(labels)
        series[labels] = series.get(labels, 0) + by

    def histogram(self, family: str, labels: Labels = ()) -> Histogram:
        """Give the histogram to observe with; to be kept by whoever observes often."""
        return self._times.setdefault(family, {}).setdefault(labels, Histogram())

    def snapshot(self) -> Snapshot:
        """Give what was counted so far."""
        counts = {(family, labels): n for family, series in self._counts.items() for labels, n in series.items()}
        times = {
            (family, labels): (tuple(each.counts), each.sum)
            for family, series in self._times.items()
            for labels, each in series.items()
        }
        return Snapshot(counts, times)


Key = tuple[str, Labels]
Times = tuple[tuple[int, ...], float]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a process, or all of them, counted; `gauges` are how things are now."""

    counts: Mapping[Key, float] = field(default_factory=dict)
    times: Mapping[Key, Times] = field(default_factory=dict)
    gauges: Mapping[Key, float] = field(default_factory=dict)


class Sums:
    """Adds up what processes counted, over all their lives."""

    def __init__(self) -> None:
        """Start at nothing."""
        self._counts: dict[Key, float] = {}
        self._times: dict[Key, Times] = {}
        self._lives: dict[int, tuple[str, Snapshot]] = {}

    def take(self, number: int, life: str, counted: Snapshot) -> None:
        """Take what process `number` counted since it began its `life`."""
        before = self._lives.get(number)
        if before is not None and before[0] != life:
            _add(self._counts, self._times, before[1])
        self._lives[number] = (life, counted)

    def total(self) -> Snapshot:
        """Give the sums of all lives; no gauges."""
        counts, times = dict(self._counts), dict(self._times)
        for _, counted in self._lives.values():
            _add(counts, times, counted)
        return Snapshot(counts, times)


def _add(counts: dict[Key, float], times: dict[Key, Times], more: Snapshot) -> None:
    for key, n in more.counts.items():
        counts[key] = counts.get(key, 0) + n
    for key, (buckets, seconds) in more.times.items():
        known, so_far = times.get(key, ((0,) * len(buckets), 0.0))
        times[key] = (tuple(a + b for a, b in zip(known, buckets, strict=True)), so_far + seconds)


# --- over the bus ----------------------------------------------------------------------------------------------------


def to_json(snapshot: Snapshot) -> dict[str, Json]:
    """Write a snapshot."""
    return {
        "counts": [[name, list(labels), n] for (name, labels), n in snapshot.counts.items()],
        "times": [[name, list(labels), list(b), s] for (name, labels), (b, s) in snapshot.times.items()],
        "gauges": [[name, list(labels), n] for (name, labels), n in snapshot.gauges.items()],
    }


def from_json(said: Json) -> Snapshot:
    """Read a snapshot; a `ValueError` if it is none, or names what there is not."""
    if not isinstance(said, Mapping):
        raise ValueError("a snapshot is an object")
    try:
        return Snapshot(
            {_key(name, labels): float(n) for name, labels, n in _rows(said, "counts")},
            {_key(name, labels): (_buckets(b), float(s)) for name, labels, b, s in _rows(said, "times")},
            {_key(name, labels): float(n) for name, labels, n in _rows(said, "gauges")},
        )
    except (TypeError, KeyError) as error:
        raise ValueError("a snapshot's rows are name, labels and numbers") from error


def _rows(said: Mapping[str, Json], name: str) -> Iterable[list]:  # type: ignore[type-arg] # checked member by member
    rows = said[name]
    if not isinstance(rows, list):
        raise TypeError
    return rows


def _key(name: object, labels: object) -> Key:
    if not isinstance(name, str) or not isinstance(labels, list) or len(labels) != len(FAMILIES[name].labels):
        raise TypeError
    return name, tuple(str(label) for label in labels)


def _buckets(counts: object) -> tuple[int, ...]:
    if not isinstance(counts, list) or len(counts) != len(BUCKETS) + 1:
        raise TypeError
    return tuple(int(count) for count in counts)
