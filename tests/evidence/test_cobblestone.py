import pytest
from hypothesis import given
from hypothesis import strategies as st

from vestibule.evidence.cobblestone import PIECE, SALT_BYTES, seal, unseal
from vestibule.evidence.errors import EvidenceFormatError

KEY = bytes(range(32))
SALT = bytes(24)


def test_the_published_vector_comes_out() -> None:
    assert seal(KEY, SALT, b"ctx", b"hello vestibule").hex() == (
        "00" * 24
        + "9dd392e9bc92b8005ebae98e601126a5bc81de8a10622cbf4a4fb2adc2f3ddd3"
        + "1f23100ecf525cb1bba8a5b3b9eaaece3a80054fda9694ca97897706c96158"
    )


@pytest.mark.parametrize("size", [0, 1, PIECE - 1, PIECE, PIECE + 1, 3 * PIECE, 3 * PIECE + 7])
def test_what_was_sealed_opens_whatever_its_size(size) -> None:
    plain = bytes(n % 251 for n in range(size))

    assert unseal(KEY, b"ctx", seal(KEY, SALT, b"ctx", plain)) == plain


def test_it_opens_with_no_other_key_and_in_no_other_place() -> None:
    payload = seal(KEY, SALT, b"ctx", b"hello")

    for key, context in ((bytes(32), b"ctx"), (KEY, b"cty"), (KEY, b"")):
        with pytest.raises(EvidenceFormatError, match="another key or place"):
            unseal(key, context, payload)


@pytest.mark.parametrize("size", [0, PIECE, 2 * PIECE + 5])
def test_an_end_that_was_cut_off_is_found_at_any_border(size) -> None:
    payload = seal(KEY, SALT, b"ctx", bytes(size))

    for cut in {0, 10, 55, 56, 56 + PIECE + 16, 56 + 2 * (PIECE + 16), len(payload) - 1} - {len(payload)}:
        if cut < len(payload):
            with pytest.raises(EvidenceFormatError):
                unseal(KEY, b"ctx", payload[:cut])


@given(st.data())
def test_any_changed_bit_is_found(data) -> None:
    payload = bytearray(seal(KEY, SALT, b"ctx", b"hello vestibule"))
    payload[data.draw(st.integers(0, len(payload) - 1))] ^= 1 << data.draw(st.integers(0, 7))

    with pytest.raises(EvidenceFormatError):
        unseal(KEY, b"ctx", bytes(payload))


def test_two_pieces_cannot_change_places() -> None:
    payload = seal(KEY, SALT, b"ctx", bytes(2 * PIECE))
    whole, front = PIECE + 16, SALT_BYTES + 32
    swapped = payload[:front] + payload[front + whole : front + 2 * whole] + payload[front : front + whole]

    with pytest.raises(EvidenceFormatError, match="piece 0"):
        unseal(KEY, b"ctx", swapped + payload[front + 2 * whole :])


@given(st.binary(max_size=200))
def test_foreign_bytes_give_a_defined_error(payload) -> None:
    with pytest.raises(EvidenceFormatError):
        unseal(KEY, b"ctx", payload)


def test_a_salt_has_its_one_length() -> None:
    with pytest.raises(EvidenceFormatError, match="24 bytes"):
        seal(KEY, b"short", b"ctx", b"")
