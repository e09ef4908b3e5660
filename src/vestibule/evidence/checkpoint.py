"""Checkpoints: a tree's size and root as a signed note (C2SP tlog-checkpoint, signed-note, tlog-cosignature).

1. A note is text, an empty line, and signature lines `— <name> <base64(key id || signature)>`.
2. Base64 is canonical or refused, so that a note has one form only.
3. A signature by an unknown key is ignored; one that names the known key and fails spoils the note.
4. The log's key stays outside: `sign` takes a callable.
"""

from __future__ import annotations

import hmac
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from vestibule.evidence.errors import EvidenceFormatError, SignatureRefused

#: Gives the Ed25519 signature of a message.
Signer = Callable[[bytes], bytes]

LOG_KEY: Final = 0x01
COSIGNATURE_KEY: Final = 0x04
NOTE_LIMIT: Final = 65_536
SIGNATURES_LIMIT: Final = 64
_DASH: Final = "\u2014"


@dataclass(frozen=True, slots=True)
class VerifierKey:
    """A named Ed25519 public key: of a log (type 1) or of a witness (type 4)."""

    name: str
    public: bytes
    type: int = LOG_KEY

    def __post_init__(self) -> None:
        """Refuse names that could not be told apart in a line, and other keys."""
        if not _is_name(self.name) or len(self.public) != 32 or self.type not in (LOG_KEY, COSIGNATURE_KEY):
            raise EvidenceFormatError("a verifier key has a name without spaces and +, and an Ed25519 public key")

    @property
    def id(self) -> bytes:
        """The four bytes that name the key in a signature."""
        return sha256(self.name.encode() + b"\n" + bytes([self.type]) + self.public).digest()[:4]

    def __str__(self) -> str:
        """Write the key as a vkey."""
        return f"{self.name}+{self.id.hex()}+{b64encode(bytes([self.type]) + self.public).decode()}"

    @classmethod
    def parse(cls, vkey: str) -> VerifierKey:
        """Read a vkey; it must be exactly what `str` writes."""
        # Base64 may hold a plus itself: three parts at most.
        parts = vkey.split("+", 2)
        if len(parts) != 3:
            raise EvidenceFormatError("a vkey is <name>+<key id>+<base64 key>")
        key = _base64(parts[2])
        if not key:
            raise EvidenceFormatError("a vkey holds a key")
        made = cls(parts[0], key[1:], key[0])
        if str(made) != vkey:
            raise EvidenceFormatError("the key id of a vkey does not belong to its name and key")
        return made


@dataclass(frozen=True, slots=True)
class Signature:
    """One signature line of a note."""

    name: str
    key_id: bytes
    payload: bytes

    def __str__(self) -> str:
        """Write the line, with its end."""
        return f"{_DASH} {self.name} {b64encode(self.key_id + self.payload).decode()}\n"


@dataclass(frozen=True, slots=True)
class Note:
    """Signed text (with its last newline) and the lines below it."""

    text: str
    signatures: tuple[Signature, ...]

    def encode(self) -> bytes:
        """Write the note."""
        return f"{self.text}\n{''.join(map(str, self.signatures))}".encode()

    @classmethod
    def parse(cls, data: bytes) -> Note:
        """Read a note; it must be exactly what `encode` writes."""
        if len(data) > NOTE_LIMIT:
            raise EvidenceFormatError(f"a note has at most {NOTE_LIMIT:,} bytes")
        try:
            whole = data.decode()
        except UnicodeDecodeError:
            raise EvidenceFormatError("a note is UTF-8") from None
        text, separator, below = whole.rpartition("\n\n")
        if not separator or not below.endswith("\n") or any(each < " " and each != "\n" for each in whole):
            raise EvidenceFormatError("a note is text, an empty line and signature lines, without control characters")
        lines = below[:-1].split("\n")
        if len(lines) > SIGNATURES_LIMIT:
            raise EvidenceFormatError(f"a note has at most {SIGNATURES_LIMIT} signatures")
        return cls(text + "\n", tuple(map(_signature, lines)))


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The state of a log: its origin, how many leaves its tree has, and the root."""

    origin: str
    size: int
    root: bytes

    def __post_init__(self) -> None:
        """Refuse what could not be written as three lines."""
        if not _is_name(self.origin) or self.size < 0 or len(self.root) != 32:
            raise EvidenceFormatError("a checkpoint has an origin without spaces and +, a size and a root of 32 bytes")

    @property
    def text(self) -> str:
        """The three lines that are signed."""
        return f"{self.origin}\n{self.size}\n{b64encode(self.root).decode()}\n"

    @classmethod
    def parse(cls, text: str) -> Checkpoint:
        """Read the three lines; extension lines are refused."""
        lines = text.split("\n")
        if len(lines) != 4 or lines[3]:
            raise EvidenceFormatError("a checkpoint has three lines: origin, size, root")
        if not (lines[1].isascii() and lines[1].isdecimal() and len(lines[1]) <= 16):
            raise EvidenceFormatError("the size in a checkpoint is a decimal number")
        made = cls(lines[0], int(lines[1]), _base64(lines[2]))
        if made.text != text:
            raise EvidenceFormatError("a checkpoint is not written in its one form")
        return made


def sign_checkpoint(checkpoint: Checkpoint, key: VerifierKey, signer: Signer) -> bytes:
    """Sign a checkpoint with the key that `key` verifies; a signature by another key is refused."""
    payload = signer(checkpoint.text.encode())
    note = Note(checkpoint.text, (Signature(key.name, key.id, payload),))
    data = note.encode()
    if open_checkpoint(data, key) != checkpoint:
        raise AssertionError("a checkpoint is read as it was written")
    return data


def open_note(note: bytes, key: VerifierKey) -> Note:
    """Read a note that `key` signed."""
    parsed = Note.parse(note)
    found = _only(parsed.signatures, key)
    if found is None:
        raise SignatureRefused(f"the note is not signed by {key.name}")
    _verify(key, found.payload, parsed.text.encode())
    return parsed


def open_checkpoint(note: bytes, key: VerifierKey) -> Checkpoint:
    """Read a checkpoint that the log with `key` signed."""
    checkpoint = Checkpoint.parse(open_note(note, key).text)
    if checkpoint.origin != key.name:
        raise SignatureRefused("the origin of the checkpoint is not the name of the key")
    return checkpoint


def cosigned_at(note: bytes, key: VerifierKey) -> int:
    """Give the time of the witness's cosignature on a note, in Unix seconds."""
    parsed = Note.parse(note)
    found = _only(parsed.signatures, key)
    if found is None or len(found.payload) != 72:
        raise SignatureRefused(f"the note is not cosigned by {key.name}")
    time = int.from_bytes(found.payload[:8], "big")
    _verify(key, found.payload[8:], _cosigned(parsed.text, time))
    return time


def _only(signatures: Sequence[Signature], key: VerifierKey) -> Signature | None:
    """Find the signature of `key`; a key signs a note once."""
    found = [each for each in signatures if each.name == key.name and hmac.compare_digest(each.key_id, key.id)]
    if len(found) > 1:
        raise SignatureRefused(f"the note holds {len(found)} signatures of {key.name}")
    return found[0] if found else None


def _verify(key: VerifierKey, signature: bytes, message: bytes) -> None:
    try:
        Ed25519PublicKey.from_public_bytes(key.public).verify(signature, message)
    except InvalidSignature:
        raise SignatureRefused(f"the signature of {key.name} does not belong to the note") from None


def _cosigned(text: str, time: int) -> bytes:
    return f"cosignature/v1\ntime {time}\n{text}".encode()


def _signature(line: str) -> Signature:
    parts = line.split(" ")
    if len(parts) != 3 or parts[0] != _DASH or not _is_name(parts[1]):
        raise EvidenceFormatError(f"a signature line is {_DASH} <name> <base64>")
    payload = _base64(parts[2])
    if len(payload) < 5:
        raise EvidenceFormatError("a signature line holds a key id and a signature")
    return Signature(parts[1], payload[:4], payload[4:])


def _is_name(name: str) -> bool:
    return bool(name) and "+" not in name and name.isprintable() and not any(map(str.isspace, name))


def _base64(text: str) -> bytes:
    """Decode base64 that is written in its one canonical form."""
    try:
        data = b64decode(text.encode("ascii"), validate=True)
    except (UnicodeEncodeError, Base64Error):
        raise EvidenceFormatError("base64 is broken") from None
    if b64encode(data).decode() != text:
        raise EvidenceFormatError("base64 is not in its canonical form")
    return data
