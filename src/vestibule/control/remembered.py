"""A tree that must never be forgotten: its size and root in a small file, for signer and guard."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from vestibule.evidence.checkpoint import Checkpoint
from vestibule.evidence.errors import EvidenceFormatError
from vestibule.evidence.merkle import EMPTY_ROOT
from vestibule.model.errors import ConfigurationError
from vestibule.stores.disk import replace


@dataclass(frozen=True, slots=True)
class Tree:
    """A tree by its size and root; the empty one by default."""

    size: int = 0
    root: bytes = EMPTY_ROOT


def read_tree(path: Path, origin: str) -> Tree | None:
    """Read the tree of a log; None if there is no file. One that cannot be read is an error, never an empty memory."""
    try:
        content = json.loads(path.read_bytes())
        remembered = Checkpoint(content["origin"], content["size"], bytes.fromhex(content["root"]))
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, EvidenceFormatError):
        raise ConfigurationError(f"{path}: not what was written there; restore it from a backup") from None
    if remembered.origin != origin:
        raise ConfigurationError(
            f"{path}: remembers the log {remembered.origin!r}, but {origin!r} is configured; a log keeps its origin"
        )
    return Tree(remembered.size, remembered.root)


def write_tree(path: Path, origin: str, tree: Tree) -> None:
    """Remember a tree, durable on return."""
    replace(path, json.dumps({"origin": origin, "size": tree.size, "root": tree.root.hex()}).encode() + b"\n")
