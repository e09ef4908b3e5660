"""What a data process answers when it is asked for its metrics: counts, the journal's, its vitals, and its sizes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from vestibule.metrics import FAMILIES, Snapshot, to_json
from vestibule.server.counting import Counting
from vestibule.vitals import Vitals
from vestibule.wire.jsonrpc import Json, Params


class Measured(Protocol):
    """The journal of this process."""

    def measured(self, process: str) -> Snapshot:
        """Give what was written so far, and how things are."""
        ...


class Meter:
    """Keeps what one data process counts."""

    def __init__(self, worker: int, protocol: str) -> None:
        """Start at nothing."""
        self._process = str(worker)
        self._vitals = Vitals(self._process)
        self.counting = Counting(protocol)

    def start(self, journal: Measured, sizes: Callable[[], Mapping[str, float]]) -> None:
        """Look at the event loop from now on; `sizes` gives the process's own gauges, by family."""
        self._journal, self._sizes = journal, sizes
        self._vitals.start()

    def stop(self) -> None:
        """Look no more."""
        self._vitals.stop()

    def answer(self, _: Params) -> Json:
        """Answer `metrics`."""
        return {"life": self._vitals.life, **to_json(self._snapshot())}

    def _snapshot(self) -> Snapshot:
        counted, vitals = self.counting.snapshot(), self._vitals.snapshot()
        journal = self._journal.measured(self._process)
        sizes = {(name, (self._process,) * len(FAMILIES[name].labels)): size for name, size in self._sizes().items()}
        return Snapshot(
            {**counted.counts, **journal.counts, **vitals.counts},
            counted.times,
            {**sizes, **journal.gauges, **vitals.gauges},
        )
