import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.asked import HOSTILE, STATEMENT, TOKEN
from vestibule.control.web.highlight import Part, sql, value


def kinds(text: str) -> list[tuple[str, str]]:
    return [(part.kind, part.text) for part in sql(text) if part.text.strip()]


def test_words_values_names_and_comments_have_their_kinds() -> None:
    assert kinds("select \"A b\", 'x', E'\\'y', $$z$$, 1.5, $1 /* c */ FROM t -- d") == [
        ("keyword", "select"),
        ("name", '"A b"'),
        ("plain", ", "),
        ("string", "'x'"),
        ("plain", ", "),
        ("string", "E'\\'y'"),
        ("plain", ", "),
        ("string", "$$z$$"),
        ("plain", ", "),
        ("number", "1.5"),
        ("plain", ", "),
        ("number", "$1"),
        ("comment", "/* c */"),
        ("keyword", "FROM"),
        ("plain", " t "),
        ("comment", "-- d"),
    ]


def test_a_masked_value_is_one_part_wherever_it_stands() -> None:
    for text in (STATEMENT, f"'{TOKEN}'", f"-- {TOKEN}", f"x{TOKEN}y"):
        assert [part.text for part in sql(text) if part.label] == [TOKEN]
    assert [part.label for part in sql(f"{TOKEN} <secret> <4096 bytes>") if part.label] == [
        "value MZXW6Y",
        "secret",
        "4096 bytes",
    ]


def test_what_only_looks_like_a_mask_is_text() -> None:
    for text in ("<value:k:short>", "<b>", "a < b > c", "<value:k:abcdefghabcdefgh>"):
        assert not [part for part in sql(text) if part.label]


def test_a_comment_that_hides_a_statement_in_a_string_is_no_comment() -> None:
    assert ("string", "'/*'") in kinds("SELECT '/*' ; DROP TABLE x --*/")
    assert ("keyword", "DROP") in kinds("SELECT '/*' ; DROP TABLE x --*/")


def test_a_value_shows_its_masks() -> None:
    assert value(f"a{TOKEN}") == [Part("string", "a"), Part("masked", TOKEN, "value MZXW6Y")]


@given(
    st.text()
    | st.sampled_from(HOSTILE)
    | st.lists(st.sampled_from(["'", "--", "/*", "*/", "$a$", '"', "\n", TOKEN, "x "])).map("".join)
)
def test_the_parts_are_the_text(text: str) -> None:
    assert "".join(part.text for part in sql(text)) == text
    assert "".join(part.text for part in value(text)) == text


@pytest.mark.parametrize(
    "text", ["/*" * 8_000, "'" * 16_001, "$a$" * 5_000, "<value:" * 2_300, "a " * 8_000, "\u0430a" * 8_000]
)
def test_a_long_text_takes_no_time(text: str) -> None:
    began = time.process_time()
    for part in sql(text):
        assert part.pieces is not None
    assert time.process_time() - began < 2
