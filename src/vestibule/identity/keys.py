"""An issuer's public keys (JWK Set), and which of them a token may be verified with.

1. Only public members are read; secret keys, encryption keys and what nobody can verify with are passed over.
2. `use`, `key_ops`, `alg`, type and curve of the key must fit the algorithm. RSA has 2048 bits or more.
3. A key id is compared and nothing else. Without one, a key must be the only one that fits.
"""

from __future__ import annotations

from base64 import urlsafe_b64decode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from joserfc.errors import JoseError
from joserfc.jwk import Key, import_key

from vestibule.identity.failure import Failure, LoginRefused
from vestibule.identity.jose import KEY_FORMS, MAX_KID, Unverified, read_object

MAX_KEYS = 100
RSA_BITS: Final = range(2048, 16_385)
RSA_EXPONENT_BITS: Final = range(2, 65)

_MEMBERS: Final[Mapping[str, tuple[str, ...]]] = {"RSA": ("n", "e"), "EC": ("crv", "x", "y"), "OKP": ("crv", "x")}


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A published key as it came: nothing but its form is checked until a token asks for it."""

    kid: str | None
    type: str
    curve: str | None
    algorithm: str | None
    members: Mapping[str, str]

    def fits(self, algorithm: str) -> bool:
        """Tell whether the key is meant for `algorithm`."""
        return self.algorithm in (None, algorithm) and (self.type, self.curve) == KEY_FORMS[algorithm]


@dataclass(frozen=True, slots=True)
class KeySet:
    """The keys of one issuer at one moment."""

    keys: tuple[PublicKey, ...]

    def candidates(self, unverified: Unverified) -> Sequence[PublicKey]:
        """List the keys that the token may mean: those of its key id, or without one every key that fits."""
        return [
            key
            for key in self.keys
            if key.fits(unverified.algorithm) and (unverified.kid is None or key.kid == unverified.kid)
        ]


def read_key_set(body: bytes) -> KeySet:
    """Read a JWK Set; refuse it whole only if it is none."""
    entries = read_object(body).get("keys")
    if not isinstance(entries, list) or len(entries) > MAX_KEYS:
        raise LoginRefused(Failure.DISCOVERY, f"the issuer's key set is no list of at most {MAX_KEYS} keys")
    return KeySet(tuple(key for entry in entries if (key := _read(entry)) is not None))


def usable(key: PublicKey) -> Key:
    """Make the key that verifies; a weak or broken one is refused here, at its use."""
    if key.type == "RSA":
        _check_rsa(key.members)
    try:
        return import_key({"kty": key.type, **key.members}, parameters={"use": "sig"})
    except (JoseError, ValueError) as error:
        raise LoginRefused(Failure.KEY, "the issuer's key cannot be read") from error


def _read(entry: object) -> PublicKey | None:
    if not isinstance(entry, dict) or not _is_for_verifying(entry):
        return None
    kind, kid, algorithm = entry.get("kty"), entry.get("kid"), entry.get("alg")
    names = _MEMBERS.get(kind, ()) if isinstance(kind, str) else ()
    members = {name: entry.get(name) for name in names}
    if not names or not all(isinstance(value, str) for value in members.values()):
        return None
    if not _is_text(kid, MAX_KID) or not _is_text(algorithm, 32):
        return None
    texts = {name: str(value) for name, value in members.items()}
    return PublicKey(kid, str(kind), texts.get("crv"), algorithm, texts)


def _is_for_verifying(entry: Mapping[str, Any]) -> bool:
    operations = entry.get("key_ops", ["verify"])
    return entry.get("use", "sig") == "sig" and isinstance(operations, list) and "verify" in operations


def _is_text(value: object, longest: int) -> bool:
    return value is None or (isinstance(value, str) and len(value) <= longest)


def _check_rsa(members: Mapping[str, str]) -> None:
    bits, exponent_bits = _bits(members["n"]), _bits(members["e"])
    if bits not in RSA_BITS or exponent_bits not in RSA_EXPONENT_BITS:
        raise LoginRefused(Failure.KEY, f"the issuer's RSA key has {bits} bits; at least 2048 are needed")


def _bits(number: str) -> int:
    try:
        return int.from_bytes(urlsafe_b64decode(number + "=" * (-len(number) % 4))).bit_length()
    except ValueError:
        return 0
