"""Signed notes, checkpoints, keys, tiles and proofs, as the gateway and as the auditor's program read them."""

from __future__ import annotations

import struct
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests.fuzz.readers.base import Reader
from tests.support.data_folder import busy_day, test_key
from vestibule.evidence import checkpoint, merkle, tiles, verify
from vestibule.evidence.checkpoint import COSIGNATURE_KEY, Checkpoint, Note, Signature, VerifierKey
from vestibule.evidence.errors import EvidenceFormatError

ORIGIN: Final = "vestibule.test/log/1"
LOG: Final = test_key()
KEY: Final = VerifierKey(ORIGIN, LOG.public_key().public_bytes_raw())
WITNESS_KEY: Final = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
WITNESS: Final = VerifierKey("witness.example", WITNESS_KEY.public_key().public_bytes_raw(), COSIGNATURE_KEY)
AUDITORS_KEY: Final = verify.parse_vkey(f"{KEY}\n".encode())
CHECKPOINT: Final = Checkpoint(ORIGIN, 4_711, bytes(range(32)))


def note(data: bytes) -> bool:
    """A note: written again it is the same."""
    try:
        read = Note.parse(data)
    except EvidenceFormatError:
        return False
    assert read.encode() == data
    return True


def body(data: bytes) -> bool:
    """The text of a checkpoint."""
    text = data.decode(errors="replace")
    try:
        read = Checkpoint.parse(text)
    except EvidenceFormatError:
        return False
    assert read.text == text
    return True


def opened(data: bytes) -> bool:
    """A note that somebody has changed; whoever takes it takes it for the one that was signed, or without its text."""
    try:
        read = checkpoint.open_checkpoint(data, KEY)
    except EvidenceFormatError:
        return False
    assert read == CHECKPOINT
    return True


def signed(data: bytes) -> bool:
    """Any text, signed rightly: both programs read it alike, or the auditor's is the stricter one."""
    text = data.decode(errors="replace")
    text += "" if text.endswith("\n") else "\n"
    written = Note(text, (Signature(KEY.name, KEY.id, LOG.sign(text.encode())),)).encode()
    try:
        read = checkpoint.open_checkpoint(written, KEY)
    except EvidenceFormatError:
        return False
    assert verify.open_checkpoint(written, AUDITORS_KEY, False) == (read.size, read.root)
    return True


def cosigned(data: bytes) -> bool:
    """A note with a witness's line."""
    try:
        return checkpoint.cosigned_at(data, WITNESS) == 1_700_000_000
    except EvidenceFormatError:
        return False


def audited(data: bytes) -> bool:
    """A note in front of an auditor, as a saved one and as one of the log."""
    accepted = False
    for foreign in (False, True):
        try:
            size, root = verify.open_checkpoint(data, AUDITORS_KEY, foreign)
        except ValueError:
            continue
        assert (size, root) == (CHECKPOINT.size, CHECKPOINT.root)
        accepted = True
    return accepted


def vkey(data: bytes) -> bool:
    """A verifier key: what an auditor takes as the log's the gateway takes too, and it means the same."""
    text = data.decode(errors="replace")
    try:
        read = VerifierKey.parse(text)
    except EvidenceFormatError:
        read = None
    if read is not None:
        assert str(read) == text
    try:
        name, key_id, public = verify.parse_vkey(data + b"\n")
    except ValueError:
        return read is not None
    assert read is None or (read.name, read.id, read.public) == (name, key_id, public)
    return True


def entries(data: bytes) -> bool:
    """A bundle of as many entries as the first byte says."""
    width, bundle = data[0] if data else 0, data[1:]
    try:
        read = tiles.decode_entries(bundle, width)
    except EvidenceFormatError:
        return False
    assert tiles.encode_entries(read) == bundle
    assert len(read) == width
    return True


def hashes(data: bytes) -> bool:
    """Tiles of a tree whose size stands in front: the root, proofs, and an older root."""
    size, old = struct.unpack_from("!HH", data.ljust(4, b"\0"))
    size, old = size % 2_000, old % 2_000
    read = tiles.TileHashes(size, lambda path: data[4:] if path.endswith(".p/3") else data[4:36] * 256)
    try:
        root = merkle.root_at(size, read)
        proof = merkle.prove_inclusion(old, size, read)
        merkle.prove_consistency(old, size, read)
    except EvidenceFormatError:
        return False
    return merkle.verify_inclusion(old, size, data[4:36], proof, root) or True


def proof(data: bytes) -> bool:
    """Proofs of anything: they end, and say whether they hold."""
    old, new = struct.unpack_from("!QQ", data.ljust(16, b"\0"))
    path = [data[at : at + 32] for at in range(16, len(data), 32)]
    included = merkle.verify_inclusion(old, new, bytes(32), path, bytes(range(32)))
    consistent = merkle.verify_consistency(old, new, bytes(32), bytes(range(32)), path)
    assert not included
    assert not consistent
    return bool(path)


def path(data: bytes) -> bool:
    """The name of a file of the log."""
    log = object.__new__(verify.Log)
    log.sizes = [3, 256, 700, 70_000]
    return log._belongs(data.decode(errors="surrogateescape"))


# --- whole ones ------------------------------------------------------------------------------------------------------


def _notes() -> list[bytes]:
    text = CHECKPOINT.text
    ours = Signature(KEY.name, KEY.id, LOG.sign(text.encode()))
    time = 1_700_000_000
    theirs = WITNESS_KEY.sign(f"cosignature/v1\ntime {time}\n{text}".encode())
    witness = Signature(WITNESS.name, WITNESS.id, time.to_bytes(8, "big") + theirs)
    return [Note(text, lines).encode() for lines in ((ours,), (witness, ours), (ours, witness), (witness,))]


def _texts() -> list[bytes]:
    return [CHECKPOINT.text.encode(), Checkpoint(ORIGIN, 0, merkle.EMPTY_ROOT).text.encode()]


def _bundles() -> list[bytes]:
    return [bytes([width]) + tiles.encode_entries([b"entry" * width] * width) for width in (0, 1, 3, 20)]


def _trees() -> list[bytes]:
    return [
        struct.pack("!HH", size, old) + bytes(range(96)) for size, old in ((3, 1), (256, 255), (515, 300), (1_027, 3))
    ]


def _proofs() -> list[bytes]:
    return [struct.pack("!QQ", old, new) + bytes(range(160)) for old, new in ((3, 7), (0, 1), (6, 8), (2**40, 2**63))]


def _paths() -> list[bytes]:
    return [name.encode() for name in busy_day(1, rounds=1)[1].files] + [
        b"tile/1/x001/234.p/7",
        b"tile/entries/x002/000",
    ]


_WORDS: Final = (
    "\u2014 ".encode(),
    b"\n\n",
    b"+",
    b"=",
    b"==",
    b"AAAA",
    ORIGIN.encode(),
    b"\n",
    b" ",
    b".p/",
    b"/x001",
)

READERS: Final = (
    Reader("notes.note", note, _notes, 500, _WORDS),
    Reader("notes.body", body, _texts, 400, _WORDS),
    Reader("notes.opened", opened, _notes, 150, _WORDS),
    Reader("notes.signed", signed, _texts, 30, _WORDS),
    Reader("notes.cosigned", cosigned, _notes, 150, _WORDS),
    Reader("notes.audited", audited, _notes, 60, _WORDS),
    Reader("notes.vkey", vkey, lambda: [str(KEY).encode(), str(WITNESS).encode()], 100, _WORDS),
    Reader("notes.entries", entries, _bundles, 250, (b"\0\0", b"\xff\xff")),
    Reader("notes.hashes", hashes, _trees, 40),
    Reader("notes.proof", proof, _proofs, 200),
    Reader("notes.path", path, _paths, 250, _WORDS),
)
