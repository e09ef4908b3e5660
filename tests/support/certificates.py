"""A small certificate authority for the run: P-256 throughout, good and deliberately bad leaves."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tests.support.sandbox import Sandbox

LOOPBACK = ("localhost", "127.0.0.1")


@dataclass(frozen=True, slots=True)
class Certificate:
    """A leaf as two files of the plain user's: chain and key, both PEM."""

    certificate: Path
    key: Path


@dataclass(slots=True)
class Authority:
    """Signs leaves; `ca` is its own certificate as a file that everybody may read."""

    sandbox: Sandbox
    name: str = "Vestibule test authority"
    ca: Path = field(init=False)
    _folder: Path = field(init=False)
    _key: ec.EllipticCurvePrivateKey = field(init=False)
    _certificate: x509.Certificate = field(init=False)

    def __post_init__(self) -> None:
        """Make the key and the self-signed certificate."""
        self._folder = self.sandbox.folder("certificates", 0o755)
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._certificate = self._sign_itself()
        self.ca = self.sandbox.write(self._folder / "ca.pem", _pem(self._certificate), 0o644)

    def issue(
        self,
        name: str,
        hosts: Sequence[str] = LOOPBACK,
        *,
        starts: timedelta = timedelta(hours=-1),
        lasts: timedelta = timedelta(days=2),
        client: bool = False,
    ) -> Certificate:
        """Sign a leaf for `hosts`; negative times make one that is over, or not yet valid."""
        key = ec.generate_private_key(ec.SECP256R1())
        begin = datetime.now(UTC) + starts
        usage = ExtendedKeyUsageOID.CLIENT_AUTH if client else ExtendedKeyUsageOID.SERVER_AUTH
        leaf = (
            x509.CertificateBuilder()
            .subject_name(_named(name))
            .issuer_name(self._certificate.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(begin)
            .not_valid_after(begin + lasts)
            .add_extension(x509.SubjectAlternativeName([_general(host) for host in hosts]), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
            .add_extension(_identifier_of(self._key), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        folder = self.sandbox.folder(f"certificate-{name}")
        chain = _pem(leaf) + _pem(self._certificate)
        return Certificate(
            self.sandbox.write(folder / "certificate.pem", chain, 0o644),
            self.sandbox.write(folder / "key.pem", _private_pem(key), 0o600),
        )

    def _sign_itself(self) -> x509.Certificate:
        begin = datetime.now(UTC) - timedelta(days=1)
        subject = _named(self.name)
        usage = x509.KeyUsage(
            digital_signature=True,
            key_cert_sign=True,
            crl_sign=True,
            content_commitment=False,
            key_encipherment=False,
            data_encipherment=False,
            key_agreement=False,
            encipher_only=False,
            decipher_only=False,
        )
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(subject)
            .public_key(self._key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(begin)
            .not_valid_after(begin + timedelta(days=30))
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(self._key.public_key()), critical=False)
            .add_extension(usage, critical=True)
            .sign(self._key, hashes.SHA256())
        )


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _general(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _identifier_of(key: ec.EllipticCurvePrivateKey) -> x509.AuthorityKeyIdentifier:
    return x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key())


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _private_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
