"""The examples of the page on the stored formats are what the program writes."""

import re
from pathlib import Path

import pytest

from vestibule.evidence.canonical import encode_body, leaf_hash
from vestibule.evidence.checkpoint import VerifierKey, open_checkpoint
from vestibule.evidence.cobblestone import seal
from vestibule.evidence.commitment import bind_key, bytes_mac, parameter_field, storage_token, text_mac
from vestibule.evidence.literals import TEXT_BYTES, TEXT_CHARACTERS
from vestibule.evidence.merkle import Frontier
from vestibule.evidence.segment import PREALLOCATION_UNIT, encode_frame
from vestibule.evidence.tiles import encode_entries
from vestibule.evidence.verify import CHECKS
from vestibule.model.record import Kind

PAGE = (Path(__file__).parents[2] / "docs/reference/evidence-formats.md").read_text()
ENTRIES = [b'{"i":%d}' % i for i in range(3)]
KEY = bytes(range(32))
TEXT = b"DELETE FROM loans WHERE id=$1"
FIELDS = [
    (1, b"postgres"),
    (2, b"core-banking"),
    (3, b"vestibule_rw"),
    (4, b"core"),
    (16, TEXT),
    parameter_field(b"17"),
]


def spaced(data: bytes) -> str:
    return re.sub(r"^(.{8})(.{8})(.{4})(.{4})(.{8})$", r"\1 \2 \3 \4 \5", data.hex())


@pytest.mark.parametrize(
    "example",
    [
        bind_key(KEY).hex(),
        bytes_mac(bind_key(KEY), FIELDS),
        text_mac(bind_key(KEY), TEXT),
        storage_token(KEY, "k1", "ssn", "078051120"),
        spaced(encode_frame(b"{}", b"[]")),
        encode_entries(ENTRIES).hex(),
        seal(KEY, bytes(24), b"ctx", b"hello vestibule")[24:].hex(),
        "0000000000000001 00000002 01 00000002 6162",
        *(leaf_hash(entry).hex() for entry in ENTRIES),
        encode_body(
            Kind.NODE_STOPPED, {"cause": "operator", "open_sessions": 0, "queue_empty": True}, bytes(range(16))
        ).decode(),
        f"{TEXT_CHARACTERS:,} characters or {TEXT_BYTES:,} bytes",
        f"multiple of {PREALLOCATION_UNIT:,} bytes",
        *(f"| {check} {title} |" for check, title in CHECKS.items()),
    ],
)
def test_an_example_of_the_page_is_what_the_program_writes(example) -> None:
    assert example in PAGE


def test_the_checkpoint_of_the_page_is_signed_by_its_key_over_its_entries() -> None:
    [note] = re.findall(r"^```\n(vestibule\.bank\.example/log/1\n.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    [vkey] = re.findall(r"`(vestibule\.bank\.example/log/1\+\S+)`", PAGE)
    checkpoint = open_checkpoint(note.encode(), VerifierKey.parse(vkey))
    tree, _ = Frontier().extend(map(leaf_hash, ENTRIES))
    assert (checkpoint.size, checkpoint.root) == (3, tree.root())
