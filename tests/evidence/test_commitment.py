import hmac

import pytest

from vestibule.evidence import commitment
from vestibule.evidence.errors import EvidenceFormatError

DATA_KEY = bytes(range(32))
KEY = bytes.fromhex("892b7bc9325f9c44483e6baf6b9117ac3fa2edfa8ba844160b48c83644130876")
FIELDS = [
    (commitment.PROTOCOL, b"postgres"),
    (commitment.TARGET, b"core-banking"),
    (commitment.ACCOUNT, b"vestibule_rw"),
    (commitment.DATABASE, b"core"),
    (commitment.TEXT, b"DELETE FROM loans WHERE id=$1"),
    commitment.parameter_field(b"17"),
]


def test_the_commitment_key_is_the_vector_of_the_reference() -> None:
    assert commitment.bind_key(DATA_KEY) == KEY


def test_the_commitment_to_a_statement_is_the_vector_of_the_reference() -> None:
    expected = "c8d9f98d9cf2ac4248ecefaa9155b0e72ceb921ddc457f7dc0930c82c92fe431"
    assert commitment.bytes_mac(KEY, FIELDS) == expected


def test_the_commitment_to_a_text_is_the_vector_of_the_reference() -> None:
    expected = "3d9be644f77bc57bf1c08f9caf8b81c8909a62a2715c6650ef0f9d5ccd2751c5"
    assert commitment.text_mac(KEY, b"DELETE FROM loans WHERE id=$1") == expected


def test_the_storage_token_is_the_vector_of_the_reference() -> None:
    assert commitment.storage_token(DATA_KEY, "k1", "ssn", "078051120") == "<ssn:k1:NW54YKKHDI6GB5DK>"


def test_null_and_an_empty_parameter_commit_to_different_bytes() -> None:
    null = commitment.bytes_mac(KEY, [commitment.parameter_field(None)])
    assert null != commitment.bytes_mac(KEY, [commitment.parameter_field(b"")])


def test_two_parameters_differ_from_their_concatenation() -> None:
    split = [commitment.parameter_field(b"1"), commitment.parameter_field(b"7")]
    assert commitment.bytes_mac(KEY, split) != commitment.bytes_mac(KEY, [commitment.parameter_field(b"17")])


@pytest.mark.parametrize(
    "fields",
    [
        [(commitment.TEXT, b""), (commitment.TARGET, b"")],
        [(commitment.TEXT, b""), (commitment.TEXT, b"")],
        [(0x7F, b"")],
    ],
)
def test_fields_that_are_unknown_or_out_of_order_are_refused(fields) -> None:
    with pytest.raises(EvidenceFormatError):
        commitment.bytes_mac(KEY, fields)


def test_formats_take_two_bytes_each() -> None:
    assert commitment.formats_field(commitment.RESULT_FORMATS, [0, 1]) == (0x22, b"\x00\x00\x00\x01")


def test_output_fed_in_pieces_commits_like_the_whole() -> None:
    whole, pieces = commitment.OutputMac(KEY), commitment.OutputMac(KEY)
    whole.update(b"078-05-1120")
    for piece in (b"078", b"", b"-05-1120"):
        pieces.update(piece)
    assert whole.hexdigest() == pieces.hexdigest()
    assert whole.hexdigest() != commitment.text_mac(KEY, b"078-05-1120")


def test_what_was_shown_is_committed_apart_from_other_uses_of_the_key() -> None:
    shown = commitment.shown_mac(KEY, b"DELETE FROM loans")
    assert shown == hmac.digest(KEY, b"vestibule-shown-v1\x00DELETE FROM loans", "sha256").hex()
    assert shown != commitment.text_mac(KEY, b"DELETE FROM loans")
