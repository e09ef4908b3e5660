import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.naive_tree import NaiveTree
from vestibule.evidence.canonical import leaf_hash
from vestibule.evidence.errors import EvidenceFormatError
from vestibule.evidence.merkle import Frontier, prove_consistency, prove_inclusion, root_at
from vestibule.evidence.tiles import (
    Tile,
    TileHashes,
    decode_entries,
    encode_entries,
    entries_path,
    new_tiles,
    tiles_of,
)

ENTRIES = [b'{"i":%d}' % i for i in range(70_000)]
LEAVES = [leaf_hash(entry) for entry in ENTRIES]
TREE = NaiveTree(LEAVES)


def tree_files(size: int) -> dict[str, bytes]:
    return {
        tile.path: b"".join(TREE.hashes(tile.level, tile.n * 256, tile.n * 256 + tile.width)) for tile in tiles_of(size)
    }


@pytest.mark.parametrize(
    ("n", "width", "path"),
    [
        (0, 256, "tile/0/000"),
        (5, 1, "tile/0/005.p/1"),
        (999, 256, "tile/0/999"),
        (1_000, 256, "tile/0/x001/000"),
        (1_234_067, 256, "tile/0/x001/x234/067"),
        (1_234_067, 255, "tile/0/x001/x234/067.p/255"),
    ],
)
def test_tiles_are_named_in_groups_of_three_digits(n, width, path) -> None:
    assert Tile(0, n, width).path == path
    assert entries_path(n, width) == path.replace("tile/0/", "tile/entries/")


@pytest.mark.parametrize(("n", "width"), [(-1, 1), (0, 0), (0, 257)])
def test_a_tile_without_hashes_has_no_name(n, width) -> None:
    with pytest.raises(EvidenceFormatError):
        assert Tile(0, n, width).path


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        (0, []),
        (1, [Tile(0, 0, 1)]),
        (255, [Tile(0, 0, 255)]),
        (256, [Tile(0, 0), Tile(1, 0, 1)]),
        (257, [Tile(0, 0), Tile(0, 1, 1), Tile(1, 0, 1)]),
        (65_535, [*(Tile(0, n) for n in range(255)), Tile(0, 255, 255), Tile(1, 0, 255)]),
        (65_536, [*(Tile(0, n) for n in range(256)), Tile(1, 0), Tile(2, 0, 1)]),
        (70_000, [*(Tile(0, n) for n in range(273)), Tile(0, 273, 112), Tile(1, 0), Tile(1, 1, 17), Tile(2, 0, 1)]),
    ],
)
def test_a_tree_has_the_tiles_that_its_size_says(size, expected) -> None:
    assert list(tiles_of(size)) == expected


@given(st.integers(0, 200_000), st.integers(0, 70_000))
def test_growth_adds_exactly_the_tiles_that_the_smaller_tree_lacks(old, more) -> None:
    assert set(new_tiles(old, old + more)) == set(tiles_of(old + more)) - set(tiles_of(old))


@pytest.mark.parametrize("size", [1, 255, 256, 257, 65_535, 65_536, 70_000])
def test_roots_and_proofs_made_from_tiles_alone_are_the_naive_trees(size) -> None:
    hashes = TileHashes(size, tree_files(size).__getitem__)
    assert root_at(size, hashes) == TREE.root(0, size) == Frontier().extend(LEAVES[:size])[0].root()
    for index in {0, size // 3, size - 1}:
        assert list(prove_inclusion(index, size, hashes)) == TREE.path(index, 0, size)
    for old in {1, (size + 1) // 2, size - 1, size} - {0}:
        assert list(prove_consistency(old, size, hashes)) == TREE.proof(old, 0, size)
        assert root_at(old, hashes) == TREE.root(0, old)


def test_a_tile_of_the_wrong_size_is_an_error() -> None:
    with pytest.raises(EvidenceFormatError):
        root_at(3, TileHashes(3, lambda path: bytes(64)))


def test_hashes_beyond_the_tree_are_missing() -> None:
    assert TileHashes(3, tree_files(3).__getitem__)(0, 2, 600) == LEAVES[2:3]


def test_an_entry_bundle_is_the_vector_of_the_reference() -> None:
    bundle = bytes.fromhex("00077b2269223a307d00077b2269223a317d00077b2269223a327d")
    assert encode_entries(ENTRIES[:3]) == bundle
    assert decode_entries(bundle, 3) == ENTRIES[:3]


@given(st.lists(st.binary(max_size=300), max_size=20))
def test_entries_are_read_back(entries) -> None:
    assert decode_entries(encode_entries(entries), len(entries)) == entries


@given(st.binary(max_size=100), st.integers(0, 5))
def test_arbitrary_bytes_are_a_bundle_or_a_defined_error(data, width) -> None:
    try:
        assert encode_entries(decode_entries(data, width)) == data
    except EvidenceFormatError:
        return


def test_an_entry_over_the_limit_of_the_format_is_refused() -> None:
    with pytest.raises(EvidenceFormatError):
        encode_entries([bytes(65_536)])
