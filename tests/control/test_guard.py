from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import pytest

from vestibule.control.guard import Guard
from vestibule.control.remembered import Tree, read_tree
from vestibule.control.signer import FileSigner
from vestibule.evidence.checkpoint import Checkpoint, sign_checkpoint
from vestibule.evidence.errors import RolledBack
from vestibule.evidence.log import Grown, Known
from vestibule.evidence.merkle import Frontier
from vestibule.evidence.tiles import TileHashes
from vestibule.stores.tiles import LogFolder

ORIGIN = "vestibule.bank.example/log/1"
LEAVES = [sha256(bytes([number])).digest() for number in range(40)]


def hashes(leaves: list[bytes] = LEAVES) -> Grown:
    return Grown(TileHashes(0, lambda path: b""), 0, leaves, ())


def tree(size: int) -> Tree:
    return Tree(size, Frontier().extend(LEAVES[:size])[0].root())


@pytest.fixture
def folder(tmp_path: Path) -> LogFolder:
    return LogFolder(tmp_path / "log")


@pytest.fixture
def signer(tmp_path: Path) -> FileSigner:
    (tmp_path / "keys").mkdir()
    return FileSigner(tmp_path / "keys", ORIGIN)


@pytest.fixture
def guard(tmp_path: Path, folder: LogFolder, signer: FileSigner) -> Guard:
    return Guard(tmp_path, folder, signer)


def publish(folder: LogFolder, signer: FileSigner, size: int) -> None:
    checkpoint = Checkpoint(ORIGIN, size, tree(size).root)
    folder.release(size, sign_checkpoint(checkpoint, signer.key, lambda text: signer.sign(0, (), text.decode())))


def test_without_memories_any_tree_is_good(guard: Guard) -> None:
    guard.check(0, hashes([]))
    guard.check(7, hashes())


def test_a_tree_that_begins_with_the_remembered_one_is_good(guard: Guard, tmp_path: Path) -> None:
    guard.remember(tree(7))
    assert read_tree(tmp_path / "guard.json", ORIGIN) == tree(7)
    guard.check(7, hashes())
    guard.check(9, hashes())


def test_a_smaller_tree_is_rolled_back(guard: Guard) -> None:
    guard.remember(tree(7))
    with pytest.raises(RolledBack, match=r"guard\.json knows a log of 7 leaves, this one has 6"):
        guard.check(6, hashes())


def test_another_tree_of_the_same_size_and_one_that_grew_past_it_are_rolled_back(guard: Guard) -> None:
    guard.remember(tree(7))
    for size in (7, 20):
        with pytest.raises(RolledBack, match="knows another log"):
            guard.check(size, hashes(LEAVES[::-1]))


def test_the_signers_memory_alone_is_enough(guard: Guard, signer: FileSigner) -> None:
    signer.sign(0, (), Checkpoint(ORIGIN, 7, tree(7).root).text)
    with pytest.raises(RolledBack, match="the signer knows"):
        guard.check(6, hashes())


def test_the_published_checkpoint_alone_is_enough(
    guard: Guard, folder: LogFolder, signer: FileSigner, tmp_path: Path
) -> None:
    publish(folder, signer, 7)
    (tmp_path / "keys" / "signer.json").unlink()
    assert guard.published() == tree(7)
    again = Guard(tmp_path, folder, FileSigner(tmp_path / "keys", ORIGIN))
    with pytest.raises(RolledBack, match="log/checkpoint knows"):
        again.check(6, hashes())


def test_a_checkpoint_that_the_log_did_not_sign_is_rolled_back(
    guard: Guard, folder: LogFolder, signer: FileSigner
) -> None:
    publish(folder, signer, 7)
    note = bytearray(folder.read("checkpoint"))
    note[-10] ^= 1
    (folder.root / "checkpoint").write_bytes(note)
    with pytest.raises(RolledBack, match="not what this log published"):
        guard.check(7, hashes())


def test_what_is_known_besides_is_checked_as_well(guard: Guard) -> None:
    guard.check(7, hashes(), Known("the state database", 7, tree(7).root))
    with pytest.raises(RolledBack, match="the state database knows another log"):
        guard.check(7, hashes(), Known("the state database", 7, bytes(32)))


def test_a_memory_that_changes_under_a_running_process_is_looked_at_again(guard: Guard) -> None:
    guard.remember(tree(3))
    guard.check(7, hashes())
    guard.remember(Tree(3, bytes(32)))
    with pytest.raises(RolledBack):
        guard.check(7, hashes())
