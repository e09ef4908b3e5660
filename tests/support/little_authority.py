"""Certificates for tests that start no program: a CA and leaves in a folder of the test's own, in milliseconds."""

from __future__ import annotations

import ipaddress
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import NameOID

Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey


@dataclass(frozen=True, slots=True)
class Leaf:
    """A certificate and its key as files."""

    certificate: Path
    key: Path
    der: bytes

    def server_context(self, alpn: Sequence[str] = ("postgresql",)) -> ssl.SSLContext:
        """Serve with it."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate, self.key)
        if alpn:
            context.set_alpn_protocols(list(alpn))
        return context


class LittleAuthority:
    """Signs leaves for loopback names."""

    def __init__(self, folder: Path, name: str = "little") -> None:
        """Make the CA."""
        self._folder, self._name = folder, name
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"{name} authority")])
        basic = x509.BasicConstraints(ca=True, path_length=0)
        certificate = self._builder(self._subject, self._key).add_extension(basic, critical=True)
        self.ca = folder / f"{name}-ca.pem"
        self.ca.write_bytes(certificate.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))

    def issue(
        self,
        *hosts: str,
        key: Key | None = None,
        signer: Key | None = None,
        digest: hashes.HashAlgorithm | None = hashes.SHA256(),  # noqa: B008 - a constant
        expired: bool = False,
    ) -> Leaf:
        """Sign a leaf for `hosts`; with another `signer` it is not ours."""
        key = key or ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a leaf")])
        names = x509.SubjectAlternativeName([_general(host) for host in hosts or ("localhost", "127.0.0.1")])
        builder = self._builder(name, key, expired).add_extension(names, critical=False)
        signed = builder.sign(signer or self._key, digest)  # type: ignore[arg-type] # each kind with its own digests
        stem = self._folder / f"{self._name}-{signed.serial_number:x}"
        leaf = Leaf(stem.with_suffix(".pem"), stem.with_suffix(".key"), signed.public_bytes(serialization.Encoding.DER))
        leaf.certificate.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
        leaf.key.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return leaf

    def client_context(self, alpn: Sequence[str] = ()) -> ssl.SSLContext:
        """Trust it."""
        context = ssl.create_default_context(cafile=str(self.ca))
        if alpn:
            context.set_alpn_protocols(list(alpn))
        return context

    def _builder(self, subject: x509.Name, key: Key, expired: bool = False) -> x509.CertificateBuilder:
        begin = datetime.now(UTC) - timedelta(days=2 if expired else 1)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(begin)
            .not_valid_after(begin + timedelta(days=1 if expired else 30))
        )


def _general(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)
