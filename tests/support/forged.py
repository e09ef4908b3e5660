"""Certificates as the gateway's authority for people would sign them, each with something wrong if a test wants."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from vestibule.identity.certificates import Authority

CLIENT_AUTH = ExtendedKeyUsageOID.CLIENT_AUTH
SERVER_AUTH = ExtendedKeyUsageOID.SERVER_AUTH


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate and its key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def der(self) -> bytes:
        """The certificate as it is shown."""
        return self.certificate.public_bytes(Encoding.DER)

    def write(self, folder: Path, stem: str = "client") -> tuple[Path, Path]:
        """Write certificate and key as PEM files."""
        certificate, key = folder / f"{stem}.crt", folder / f"{stem}.key"
        certificate.write_bytes(self.certificate.public_bytes(Encoding.PEM))
        key.write_bytes(self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        key.chmod(0o600)
        return certificate, key

    def show_in(self, context: ssl.SSLContext, folder: Path) -> None:
        """Have a client's context show it."""
        context.load_cert_chain(*self.write(folder))


def forge(
    by: Authority,
    login: UUID,
    credential: UUID,
    *,
    name: str = "dev1",
    subject: x509.Name | None = None,
    names: Sequence[x509.GeneralName] | None = None,
    uses: Sequence[x509.ObjectIdentifier] = (CLIENT_AUTH,),
    is_ca: bool = False,
    ends: timedelta = timedelta(hours=1),
) -> Pair:
    """Sign with the key of `by` what it never would, or, with nothing said, just what it would."""
    key = ec.generate_private_key(ec.SECP256R1())
    if names is None:
        names = [x509.UniformResourceIdentifier(f"urn:vestibule:login:{login}")]
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]) if subject is None else subject)
        .issuer_name(by._certificate.subject)
        .public_key(key.public_key())
        .serial_number(credential.int)
        .not_valid_before(now - timedelta(hours=2))
        .not_valid_after(now + ends)
        .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    if uses:
        builder = builder.add_extension(x509.ExtendedKeyUsage(uses), critical=True)
    return Pair(builder.sign(by._key, hashes.SHA256()), key)
