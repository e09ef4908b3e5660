from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtensionOID, NameOID

from tests.support.forged import CLIENT_AUTH, SERVER_AUTH, forge
from tests.support.identities import HOUR, START, login, token
from vestibule.identity.certificates import (
    LONGEST,
    Authority,
    RequestRefused,
    Shown,
    new_authority,
    read_authority,
    read_request,
)
from vestibule.model.errors import ConfigurationError
from vestibule.model.names import SECOND

OURS = new_authority("vestibule.example/log")
PERSON = login()
ONE = token(PERSON.who.login, kind="certificate")

Private = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey


def request(key: Private, subject: x509.Name | None = None, *extensions: x509.ExtensionType) -> str:
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject or x509.Name([]))
    for extension in extensions:
        builder = builder.add_extension(extension, critical=True)
    digest = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return builder.sign(key, digest).public_bytes(Encoding.PEM).decode()


def der(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(Encoding.DER)


def common_name(*names: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name) for name in names])


def uri(text: str) -> x509.UniformResourceIdentifier:
    return x509.UniformResourceIdentifier(text)


# --- what is signed


def test_nothing_of_a_hostile_request_is_signed_but_its_key() -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    hostile = request(
        key,
        common_name("root", "somebody-else"),
        x509.BasicConstraints(ca=True, path_length=None),
        x509.ExtendedKeyUsage([SERVER_AUTH]),
        x509.SubjectAlternativeName([uri(f"urn:vestibule:login:{uuid4()}"), x509.DNSName("vestibule.example")]),
        x509.NameConstraints([x509.DNSName("example")], None),
    )
    signed = OURS.sign(read_request(hostile), PERSON, ONE)

    assert signed.public_key() == key.public_key()
    assert signed.subject == common_name("dev1")
    found = {extension.oid: extension for extension in signed.extensions}
    assert set(found) == {
        ExtensionOID.BASIC_CONSTRAINTS,
        ExtensionOID.KEY_USAGE,
        ExtensionOID.EXTENDED_KEY_USAGE,
        ExtensionOID.SUBJECT_ALTERNATIVE_NAME,
        ExtensionOID.SUBJECT_KEY_IDENTIFIER,
        ExtensionOID.AUTHORITY_KEY_IDENTIFIER,
    }
    assert found[ExtensionOID.BASIC_CONSTRAINTS].value == x509.BasicConstraints(ca=False, path_length=None)
    assert list(found[ExtensionOID.EXTENDED_KEY_USAGE].value) == [CLIENT_AUTH]
    names = found[ExtensionOID.SUBJECT_ALTERNATIVE_NAME].value
    assert list(names) == [uri(f"urn:vestibule:login:{PERSON.who.login}")]


def test_a_certificate_ends_with_its_credential_and_never_behind_it() -> None:
    key = ec.generate_private_key(ec.SECP256R1()).public_key()
    odd = token(PERSON.who.login, kind="certificate", life=HOUR + SECOND - 1)
    signed = OURS.sign(key, PERSON, odd)
    began = datetime.fromtimestamp(START // SECOND, UTC)

    assert signed.not_valid_after_utc == began + timedelta(hours=1)
    assert signed.not_valid_before_utc == began - timedelta(seconds=60)
    assert signed.serial_number == odd.id.int


@pytest.mark.parametrize(
    "key",
    [
        ec.generate_private_key(ec.SECP256R1()),
        ec.generate_private_key(ec.SECP384R1()),
        rsa.generate_private_key(65_537, 2048),
    ],
    ids=["P-256", "P-384", "RSA"],
)
def test_what_is_signed_is_read_as_an_index_whatever_the_key(key: Private) -> None:
    signed = OURS.sign(read_request(request(key)), PERSON, ONE)

    assert OURS.read(der(signed)) == Shown(PERSON.who.login, ONE.id, "dev1")


def test_a_name_that_is_too_long_for_a_certificate_is_cut_in_it() -> None:
    somebody = login("a" * 60 + "@bank.example")
    one = token(somebody.who.login, kind="certificate")
    shown = OURS.read(der(OURS.sign(ec.generate_private_key(ec.SECP256R1()).public_key(), somebody, one)))

    assert shown == Shown(somebody.who.login, one.id, "a" * 60 + "@ban")


# --- what is asked for


@pytest.mark.parametrize(
    "key",
    [
        ec.generate_private_key(ec.SECP521R1()),
        ec.generate_private_key(ec.SECP256K1()),
        ed25519.Ed25519PrivateKey.generate(),
        rsa.generate_private_key(65_537, 1024),
        rsa.generate_private_key(3, 2048),
    ],
    ids=["P-521", "secp256k1", "Ed25519", "RSA 1024", "RSA with exponent 3"],
)
def test_a_key_that_is_not_wanted_is_refused_with_those_that_are(key: Private) -> None:
    with pytest.raises(RequestRefused, match="P-256 or P-384, or an RSA key of 2048 to 4096 bits"):
        read_request(request(key))


def test_a_request_of_somebody_who_does_not_hold_the_key_is_refused() -> None:
    mine, theirs = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    form = PublicFormat.UncompressedPoint
    public = [key.public_key().public_bytes(Encoding.X962, form) for key in (mine, theirs)]
    asked = x509.load_pem_x509_csr(request(mine).encode()).public_bytes(Encoding.DER)
    swapped = x509.load_der_x509_csr(asked.replace(*public)).public_bytes(Encoding.PEM).decode()

    assert x509.load_pem_x509_csr(swapped.encode()).public_key() == theirs.public_key()
    with pytest.raises(RequestRefused, match="not signed by the key"):
        read_request(swapped)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n",
        OURS.pem,
        "é" * 100,
        "\0",
        "x" * (LONGEST + 1),
    ],
)
def test_what_is_no_request_is_refused_without_its_words(text: str) -> None:
    with pytest.raises(RequestRefused, match="certificate signing request"):
        read_request(text)


# --- what is shown


@pytest.mark.parametrize(
    "wrong",
    [
        {"uses": [SERVER_AUTH]},
        {"uses": [CLIENT_AUTH, SERVER_AUTH]},
        {"uses": []},
        {"names": []},
        {"names": [uri(f"urn:vestibule:login:{PERSON.who.login}"), uri(f"urn:vestibule:login:{uuid4()}")]},
        {"names": [uri(f"urn:vestibule:login:{PERSON.who.login}"), x509.DNSName("localhost")]},
        {"names": [uri(f"urn:vestibule:login:{str(PERSON.who.login).upper()}")]},
        {"names": [uri(f"urn:vestibule:login:{PERSON.who.login.hex}")]},
        {"names": [uri(str(PERSON.who.login))]},
        {"names": [uri("urn:vestibule:login:dev1")]},
        {"names": [x509.DNSName(f"urn:vestibule:login:{PERSON.who.login}")]},
        {"is_ca": True},
        {"subject": common_name("dev1", "admin")},
        {"subject": x509.Name([])},
        {"subject": x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "dev1")])},
    ],
    ids=lambda wrong: next(iter(wrong)),
)
def test_what_has_another_form_than_ours_is_not_read_even_if_our_key_signed_it(wrong: dict[str, object]) -> None:
    assert OURS.read(forge(OURS, PERSON.who.login, ONE.id, **wrong).der) is None  # type: ignore[arg-type]


def test_the_forger_of_these_tests_makes_what_is_read_if_nothing_is_wrong() -> None:
    assert OURS.read(forge(OURS, PERSON.who.login, ONE.id).der) == Shown(PERSON.who.login, ONE.id, "dev1")


def test_what_another_authority_signed_is_not_read_whatever_it_calls_itself() -> None:
    namesake = new_authority("vestibule.example/log")

    assert namesake._certificate.subject == OURS._certificate.subject
    assert OURS.read(forge(namesake, PERSON.who.login, ONE.id).der) is None


def test_a_changed_certificate_and_what_is_none_are_not_read() -> None:
    shown = forge(OURS, PERSON.who.login, ONE.id).der

    assert OURS.read(shown.replace(b"dev1", b"dev2")) is None
    for other in (b"", b"\0", shown[:-1], shown + b"\0", der(OURS._certificate), OURS.pem.encode()):
        assert OURS.read(other) is None


# --- what is kept


def test_an_authority_that_was_kept_reads_what_it_signed() -> None:
    again = read_authority(OURS.kept())

    assert again.pem == OURS.pem
    assert again.read(forge(OURS, PERSON.who.login, ONE.id).der) is not None
    assert "PRIVATE" not in repr(again) + again.pem


def test_an_authority_signs_leaves_alone_and_says_so() -> None:
    certificate = OURS._certificate
    usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    limits = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value

    assert (limits.ca, limits.path_length, usage.key_cert_sign, usage.digital_signature) == (True, 0, True, False)
    assert isinstance(certificate.public_key(), ec.EllipticCurvePublicKey)
    assert certificate.public_key().curve.name == "secp256r1"


@pytest.mark.parametrize("kept", [b"", OURS.pem.encode(), OURS.kept().partition(b"-----BEGIN CERT")[0]])
def test_a_half_of_what_was_kept_is_refused(kept: bytes) -> None:
    with pytest.raises(ConfigurationError, match="no private key with its certificate"):
        read_authority(kept)


def test_a_key_with_the_certificate_of_another_is_refused() -> None:
    other: Authority = new_authority("other")
    key = OURS.kept().partition(b"-----BEGIN CERT")[0]
    with pytest.raises(ConfigurationError, match="not that of the key"):
        read_authority(key + other.pem.encode())
