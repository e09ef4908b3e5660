from __future__ import annotations

import stat
from hashlib import sha256
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from vestibule.control.remembered import Tree, read_tree
from vestibule.control.signer import FileSigner
from vestibule.evidence.checkpoint import Checkpoint, open_checkpoint, sign_checkpoint
from vestibule.evidence.errors import SignatureRefused
from vestibule.evidence.log import Grown
from vestibule.evidence.merkle import Frontier, prove_consistency
from vestibule.evidence.tiles import TileHashes
from vestibule.model.errors import ConfigurationError

ORIGIN = "vestibule.bank.example/log/1"
LEAVES = [sha256(bytes([number])).digest() for number in range(40)]


def text(size: int, origin: str = ORIGIN, leaves: list[bytes] = LEAVES) -> str:
    return Checkpoint(origin, size, Frontier().extend(leaves[:size])[0].root()).text


def proof(old: int, new: int) -> tuple[bytes, ...]:
    return prove_consistency(old, new, Grown(TileHashes(0, lambda path: b""), 0, LEAVES[:new], ()))


def sign(signer: FileSigner, size: int) -> bytes:
    return signer.sign(signer.last.size, proof(signer.last.size, size), text(size))


def test_the_first_start_makes_a_key_that_only_its_owner_can_read_and_later_ones_read_it(tmp_path: Path) -> None:
    first, second = FileSigner(tmp_path, ORIGIN), FileSigner(tmp_path, ORIGIN)
    assert first.key == second.key
    assert first.key.name == ORIGIN
    assert stat.S_IMODE((tmp_path / "log.key").stat().st_mode) == 0o600
    assert b"PRIVATE KEY" in (tmp_path / "log.key").read_bytes()
    assert "PRIVATE" not in repr(first)


def test_what_is_signed_verifies_with_its_key(tmp_path: Path) -> None:
    signer = FileSigner(tmp_path, ORIGIN)
    checkpoint = Checkpoint.parse(text(5))
    note = sign_checkpoint(checkpoint, signer.key, lambda message: signer.sign(0, (), message.decode()))
    assert open_checkpoint(note, signer.key) == checkpoint


def test_a_growing_tree_is_signed_and_the_same_one_again_with_the_same_bytes(tmp_path: Path) -> None:
    signer = FileSigner(tmp_path, ORIGIN)
    for size in (1, 2, 7, 8, 33):
        assert sign(signer, size) == sign(signer, size)
        assert signer.last.size == size


def test_what_was_signed_is_remembered_across_starts(tmp_path: Path) -> None:
    sign(FileSigner(tmp_path, ORIGIN), 9)
    again = FileSigner(tmp_path, ORIGIN)
    assert again.last == Tree(9, Checkpoint.parse(text(9)).root)
    with pytest.raises(SignatureRefused, match="a tree of 9 leaves was signed; one of 8 is refused"):
        again.sign(9, (), text(8))


def test_another_tree_of_the_same_size_is_refused(tmp_path: Path) -> None:
    signer = FileSigner(tmp_path, ORIGIN)
    sign(signer, 9)
    with pytest.raises(SignatureRefused, match="another tree of 9 leaves"):
        signer.sign(9, (), text(9, leaves=LEAVES[::-1]))


@pytest.mark.parametrize(("old", "wrong"), [(9, ()), (8, proof(8, 12)), (0, ()), (9, proof(8, 12)), (9, proof(9, 13))])
def test_a_tree_that_is_not_proven_to_begin_with_the_last_one_is_refused_and_not_remembered(
    tmp_path: Path, old: int, wrong: tuple[bytes, ...]
) -> None:
    signer = FileSigner(tmp_path, ORIGIN)
    sign(signer, 9)
    with pytest.raises(SignatureRefused, match="not proven"):
        signer.sign(old, wrong, text(12))
    assert FileSigner(tmp_path, ORIGIN).last.size == 9
    assert sign(signer, 12)


def test_a_checkpoint_of_another_log_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SignatureRefused, match="another log"):
        FileSigner(tmp_path, ORIGIN).sign(0, (), text(3, origin="other"))


def test_nothing_is_signed_before_it_is_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    signer = FileSigner(tmp_path, ORIGIN)
    sign(signer, 3)

    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("vestibule.control.signer.write_tree", fail)
    with pytest.raises(OSError, match="disk full"):
        sign(signer, 4)
    assert signer.last.size == 3
    assert read_tree(tmp_path / "signer.json", ORIGIN) == signer.last


def test_a_key_that_others_can_read_is_refused_with_what_to_do(tmp_path: Path) -> None:
    FileSigner(tmp_path, ORIGIN)
    (tmp_path / "log.key").chmod(0o640)
    with pytest.raises(ConfigurationError, match=r"run: chmod 600 .*log\.key"):
        FileSigner(tmp_path, ORIGIN)


@pytest.mark.parametrize("kind", ["empty", "other"])
def test_a_file_that_is_no_ed25519_key_is_refused_without_its_content(tmp_path: Path, kind: str) -> None:
    key = generate_private_key(SECP256R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (tmp_path / "log.key").write_bytes(b"" if kind == "empty" else key)
    (tmp_path / "log.key").chmod(0o600)
    with pytest.raises(ConfigurationError, match="not an Ed25519 key") as raised:
        FileSigner(tmp_path, ORIGIN)
    assert "PRIVATE" not in str(raised.value)
