"""What a session knows of its target, and what of that may have changed since it was asked.

1. The catalog (functions, operators, types) and the session's own state (search path, temporary relations) are asked
   when the session begins, and again before the next statement once the session may have changed them.
2. Where columns are masked, a snapshot of all relations is asked too: when the one that the process has is too old,
   and when a statement or an answer names what it does not know.
3. Temporary relations hold what could be seen when they were made: they are closed when more is masked.
4. Where less is stored than shown, what is stored is decided by a scene of its own. It needs the same knowledge, but
   nothing waits for that where nobody can ask: what is not known is not stored. The session's temporary relations may
   hold anything that it was ever shown.
4. Texts are read by all of this together (`knowledge`), under one version. Before there is a snapshot no relation is
   known, so that none can be read.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from typing import Final

from vestibule.analysis.sql.catalog import Catalog
from vestibule.analysis.sql.settings import schemas
from vestibule.gate.masks import Charted, Loaded
from vestibule.gate.reading import Knowledge
from vestibule.gate.session import SessionGate
from vestibule.gate.unmasking import unmasking
from vestibule.masking.catalog import Snapshot, snapshot
from vestibule.masking.scene import Scene, Temporary
from vestibule.masking.sensitive import Sensitive
from vestibule.model.names import SECOND, Instant
from vestibule.model.plan import Label
from vestibule.protocols.postgres.learning import Learned, Surveyed

_NOTHING: Final[Snapshot] = snapshot(())
#: How long what the target has said of itself counts as its present state.
CURRENT: Final = 2 * SECOND
#: Sets of masks that one session may ask to see through before they are made anew.
_READINGS: Final = 16


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
        self._knowledge: dict[tuple[tuple[Label, ...], bool], Knowledge] = {}
        self._labels = gate.labels()
        self._stored = gate.stored_labels()
        self._has_been_apart = self._stored != self._labels
        self._learned_at = Instant(0)
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

    @property
    def is_apart(self) -> bool:
        """Whether less is stored than shown, or was when something was made that is still there."""
        self._note_labels()
        return self._has_been_apart

    def change(self) -> None:
        """Note that the session may have changed relations themselves."""
        self.is_own_stale = self._is_lacking = True

    def should_ask(self) -> bool:
        """Whether the target is to be asked again for the sake of what is stored, if it can be."""
        return self.is_apart and (self.is_own_stale or self._is_lacking or not self._loaded)

    def must_ask(self) -> bool:
        """Whether texts cannot be read rightly before the target has been asked again."""
        return self.is_stale or (self.is_masked and (self._is_lacking or not self._loaded))

    def must_survey(self, now: Instant) -> bool:
        """Whether a new snapshot is due; one that another session has loaded will do."""
        if not (self.is_masked or self.is_apart) or self._is_fresh:
            return False
        if self._is_lacking:
            return True
        shared = self._gate.loaded(now)
        if shared is not None and (self._loaded is None or shared.at > self._loaded.at):
            self._loaded = shared
            self._forget()
        return self._loaded is None or not self._loaded.is_good(now)

    def is_current(self, now: Instant) -> bool:
        """Whether the target has just been asked: what people approve rests on what its names mean then."""
        return now - self._learned_at < CURRENT

    @property
    def meaning(self) -> str:
        """Name by one digest what the target's own names mean, as far as it was asked."""
        survey = "" if self._loaded is None else self._loaded.snapshot.version
        return sha256(f"{self.catalog.version}/{survey}".encode()).hexdigest()

    def learn(self, learned: Learned, now: Instant) -> None:
        """Take what the target says of itself and of the session."""
        self._learned_at = now
        self.catalog, self.temporaries = learned.catalog, learned.temporaries
        # Nothing runs while the target is asked, so all of these are from before.
        self._note_labels()
        if self._is_closing:
            self._closed, self._is_closing = self._closed.union(self.temporaries.values()), False
        self._gate.note_search_path(learned.search_path)
        self._forget()

    def charting(self, surveyed: Surveyed) -> Callable[[], Charted]:
        """Give the work of making a snapshot of what the target has said; it may raise a `ValueError`."""
        return self._gate.charting(surveyed.rows)

    def survey(self, charted: Charted, now: Instant, *, is_of_now: bool) -> None:
        """Take a snapshot."""
        self._loaded = self._gate.keep_snapshot(charted, now, is_shared=is_of_now)
        self._is_lacking, self._is_fresh = False, True
        self._forget()

    def lacks(self) -> bool:
        """Note that the snapshot lacks a name; False if it has just been loaded, so that there is no such name."""
        self._is_lacking = not self._is_fresh
        return self._is_lacking

    def settle(self) -> None:
        """Note that a statement was read: the next one may name what there was not when the snapshot was loaded."""
        if self._is_fresh:
            self._is_fresh = False
            self._forget()

    @property
    def labels(self) -> tuple[Label, ...]:
        """What masks the answers of now."""
        return self._gate.labels()

    def labels_of(self, text: bytes) -> tuple[Label, ...]:
        """What masks the answer of a text; one that asks to see through masks is taken as if people had approved."""
        labels = self.labels
        return self._gate.labels_for(unmasking(text)) if labels else labels

    def sensitive(self, labels: tuple[Label, ...]) -> Sensitive | None:
        """Say what is sensitive under the masks that a statement was decided by; None where nothing was masked."""
        if not labels:
            return None
        known = self._knowledge.get((labels, self.is_own_stale or self.is_catalog_stale))
        if known is not None and known.scene is not None:
            return known.scene.sensitive
        return self._gate.close_masks(self._snapshot, labels)

    @property
    def temporary_numbers(self) -> frozenset[int]:
        """The numbers of the session's own temporary relations that hold nothing that is masked."""
        return frozenset(self.temporaries.values()) - self._closed

    @property
    def constraints(self) -> frozenset[str]:
        """The names of constraints that may be told."""
        return frozenset() if self._loaded is None else self._loaded.snapshot.constraints

    def knowledge(self, text: bytes) -> Knowledge:
        """Everything that a text is read by."""
        self._note_labels()
        labels = self.labels_of(text)
        key = (labels, self.is_own_stale or self.is_catalog_stale)
        found = self._knowledge.get(key)
        if found is None:
            if len(self._knowledge) >= _READINGS:
                self._forget()
            is_apart = self._has_been_apart or labels != self._stored
            scene = self._scene(labels) if labels else None
            stored = self._stored_scene() if is_apart and self._stored else None
            found = self._knowledge[key] = Knowledge(self.catalog, scene, stored)
        return found

    def _forget(self) -> None:
        self._knowledge.clear()

    def _note_labels(self) -> None:
        """Close what was made when other columns were masked: it holds what may be masked now."""
        labels, stored = self.labels, self._gate.stored_labels()
        if labels is self._labels and stored is self._stored:
            return
        if not set(labels) <= set(self._labels):
            self._closed = self._closed.union(self.temporaries.values())
            self._is_closing = self.is_own_stale
        changed = (labels, stored) != (self._labels, self._stored)
        self._labels, self._stored = labels, stored
        self._has_been_apart = self._has_been_apart or changed or labels != stored
        self._forget()

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

    def _stored_scene(self) -> Scene:
        scene = self._scene(self._stored)
        if self.is_own_stale or self.is_catalog_stale:
            # No relation is known any more, so that nothing of one is stored.
            return replace(scene, sensitive=self._gate.close_masks(_NOTHING, self._stored), is_fresh=False)
        closed = self._has_been_apart
        return replace(scene, temporaries={name: Temporary(is_closed=closed) for name in self.temporaries})
