"""What a session knows of its target, and what of that may have changed since it was asked.

1. The catalog (functions, operators, types) and the session's own state (search path, temporary relations) are asked
   when the session begins, and again before the next statement once the session may have changed them.
2. Where columns are masked, a snapshot of all relations is asked too: when the one that the process has is too old,
   and when a statement or an answer names what it does not know.
3. Temporary relations hold what could be seen when they were made: they are closed when more is masked.
4. Texts are read by all of this together (`knowledge`), under one version. Before there is a snapshot no relation is
   known, so that none can be read.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from vestibule.analysis.sql.catalog import Catalog
from vestibule.analysis.sql.settings import schemas
from vestibule.gate.masks import Charted, Loaded
from vestibule.gate.reading import Knowledge
from vestibule.gate.session import SessionGate
from vestibule.masking.catalog import Snapshot, snapshot
from vestibule.masking.scene import Scene, Temporary
from vestibule.masking.sensitive import Sensitive
from vestibule.model.names import Instant
from vestibule.model.plan import Label
from vestibule.protocols.postgres.learning import Learned, Surveyed

_NOTHING: Final[Snapshot] = snapshot(())


class Knowing:
    """The knowledge of one session."""

    def __init__(self, gate: SessionGate, learned: Learned) -> None:
        """Begin with what the target said when it let us in."""
        self._gate = gate
        self.catalog: Catalog = learned.catalog
        self.temporaries = learned.temporaries
        #: The session may have changed what the catalog says: it is asked again before the next statement.
        self.is_catalog_stale = False
        self.has_changed_catalog = False
        #: The same of the search path and of temporary relations: masks depend on them, and what people approve.
        self.is_own_stale = False
        self.has_changed_own = False
        #: A name was met that the snapshot does not have.
        self._is_lacking = False
        #: The snapshot was loaded for the statement that is being read.
        self._is_fresh = False
        self._loaded: Loaded | None = None
        self._knowledge: Knowledge | None = None
        self._labels = gate.labels()
        #: The numbers of temporary relations that were made when other columns were masked; whether there are more.
        self._closed: frozenset[int] = frozenset()
        self._is_closing = False

    @property
    def is_masked(self) -> bool:
        """Whether any column is masked for this identity here."""
        return bool(self.labels)

    @property
    def is_stale(self) -> bool:
        """Whether what texts are read by may have changed since the target was asked."""
        return self.is_catalog_stale or (self.is_masked and self.is_own_stale)

    def must_ask(self) -> bool:
        """Whether texts cannot be read rightly before the target has been asked again."""
        return self.is_stale or (self.is_masked and (self._is_lacking or not self._loaded))

    def must_survey(self, now: Instant) -> bool:
        """Whether a new snapshot is due; one that another session has loaded will do."""
        if not self.is_masked or self._is_fresh:
            return False
        if self._is_lacking:
            return True
        shared = self._gate.loaded(now)
        if shared is not None and (self._loaded is None or shared.at > self._loaded.at):
            self._loaded, self._knowledge = shared, None
        return self._loaded is None or not self._loaded.is_good(now)

    def learn(self, learned: Learned) -> None:
        """Take what the target says of itself and of the session."""
        self.catalog, self.temporaries = learned.catalog, learned.temporaries
        # Nothing runs while the target is asked, so all of these are from before.
        self._note_labels()
        if self._is_closing:
            self._closed, self._is_closing = self._closed.union(self.temporaries.values()), False
        self._gate.note_search_path(learned.search_path)
        self._knowledge = None

    def charting(self, surveyed: Surveyed) -> Callable[[], Charted]:
        """Give the work of making a snapshot of what the target has said; it may raise a `ValueError`."""
        return self._gate.charting(surveyed.rows)

    def survey(self, charted: Charted, now: Instant, *, is_of_now: bool) -> None:
        """Take a snapshot."""
        self._loaded = self._gate.keep_snapshot(charted, now, is_shared=is_of_now)
        self._is_lacking, self._is_fresh = False, True
        self._knowledge = None

    def lacks(self) -> bool:
        """Note that the snapshot lacks a name; False if it has just been loaded, so that there is no such name."""
        self._is_lacking = not self._is_fresh
        return self._is_lacking

    def settle(self) -> None:
        """Note that a statement was read: the next one may name what there was not when the snapshot was loaded."""
        if self._is_fresh:
            self._is_fresh, self._knowledge = False, None

    @property
    def labels(self) -> tuple[Label, ...]:
        """What masks the answers of now."""
        return self._gate.labels()

    def sensitive(self, labels: tuple[Label, ...]) -> Sensitive | None:
        """Say what is sensitive under the masks that a statement was decided by; None where nothing was masked."""
        if not labels:
            return None
        scene = self.knowledge.scene
        if scene is not None and labels is self._labels:
            return scene.sensitive
        return self._gate.close_masks(self._snapshot, labels)

    @property
    def temporary_numbers(self) -> frozenset[int]:
        """The numbers of the session's own temporary relations that hold nothing that is masked."""
        return frozenset(self.temporaries.values()) - self._closed

    @property
    def constraints(self) -> frozenset[str]:
        """The names of constraints that may be told."""
        return frozenset() if self._loaded is None else self._loaded.snapshot.constraints

    @property
    def knowledge(self) -> Knowledge:
        """Everything that a text is read by."""
        self._note_labels()
        if self._knowledge is None:
            self._knowledge = Knowledge(self.catalog, self._scene(self._labels) if self._labels else None)
        return self._knowledge

    def _note_labels(self) -> None:
        """Close what was made when other columns were masked: it holds what may be masked now."""
        labels = self.labels
        if labels is self._labels:
            return
        if not set(labels) <= set(self._labels):
            self._closed = self._closed.union(self.temporaries.values())
            self._is_closing = self.is_own_stale
        self._labels, self._knowledge = labels, None

    @property
    def _snapshot(self) -> Snapshot:
        return _NOTHING if self._loaded is None else self._loaded.snapshot

    def _scene(self, labels: tuple[Label, ...]) -> Scene:
        return Scene(
            sensitive=self._gate.close_masks(self._snapshot, labels),
            search_path=schemas(self._gate.search_path) or (),
            temporaries={name: Temporary(is_closed=oid in self._closed) for name, oid in self.temporaries.items()},
            is_fresh=self._is_fresh,
        )
