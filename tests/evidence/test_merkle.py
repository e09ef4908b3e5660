from functools import cache
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.naive_tree import NaiveTree
from vestibule.evidence import merkle
from vestibule.evidence.canonical import leaf_hash
from vestibule.evidence.errors import EvidenceFormatError
from vestibule.evidence.merkle import (
    EMPTY_ROOT,
    Frontier,
    TileRoot,
    hash_node,
    prove_consistency,
    prove_inclusion,
    root_at,
    verify_consistency,
    verify_inclusion,
)

SIZES = range(1, 301)
LEAVES = [leaf_hash(b'{"i":%d}' % i) for i in range(300)]
TREE = NaiveTree(LEAVES)
#: The reference leaves of RFC 6962 implementations.
REFERENCE = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]


def test_the_empty_tree_is_the_hash_of_nothing() -> None:
    assert Frontier().root() == EMPTY_ROOT == sha256(b"").digest()
    assert root_at(0, TREE.hashes) == EMPTY_ROOT


def test_leaves_and_roots_are_the_vectors_of_the_reference() -> None:
    assert [leaf.hex() for leaf in LEAVES[:3]] == [
        "d829edd0713a1bb05e3cd0616924a4c5bde21e36e537149a20239edafa8825f1",
        "c2d65499ad89a5ece71f927cc8395c8804bfbf61b2dac475187aa1696fa36047",
        "dedf1e96568c13a5827bbcb84d920adb21d989b5da4f61de6bd060e52792da91",
    ]
    assert Frontier().extend(LEAVES[:2])[0].root().hex() == (
        "8d797bb58d61f678047fdf92a390117b16d8718b957303a9231a36cf6e0c5f75"
    )
    assert Frontier().extend(LEAVES[:3])[0].root().hex() == (
        "00a70ab1951b3920e93bb731381741971d0960c1ae41ce64cb6d5fa330bffcc6"
    )
    assert list(prove_inclusion(1, 3, TREE.hashes)) == [LEAVES[0], LEAVES[2]]
    assert list(prove_consistency(2, 3, TREE.hashes)) == [LEAVES[2]]


def test_the_root_of_the_reference_leaves_of_rfc_6962_is_theirs() -> None:
    tree, _ = Frontier().extend(leaf_hash(bytes.fromhex(leaf)) for leaf in REFERENCE)
    assert tree.root().hex() == "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"


def test_the_root_of_every_size_is_the_naive_trees() -> None:
    tree = Frontier()
    for size in SIZES:
        tree, _ = tree.extend([LEAVES[size - 1]])
        assert tree.size == size
        assert tree.root() == root_at(size, TREE.hashes) == TREE.root(0, size)


@given(st.lists(st.integers(0, 60), max_size=6))
def test_growing_in_steps_gives_the_tree_of_one_step(steps) -> None:
    tree = Frontier()
    for step in steps:
        tree, _ = tree.extend(LEAVES[tree.size % 200 : tree.size % 200 + step])
    again = Frontier.from_bytes(tree.size, tree.to_bytes())
    assert again == tree
    assert again.root() == tree.root()


def test_a_tile_is_reported_when_it_is_full() -> None:
    tree, none = Frontier().extend(LEAVES[:255])
    assert none == ()
    tree, tiles = tree.extend(LEAVES[255:300])
    assert tiles == (TileRoot(0, 0, TREE.root(0, 256)),)


def test_a_tile_of_the_second_level_is_full_after_65536_leaves() -> None:
    leaf = bytes(32)
    _, tiles = Frontier().extend(leaf for _ in range(65_537))
    root = leaf
    for _ in range(16):
        root = hash_node(root, root)
    assert [(tile.level, tile.n) for tile in tiles] == [*((0, n) for n in range(256)), (1, 0)]
    assert tiles[-1].root == root


@pytest.fixture
def remembered(monkeypatch) -> None:
    """Each perfect subtree is computed once: the 90,000 proofs below share 600 of them."""
    monkeypatch.setattr(merkle, "_perfect_root", cache(merkle._perfect_root))


@pytest.mark.slow
@pytest.mark.usefixtures("remembered")
def test_every_leaf_of_every_size_is_proved_as_the_naive_tree_proves_it() -> None:
    for size in SIZES:
        root = TREE.root(0, size)
        for index in range(size):
            proof = prove_inclusion(index, size, TREE.hashes)
            assert list(proof) == TREE.path(index, 0, size)
            assert verify_inclusion(index, size, LEAVES[index], proof, root)


@pytest.mark.slow
@pytest.mark.usefixtures("remembered")
def test_every_smaller_tree_is_proved_as_the_naive_tree_proves_it() -> None:
    for size in SIZES:
        root = TREE.root(0, size)
        for old in range(1, size + 1):
            proof = prove_consistency(old, size, TREE.hashes)
            assert list(proof) == TREE.proof(old, 0, size)
            assert verify_consistency(old, size, TREE.root(0, old), root, proof)


def test_every_tree_begins_with_the_empty_one() -> None:
    assert prove_consistency(0, 7, TREE.hashes) == ()
    assert verify_consistency(0, 7, EMPTY_ROOT, TREE.root(0, 7), ())
    assert not verify_consistency(0, 7, LEAVES[0], TREE.root(0, 7), ())
    assert not verify_consistency(0, 7, EMPTY_ROOT, TREE.root(0, 7), (LEAVES[0],))


@given(st.data())
def test_a_changed_proof_of_inclusion_fails(data) -> None:
    size = data.draw(st.integers(1, 300))
    index = data.draw(st.integers(0, size - 1))
    proof = list(prove_inclusion(index, size, TREE.hashes))
    leaf, root = LEAVES[index], TREE.root(0, size)
    assert not verify_inclusion(index, size, LEAVES[index - 1], proof, root) or size == 1
    assert not verify_inclusion(index, size, leaf, proof, EMPTY_ROOT)
    assert not verify_inclusion(index, size, leaf, [*proof, leaf], root)
    assert not verify_inclusion(size, size, leaf, proof, root)
    if proof:
        place = data.draw(st.integers(0, len(proof) - 1))
        assert not verify_inclusion(index, size, leaf, proof[:place] + proof[place + 1 :], root)
        proof[place] = bytes(32)
        assert not verify_inclusion(index, size, leaf, proof, root)


@given(st.data())
def test_a_changed_proof_of_consistency_fails(data) -> None:
    new = data.draw(st.integers(2, 300))
    old = data.draw(st.integers(1, new - 1))
    proof = list(prove_consistency(old, new, TREE.hashes))
    before, after = TREE.root(0, old), TREE.root(0, new)
    assert not verify_consistency(old, new, EMPTY_ROOT, after, proof)
    assert not verify_consistency(old, new, before, EMPTY_ROOT, proof)
    assert not verify_consistency(old, new, before, after, [*proof, before])
    assert not verify_consistency(new, old, after, before, proof)
    assert not verify_consistency(old, new, before, after, [])
    place = data.draw(st.integers(0, len(proof) - 1))
    proof[place] = bytes(32)
    assert not verify_consistency(old, new, before, after, proof)


@pytest.mark.parametrize(("index", "size"), [(0, 0), (3, 3), (-1, 3)])
def test_no_leaf_outside_the_tree_is_proved(index, size) -> None:
    with pytest.raises(EvidenceFormatError):
        prove_inclusion(index, size, TREE.hashes)


def test_no_larger_tree_is_proved_from_a_smaller_one() -> None:
    with pytest.raises(EvidenceFormatError):
        prove_consistency(4, 3, TREE.hashes)


def test_missing_hashes_are_an_error_and_not_a_wrong_root() -> None:
    with pytest.raises(EvidenceFormatError):
        root_at(8, lambda level, start, end: LEAVES[start : end - 1])


@pytest.mark.parametrize(("size", "data"), [(3, b"\x00" * 32), (2, b"\x00" * 33), (-1, b""), (0, b"\x00" * 32)])
def test_a_frontier_that_does_not_fit_its_size_is_refused(size, data) -> None:
    with pytest.raises(EvidenceFormatError):
        Frontier.from_bytes(size, data)
