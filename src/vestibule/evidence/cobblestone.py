"""Encryption of stored objects: C2SP chunked-encryption with SHA-512 and AES-256-GCM.

1. The payload is salt, commitment, then pieces of 16 KiB, each sealed on its own; the last piece is always shorter,
   so an end that was cut off is found.
2. The commitment binds the payload to one key and one context: it opens with no other, nor in another place.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterator
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA512
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from vestibule.evidence.errors import EvidenceFormatError

PIECE: Final = 16 * 1024
SALT_BYTES: Final = 24
_TAG_BYTES: Final = 16
_KEY_BYTES: Final = 32
_NONCE_BYTES: Final = 12
_COMMITMENT_BYTES: Final = 32
_LABEL: Final = b"c2sp.org/chunked-encryption@v1+AEAD_AES_256_GCM\x00"


def seal(data_key: bytes, salt: bytes, context: bytes, plain: bytes) -> bytes:
    """Encrypt `plain` under a key derived from `data_key`, a fresh `salt` and the `context` that it belongs to."""
    if len(salt) != SALT_BYTES:
        raise EvidenceFormatError(f"the salt of an encrypted object has {SALT_BYTES} bytes")
    cipher, base, commitment = _derive(data_key, salt, context)
    # One piece more than are full: the last is shorter than the others, maybe empty.
    pieces = (
        cipher.encrypt(_nonce(base, number), plain[number * PIECE : (number + 1) * PIECE], None)
        for number in range(len(plain) // PIECE + 1)
    )
    return b"".join([salt, commitment, *pieces])


def unseal(data_key: bytes, context: bytes, payload: bytes) -> bytes:
    """Decrypt what `seal` made; raise `EvidenceFormatError` for anything else."""
    return b"".join(_opened(data_key, context, payload))


def _opened(data_key: bytes, context: bytes, payload: bytes) -> Iterator[bytes]:
    start = SALT_BYTES + _COMMITMENT_BYTES
    cipher, base, commitment = _derive(data_key, payload[:SALT_BYTES], context)
    if not hmac.compare_digest(commitment, payload[SALT_BYTES:start]):
        raise EvidenceFormatError("an encrypted object belongs to another key or place")
    sealed = memoryview(payload)[start:]
    whole = PIECE + _TAG_BYTES
    for number in range(len(sealed) // whole + 1):
        piece = sealed[number * whole : (number + 1) * whole]
        try:
            yield cipher.decrypt(_nonce(base, number), piece, None)
        except (InvalidTag, ValueError):
            raise EvidenceFormatError(f"piece {number} of an encrypted object was changed, or is missing") from None


def _derive(data_key: bytes, salt: bytes, context: bytes) -> tuple[AESGCM, bytes, bytes]:
    length = _KEY_BYTES + _NONCE_BYTES + _COMMITMENT_BYTES
    made = HKDFExpand(algorithm=SHA512(), length=length, info=_LABEL + salt + context).derive(data_key)
    return AESGCM(made[:_KEY_BYTES]), made[_KEY_BYTES : _KEY_BYTES + _NONCE_BYTES], made[-_COMMITMENT_BYTES:]


def _nonce(base: bytes, number: int) -> bytes:
    return (int.from_bytes(base, "big") ^ number).to_bytes(_NONCE_BYTES, "big")
