import pytest
from hypothesis import given
from hypothesis import strategies as st

from vestibule.evidence.lexemes import STEPS, Form, lexemes

pieces = st.sampled_from(
    [
        "'",
        "''",
        '"',
        "$$",
        "$a$",
        "--",
        "\n",
        "/*",
        "*/",
        "\\",
        "E'",
        "U&'",
        "a",
        "é",
        "1",
        "0x",
        " ",
        "password",
        "`",
        ":=",
    ]
)


def found(text: str) -> list[tuple[Form, str]]:
    return [(lexeme.form, text[lexeme.start : lexeme.end]) for lexeme in lexemes(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a'it''s'b", [(Form.STRING, "'it''s'")]),
        (r"E'it\'s' 'x\'", [(Form.STRING, r"E'it\'s'"), (Form.STRING, r"'x\'")]),
        (r"valueE'it\'", [(Form.STRING, r"'it\'")]),
        ("'a' \n -- c\n 'b' 'c'", [(Form.STRING, "'a' \n -- c\n 'b'"), (Form.STRING, "'c'")]),
        ("$$ ' $a$ $$ $a$ $$ $a$", [(Form.STRING, "$$ ' $a$ $$"), (Form.STRING, "$a$ $$ $a$")]),
        ('"a""b" `c`', [(Form.QUOTED_NAME, '"a""b"'), (Form.QUOTED_NAME, "`c`")]),
        ("1 -- don't\n'x'", [(Form.NUMBER, "1"), (Form.COMMENT, "-- don't"), (Form.STRING, "'x'")]),
        ("/* a /* ' */ ' */ 'x'", [(Form.COMMENT, "/* a /* ' */ ' */"), (Form.STRING, "'x'")]),
        (
            "t1 1_000.5e-3 .5 0xFF $12",
            [(Form.NUMBER, "1_000.5e-3"), (Form.NUMBER, ".5"), (Form.NUMBER, "0xFF"), (Form.NUMBER, "$12")],
        ),
        ("٣٤", [(Form.NAME, "٣٤")]),
        ("'open", [(Form.STRING, "'open")]),
        ("/* open", [(Form.COMMENT, "/* open")]),
        ("$x$ open", [(Form.STRING, "$x$ open")]),
        ("b'01' X'ff' n'x' U&'x'", [(Form.STRING, each) for each in ("b'01'", "X'ff'", "n'x'", "U&'x'")]),
    ],
)
def test_the_parts_that_may_carry_data_are_found(text, expected) -> None:
    assert found(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "ALTER ROLE r PASSWORD 'x'",
        "alter role r password /* c */ $$x$$",
        "SET PASSWORD = 'x'",
        "SET PASSWORD FOR u = 'y', PASSWORD TO 'x'",
        "CREATE USER u IDENTIFIED BY 'x'",
        "WHERE passwd = E'x'",
    ],
)
def test_a_string_where_a_password_stands_is_marked(text) -> None:
    assert [lexeme.after_password for lexeme in lexemes(text) if lexeme.form is Form.STRING][-1]


@pytest.mark.parametrize("text", ["SELECT 'x'", "PASSWORD NULL, 'x'", "GROUP BY 'x'", "PASSWORD (SELECT 'x')"])
def test_other_strings_are_not_marked_as_passwords(text) -> None:
    assert not any(lexeme.after_password for lexeme in lexemes(text))


@given(st.lists(pieces, max_size=40).map("".join) | st.text(max_size=60))
def test_lexemes_stand_in_order_within_any_text(text) -> None:
    last = 0
    for lexeme in lexemes(text):
        assert last <= lexeme.start < lexeme.end <= len(text)
        last = lexeme.end


@given(st.lists(pieces.filter(lambda piece: piece != "password"), max_size=40).map("".join))
def test_stepping_over_names_and_operators_changes_nothing(text) -> None:
    whole = [(lexeme.form, lexeme.start, lexeme.end) for lexeme in lexemes(text)]
    # The hint at the end makes every name be looked at.
    assert [
        (lexeme.form, lexeme.start, lexeme.end) for lexeme in lexemes(text + ";pwd") if lexeme.end <= len(text)
    ] in (
        whole,
        whole[:-1],
    )


def test_behind_a_bounded_number_of_parts_the_rest_is_one_string() -> None:
    text = "\u00e9'" * (2 * STEPS) + "078-05-1120"
    found = list(lexemes(text))
    assert len(found) <= STEPS + 1
    assert (found[-1].form, found[-1].end) == (Form.STRING, len(text))
