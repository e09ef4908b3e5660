from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.gate.test_reading import masked
from vestibule.analysis.sql.analyse import analyse
from vestibule.analysis.sql.catalog import Catalog, catalog
from vestibule.gate.exchange import Garbled, decode_answer, decode_knowledge, encode_answer, encode_knowledge
from vestibule.gate.reading import Knowledge, read
from vestibule.model.names import Digest, RuleName
from vestibule.model.plan import Column, Form, Mask, Plan, Transform
from vestibule.model.statement import Analysis, Impact, Operation, Parsed, Span, Unknown, Unsupported

WHOLE = Parsed(
    (
        Analysis(
            kind="SelectStmt",
            operations=(Operation("call", "f", Impact.UNKNOWN), Operation("select", "ü", Impact.READ)),
            start=3,
            end=70,
            literals=(Span(4, 5), Span(8, 20)),
            understood=False,
            names=("p",),
            settings=(("jit", None), ("search_path", '"a"')),
            refusal=Unsupported("42501", "message", "hint", 7, by_mask=True),
            fingerprint="50fde20626009aba",
            bound_settings=(("jit", 1),),
            plan=Plan(
                Form.PLAIN,
                Digest("d" * 64),
                (
                    Column("id", (16400, 1)),
                    Column("ssn", (16400, 2), Mask(RuleName("r"), Transform("keep", last=4))),
                    Column("x"),
                ),
                is_reduced=True,
            ),
            stored=Plan(Form.CLEAN, Digest("e" * 64), None),
        ),
    ),
    is_lacking=True,
)


@pytest.mark.parametrize(
    "answer", [WHOLE, Parsed(()), Unsupported("42601", "m", "h", 3), Unsupported("54001", "m"), Unknown(("t",))]
)
def test_an_answer_arrives_as_it_was_sent(answer: Parsed | Unsupported | Unknown) -> None:
    assert decode_answer(encode_answer(answer)) == answer


def test_what_analysis_finds_arrives_as_it_was_found() -> None:
    text = "SET jit = off; PREPARE p AS SELECT f('ü', 1) FROM t; SELECT set_config('jit', $1, true)".encode()
    answer = analyse(text, Catalog())

    assert decode_answer(encode_answer(answer)) == answer


def test_a_catalog_arrives_as_it_was_sent() -> None:
    sent = catalog([("function", "s", "f", "sql", "v", "t"), ("operator", "s", "@", "sql", "v", "f")], ["s.f()"])

    assert decode_knowledge(encode_knowledge(Knowledge(sent))) == Knowledge(sent)
    assert decode_knowledge(encode_knowledge(Knowledge(Catalog()))) == Knowledge(Catalog())


def test_what_is_masked_arrives_as_it_was_sent() -> None:
    sent = masked(search_path=("public", "audit"), is_fresh=True)
    got = decode_knowledge(encode_knowledge(sent))
    assert got.version == sent.version
    for text in (b"SELECT * FROM customers", b"SELECT upper(ssn) FROM customers", b"SELECT * FROM branches"):
        assert read(text, got) == read(text, sent)
        assert decode_answer(encode_answer(read(text, got))) == read(text, sent)


@pytest.mark.parametrize(
    ("before", "after"),
    [(b'"plain"', b'"naked"'), (b'"keep"', b'"show"'), (b"[16400,2]", b"[16400]"), (b'["r","keep",0,4]', b'["r"]')],
)
def test_a_plan_of_another_form_is_garbled(before: bytes, after: bytes) -> None:
    written = encode_answer(WHOLE)
    assert before in written
    with pytest.raises(Garbled):
        decode_answer(written.replace(before, after))


def test_a_plan_that_does_not_say_that_it_is_open_is_reduced() -> None:
    answer = decode_answer(encode_answer(WHOLE).replace(b"],true]", b"],0]"))
    assert isinstance(answer, Parsed)
    assert answer.statements[0].plan is not None
    assert answer.statements[0].plan.is_reduced


@given(st.one_of(st.binary(max_size=60), st.lists(st.integers(), max_size=5).map(repr).map(str.encode)))
def test_what_is_no_answer_is_garbled(data: bytes) -> None:
    with pytest.raises(Garbled):
        decode_answer(data)


@pytest.mark.parametrize(
    "data",
    [
        b"{}",
        b'{"statements": 1}',
        b'{"statements": [[1]]}',
        b'{"unsupported": []}',
        b'{"unsupported": [1, 2, 3, 4, 5, 6]}',
        b"[]",
    ],
)
def test_an_answer_of_another_form_is_garbled(data: bytes) -> None:
    with pytest.raises(Garbled):
        decode_answer(data)


def test_an_impact_that_does_not_exist_is_garbled() -> None:
    with pytest.raises(Garbled):
        decode_answer(encode_answer(WHOLE).replace(b'["call","f",4]', b'["call","f",9]'))
