"""X.509 certificates of people: what the gateway's own authority signs, and what it reads in one that is shown.

1. A request gives a public key, and the proof that its sender holds the private one. Whatever else it says (names,
   extensions, times) is not read.
2. A certificate is an index: its SAN names the login, its serial number is the credential's id. What the two allow is
   looked up at each use.
3. What is shown counts only if this authority signed it, and if it has exactly the form of what it signs.
4. An authority knows nothing of time: a certificate's end is asked of what is kept of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from vestibule.model.errors import ConfigurationError, VestibuleError
from vestibule.model.login import Login, Token
from vestibule.model.names import SECOND, Instant, LoginName

#: How many characters of a name a certificate holds (RFC 5280, appendix A.1: ub-common-name).
COMMON_NAME: Final = 64
#: Longer than any request for a key that is accepted.
LONGEST: Final = 16 * 1024
#: A clock that is behind ours by less than this takes a new certificate.
LEEWAY: Final = timedelta(seconds=60)

_URN: Final = "urn:vestibule:login:"
#: "No well-defined expiration date" (RFC 5280, 4.1.2.5).
_NEVER: Final = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
_RSA_BITS: Final = range(2048, 4097)
_CURVES: Final = (ec.SECP256R1, ec.SECP384R1)
_KEYS: Final = "a request is for an EC key on P-256 or P-384, or an RSA key of 2048 to 4096 bits"

PublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey


class RequestRefused(VestibuleError):
    """A certificate signing request cannot be used; the text says what is wanted."""


@dataclass(frozen=True, slots=True)
class Shown:
    """What a certificate of ours says: an index, and a name to compare."""

    login: UUID
    credential: UUID
    name: str


class Authority:
    """Signs for people who are logged in, and for nobody else; no target trusts it, and it trusts no other."""

    def __init__(self, key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate) -> None:
        """Sign with `key`, whose own certificate says so."""
        self._key, self._certificate = key, certificate

    @property
    def pem(self) -> str:
        """Its own certificate, which is no secret."""
        return self._certificate.public_bytes(Encoding.PEM).decode()

    def kept(self) -> bytes:
        """Write key and certificate for keeping; `read_authority` reads it."""
        key = self._key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        return key + self.pem.encode()

    def sign(self, key: PublicKey, login: Login, token: Token) -> x509.Certificate:
        """Make the certificate of the credential `token`; nothing in it is from whoever asked but the key."""
        usage = x509.KeyUsage(True, False, False, False, False, False, False, False, False)
        identifier = x509.SubjectKeyIdentifier.from_public_key(self._key.public_key())
        return (
            x509.CertificateBuilder()
            .subject_name(_named(common_name(login.who.name)))
            .issuer_name(self._certificate.subject)
            .public_key(key)
            .serial_number(token.id.int)
            .not_valid_before(_time(token.created_at) - LEEWAY)
            .not_valid_after(_time(token.expires_at))
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(usage, critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=True)
            .add_extension(x509.SubjectAlternativeName([_uri(login.who.login)]), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), critical=False)
            .sign(self._key, hashes.SHA256())
        )

    def read(self, certificate: bytes) -> Shown | None:
        """Read a certificate (DER) that was shown; None unless it is one of ours in every part."""
        try:
            shown = x509.load_der_x509_certificate(certificate)
            shown.verify_directly_issued_by(self._certificate)
            return _shown(shown)
        except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm, *_MALFORMED):
            return None


#: Errors of the library that are no `ValueError`.
_MALFORMED: Final = (
    x509.DuplicateExtension,
    x509.ExtensionNotFound,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)


def new_authority(name: str) -> Authority:
    """Make an authority with a key of its own."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Vestibule user CA"),
            x509.NameAttribute(NameOID.COMMON_NAME, name[:COMMON_NAME]),
        ]
    )
    usage = x509.KeyUsage(False, False, False, False, False, True, False, False, False)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime(2000, 1, 1, tzinfo=UTC))
        .not_valid_after(_NEVER)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return Authority(key, certificate)


def read_authority(kept: bytes) -> Authority:
    """Read what `Authority.kept` wrote; raise `ConfigurationError` for anything else."""
    try:
        key = load_pem_private_key(kept, password=None)
        certificate = x509.load_pem_x509_certificate(kept)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise ConfigurationError("no private key with its certificate") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != certificate.public_key():
        raise ConfigurationError("the certificate is not that of the key")
    return Authority(key, certificate)


def read_request(pem: str) -> PublicKey:
    """Take the key of a certificate signing request (PKCS #10, PEM), once its sender has proven to hold it."""
    if len(pem) > LONGEST:
        raise RequestRefused(f"a certificate signing request has at most {LONGEST} characters")
    try:
        request = x509.load_pem_x509_csr(pem.encode())
        key = request.public_key()
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise RequestRefused(f"no certificate signing request in PEM; {_KEYS}") from None
    # Before the signature is looked at: to check one by a key that is made for it can take minutes.
    if not _is_fit(key):
        raise RequestRefused(_KEYS)
    try:
        is_held = request.is_signature_valid
    except (ValueError, TypeError, UnsupportedAlgorithm):
        is_held = False
    if not is_held or not isinstance(key, ec.EllipticCurvePublicKey | rsa.RSAPublicKey):
        raise RequestRefused("the request is not signed by the key that it is for")
    return key


def common_name(name: LoginName) -> str:
    """Say how a certificate writes a login's name."""
    return name[:COMMON_NAME]


def _is_fit(key: object) -> bool:
    if isinstance(key, rsa.RSAPublicKey):
        return key.key_size in _RSA_BITS and key.public_numbers().e == 65_537
    return isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, _CURVES)


def _shown(certificate: x509.Certificate) -> Shown | None:
    extensions = certificate.extensions
    uses = extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    names = list(extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
    limits = extensions.get_extension_for_class(x509.BasicConstraints).value
    subject = list(certificate.subject)
    if limits.ca or list(uses) != [ExtendedKeyUsageOID.CLIENT_AUTH] or len(names) != 1 or len(subject) != 1:
        return None
    uri = names[0]
    if not isinstance(uri, x509.UniformResourceIdentifier) or subject[0].oid != NameOID.COMMON_NAME:
        return None
    login = UUID(uri.value.removeprefix(_URN))
    # Only as we write it: there is one way to name a login.
    if uri != _uri(login):
        return None
    return Shown(login, UUID(int=certificate.serial_number), str(subject[0].value))


def _uri(login: UUID) -> x509.UniformResourceIdentifier:
    return x509.UniformResourceIdentifier(f"{_URN}{login}")


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _time(instant: Instant) -> datetime:
    # A certificate counts in seconds, and must not outlast its credential.
    return datetime.fromtimestamp(instant // SECOND, UTC)
