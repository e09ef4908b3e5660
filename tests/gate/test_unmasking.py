from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vestibule.gate.unmasking import unmasking


@pytest.mark.parametrize(
    ("text", "names"),
    [
        (b"/* vestibule: unmask */ SELECT 1", frozenset()),
        (b"\n  /*vestibule:unmask*/SELECT 1", frozenset()),
        (b"/* vestibule: unmask ssn */ SELECT 1", frozenset({"ssn"})),
        (b"/* vestibule: unmask ssn, card numbers ,,*/ SELECT 1", frozenset({"ssn", "card numbers"})),
        ("/* vestibule: unmask größe */ SELECT 1".encode(), frozenset({"größe"})),
        (b"SELECT 1", None),
        (b"SELECT 1 /* vestibule: unmask */", None),
        (b"-- vestibule: unmask\nSELECT 1", None),
        (b"/* vestibule: unmasked */ SELECT 1", None),
        (b"/* x */ /* vestibule: unmask */ SELECT 1", None),
        (b"/* vestibule: unmask /* nested */ */ SELECT 1", None),
        (b"/* vestibule: unmask", None),
        (b"/* vestibule: unmask " + b"x," * 5_000 + b"*/ SELECT 1", None),
        (b"", None),
    ],
)
def test_a_statement_asks_by_the_comment_that_it_begins_with(text: bytes, names: frozenset[str] | None) -> None:
    assert unmasking(text) == names


@given(st.binary(max_size=80))
def test_whatever_a_text_is_it_asks_or_does_not(text: bytes) -> None:
    found = unmasking(b"/* vestibule: unmask" + text)
    assert found is None or all(name == name.strip() and name for name in found)
