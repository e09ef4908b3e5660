"""`vestibule certificate`: a key and its certificate, for programs that take no password that changes.

1. The private key is made here and never leaves this machine; the gateway is sent its public half, signed.
2. Every file is its owner's alone, and is put in place whole: a certificate is renewed by the same command again.
3. The password of the PKCS #12 file comes from a file or a variable, or is made here and goes to standard output;
   it is never an argument, which others could read in the list of processes.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Final
from urllib.parse import urlsplit

import typer
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, pkcs12

from vestibule.cli import credentials
from vestibule.cli.api import Api, printable
from vestibule.cli.exits import CommandError, Exit
from vestibule.cli.login import Json, psql, seconds_of
from vestibule.vault import Vault

CERTIFICATE: Final = "client.crt"
KEY: Final = "client.key"
PKCS12: Final = "client.p12"
#: The one name under which PostgreSQL's JDBC driver looks for a key.
_ALIAS: Final = b"user"


@dataclass(frozen=True, slots=True)
class Keys:
    """A private key that was made here."""

    private: ec.EllipticCurvePrivateKey = field(
        default_factory=lambda: ec.generate_private_key(ec.SECP256R1()), repr=False
    )

    def request(self) -> str:
        """Write the certificate signing request: the public key, and the proof that the private one is here."""
        builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
        return builder.sign(self.private, hashes.SHA256()).public_bytes(Encoding.PEM).decode()

    def files(self, certificate: x509.Certificate, password: bytes) -> dict[str, bytes]:
        """Write certificate and key as libpq and as Java wants them, by the files' names."""
        private = self.private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        encryption = (
            PrivateFormat.PKCS12.encryption_builder()
            .kdf_rounds(100_000)
            .key_cert_algorithm(pkcs12.PBES.PBESv2SHA256AndAES256CBC)
            .hmac_hash(hashes.SHA256())
            .build(password)
        )
        return {
            KEY: private,
            CERTIFICATE: certificate.public_bytes(Encoding.PEM),
            PKCS12: pkcs12.serialize_key_and_certificates(_ALIAS, self.private, certificate, None, encryption),
        }


def certificate(
    folder: Annotated[Path, typer.Argument(help="Where the files go; made if it is not there.", show_default=False)],
    target: Annotated[
        list[str] | None, typer.Option("--target", metavar="NAME", help="Good for this target only; repeatable.")
    ] = None,
    life: Annotated[str, typer.Option("--life", metavar="TIME", help="How long it is good: 30s, 15m, 8h.")] = "",
    password_from: Annotated[
        str,
        typer.Option("--password-from", metavar="WHERE", help="The password for client.p12: env:NAME or file:/path."),
    ] = "",
    as_json: Json = False,
) -> None:
    """Make a key and a certificate: they open a database in place of a password.

    FOLDER gets client.crt and client.key for psql and other programs with libpq, and client.p12 for Java.
    The certificate ends with the log-in, or earlier by --life; then log in, and run this again.
    Without --password-from, a password for client.p12 is made and printed this once.
    """
    wanted: dict[str, Any] = {"targets": target} if target else {}
    if life:
        wanted["life"] = seconds_of(life)
    given = _given_password(password_from)
    password = given or secrets.token_urlsafe(18)
    place = _prepared(folder)
    known, keys = credentials.load(), Keys()
    with Api(known.server, known.ca, known.token) as api:
        made = api.call("POST", "/api/v1/certificates", body={**wanted, "request": keys.request()})
        signed = _signed(made, keys, known.server)
        port = api.call("GET", "/api/v1/targets")["port"]
    _put(place, keys.files(signed, password.encode()))
    shown = {"id": made["id"], "expires_at": made["expires_at"], "targets": made["targets"]}
    if as_json:
        paths = {"certificate": CERTIFICATE, "key": KEY, "pkcs12": PKCS12}
        shown |= {name: str(place / file) for name, file in paths.items()}
        shown |= {} if given else {"pkcs12_password": password}
        typer.echo(json.dumps(shown, indent=2))
        return
    typer.echo(_told(known, place, shown, str(port)), err=True)
    if not given:
        typer.echo(f"The password of {PKCS12} (sslpassword), shown this once:", err=True)
        typer.echo(password)


def _given_password(where: str) -> str:
    if not where:
        return ""
    try:
        password = Vault().read(where).decode("ascii")
    except UnicodeDecodeError:
        raise CommandError("the password for client.p12 has characters that are not ASCII", Exit.USAGE) from None
    if not password.isprintable():
        raise CommandError("the password for client.p12 is not one line of text", Exit.USAGE)
    return password


def _prepared(folder: Path) -> Path:
    """Make the folder, or see that nobody else can exchange what is in it."""
    place = folder.expanduser().absolute()
    try:
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = place.stat()
    except OSError as error:
        raise CommandError(f"{place}: {error.strerror}; name another folder", Exit.USAGE) from error
    if status.st_mode & 0o022:
        raise CommandError(f"{place}: its group or others can write there; run: chmod 700 {place}", Exit.USAGE)
    return place


def _signed(made: object, keys: Keys, server: str) -> x509.Certificate:
    """Read the certificate that came back; it must be for the key that is here."""
    try:
        if not isinstance(made, Mapping) or not {"id", "certificate", "expires_at", "targets"} <= made.keys():
            raise ValueError("members are missing")
        signed = x509.load_pem_x509_certificate(str(made["certificate"]).encode())
        if signed.public_key() != keys.private.public_key():
            raise ValueError("another key")
    except ValueError as error:
        raise CommandError(f"{server} does not answer as a gateway does") from error
    return signed


def _put(folder: Path, files: Mapping[str, bytes]) -> None:
    drafts = {name: folder / f".{name}.{secrets.token_hex(4)}" for name in files}
    try:
        for name, content in files.items():
            descriptor = os.open(drafts[name], os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with open(descriptor, "wb") as writer:
                writer.write(content)
        # One behind the other and nothing in between: whoever connects meanwhile tries again.
        for name, draft in drafts.items():
            draft.replace(folder / name)
    except OSError as error:
        for draft in drafts.values():
            draft.unlink(missing_ok=True)
        raise CommandError(f"the certificate cannot be kept in {folder}: {error.strerror}") from error


def _told(known: credentials.Credentials, place: Path, shown: Mapping[str, Any], port: str) -> str:
    name = printable(known.name)
    one = printable((shown["targets"] or ["TARGET"])[0])
    parts = {
        "host": urlsplit(known.server).hostname or "",
        "port": port,
        "user": f"{name}+{one}",
        "dbname": "DATABASE",
        "sslmode": "verify-full",
        "sslrootcert": known.ca or "system",
        "sslcert": str(place / CERTIFICATE),
        "sslkey": str(place / KEY),
    }
    return (
        f"Certificate {printable(str(shown['id']))} of {name}, good until {printable(str(shown['expires_at']))}.\n\n"
        f"  {psql(parts)}\n\n"
        f"Java: sslmode=verify-full, sslkey={place / PKCS12}, and the password of that file as sslpassword.\n"
    )
