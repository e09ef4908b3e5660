import copy
from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.approvals import CANDIDATES, GRANTS, IDS, OFFERS, POLICY, REQUEST, REQUESTS, WRITTEN, request
from vestibule.model.approval import ApprovalId, Candidate, Grant, Offer, Request, Written
from vestibule.model.names import Instant
from vestibule.model.record import Reference
from vestibule.wire.approval import (
    approval_id,
    candidate_from_json,
    candidate_to_json,
    grant_from_json,
    grant_to_json,
    offer_from_json,
    offer_to_json,
    request_from_json,
    request_to_json,
    written_from_json,
    written_to_json,
)
from vestibule.wire.jsonrpc import Result, decode, encode

APPROVAL = ApprovalId("AR-0123456789")
RECORD = Written(UUID(int=7), "a" * 64)
DOCUMENTS: list[tuple[Any, Callable[[Any], object]]] = [
    (offer_to_json(Offer(APPROVAL, "k", b"key", "https://v.example/approvals/AR-0123456789")), offer_from_json),
    (
        candidate_to_json(
            Candidate(APPROVAL, "k", b"key", "b" * 64, "f", "granted", POLICY, Instant(9), "https://v.example/")
        ),
        candidate_from_json,
    ),
    (request_to_json(REQUEST), request_from_json),
    (grant_to_json(Grant(UUID(int=1), RECORD, (RECORD,), 0)), grant_from_json),
    (written_to_json(RECORD), written_from_json),
]
READERS = [reader for _, reader in DOCUMENTS]


def carried(document: Any) -> Any:
    result = decode(encode(Result(1, document)))
    assert isinstance(result, Result)
    return result.result


@given(OFFERS)
def test_an_offer_survives_the_bus(offer: Offer) -> None:
    assert offer_from_json(carried(offer_to_json(offer))) == offer


@given(CANDIDATES)
def test_a_candidate_survives_the_bus(candidate: Candidate) -> None:
    assert candidate_from_json(carried(candidate_to_json(candidate))) == candidate


@given(REQUESTS)
def test_a_request_survives_the_bus(asked: Request) -> None:
    assert request_from_json(carried(request_to_json(asked))) == asked


@given(GRANTS)
def test_a_grant_survives_the_bus(grant: Grant) -> None:
    assert grant_from_json(carried(grant_to_json(grant))) == grant


@given(WRITTEN)
def test_a_reference_survives_the_bus(written: Written) -> None:
    assert written_from_json(carried(written_to_json(written))) == written


def places(document: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """List the members that have a type of their own; what parameters and operations hold is free."""
    if isinstance(document, dict):
        return [path, *(place for name, value in document.items() for place in places(value, (*path, name)))]
    if isinstance(document, list) and path[-1:] == ("answers",):
        return [path, *(place for index, value in enumerate(document) for place in places(value, (*path, index)))]
    return [path]


PLACES = [(document, reader, path) for document, reader in DOCUMENTS for path in places(document) if path]


def at(document: Any, path: tuple[Any, ...]) -> Any:
    for name in path:
        document = document[name]
    return document


@pytest.mark.parametrize(("document", "reader", "path"), PLACES)
def test_a_member_of_another_type_or_size_is_refused(
    document: Any, reader: Callable[[Any], object], path: tuple[Any, ...]
) -> None:
    for wrong in (None, [1], 1.5, {"a": 1}, -1, 2**53):
        changed = copy.deepcopy(document)
        at(changed, path[:-1])[path[-1]] = wrong
        with pytest.raises(ValueError):
            reader(changed)


@pytest.mark.parametrize(("document", "reader", "path"), [place for place in PLACES if isinstance(place[2][-1], str)])
def test_a_missing_member_is_refused(document: Any, reader: Callable[[Any], object], path: tuple[Any, ...]) -> None:
    changed = copy.deepcopy(document)
    del at(changed, path[:-1])[path[-1]]
    with pytest.raises(ValueError):
        reader(changed)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@pytest.mark.parametrize("reader", READERS)
@given(document=JSON)
def test_nothing_but_a_value_error_comes_out_of_any_document(reader: Callable[[Any], object], document: Any) -> None:
    with pytest.raises(ValueError):
        reader(document)


@pytest.mark.parametrize(("document", "reader"), DOCUMENTS)
@given(data=st.data())
def test_nothing_but_a_value_error_comes_out_of_a_document_with_one_member_replaced(
    document: Any, reader: Callable[[Any], object], data: st.DataObject
) -> None:
    changed = copy.deepcopy(document)
    path = data.draw(st.sampled_from([path for path in places(document) if path]))
    at(changed, path[:-1])[path[-1]] = data.draw(JSON)
    try:
        reader(changed)
    except ValueError:
        return


@given(IDS)
def test_an_id_is_read_in_its_one_form(written: str) -> None:
    assert approval_id(written) == written


@pytest.mark.parametrize(
    "written",
    [
        "",
        "AR-",
        "AR-012345678",
        "AR-01234567890",
        "ar-0123456789",
        "AR-012345678i",
        "AR-012345678I",
        "AR-012345678U",
        "AR-0123456789\n",
        " AR-0123456789",
        "AR-0123456789/../..",
        "AR-\u0660\u0661\u0662\u0663\u0664\u0665\u0666\u0667\u0668\u0669",
        "AR-' OR 1=1--",
    ],
)
def test_an_id_in_any_other_form_is_refused(written: str) -> None:
    with pytest.raises(ValueError):
        approval_id(written)


@pytest.mark.parametrize("wrong", ["B" * 64, "b" * 63, "b" * 65, "b" * 64 + "\n", ""])
def test_a_digest_in_another_form_is_refused(wrong: str) -> None:
    with pytest.raises(ValueError):
        request_from_json({**request_to_json(REQUEST), "bytes_mac": wrong})


def test_a_quorum_of_nobody_is_refused() -> None:
    with pytest.raises(ValueError):
        request_from_json({**request_to_json(REQUEST), "quorum": 0})


def test_what_is_nested_without_end_is_refused() -> None:
    deep: Any = {}
    for _ in range(200):
        deep = {"a": [deep]}
    with pytest.raises(ValueError):
        request_from_json({**request_to_json(REQUEST), "parameters": [deep]})


def test_a_reference_to_a_record_does_not_travel() -> None:
    with pytest.raises(ValueError):
        request_to_json(request(parameters=({"value": Reference("decided/1")},)))


def test_neither_an_error_nor_a_repr_shows_a_key() -> None:
    document: Any = {**offer_to_json(Offer(APPROVAL, "k", b"key", "u")), "key": "not hexadecimal: secret"}
    with pytest.raises(ValueError) as caught:
        offer_from_json(document)
    assert "secret" not in str(caught.value)
    assert caught.value.__suppress_context__
    assert "secret" not in repr(Offer(APPROVAL, "k", b"secret", "u"))
    assert "secret" not in repr(Candidate(APPROVAL, "k", b"secret", "b", "f", "granted", POLICY, Instant(9), "u"))
