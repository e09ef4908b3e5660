from dataclasses import replace
from hashlib import sha256

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from vestibule.evidence.checkpoint import (
    COSIGNATURE_KEY,
    Checkpoint,
    Note,
    Signature,
    VerifierKey,
    cosigned_at,
    open_checkpoint,
    open_note,
    sign_checkpoint,
)
from vestibule.evidence.errors import EvidenceFormatError, SignatureRefused

LOG_VKEY = "vestibule.bank.example/log/1+d430d04b+ARpa/CxZ/Z77yiH8ovfY4UlJKz+MHQsVTi9ThErmujNZ"
WITNESS_VKEY = "witness.bank.example/w1+d0d45f9e+BLiC3L2HjhRS8zhKCUSZAL5QFZ8+9eOCpmmiVwoLbYHQ"
NOTE = (
    "vestibule.bank.example/log/1\n3\nAKcKsZUbOSDpO7cxOBdBlx0JYMGuQc5ky21fozC//MY=\n\n"
    "— vestibule.bank.example/log/1 1DDQS6D4MbrwQ5FE3keAOZh0qERBi47ZPui1dRENvlvs"
    "mdU8vF1sxCNKOX/XW9nwARk9qHDM7Pm4JILnWPEsuHWYtQo=\n"
    "— witness.bank.example/w1 0NRfngAAAABpVzWlRH36E9NXOQMRfjIG2ilcoQBzD5KLNEbEXn9QfTkgsSP2"
    "3qD/szPRjyPiqCU2tUwmLTOk2sAtwf1EM3b7z4bRCg==\n"
)
#: The example of the signed-note document.
EXAMPLE_VKEY = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
EXAMPLE_NOTE = (
    "This is an example message.\n\n"
    "— example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n"
)
LOG = Ed25519PrivateKey.from_private_bytes(sha256(b"vestibule test log key").digest())
WITNESS = Ed25519PrivateKey.from_private_bytes(sha256(b"vestibule test witness key").digest())
LOG_KEY = VerifierKey.parse(LOG_VKEY)
WITNESS_KEY = VerifierKey.parse(WITNESS_VKEY)
CHECKPOINT = Checkpoint(
    "vestibule.bank.example/log/1", 3, bytes.fromhex("00a70ab1951b3920e93bb731381741971d0960c1ae41ce64cb6d5fa330bffcc6")
)
SIGNED = sign_checkpoint(CHECKPOINT, LOG_KEY, LOG.sign)


def test_the_keys_are_the_vectors_of_the_reference() -> None:
    assert str(VerifierKey("vestibule.bank.example/log/1", LOG.public_key().public_bytes_raw())) == LOG_VKEY
    public = WITNESS.public_key().public_bytes_raw()
    assert str(VerifierKey("witness.bank.example/w1", public, COSIGNATURE_KEY)) == WITNESS_VKEY


def test_the_note_is_the_vector_of_the_reference() -> None:
    time = 1_767_323_045
    payload = WITNESS.sign(f"cosignature/v1\ntime {time}\n{CHECKPOINT.text}".encode())
    line = Signature(WITNESS_KEY.name, WITNESS_KEY.id, time.to_bytes(8, "big") + payload)
    assert SIGNED + str(line).encode() == NOTE.encode()


def test_the_note_of_the_reference_is_verified() -> None:
    assert open_checkpoint(NOTE.encode(), LOG_KEY) == CHECKPOINT
    assert cosigned_at(NOTE.encode(), WITNESS_KEY) == 1_767_323_045
    assert Note.parse(NOTE.encode()).encode() == NOTE.encode()


def test_signatures_of_unknown_keys_are_ignored() -> None:
    stranger = str(replace(Note.parse(SIGNED).signatures[0], name="stranger")).encode()
    assert open_checkpoint(SIGNED + stranger * 16, LOG_KEY) == CHECKPOINT


def test_a_note_without_the_known_signature_is_refused() -> None:
    other = VerifierKey("vestibule.bank.example/log/1", WITNESS.public_key().public_bytes_raw())
    with pytest.raises(SignatureRefused):
        open_checkpoint(SIGNED, other)
    with pytest.raises(SignatureRefused):
        cosigned_at(SIGNED, WITNESS_KEY)


def test_a_known_key_that_fails_spoils_the_note() -> None:
    forged = replace(Note.parse(SIGNED), text=replace(CHECKPOINT, size=4).text).encode()
    with pytest.raises(SignatureRefused):
        open_checkpoint(forged, LOG_KEY)


def test_a_key_signs_a_note_once() -> None:
    line = str(Note.parse(SIGNED).signatures[0]).encode()
    with pytest.raises(SignatureRefused):
        open_checkpoint(SIGNED + line, LOG_KEY)


def test_a_checkpoint_of_another_origin_is_refused() -> None:
    text = replace(CHECKPOINT, origin="other/log").text
    line = replace(Note.parse(SIGNED).signatures[0], payload=LOG.sign(text.encode()))
    with pytest.raises(SignatureRefused):
        open_checkpoint(Note(text, (line,)).encode(), LOG_KEY)


def test_a_signer_with_another_key_is_found_before_the_note_leaves() -> None:
    with pytest.raises(SignatureRefused):
        sign_checkpoint(CHECKPOINT, LOG_KEY, WITNESS.sign)


@given(st.integers(0, len(SIGNED) - 1), st.integers(1, 255))
def test_every_changed_byte_of_a_note_is_found(place, change) -> None:
    data = bytearray(SIGNED)
    data[place] ^= change
    with pytest.raises(EvidenceFormatError):
        open_checkpoint(bytes(data), LOG_KEY)


@given(st.integers(0, len(LOG_VKEY) - 1), st.characters(exclude_categories=["Cs"]))
def test_every_changed_character_of_a_vkey_is_found(place, character) -> None:
    changed = LOG_VKEY[:place] + character + LOG_VKEY[place + 1 :]
    if changed != LOG_VKEY:
        with pytest.raises(EvidenceFormatError):
            VerifierKey.parse(changed)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("\n3\n", "\n03\n"),
        ("\n3\n", "\n+3\n"),
        ("\n3\n", "\n\u0663\n"),
        ("\n3\n", "\n-3\n"),
        ("\n3\n", "\n99999999999999999\n"),
        ("MY=\n", "MZ=\n"),
        ("MY=\n", "MY\n"),
        ("MY=\n", "MY=\nextension\n"),
        ("\n\n", "\n"),
        ("\n\n", "\r\n\n"),
        ("— ", "- "),
        ("tQo=\n", "tQp=\n"),
        ("tQo=\n", "tQo="),
        ("tQo=\n", "tQo=\n\n"),
        ("tQo=\n", "tQo= \n"),
        ("\u2014 vestibule", "\u2014 \u2014 vestibule"),
    ],
)
def test_a_note_in_another_form_is_refused(old, new) -> None:
    assert old in SIGNED.decode()
    with pytest.raises(EvidenceFormatError):
        open_checkpoint(SIGNED.decode().replace(old, new).encode(), LOG_KEY)


@pytest.mark.parametrize(
    "data", [b"", b"\n\n", b"\xff", b"a\n\n\xe2\x80\x94 b AAAA\n", b"x" * 70_000, SIGNED + SIGNED[-40:] * 99]
)
def test_what_is_no_note_is_refused(data) -> None:
    with pytest.raises(EvidenceFormatError):
        open_checkpoint(data, LOG_KEY)


@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_a_note_or_a_defined_error(data) -> None:
    for candidate in (data, CHECKPOINT.text.encode() + b"\n" + data):
        try:
            assert Note.parse(candidate).encode() == candidate
        except EvidenceFormatError:
            continue


@pytest.mark.parametrize(
    "vkey",
    [
        "",
        "a+b",
        "a++",
        "+d430d04b+" + LOG_VKEY[-44:],
        LOG_VKEY + "\n",
        LOG_VKEY + "=",
        "a b" + LOG_VKEY[28:],
        WITNESS_VKEY[:30],
    ],
)
def test_what_is_no_vkey_is_refused(vkey) -> None:
    with pytest.raises(EvidenceFormatError):
        VerifierKey.parse(vkey)


def test_the_example_of_the_signed_note_document_is_verified() -> None:
    assert open_note(EXAMPLE_NOTE.encode(), VerifierKey.parse(EXAMPLE_VKEY)).text == "This is an example message.\n"


@pytest.mark.parametrize(
    ("origin", "size", "root"), [("", 0, 32), ("a b", 0, 32), ("a+b", 0, 32), ("a", -1, 32), ("a", 0, 31)]
)
def test_an_impossible_checkpoint_is_not_made(origin, size, root) -> None:
    with pytest.raises(EvidenceFormatError):
        Checkpoint(origin, size, bytes(root))
