from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vestibule.analysis.sql.analyse import analyse
from vestibule.analysis.sql.catalog import Catalog, catalog
from vestibule.analysis.sql.exchange import Garbled, decode_answer, decode_catalog, encode_answer, encode_catalog
from vestibule.model.statement import Analysis, Impact, Operation, Parsed, Span, Unsupported

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
            refusal=Unsupported("42501", "message", "hint", 7),
            fingerprint="50fde20626009aba",
            bound_settings=(("jit", 1),),
        ),
    )
)


@pytest.mark.parametrize("answer", [WHOLE, Parsed(()), Unsupported("42601", "m", "h", 3), Unsupported("54001", "m")])
def test_an_answer_arrives_as_it_was_sent(answer: Parsed | Unsupported) -> None:
    assert decode_answer(encode_answer(answer)) == answer


def test_what_analysis_finds_arrives_as_it_was_found() -> None:
    text = "SET jit = off; PREPARE p AS SELECT f('ü', 1) FROM t; SELECT set_config('jit', $1, true)".encode()
    answer = analyse(text, Catalog())

    assert decode_answer(encode_answer(answer)) == answer


def test_a_catalog_arrives_as_it_was_sent() -> None:
    sent = catalog([("function", "s", "f", "sql", "v", "t"), ("operator", "s", "@", "sql", "v", "f")], ["s.f()"])

    assert decode_catalog(encode_catalog(sent)) == sent
    assert decode_catalog(encode_catalog(Catalog())) == Catalog()


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
        b'{"unsupported": [1, 2, 3, 4, 5]}',
        b"[]",
    ],
)
def test_an_answer_of_another_form_is_garbled(data: bytes) -> None:
    with pytest.raises(Garbled):
        decode_answer(data)


def test_an_impact_that_does_not_exist_is_garbled() -> None:
    with pytest.raises(Garbled):
        decode_answer(encode_answer(WHOLE).replace(b'["call","f",4]', b'["call","f",9]'))
