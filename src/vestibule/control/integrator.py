"""The integrator: records become leaves, the tree is published and signed. The control process runs the only one.

1. What is durable in the journals is a leaf and in the search index within a moment, in one transaction.
2. A chain that does not continue stops; that is a record and an alarm, and the others go on.
3. Publishing: tiles and entry bundles, then the signature, then the transaction that keeps it, then the guard's memory,
   at last the checkpoint. Whatever was cut off is done again and gives the same bytes.
4. A log that has been rolled back is neither grown nor signed until a person has decided.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

import structlog
from sqlalchemy.exc import IntegrityError, InterfaceError, ProgrammingError

from vestibule.control.guard import Guard
from vestibule.control.journals import Journals
from vestibule.control.remembered import Tree
from vestibule.control.signer import Signer
from vestibule.evidence.canonical import decode_header, leaf_hash
from vestibule.evidence.checkpoint import Checkpoint, sign_checkpoint
from vestibule.evidence.errors import EvidenceFormatError, RolledBack
from vestibule.evidence.log import (
    Grown,
    Integrated,
    Known,
    LogState,
    Row,
    integrate,
    publication,
    publishable,
)
from vestibule.evidence.merkle import Frontier, TileRoot, prove_consistency
from vestibule.evidence.tiles import TILE_WIDTH, TileHashes, decode_entries, entries_path
from vestibule.model.names import Instant, stamp
from vestibule.model.record import Json, Kind, Record, Written
from vestibule.stores.index import Leaf
from vestibule.stores.log import Kept, LogStore, Place, StateChanged
from vestibule.stores.segment_file import JournalDamaged
from vestibule.stores.tail import Found, read_places
from vestibule.stores.tiles import LogFolder

log = structlog.get_logger(__name__)

#: Records in one transaction.
BATCH: Final = 1_024
#: Leaves that may wait for a signature; then the log grows no further until one is given.
BACKLOG: Final = 262_144
#: Seconds after which a log that cannot be published is a fault of its own.
UNSIGNED: Final = 900.0
#: What comes of a body that does not have the members of its kind.
_BODY_ERRORS: Final = (
    KeyError,
    TypeError,
    ValueError,
    AttributeError,
    OverflowError,
    IntegrityError,
    InterfaceError,
    ProgrammingError,
)


class OwnJournal(Protocol):
    """The control process's own journal."""

    def append(self, records: Sequence[Record]) -> object:
        """Hand over records that nobody waits for."""
        ...

    def commit(self, *records: Record) -> Awaitable[tuple[Written, ...]]:
        """Return once records are durable."""
        ...


@dataclass(frozen=True, slots=True)
class Settings:
    """How often the log moves, in seconds."""

    publish_every: float = 5.0
    look_every: float = 0.2


class Integrator:
    """The log of one deployment; `data` holds `journal/`, `log/` and `guard.json`."""

    def __init__(
        self,
        data: Path,
        store: LogStore,
        signer: Signer,
        journal: OwnJournal,
        clock: Callable[[], Instant],
        settings: Settings | None = None,
    ) -> None:
        self._store = store
        self._signer = signer
        self._journal = journal
        self._clock = clock
        self._settings = settings or Settings()
        self._folder = LogFolder(data / "log")
        self._journals = Journals(data / "journal")
        self._guard = Guard(data, self._folder, signer)
        self._lock = asyncio.Lock()
        self._state = LogState()
        self._published = Frontier()
        self._fresh: list[bytes] = []
        self._tiles: tuple[TileRoot, ...] = ()
        self._has_genesis = False
        self._working: set[asyncio.Future[None]] = set()
        self._reason = ""
        self._reported: set[str] = set()
        self._unsigned_since: float | None = None
        self._next_publication = 0.0
        self._rolled_back: str | None = None
        self._caught_up = time.monotonic()

    @property
    def behind_seconds(self) -> float:
        """How long ago everything that was durable was in the log."""
        return time.monotonic() - self._caught_up

    @property
    def checkpoint_age(self) -> float | None:
        """How long ago the newest checkpoint was written, in seconds; None while there is none."""
        return self._folder.checkpoint_age()

    @property
    def size(self) -> int:
        """Leaves of the tree."""
        return self._state.tree.size

    @property
    def published_size(self) -> int:
        """Leaves of the newest signed tree."""
        return self._published.size

    @property
    def rolled_back(self) -> str | None:
        """Say why nothing is integrated or signed; None while it is."""
        return self._rolled_back

    @property
    def faults(self) -> dict[str, str]:
        """Why chains have stopped, by writer."""
        return dict(self._journals.stopped)

    async def start(self) -> None:
        """Take up the log where it was left, or read it back from its files if the state database is new."""
        await self._alone(self._take_up)
        await self._attempt(self.integrated)
        # Only where everything could be read it is certain that there is none.
        if not (self._has_genesis or self.rolled_back or self.faults or self._reason):
            await self._journal.commit(self._genesis())
            await self._attempt(self.integrated)

    async def run(self) -> None:
        """Integrate and publish for ever."""
        loop = asyncio.get_running_loop()
        while True:
            moved = await self._attempt(self._integrate_once)
            if loop.time() >= self._next_publication and publishable(self.size) > self.published_size:
                self._next_publication = loop.time() + self._settings.publish_every
                await self._attempt(self.publish_now)
                self._watch_signing(loop.time())
            if moved != BATCH and not (self._reason or self._rolled_back):
                self._caught_up = time.monotonic()
            if moved != BATCH:
                await asyncio.sleep(self._settings.look_every)

    async def integrated(self) -> int:
        """Return once everything that is durable now is in the log; gives the size of the tree."""
        moved = 1
        while moved:
            if len(self._fresh) >= BACKLOG:
                await self.publish_now()
            moved = await self._integrate_once()
        return self.size

    async def publish_now(self) -> int:
        """Publish and sign the tree as it is; gives the size of the newest signed tree."""
        await self._alone(self._publish)
        return self.published_size

    async def close(self) -> None:
        """Integrate and publish what there is, as far as that is possible, and let go of all files."""
        await self._attempt(self.integrated)
        await self._attempt(self.publish_now)
        self._journals.close()

    async def _alone(self, work: Callable[[], Awaitable[None]]) -> None:
        """Do one thing at a time, and to its end: a thread that works on files cannot be cancelled."""
        task = asyncio.ensure_future(self._locked(work))
        self._working.add(task)
        task.add_done_callback(self._working.discard)
        await asyncio.shield(task)

    async def _locked(self, work: Callable[[], Awaitable[None]]) -> None:
        async with self._lock:
            if self.rolled_back is None:
                with self._stopping():
                    await work()

    # --- start

    async def _take_up(self) -> None:
        self._folder.put_vkey(str(self._signer.key))
        kept = await self._store.load()
        if kept is None:
            published = await asyncio.to_thread(self._guard.published)
            await self._store.begin(self._signer.key.name, published.size)
            kept = Kept(LogState(), Frontier(), published.size, has_genesis=False)
        self._state, self._published, self._has_genesis = kept.state, kept.published, kept.has_genesis
        await self._find_places()
        if kept.rebuild_to:
            await self._read_back(kept.rebuild_to)
        else:
            await self._read_fresh()
        await asyncio.to_thread(self._check)
        await self._agree_with_folder()
        await asyncio.to_thread(self._folder.remove_beyond, self.published_size)

    async def _find_places(self) -> None:
        ends = self._state.chains
        places = {node: (await self._store.places(leaf.index, leaf.index + 1))[0] for node, leaf in ends.items()}
        await asyncio.to_thread(self._journals.resume, ends, places)
        self._report_faults()

    async def _read_fresh(self) -> None:
        """Hash the leaves again that are in no published tile yet."""
        places = await self._store.places(self.published_size, self.size)
        headers = await asyncio.to_thread(read_places, self._journals.folder, places)
        self._fresh = [leaf_hash(header) for header in headers]
        tree, self._tiles = self._published.extend(self._fresh)
        if tree != self._state.tree:
            raise RolledBack("the tree in the state database is not the one of its records; nothing is signed")

    async def _read_back(self, size: int) -> None:
        """Make the leaves of a published log again from its entries and the journals, in the published order."""
        log.warning("log_rebuild_started", leaves=size)
        self._move_border(self._state.tree)
        for n in range(self.size // TILE_WIDTH, -(-size // TILE_WIDTH)):
            await self._keep(await asyncio.to_thread(self._bundle, n, size))
            if self.size != min((n + 1) * TILE_WIDTH, size):
                raise RolledBack("a chain of the journals does not give what was published of it; nothing is signed")
            self._move_border(self._state.tree)
        if self._state.tree.root() != self._guard.published().root:
            raise RolledBack("the journals do not give the log that was published; nothing is signed")
        await self._store.publish(self._state.tree, self._folder.checkpoint() or b"", stamp(self._clock()))
        log.warning("log_rebuild_finished", leaves=self.size)

    def _bundle(self, n: int, size: int) -> list[Found]:
        width = min(TILE_WIDTH, size - n * TILE_WIDTH)
        entries = decode_entries(self._folder.read(entries_path(n, width)), width)
        return [self._journals.take(entry) for entry in entries[self.size - n * TILE_WIDTH :]]

    async def _agree_with_folder(self) -> None:
        """Let database and folder have the same newest checkpoint; a crash may have come between them."""
        published = self._guard.published()
        note = await self._store.newest_note()
        if published.size > self.published_size:
            tree, _ = self._published.extend(self._fresh[: published.size - self.published_size])
            await self._store.publish(tree, self._folder.checkpoint() or b"", stamp(self._clock()))
            self._move_border(tree)
        elif published.size < self.published_size and note is not None:
            await asyncio.to_thread(self._release, self._published, note)

    def _genesis(self) -> Record:
        key = self._signer.key
        members: dict[str, Json] = {"origin": key.name, "generation": 1, "vkey": str(key), "reason": "first start"}
        return Record(Kind.LOG_GENESIS, members)

    # --- integrating

    async def _integrate_once(self) -> int:
        """Make leaves of what has come; gives how many."""
        before = self.size
        await self._alone(self._integrate_next)
        return self.size - before

    async def _integrate_next(self) -> None:
        if len(self._fresh) >= BACKLOG:
            return
        found = await asyncio.to_thread(self._journals.read, BATCH)
        self._report_faults()
        if not found:
            return
        try:
            await asyncio.to_thread(self._check)
            await self._keep(found)
        except _BODY_ERRORS:
            await self._keep_one_by_one(deque(found))
        except BaseException:
            self._journals.give_back(found)
            raise

    async def _keep_one_by_one(self, found: deque[Found]) -> None:
        """Stop the chain of the record whose body is not what its kind has; keep the others."""
        try:
            while found:
                node = found[0].place.node
                try:
                    if node not in self._journals.stopped:
                        await self._keep([found[0]])
                except _BODY_ERRORS:
                    self._journals.stop(node, f"the body of the record at {found[0].place} is not one of its kind")
                found.popleft()
        finally:
            self._journals.give_back(found)
            self._report_faults()

    async def _keep(self, found: Sequence[Found]) -> None:
        integrated, kept, records = await asyncio.to_thread(self._make_leaves, found)
        if kept:
            genesis = any(self._is_genesis(record) for record in records)
            places = [each.place for each in kept]
            await self._store.add(self._state.tree, integrated, places, records, genesis=genesis)
            self._has_genesis = self._has_genesis or genesis
        for fault in integrated.faults:
            self._journals.stop(fault.node, fault.reason)
        self._report_faults()
        self._state = integrated.state
        self._fresh += [leaf.hash for leaf in integrated.leaves]
        self._tiles += integrated.tiles

    def _make_leaves(self, found: Sequence[Found]) -> tuple[Integrated, list[Found], list[Leaf]]:
        """Make leaves, and say which of the records they are."""
        rows = [Row(each.place.node, each.header, each.body) for each in found]
        integrated = integrate(self._state, rows, len(rows))
        left = Counter(leaf.node for leaf in integrated.leaves)
        kept: list[Found] = []
        for each in found:
            left[each.place.node] -= 1
            if left[each.place.node] >= 0:
                kept.append(each)
        pairs = zip(integrated.leaves, kept, strict=True)
        return integrated, kept, [Leaf(leaf.index, decode_header(each.header), each.body) for leaf, each in pairs]

    def _is_genesis(self, record: Leaf) -> bool:
        return record.header.kind is Kind.LOG_GENESIS and json.loads(record.body)["vkey"] == str(self._signer.key)

    # --- publishing

    async def _publish(self) -> None:
        size = publishable(self.size)
        if size <= self.published_size:
            return
        await asyncio.to_thread(self._check)
        start = self.published_size // TILE_WIDTH * TILE_WIDTH
        places = await self._store.places(start, size)
        tree, note = await asyncio.to_thread(self._write_and_sign, start, size, places)
        await self._store.publish(tree, note, stamp(self._clock()))
        await asyncio.to_thread(self._release, tree, note)
        self._move_border(tree)

    def _write_and_sign(self, start: int, size: int, places: Sequence[Place]) -> tuple[Frontier, bytes]:
        """Write the files of a tree, then sign it."""
        headers = read_places(self._journals.folder, places)
        fresh = self._fresh[: size - self.published_size]
        if [leaf_hash(header) for header in headers[self.published_size - start :]] != fresh:
            raise JournalDamaged("records that are leaves were changed in the journal; nothing is signed")
        tree, _ = self._published.extend(fresh)
        self._folder.remove_beyond(self.published_size)
        self._folder.write(
            publication(
                self.published_size, size, self._hashes(), lambda first, end: headers[first - start : end - start]
            )
        )
        return tree, self._sign(tree)

    def _sign(self, tree: Frontier) -> bytes:
        last = self._signer.last.size
        proof = prove_consistency(last, tree.size, self._hashes())
        checkpoint = Checkpoint(self._signer.key.name, tree.size, tree.root())
        return sign_checkpoint(checkpoint, self._signer.key, lambda text: self._signer.sign(last, proof, text.decode()))

    def _release(self, tree: Frontier, note: bytes) -> None:
        self._guard.remember(Tree(tree.size, tree.root()))
        self._folder.release(tree.size, note)

    def _move_border(self, tree: Frontier) -> None:
        """Take `tree` as published: its hashes are in the tiles."""
        self._fresh = self._fresh[tree.size - self.published_size :] if self._fresh else []
        self._published = tree
        self._tiles = tree.extend(self._fresh)[1]

    def _hashes(self) -> Grown:
        return Grown(TileHashes(self.published_size, self._folder.read), self.published_size, self._fresh, self._tiles)

    def _check(self) -> None:
        database = Known("the state database", self.published_size, self._published.root())
        self._guard.check(self.size, self._hashes(), database)

    # --- faults

    async def _attempt(self, work: Callable[[], Awaitable[int]]) -> int:
        """Do something that the next attempt may do better; say once what is in its way."""
        try:
            done = await work()
        except Exception as error:  # noqa: BLE001 - the log goes on when disk and database do
            reason = f"{type(error).__name__}: {error}"
            if reason != self._reason:
                log.error("log_does_not_move", reason=reason)
            self._reason = reason
            return 0
        self._reason = ""
        return done

    @contextmanager
    def _stopping(self) -> Iterator[None]:
        """Stop for good where going on would make a second history."""
        try:
            yield
        except JournalDamaged as error:
            self._stop("journal_inconsistent", str(error))
        except (RolledBack, StateChanged, EvidenceFormatError, FileNotFoundError) as error:
            self._stop("rolled_back", str(error))

    def _stop(self, fault: str, reason: str) -> None:
        self._rolled_back = reason
        log.critical("log_stopped", fault=fault, reason=reason)
        self._journal.append([self._fault(fault, reason)])

    def _report_faults(self) -> None:
        for node, reason in self._journals.stopped.items():
            if node not in self._reported:
                self._reported.add(node)
                log.critical("chain_stopped", writer=node, reason=reason)
                self._journal.append([self._fault("journal_inconsistent", f"{node}: {reason}")])

    def _watch_signing(self, now: float) -> None:
        """Report a log that grows unsigned for long, once."""
        if self.rolled_back is not None or publishable(self.size) <= self.published_size:
            self._unsigned_since = None
        elif self._unsigned_since is None:
            self._unsigned_since = now
        elif now - self._unsigned_since >= UNSIGNED and "signer" not in self._reported:
            self._reported.add("signer")
            log.critical("log_unsigned", seconds=int(now - self._unsigned_since))
            self._journal.append([self._fault("signer_down", "the log grows and cannot be published")])

    def _fault(self, fault: str, detail: str) -> Record:
        members: dict[str, Json] = {"fault": fault, "phase": "started", "since": stamp(self._clock())}
        return Record(Kind.AUDIT_FAULT, {**members, "detail": detail[:1_024]})
