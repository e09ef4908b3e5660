from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from hashlib import sha256
from pathlib import Path

import pytest
import pytest_asyncio

from vestibule.evidence.log import Integrated, Leaf, LogState
from vestibule.evidence.merkle import Frontier
from vestibule.stores.database import open_database
from vestibule.stores.log import LogStore, Place, StateChanged

pytestmark = pytest.mark.asyncio


@pytest_asyncio.fixture
async def store(tmp_path: Path) -> AsyncIterator[LogStore]:
    engine = await open_database(tmp_path / "state.sqlite")
    yield LogStore(engine)
    await engine.dispose()


def grown(state: LogState, chain: Sequence[tuple[str, int, int]]) -> Integrated:
    """Add leaves of these writers, epochs and numbers."""
    leaves = [
        Leaf(state.tree.size + place, node, epoch, n, sha256(f"{node} {epoch} {n}".encode()).digest())
        for place, (node, epoch, n) in enumerate(chain)
    ]
    tree, tiles = state.tree.extend([leaf.hash for leaf in leaves])
    chains = {**state.chains, **{leaf.node: leaf for leaf in leaves}}
    return Integrated(LogState(tree, chains), tuple(leaves), tiles, ())


def places(integrated: Integrated) -> list[Place]:
    return [Place(leaf.node, leaf.epoch, 0, 100 * leaf.n) for leaf in integrated.leaves]


async def add(store: LogStore, before: Frontier, integrated: Integrated, *, genesis: bool = False) -> None:
    await store.add(before, integrated, places(integrated), (), genesis=genesis)


async def test_a_new_database_has_no_log_and_a_begun_one_is_empty(store: LogStore) -> None:
    assert await store.load() is None
    await store.begin("log", 7)
    kept = await store.load()
    assert kept is not None
    assert (kept.state, kept.published, kept.rebuild_to, kept.has_genesis) == (LogState(), Frontier(), 7, False)


async def test_what_was_added_is_loaded_again(store: LogStore) -> None:
    await store.begin("log", 0)
    first = grown(LogState(), [("a", 1, 0), ("b", 1, 0), ("a", 1, 1)])
    await add(store, Frontier(), first, genesis=True)
    second = grown(first.state, [("a", 2, 0), ("b", 1, 1)])
    await add(store, first.state.tree, second)
    kept = await store.load()
    assert kept is not None
    assert kept.state == second.state
    assert kept.has_genesis
    assert await store.places(1, 4) == [Place("b", 1, 0, 0), Place("a", 1, 0, 100), Place("a", 2, 0, 0)]
    assert await store.places(5, 9) == []


async def test_a_log_that_is_not_the_one_it_grows_from_is_not_changed(store: LogStore) -> None:
    await store.begin("log", 0)
    first = grown(LogState(), [("a", 1, 0)])
    await add(store, Frontier(), first)
    other = grown(LogState(), [("b", 1, 0)])
    for before in (Frontier(), other.state.tree):
        with pytest.raises(StateChanged):
            await add(store, before, grown(first.state, [("a", 1, 1)]))
    kept = await store.load()
    assert kept is not None
    assert kept.state == first.state
    assert len(await store.places(0, 9)) == 1


async def test_a_published_tree_is_kept_with_its_note_and_ends_a_rebuild(store: LogStore) -> None:
    await store.begin("log", 2)
    assert await store.newest_note() is None
    first = grown(LogState(), [("a", 1, 0), ("a", 1, 1)])
    await add(store, Frontier(), first)
    await store.publish(first.state.tree, b"note 2", "2026-07-01T10:00:00.000000Z")
    second = grown(first.state, [("a", 1, 2)])
    await add(store, first.state.tree, second)
    await store.publish(second.state.tree, b"note 3", "2026-07-01T10:00:05.000000Z")
    await store.publish(second.state.tree, b"note 3", "2026-07-01T10:00:06.000000Z")
    assert await store.newest_note() == b"note 3"
    kept = await store.load()
    assert kept is not None
    assert (kept.published, kept.rebuild_to) == (second.state.tree, 0)
