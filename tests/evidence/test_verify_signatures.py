"""The verifier's own Ed25519 and notes."""

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st

from tests.support.data_folder import busy_day
from vestibule.evidence import verify
from vestibule.evidence.checkpoint import Note

VKEY, NOTE = (busy_day(1, rounds=1)[0][name] for name in ("log/log.vkey", "log/checkpoint"))


@given(st.binary(min_size=32, max_size=32), st.binary(max_size=80), st.integers(0, 95), st.integers(0, 255))
def test_signatures_are_judged_as_the_library_judges_them(seed, message, place, change) -> None:
    key = Ed25519PrivateKey.from_private_bytes(seed)
    public = key.public_key().public_bytes_raw()
    data = bytearray(key.sign(message) + public)
    data[place] ^= change
    signature, public = bytes(data[:64]), bytes(data[64:])
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
        expected = True
    except InvalidSignature:
        expected = False
    try:
        assert verify.verify_ed25519(public, signature, message) == expected
    except ValueError:
        assert not expected


def test_the_vectors_of_rfc_8032_are_verified() -> None:
    public = bytes.fromhex("fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025")
    signature = bytes.fromhex(
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a"
    )
    assert verify.verify_ed25519(public, signature, b"\xaf\x82")
    assert not verify.verify_ed25519(public, signature, b"\xaf\x83")


def test_a_signature_has_one_form_only() -> None:
    key = Ed25519PrivateKey.from_private_bytes(bytes(32))
    public, signature = key.public_key().public_bytes_raw(), key.sign(b"m")
    s = int.from_bytes(signature[32:], "little")
    assert verify.verify_ed25519(public, signature, b"m")
    assert not verify.verify_ed25519(public, signature[:32] + (s + verify.ORDER).to_bytes(32, "little"), b"m")
    assert not verify.verify_ed25519(public, signature + b"\x00", b"m")


@pytest.mark.parametrize(
    "public",
    [
        (1).to_bytes(32, "little"),
        bytes(32),
        verify.PRIME.to_bytes(32, "little"),
        (verify.PRIME + 1).to_bytes(32, "little"),
        (1 << 255 | 1).to_bytes(32, "little"),
        (2).to_bytes(32, "little"),
    ],
)
def test_keys_of_small_order_and_second_forms_of_points_are_refused(public) -> None:
    with pytest.raises(ValueError, match="not a point"):
        verify.multiples(public)


@given(st.binary(max_size=200))
def test_arbitrary_notes_are_refused_by_a_defined_error(data) -> None:
    vkey = verify.parse_vkey(VKEY)
    text = Note.parse(NOTE).text.encode()
    for note in (data, text + b"\n" + data, text + b"\n\xe2\x80\x94 " + data):
        with pytest.raises(ValueError):
            verify.open_checkpoint(note, vkey, True)
