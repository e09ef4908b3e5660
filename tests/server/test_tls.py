import base64
import hashlib
import os
import ssl
from pathlib import Path

import pytest
import structlog
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from tests.support.little_authority import LittleAuthority
from vestibule.model.errors import ConfigurationError
from vestibule.model.target import TargetTls
from vestibule.server.tls import ServerTls, end_point_hash, target_context

#: Made with openssl, as the library here signs with neither.
ECDSA_WITH_SHA1 = (
    "MIIBazCCARKgAwIBAgIULpp1zfp1jQlA03aaHM0c/j7TGFYwCQYHKoZIzj0EATAMMQowCAYDVQQDDAFhMB4XDTI2MTEyNDE4MjEz"
    "M1oXDTI2MTEyNzE4MjEzM1owDDEKMAgGA1UEAwwBYTBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABIJ8eHabpCEvMeBCJccsZLL3"
    "K59jN5CNeIZ2LkAd9QVyt2WllRD6P0JfGIL9slG3vEX5NCE2Po1p6u683IvDWiejUzBRMB0GA1UdDgQWBBSY4+2rcnLrQnWiN6z7"
    "ZcJVWafLWzAfBgNVHSMEGDAWgBSY4+2rcnLrQnWiN6z7ZcJVWafLWzAPBgNVHRMBAf8EBTADAQH/MAkGByqGSM49BAEDSAAwRQIg"
    "CuwuDwfwq4FaiwvE17RMe4TsRydLQW2RQJ6r2bCFAJUCIQCWisvT4GwUJlhrtYN1qsZSWah+eyUb+Va2eqejQeTvFA=="
)
RSA_WITH_MD5 = (
    "MIIB9DCCAV2gAwIBAgIUV8jH36nB9Bxs+2gZDt6Wa+EEMPwwDQYJKoZIhvcNAQEEBQAwDDEKMAgGA1UEAwwBYTAeFw0yNjExMjQx"
    "ODIxMzNaFw0yNjExMjcxODIxMzNaMAwxCjAIBgNVBAMMAWEwgZ8wDQYJKoZIhvcNAQEBBQADgY0AMIGJAoGBAK29m3GWKrJMqh6P"
    "jsYHQ56/U4oFZKRqOC1XoHF6pCRqYb7b2e956K3VNwlA8jq7AGqMl8biInAJPIzwFvuc4vlUjpWYrFmRAqormuOH3/oy7O3vSQlr"
    "CsXVk6ymU6csIAhMPPih2CRt1S/LRdrn5zaWCIqlfWbOLLe1TCt5joyRAgMBAAGjUzBRMB0GA1UdDgQWBBSh/8fHeXiOVFUka6TE"
    "Mr2QifOj4TAfBgNVHSMEGDAWgBSh/8fHeXiOVFUka6TEMr2QifOj4TAPBgNVHRMBAf8EBTADAQH/MA0GCSqGSIb3DQEBBAUAA4GB"
    "AIeNDgWVAwUQMnEm10+QFU8lRVsu5Y5UYCTc/hYDv/N4ouCold7K0E0wveC0b2NtXJRtKPy4azQPDrfyE2+ENNPa423MxPwq6L0R"
    "OV01Cfeoy+IpRqS6Ex0c7j1g+k4tYIY+3OC7TAvNmBXx9ZUu7Gr9JMaomeVsf8XYPH2Acbm1"
)


def test_a_server_speaks_tls_1_2_and_up_and_agrees_on_the_protocol(little_authority: LittleAuthority) -> None:
    leaf = little_authority.issue()
    context = ServerTls(leaf.certificate, leaf.key).context("postgresql")
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    assert context.options & ssl.OP_NO_RENEGOTIATION
    assert context.options & ssl.OP_NO_COMPRESSION


def test_one_context_serves_all_connections_of_a_protocol(little_authority: LittleAuthority) -> None:
    leaf = little_authority.issue()
    tls = ServerTls(leaf.certificate, leaf.key)
    assert tls.context("postgresql") is tls.context("postgresql")
    assert tls.context("postgresql") is not tls.context("")


def test_a_broken_certificate_is_found_at_the_start_and_named(
    little_authority: LittleAuthority, tmp_path: Path
) -> None:
    leaf, other = little_authority.issue(), little_authority.issue()
    broken = tmp_path / "broken.pem"
    broken.write_text("no certificate")
    for certificate, key in ((broken, leaf.key), (leaf.certificate, other.key), (tmp_path / "absent", leaf.key)):
        with pytest.raises(ConfigurationError, match=certificate.name):
            ServerTls(certificate, key)


@pytest.mark.parametrize(
    ("mode", "verify", "names"),
    [
        ("verify-full", ssl.CERT_REQUIRED, True),
        ("verify-ca", ssl.CERT_REQUIRED, False),
        ("require", ssl.CERT_NONE, False),
    ],
)
def test_a_target_is_verified_as_its_configuration_says(mode: str, verify: ssl.VerifyMode, names: bool) -> None:
    context = target_context(TargetTls(mode), "postgresql")  # type: ignore[arg-type] # one of the modes
    assert (context.verify_mode, context.check_hostname) == (verify, names)
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2


def test_only_the_pinned_authority_is_trusted(little_authority: LittleAuthority) -> None:
    context = target_context(TargetTls(ca=str(little_authority.ca)), "")
    assert len(context.get_ca_certs()) == 1


def test_a_changed_authority_file_is_read_anew(little_authority: LittleAuthority, tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    file.write_bytes(little_authority.ca.read_bytes())
    tls = TargetTls(ca=str(file))
    first = target_context(tls, "")
    assert target_context(tls, "") is first
    file.write_bytes(LittleAuthority(tmp_path, "other").ca.read_bytes())
    os.utime(file, ns=(1, 1))
    assert target_context(tls, "").get_ca_certs() != first.get_ca_certs()


def test_an_authority_file_that_breaks_leaves_the_authority_that_was_in_use(
    little_authority: LittleAuthority, tmp_path: Path
) -> None:
    file = tmp_path / "ca.pem"
    file.write_bytes(little_authority.ca.read_bytes())
    tls = TargetTls(ca=str(file))
    first = target_context(tls, "")
    with structlog.testing.capture_logs() as logs:
        file.write_bytes(b"half")
        assert target_context(tls, "") is first
        file.unlink()
        assert target_context(tls, "") is first
    assert [entry["event"] for entry in logs] == ["target_ca_not_reloaded"] * 2
    file.write_bytes(LittleAuthority(tmp_path, "other").ca.read_bytes())
    assert target_context(tls, "").get_ca_certs() != first.get_ca_certs()


def test_an_authority_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    empty = tmp_path / "empty.pem"
    empty.write_text("")
    for path in (tmp_path / "absent.pem", empty):
        with pytest.raises(ConfigurationError, match=path.name):
            target_context(TargetTls(ca=str(path)), "")


@pytest.mark.parametrize(
    ("digest", "expected"), [(hashes.SHA256(), "sha256"), (hashes.SHA384(), "sha384"), (hashes.SHA512(), "sha512")]
)
def test_the_end_point_is_hashed_as_the_certificate_was_signed(
    little_authority: LittleAuthority, digest: hashes.HashAlgorithm, expected: str
) -> None:
    der = little_authority.issue(digest=digest).der
    assert end_point_hash(der) == hashlib.new(expected, der).digest()


@pytest.mark.parametrize("encoded", [ECDSA_WITH_SHA1, RSA_WITH_MD5], ids=["sha1", "md5"])
def test_a_certificate_signed_with_a_broken_digest_is_hashed_with_sha256(encoded: str) -> None:
    der = base64.b64decode(encoded)
    assert end_point_hash(der) == hashlib.sha256(der).digest()


def test_an_rsa_signature_is_hashed_by_its_own_digest(little_authority: LittleAuthority) -> None:
    signer = rsa.generate_private_key(public_exponent=65_537, key_size=2_048)
    der = little_authority.issue(signer=signer, digest=hashes.SHA384()).der
    assert end_point_hash(der) == hashlib.sha384(der).digest()


def test_there_is_no_end_point_where_the_rfc_defines_none(little_authority: LittleAuthority) -> None:
    der = little_authority.issue(signer=ed25519.Ed25519PrivateKey.generate(), digest=None).der
    assert end_point_hash(der) == b""
    assert end_point_hash(b"no certificate") == b""


def test_a_certificate_for_another_key_kind_is_no_problem(little_authority: LittleAuthority) -> None:
    leaf = little_authority.issue(key=ec.generate_private_key(ec.SECP384R1()))
    assert end_point_hash(leaf.der) == hashlib.sha256(leaf.der).digest()
