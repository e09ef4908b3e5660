import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.data_folder import WriterChain
from tests.support.naive_tree import NaiveTree
from vestibule.evidence.canonical import leaf_hash
from vestibule.evidence.errors import RolledBack
from vestibule.evidence.log import (
    Grown,
    Known,
    LogState,
    Row,
    check_rollback,
    integrate,
    publication,
    publishable,
)
from vestibule.evidence.merkle import Frontier, root_at
from vestibule.evidence.tiles import TileHashes, encode_entries, entries_path, tiles_of

ENTRIES = [b'{"i":%d}' % i for i in range(1_300)]
LEAVES = [leaf_hash(entry) for entry in ENTRIES]
TREE = NaiveTree(LEAVES)


def writer(node: str, epochs: int = 2, records: int = 4) -> WriterChain:
    chain = WriterChain(node, random.Random(node))
    for _ in range(epochs):
        chain.start()
        for beat in range(records):
            chain.heartbeat(beat)
    return chain


def entries(start: int, end: int) -> list[bytes]:
    return ENTRIES[start:end]


def test_records_become_leaves_in_the_order_given_and_chains_stay_their_own() -> None:
    first, second = writer("a.0").rows, writer("a.1").rows
    rows = [row for pair in zip(first, second, strict=True) for row in pair]
    done = integrate(LogState(), rows)
    assert [leaf.hash for leaf in done.leaves] == [leaf_hash(row.header) for row in rows]
    assert [leaf.index for leaf in done.leaves] == list(range(len(rows)))
    assert [(leaf.epoch, leaf.n) for leaf in done.leaves if leaf.node == "a.0"] == [
        (epoch, n) for epoch in (1, 2) for n in range(5)
    ]
    assert done.faults == ()
    assert done.state.tree == Frontier().extend(leaf.hash for leaf in done.leaves)[0]


@given(st.integers(1, 9), st.integers(0, 20))
def test_integrating_in_parts_gives_the_log_of_one_part(limit, cut) -> None:
    rows = [*writer("a.0").rows, *writer("a.1").rows]
    whole = integrate(LogState(), rows)
    state, done = LogState(), 0
    while done < len(rows):
        part = integrate(state, rows[done : done + cut + 1], limit)
        state, done = part.state, done + len(part.leaves)
    assert state == whole.state


def test_a_full_tile_is_given_to_be_kept() -> None:
    rows = writer("a.0", epochs=1, records=300).rows
    done = integrate(LogState(), rows)
    assert [(tile.level, tile.n) for tile in done.tiles] == [(0, 0)]
    assert done.tiles[0].root == NaiveTree([leaf_hash(row.header) for row in rows]).root(0, 256)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda rows: rows[:3] + rows[4:], "record 4 of epoch 1 does not follow"),
        (lambda rows: rows[1:], "record 1 of epoch 1 does not follow"),
        (lambda rows: rows[:4] + rows[3:], "record 3 of epoch 1 does not follow"),
        (lambda rows: [*rows[:3], rows[4], rows[3]], "record 4 of epoch 1 does not follow"),
        (lambda rows: rows[:4] + rows[5:], "record 0 of epoch 2 does not link to the record before it"),
        (lambda rows: rows[5:] + rows[:5], "record 0 of epoch 2 does not link to the record before it"),
        (lambda rows: [*rows, rows[5]], "record 0 of epoch 2 does not follow"),
        (lambda rows: [*rows[:2], replace(rows[2], body=rows[2].body[:-1] + b" ")], "the body of record 2"),
        (lambda rows: [*rows[:2], replace(rows[2], body=rows[2].body + b" ")], "the body of record 2"),
        (lambda rows: [*rows[:2], replace(rows[2], header=rows[2].header + b" ")], "a header does not have"),
        (lambda rows: [*rows[:2], replace(rows[2], node="a.9"), *rows[3:]], "was written by another writer"),
    ],
)
def test_what_does_not_follow_stops_that_chain_and_only_that_one(change, reason) -> None:
    other = writer("a.1").rows
    rows = change(writer("a.0").rows)
    done = integrate(LogState(), [*rows, *other])
    assert any(reason in fault.reason for fault in done.faults)
    assert [leaf for leaf in done.leaves if leaf.node == "a.1"][-1].hash == leaf_hash(other[-1].header)
    again = integrate(done.state, rows[len([leaf for leaf in done.leaves if leaf.node == "a.0"]) :])
    assert again.leaves == ()


def test_nothing_behind_a_fault_is_taken_even_if_it_would_follow() -> None:
    rows = writer("a.0").rows
    done = integrate(LogState(), [rows[0], Row("a.0", b"", b""), *rows[1:]])
    assert len(done.leaves) == 1
    assert done.faults[0].last == done.leaves[0]


@given(st.binary(max_size=300), st.binary(max_size=10))
def test_arbitrary_rows_are_leaves_or_faults(header, body) -> None:
    done = integrate(LogState(), [Row("a.0", header, body)])
    assert len(done.leaves) + len(done.faults) == 1


@pytest.mark.parametrize("steps", [[1, 255, 256, 257, 700], [300, 300, 1_300], [255, 1_024, 1_025]])
def test_publications_write_exactly_the_files_of_the_tree(steps) -> None:
    files: dict[str, bytes] = {}
    old = 0
    for new in steps:
        tree, _ = Frontier().extend(LEAVES[:old])
        tiles = tree.extend(LEAVES[old:new])[1]
        hashes = Grown(TileHashes(old, files.__getitem__), old, LEAVES[old:new], tiles)
        files |= dict(publication(old, new, hashes, entries))
        for tile in tiles_of(new):
            start = tile.n * 256
            assert files[tile.path] == b"".join(TREE.hashes(tile.level, start, start + tile.width))
            if tile.level == 0:
                assert files[entries_path(tile.n, tile.width)] == encode_entries(ENTRIES[start : start + tile.width])
        assert root_at(new, hashes) == root_at(new, TileHashes(new, files.__getitem__)) == TREE.root(0, new)
        old = new


def test_writing_a_publication_twice_gives_the_same_bytes() -> None:
    once = dict(publication(0, 700, TREE.hashes, entries))
    assert dict(publication(100, 700, TREE.hashes, entries)).items() <= once.items()


@pytest.mark.parametrize(("size", "published"), [(0, 0), (1, 1), (255, 255), (256, 255), (257, 257), (65_536, 65_535)])
def test_no_checkpoint_stands_at_the_border_of_a_tile(size, published) -> None:
    assert publishable(size) == published


def test_every_published_size_has_a_file_of_its_own() -> None:
    sizes = sorted({publishable(size) for size in range(1, 1_300)})
    tiles = {size: {tile.path for tile in tiles_of(size)} for size in sizes}
    for size in sizes:
        others = set().union(*(tiles[other] for other in sizes if other != size))
        assert tiles[size] - others


def test_a_tree_that_begins_with_all_known_ones_may_be_signed() -> None:
    known = [Known("guard.json", size, TREE.root(0, size)) for size in (0, 1, 255, 256, 999)]
    check_rollback(999, TREE.hashes, known)


@pytest.mark.parametrize(
    "known",
    [
        Known("the signer", 1_000, TREE.root(0, 1_000)),
        Known("guard.json", 999, TREE.root(0, 998)),
        Known("guard.json", 0, bytes(32)),
        Known("log/checkpoint", 256, bytes(32)),
    ],
)
def test_a_tree_that_is_smaller_or_another_is_not_signed_and_the_error_says_who_knows(known) -> None:
    with pytest.raises(RolledBack, match=known.source):
        check_rollback(999, TREE.hashes, [Known("first", 1, TREE.root(0, 1)), known])
