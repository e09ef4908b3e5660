from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.support.texts import DEEP, SLOW, deep
from vestibule.analysis.sql import parser
from vestibule.model.statement import Span, Unsupported

#: Runs in a process of its own, on a thread with the stack that is promised to be enough.
OVERFLOWS = """
import sys, threading
from tests.support.texts import DEEP, deep
from vestibule.analysis.sql import parser
def run():
    for name in DEEP:
        text = deep(name, parser.SMALL)
        parser.parse(text); parser.literals(text); parser.fingerprint(text)
        print(name, flush=True)
threading.stack_size(parser.STACK)
thread = threading.Thread(target=run)
thread.start()
thread.join()
"""

LEAKS = """
import resource
from vestibule.analysis.sql import parser
text = b"SELECT '" + b"x" * 20_000 + b"'"
def use(times):
    for _ in range(times):
        parser.parse(text); parser.literals(text); parser.fingerprint(text); parser.parse(text + b" FROM FROM")
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(use(100), use(800))
"""


def run(program: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True, timeout=60
    ).stdout


def code(text: bytes) -> str:
    result = parser.parse(text)
    assert isinstance(result, Unsupported), result
    return result.code


def literal_texts(text: str) -> list[str]:
    data = text.encode()
    return [data[span.start : span.end].decode() for span in parser.literals(data)]


def test_a_text_becomes_its_statements_with_byte_offsets() -> None:
    result = parser.parse("/* ü */ SELECT 1; SELECT 2 -- end".encode())

    assert isinstance(result, list)
    assert [(tree.get("stmt_location"), tree.get("stmt_len")) for tree in result] == [(9, 8), (19, None)]


@pytest.mark.parametrize("text", [b"", b" ", b";;", b"-- only a comment", b"/* /* */ */"])
def test_a_text_without_a_statement_has_none(text: bytes) -> None:
    assert parser.parse(text) == []


def test_what_does_not_parse_is_refused_with_the_parsers_own_words_and_place() -> None:
    result = parser.parse("SELECT 'ü' FRM t x".encode())

    assert result == Unsupported("42601", 'syntax error at or near "t"', position=16)


def test_a_message_is_cut_that_would_quote_the_whole_text() -> None:
    result = parser.parse(b"SELECT " + b"~" * 900)

    assert isinstance(result, Unsupported)
    assert len(result.message) < 400


def test_a_nul_is_refused_and_hides_nothing_behind_it() -> None:
    assert code(b"SELECT 1\0; DROP TABLE t") == "22021"


@pytest.mark.parametrize("text", [b"SELECT '\xff'", b"SELECT 1 -- \xc3", b"SELECT E'\\xff'", b"SELECT '\xed\xa0\x80'"])
def test_a_text_that_is_no_utf8_is_refused(text: bytes) -> None:
    assert code(text) in ("22021", "42601")


def test_a_text_of_two_mebibytes_is_parsed_and_one_byte_more_is_refused_with_a_hint() -> None:
    largest = b"SELECT '" + b"x" * (parser.LARGEST - 9) + b"'"

    assert isinstance(parser.parse(largest), list)
    too_large = parser.parse(largest + b" ")
    assert isinstance(too_large, Unsupported)
    assert too_large.code == "54000"
    assert "COPY" in too_large.hint


def test_a_tree_that_is_too_deep_is_refused_and_a_flat_one_is_not() -> None:
    assert code(b"SELECT 1" + b"+1" * 2_000) == "54001"
    assert code(b"SELECT " + b"(" * 15_000) == "54001"
    assert isinstance(parser.parse(b"SELECT 1" + b"+1" * 300), list)
    assert isinstance(parser.parse(b"SELECT 1 IN (1" + b",1" * 5_000 + b")"), list)
    assert isinstance(parser.parse(b"SELECT true" + b" AND true" * 3_000), list)


def test_no_small_text_overflows_the_stack_that_is_promised_to_be_enough() -> None:
    assert run(OVERFLOWS).split() == list(DEEP)


@pytest.mark.parametrize("name", SLOW)
def test_a_text_that_would_stall_the_parser_is_not_small_and_its_worst_form_is_refused(name: str) -> None:
    assert not parser.small(SLOW[name](parser.SMALL))
    assert code(SLOW[name](parser.LARGEST // 2)) == "54001"


def test_small_is_what_is_short_and_has_few_statements_and_items() -> None:
    assert parser.small(b"x" * parser.SMALL)
    assert not parser.small(b"x" * (parser.SMALL + 1))
    assert not parser.small(b"SELECT 1;" * 1_000)
    assert not parser.small(b"SELECT a IN (1" + b",1" * 5_000 + b")")
    assert not parser.small(b"SELECT a" + b"[1]" * 5_000)
    assert parser.small(b"SELECT a IN (1" + b",1" * 4_000 + b")")
    assert parser.small(b"-- " + b"-" * 100 + b"\nSELECT 1;" * 120)


def test_nothing_is_kept_of_the_texts_that_were_parsed() -> None:
    before, after = map(int, run(LEAKS).split())

    assert after - before < 8_000  # KiB; 800 texts or trees that were not freed are 16 MB


def test_literals_are_all_forms_of_strings_and_numbers() -> None:
    text = (
        "SELECT 'a', E'b\\'c', U&'d!0061' UESCAPE '!', $$e'f$$, $x$ $$ $x$, B'101', x'1F', N'n', "
        "12, -1.5e3, .5, 0x1F, 1_000, $1, \"no\", a.b /* 'no' 1 */ -- 2"
    )

    assert literal_texts(text) == [
        *("'a'", "E'b\\'c'", "U&'d!0061'", "'!'", "$$e'f$$", "$x$ $$ $x$", "B'101'", "x'1F'", "'n'"),
        *("12", "1.5e3", ".5", "0x1F", "1_000"),
    ]


def test_a_string_that_goes_on_in_the_next_line_is_one_literal() -> None:
    assert literal_texts("SELECT 'a'\n  'b', 'it''s'") == ["'a'\n  'b'", "'it''s'"]


def test_offsets_of_literals_are_bytes() -> None:
    assert parser.literals("SELECT 'ü', 1".encode()) == (Span(7, 11), Span(13, 14))


def test_a_text_without_a_constant_has_no_literal() -> None:
    assert parser.literals(b"SELECT a FROM t") == ()


def test_what_follows_too_many_literals_counts_as_one() -> None:
    text = b"SELECT 1" + b",1" * 10_000 + b" FROM t"

    spans = parser.literals(text)

    assert len(spans) == parser.LITERALS + 1
    assert spans[-1].end == len(text)


def test_texts_that_differ_in_constants_have_one_fingerprint() -> None:
    assert parser.fingerprint(b"SELECT * FROM t WHERE a = 1") == parser.fingerprint(b"select *  from t where a = 'x'")
    assert parser.fingerprint(b"SELECT * FROM t") != parser.fingerprint(b"SELECT * FROM u")


@given(st.one_of(st.binary(max_size=200), st.text(max_size=200).map(str.encode)))
@example(b"\0")
@example(deep("plus", 3_000))
def test_whatever_the_bytes_the_answer_is_statements_or_a_refusal(text: bytes) -> None:
    result = parser.parse(text)

    if isinstance(result, Unsupported):
        assert result.code in {"22021", "42601", "54000", "54001"}
    else:
        spans = parser.literals(text)
        edges = [edge for span in spans for edge in (span.start, span.end)]
        assert edges == sorted(edges)
        assert all(0 <= span.start < span.end <= len(text) for span in spans)
        parser.fingerprint(text)
