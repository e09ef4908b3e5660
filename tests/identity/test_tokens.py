import hashlib
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vestibule.identity.tokens import LENGTH, digest, malformed, new_token
from vestibule.model.identity import Refusal


def test_a_token_has_47_characters_that_need_no_escape_anywhere() -> None:
    token = new_token("gateway")

    assert len(token) == LENGTH == 47
    assert re.fullmatch(r"vst_[A-Za-z0-9_-]{43}", token)


def test_no_two_tokens_are_alike() -> None:
    assert len({new_token("gateway") for _ in range(1000)}) == 1000


def test_a_browsers_token_is_told_from_a_gateway_token_by_its_form() -> None:
    assert new_token("browser").startswith("vsb_")


def test_a_token_is_kept_as_its_sha_256() -> None:
    assert digest(b"vst_x") == hashlib.sha256(b"vst_x").digest()


@pytest.mark.parametrize("length", [*range(4, 47), 48, 79])
def test_a_token_of_another_length_was_cut_or_mistyped(length: int) -> None:
    token = (new_token("gateway") * 2)[:length].encode()

    assert malformed(token) is Refusal.TRUNCATED


def test_a_jwt_of_exactly_the_length_of_a_terminal_line_was_cut() -> None:
    assert malformed(b"eyJ" + b"a" * 4092) is Refusal.TRUNCATED
    assert malformed(b"eyJ" + b"a" * 4091) is Refusal.UNKNOWN
    assert malformed(b"abc" + b"a" * 4092) is Refusal.UNKNOWN


@pytest.mark.parametrize(
    "token", [b"", b"vst", b"password", b"vst_" + b"*" * 43, b"vst_" + b"a" * 42 + b"\n", b"\xff" * 47]
)
def test_what_has_not_the_form_of_a_token_is_unknown(token: bytes) -> None:
    assert malformed(token) is Refusal.UNKNOWN


def test_a_token_of_the_right_form_is_looked_up() -> None:
    assert malformed(new_token("gateway").encode()) is None
    assert malformed(new_token("browser").encode()) is None


@given(st.binary(max_size=5000))
def test_arbitrary_bytes_have_an_answer(token: bytes) -> None:
    assert malformed(token) in (Refusal.TRUNCATED, Refusal.UNKNOWN)
