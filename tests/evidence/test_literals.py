import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vestibule.evidence.literals import (
    TEXT_BYTES,
    TEXT_CHARACTERS,
    MaskedText,
    mask_name,
    mask_secrets,
    mask_text,
    mask_value,
    mask_words,
)
from vestibule.model.statement import Span

KEY = bytes(range(32))
SSN = "<value:k1:ZLYMFHP3UGKJTNFJ>"
TOKEN = re.compile(r"<value:k1:[A-Z2-7]{16}>|<secret>")
WRITTEN_NUMBER = re.compile(r"\d(?:[\W_]{0,3}\d){5,}")

#: Ten digits each: ASCII, Arabic-Indic, full width.
digits = st.sampled_from([chr(zero + digit) for zero in (0x30, 0x660, 0xFF10) for digit in range(10)])
ARABIC = "078051120".translate({0x30 + digit: 0x660 + digit for digit in range(10)})
separators = st.sampled_from(["", "", "", " ", "-", ".", "/", "_", " - ", "\u2013", "\u00a0"])
#: Values with six to twelve digits in any script, with separators between them.
numbers = st.lists(st.tuples(digits, separators), min_size=6, max_size=12).map(
    lambda pairs: "".join(digit + separator for digit, separator in pairs)
)
hostile = st.lists(
    st.sampled_from(
        ["'", "''", '"', "$$", "--", "\n", "/*", "*/", "\\", "E'", "a", "078-05", "1120", "@", " ", "é", "password "]
    )
).map("".join)


def masked(text: str, *, understood: bool = True, literals=()) -> str:
    return mask_text(text.encode(), literals, understood, KEY, "k1").text


def remains(text: str) -> str:
    return TOKEN.sub("#", text)


@pytest.mark.parametrize(
    "text",
    [
        "SELECT name FROM customers WHERE id = 42 AND kind = 'loan' -- monthly report 7",
        "UPDATE t SET a = $1, b = 3.14 WHERE c BETWEEN 1 AND 99999",
        "INSERT INTO t VALUES (1, 2, 3, 4, 5, 6)",
        'SELECT "acct_20240101".x, acct_20240101.y, é FROM acct_20240101',
        "SELECT 'a' @> 'b', E'tab\\t', U&'x'",
        "",
    ],
)
def test_a_text_without_sensitive_literals_is_stored_exactly(text) -> None:
    assert mask_text(text.encode(), (), True, KEY, "k1") == MaskedText(text, False)


@pytest.mark.parametrize(
    ("literal", "token"),
    [
        ("'078-05-1120'", SSN),
        ("'078051120'", SSN),
        ("078051120", SSN),
        ("0_78_051_120", SSN),
        ("$$ 078 05 1120 $$", SSN),
        ("'\uff10\uff17\uff18\uff10\uff15\uff11\uff11\uff12\uff10'", SSN),
        (f"'{ARABIC[:3]}-{ARABIC[3:]}'", SSN),
        (ARABIC, SSN),
        ('"078-05-1120"', SSN),
        ("E'078-05-1120'", SSN),
    ],
)
def test_one_value_has_one_token_however_it_is_written(literal, token) -> None:
    assert masked(f"SELECT {literal} AS x") == f"SELECT {token} AS x"


@pytest.mark.parametrize(
    "literal",
    [
        "'bob@bank.example'",
        "'bob\uff20bank.example'",
        r"E'bob\x40bank.example'",
        r"U&'bob\0040bank.example'",
        "'born 2001, aged 23'",
        "'078-0'\n'5-1120'",
        "0xABCDEF",
        r"'\x4a4b4c4d'",
        "1234567.5",
        '"bob@bank.example"',
    ],
)
def test_a_sensitive_literal_becomes_a_token(literal) -> None:
    assert remains(masked(f"SELECT {literal} AS x")) == "SELECT # AS x"


def test_literals_that_the_parser_found_are_masked_where_they_stand() -> None:
    text = "é acct_123456 x"
    start = text.encode().index(b"acct")
    assert remains(masked(text, literals=[Span(start, start + 11)])) == "é # x"
    assert masked(text, literals=[Span(start, start + 6)]) == text


def test_values_pasted_into_a_comment_become_tokens_and_the_comment_stays() -> None:
    text = "SELECT 1 /* for bob@bank.example, ssn 078 05 1120 (ticket 12) */ -- 078-05-1120"
    assert remains(masked(text)) == "SELECT 1 /* for #, ssn # (ticket 12) */ -- #"


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("ALTER ROLE r PASSWORD 'hunter2'", "ALTER ROLE r PASSWORD <secret>"),
        ("ALTER ROLE r PASSWORD '0123456789'", "ALTER ROLE r PASSWORD <secret>"),
        ("DO $$ BEGIN EXECUTE 'ALTER ROLE r PASSWORD ''hunter2'''; END $$", None),
        ("SELECT 1 -- PASSWORD 'hunter2'", "SELECT 1 -- PASSWORD <secret>"),
        ("SELECT dblink('host=h password=hunter2')", "SELECT dblink('host=h password=<secret>')"),
        ("SELECT 'postgres://u:hunter2@h/db'", "SELECT <secret>"),
        ("SELECT vst_hunter2hunter2", "SELECT <secret>"),
        ("CREATE SERVER s OPTIONS (password $$hunter2$$)", "CREATE SERVER s OPTIONS (password <secret>)"),
    ],
)
def test_a_secret_is_never_stored(text, left) -> None:
    for understood in (True, False):
        assert "hunter2" not in masked(text, understood=understood)
        assert "0123456789" not in masked(text, understood=understood)
    assert left is None or masked(text) == left


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("FROB 'x' IN \"y\" WITH $$z$$ AND `w`", "FROB # IN # WITH # AND #"),
        ("FROB 'O'Brien 078-05-1120' x", "FROB #Brien ##"),
        (r"FROB 'it\' secret words' x", "FROB #"),
        ("FROB a 12345 acct_123456", "FROB a 12345 acct_#"),
        ("FROB /* it's 'Smith' */ bob@bank.example", "FROB /* it#Smith' */ #"),
        ("FROB 1234 56", "FROB #"),
    ],
)
def test_in_a_text_that_was_not_understood_all_quoted_strings_and_long_numbers_go(text, left) -> None:
    assert remains(masked(text, understood=False)) == left


@pytest.mark.parametrize(
    ("name", "left"),
    [
        ("public.orders_2024_01_01", "public.orders_2024_01_01"),
        ("t078051120", "t078051120"),
        ("public.@@@", "public.@@@"),
        ("078-05-1120", "#"),
        ("public.078051120.id", "public.#.id"),
        ("s.John 078-05-1120", "s.#"),
        ('s."ada.b@bank.example"', "s.#"),
        ("\u0667\u0668\u0660\u0665\u0661\u0661", "#"),
        ("vst_hunter2hunter2", "#"),
    ],
)
def test_of_names_only_those_go_that_can_be_none_without_quotes(name, left) -> None:
    assert remains(mask_name(name, KEY, "k1")) == left
    quoted = '"' + name.replace('"', '""') + '"'
    assert "078-05" not in masked(f"SELECT * FROM {quoted}")


def test_words_about_a_statement_hold_no_number_no_address_and_no_secret() -> None:
    words = "call f 078-05-1120 for ada@bank.example with vst_hunter2hunter2 is not understood"
    assert remains(mask_words(words, KEY, "k1")) == "call f # for # with # is not understood"
    assert mask_secrets("vst_hunter2hunter2+core") == "<secret>+core"
    assert mask_secrets("ada@bank.example+core") == "ada@bank.example+core"


@given(numbers, st.sampled_from(["'{}'", "E'{}'", "$${}$$", "'x{}y'", "/* {} */", "--{}\n"]))
def test_no_six_digits_of_a_literal_or_comment_survive(number, form) -> None:
    text = f"SELECT a FROM t WHERE b = {form.format(number)}"
    for understood in (True, False):
        left = remains(masked(text, understood=understood))
        assert number.strip() not in left
        assert WRITTEN_NUMBER.search(left) is None


@given(hostile)
def test_no_written_number_survives_in_any_text_that_was_not_understood(text) -> None:
    left = TOKEN.sub("token", masked(text, understood=False))
    assert WRITTEN_NUMBER.search(left) is None
    assert re.search(r"[^\Wn]@|@[^\Wt]", left) is None


@given(
    st.binary(max_size=200) | hostile.map(str.encode),
    st.booleans(),
    st.lists(st.tuples(st.integers(0, 300), st.integers(0, 300))),
)
def test_arbitrary_bytes_and_places_are_masked_to_text_of_bounded_size(text, understood, edges) -> None:
    literals = [Span(min(pair), max(pair)) for pair in edges]
    result = mask_text(text, literals, understood, KEY, "k1")
    assert result == mask_text(text, literals, understood, KEY, "k1")
    assert len(result.text) <= TEXT_CHARACTERS
    json.dumps(result.text, ensure_ascii=False).encode()


def test_text_that_is_not_utf_8_is_marked_and_its_literals_are_still_found() -> None:
    text = b"SELECT '\xff078-05-1120', 'caf\xe9'"
    result = mask_text(text, [Span(7, 21)], True, KEY, "k1")
    assert result.lossy
    assert remains(result.text) == "SELECT #, 'caf\ufffd'"


def test_places_are_counted_in_bytes_also_when_they_cut_a_character() -> None:
    assert mask_text("é".encode(), [Span(1, 2)], True, KEY, "k1").text == "\ufffd\ufffd"


@pytest.mark.parametrize("character", ["a", "é", "\u20ac", "\U0001f600", "\x01", '"', "\x85"])
def test_a_long_text_is_cut_to_what_fits(character) -> None:
    text = masked(character * 100_000)
    assert len(text) <= TEXT_CHARACTERS
    stored = "".join(
        f"\\u{ord(c):04x}" if "\x7f" <= c <= "\x9f" else c for c in json.dumps(text, ensure_ascii=False)[1:-1]
    )
    assert TEXT_CHARACTERS <= len(stored.encode()) <= TEXT_BYTES


def test_a_long_literal_does_not_hide_what_stands_behind_it() -> None:
    assert remains(masked(f"SELECT '{'7' * 20_000}', tail")) == "SELECT #, tail"


def test_a_literal_beyond_what_is_looked_at_is_not_stored() -> None:
    assert "078-05-1120" not in masked("SELECT 1, " + " " * 100_000 + "'078-05-1120'")


@pytest.mark.parametrize(
    ("value", "stored"),
    [
        (None, None),
        (b"", ""),
        (b"loan", "loan"),
        (b"12345", "12345"),
        (b"line\n\ttwo", "line\n\ttwo"),
        (b"078-05-1120", SSN),
        (b"078051120", SSN),
        (b"vst_hunter2hunter2", "<secret>"),
        (b"password=hunter2 x=1", "password=<secret> x=1"),
    ],
)
def test_a_parameter_is_stored_like_a_literal(value, stored) -> None:
    assert mask_value(value, True, KEY, "k1") == stored


@pytest.mark.parametrize("value", [b"\x00\x00\x00\x2a", b"\xff\xfe", b"a\x7f", "a\x85".encode(), "a\ufffd".encode()])
def test_a_parameter_that_is_no_plain_text_becomes_a_token(value) -> None:
    assert remains(mask_value(value, True, KEY, "k1") or "") == "#"


def test_every_parameter_of_a_text_that_was_not_understood_becomes_a_token() -> None:
    assert remains(mask_value(b"loan", False, KEY, "k1") or "") == "#"
    assert mask_value(b"eyJhbGciOiJFUzI1NiJ9.e30.x", False, KEY, "k1") == "<secret>"


def test_tokens_differ_by_key_and_key_id() -> None:
    made = {mask_value(b"078051120", True, key, name) for key in (KEY, bytes(32)) for name in ("k1", "k2")}
    assert len(made) == 4


def test_no_more_tokens_are_made_than_are_stored() -> None:
    text = masked("'a123456b', " * 3_000, understood=False)
    assert len(text) == TEXT_CHARACTERS
    assert "123456" not in text
