from __future__ import annotations

import pytest

from vestibule.masking.refusal import RefusedError


@pytest.mark.parametrize(
    ("text", "offset", "position"),
    [("SELECT a", 7, 8), ("SELECT 'ää', b", 14, 13), ("SELECT a", -1, 0), ("SELECT a", 400, 0), ("", 0, 0)],
)
def test_a_place_is_counted_in_characters_from_one(text: str, offset: int, position: int) -> None:
    assert RefusedError("no", offset=offset).said(text.encode()).position == position


def test_what_the_server_would_have_said_is_said_in_its_words() -> None:
    assert RefusedError('relation "x" does not exist', code="42P01").said(b"").message == 'relation "x" does not exist'
    assert RefusedError("no").said(b"").message == "vestibule: no"
