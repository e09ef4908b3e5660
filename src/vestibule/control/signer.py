"""Who signs checkpoints, and what it refuses to sign.

1. A tree is signed once it is proven to begin with the one that was signed last. A smaller tree, another root for the
   same size, and a proof that fails are refused; whoever asks cannot change that.
2. What was signed last is on disk before the signature is handed out.
3. The key never leaves this module.
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Protocol

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from vestibule.control.remembered import Tree, read_tree, write_tree
from vestibule.evidence.checkpoint import Checkpoint, VerifierKey
from vestibule.evidence.errors import SignatureRefused
from vestibule.evidence.merkle import verify_consistency
from vestibule.model.errors import ConfigurationError
from vestibule.stores.disk import replace

KEY_FILE: Final = "log.key"
MEMORY_FILE: Final = "signer.json"


class Signer(Protocol):
    """Signs the checkpoints of one log."""

    @property
    def key(self) -> VerifierKey:
        """Give the key that verifies its signatures."""
        ...

    @property
    def last(self) -> Tree:
        """Say which tree was signed last."""
        ...

    def sign(self, old: int, proof: Sequence[bytes], checkpoint: str) -> bytes:
        """Sign the text of a checkpoint, given the proof from the tree signed last, of `old` leaves."""
        ...


class FileSigner:
    """A signer whose key and memory are files that only their owner can read."""

    def __init__(self, folder: Path, origin: str) -> None:
        """Read key and memory from `folder`; the first start makes the key."""
        self._memory = folder / MEMORY_FILE
        self._private = _private_key(folder / KEY_FILE)
        public = self._private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        self._key = VerifierKey(origin, public)
        self._last = read_tree(self._memory, origin) or Tree()

    @property
    def key(self) -> VerifierKey:
        """Give the key that verifies its signatures."""
        return self._key

    @property
    def last(self) -> Tree:
        """Say which tree was signed last."""
        return self._last

    def sign(self, old: int, proof: Sequence[bytes], checkpoint: str) -> bytes:
        """Sign the text of a checkpoint, given the proof from the tree signed last, of `old` leaves."""
        asked = Checkpoint.parse(checkpoint)
        if asked.origin != self._key.name:
            raise SignatureRefused("the checkpoint is of another log than the key")
        tree = Tree(asked.size, asked.root)
        self._check(old, proof, tree)
        if tree != self._last:
            write_tree(self._memory, self._key.name, tree)
            self._last = tree
        return self._private.sign(checkpoint.encode())

    def _check(self, old: int, proof: Sequence[bytes], new: Tree) -> None:
        last = self._last
        if new.size < last.size:
            raise SignatureRefused(f"a tree of {last.size} leaves was signed; one of {new.size} is refused")
        if new.size == last.size and not hmac.compare_digest(new.root, last.root):
            raise SignatureRefused(f"another tree of {last.size} leaves was signed")
        if old != last.size or not verify_consistency(old, new.size, last.root, new.root, proof):
            raise SignatureRefused(f"it is not proven that the tree begins with the {last.size} leaves signed last")


def _private_key(path: Path) -> Ed25519PrivateKey:
    if not path.exists():
        made = Ed25519PrivateKey.generate()
        replace(path, made.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return made
    if path.stat().st_mode & 0o077:
        raise ConfigurationError(f"{path}: its group or others can use the log's key; run: chmod 600 {path}")
    try:
        key = load_pem_private_key(path.read_bytes(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise ConfigurationError(f"{path}: not an Ed25519 key in PKCS#8 PEM without a password; restore the log's own")
    return key
