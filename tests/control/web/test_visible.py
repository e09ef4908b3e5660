import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.asked import HOSTILE
from vestibule.control.web.visible import visible


def read(text: str, lines: bool = False) -> str:
    """What a person reads: plain text as it is, the rest in brackets."""
    return "".join(f"[{piece.code}]" if piece.code else piece.text for piece in visible(text, lines))


@pytest.mark.parametrize("text", ["", "psql 15.18", "Zürich 日本 Ελλάδα", "a <b> & 'c'", "née Åse"])
def test_text_that_hides_nothing_is_what_it_is(text: str) -> None:
    assert read(text) == text


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("a\u202eb", "a[U+202E]b"),
        ("a\u2066b\u2069", "a[U+2066]b[U+2069]"),
        ("a\x00b\x1b[31m", "a[U+0000]b[U+001B][31m"),
        ("a\u200bb\ufeff", "a[U+200B]b[U+FEFF]"),
        ("no\xa0break\u3000wide", "no[U+00A0]break[U+3000]wide"),
        ("\u2028\u2029\x85", "[U+2028][U+2029][U+0085]"),
        ("\u3164\u2800\u034f", "[U+3164][U+2800][U+034F]"),
        ("x\ufe0f\U000e0101\U000f0000", "x[U+FE0F][U+E0101][U+F0000]"),
        ("\udc00", "[U+DC00]"),
        ("a\nb\tc\r", "a[U+000A]b[U+0009]c[U+000D]"),
    ],
)
def test_what_cannot_be_seen_or_moves_others_is_shown_by_its_code(text: str, seen: str) -> None:
    assert read(text) == seen


def test_a_statement_keeps_its_lines_and_a_carriage_return_is_shown() -> None:
    assert read("SELECT 1\n\tFROM x", lines=True) == "SELECT 1\n\tFROM x"
    assert read("SELECT 1 -- \rDROP", lines=True) == "SELECT 1 -- [U+000D]DROP"


def test_a_letter_of_another_script_in_a_word_is_marked_with_its_name() -> None:
    (plain, stranger, rest) = visible("p\u0430yments")
    assert (plain.text, stranger.code, rest.text) == ("p", "\u0430", "yments")
    assert "CYRILLIC SMALL LETTER A" in stranger.name


def test_marks_do_not_pile_up_over_the_lines_around() -> None:
    assert read("e" + "\u0301" * 40).count("\u0301") == 2


@given(st.text() | st.sampled_from(HOSTILE))
def test_nothing_is_dropped_and_nothing_unseen_is_left(text: str) -> None:
    pieces = visible(text)
    assert "".join(piece.text for piece in pieces) == text
    shown = "".join(piece.code or piece.text for piece in pieces)
    assert not [each for each in shown if unicodedata.category(each) in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")]
