from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vestibule.model.event import Admission
from vestibule.model.identity import Identity, Proof, Refusal, Who
from vestibule.model.names import GroupName, Instant, LoginName, TargetName
from vestibule.wire.identity import answer_from_json, answer_to_json, identity_from_json, identity_to_json
from vestibule.wire.jsonrpc import Result, decode, encode

IDENTITIES = st.builds(
    Identity,
    who=st.builds(
        Who, st.text(), st.text(), st.text().map(LoginName), st.sampled_from(["human", "agent", "workload"]), st.uuids()
    ),
    groups=st.frozensets(st.text().map(GroupName), max_size=5),
    proof=st.builds(
        Proof,
        st.text(),
        st.text(),
        st.lists(st.text(), max_size=3).map(tuple),
        st.text(),
        st.none() | st.integers(0, 2**53).map(Instant),
        st.text(),
    ),
    expires_at=st.integers(0, 2**53).map(Instant),
    targets=st.none() | st.frozensets(st.text().map(TargetName), max_size=3),
)
ANSWERS = st.sampled_from(Refusal) | st.builds(Admission, IDENTITIES, st.text(), st.binary(max_size=64))

SOMEBODY = Identity(
    Who("https://idp.bank.example", "u-1", LoginName("dev1"), "human", UUID(int=1)),
    frozenset({GroupName("engineering")}),
    Proof("token", "credential-1"),
    Instant(1_000_000),
)


@given(ANSWERS)
def test_an_answer_survives_the_bus(answer: Admission | Refusal) -> None:
    carried = decode(encode(Result(1, answer_to_json(answer))))
    assert isinstance(carried, Result)
    assert answer_from_json(carried.result) == answer


def _places(document: Any, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    if not isinstance(document, dict):
        return [path]
    return [path, *(place for name, value in document.items() for place in _places(value, (*path, name)))]


@pytest.mark.parametrize("path", [path for path in _places(answer_to_json(Admission(SOMEBODY, "k", b"k"))) if path])
def test_a_member_of_another_type_is_refused(path: tuple[str, ...]) -> None:
    for wrong in ([], 1.5, {"a": 1}, [1], True):
        document: Any = answer_to_json(Admission(SOMEBODY, "k", b"k"))
        place = document
        for name in path[:-1]:
            place = place[name]
        if place[path[-1]] == wrong or (path[-1] in ("groups", "amr", "targets") and wrong == []):
            continue
        place[path[-1]] = wrong
        with pytest.raises(ValueError):
            answer_from_json(document)


@pytest.mark.parametrize("path", [path for path in _places(identity_to_json(SOMEBODY)) if path])
def test_a_missing_member_is_refused(path: tuple[str, ...]) -> None:
    document: Any = identity_to_json(SOMEBODY)
    place = document
    for name in path[:-1]:
        place = place[name]
    if path[-1] == "auth_time":
        return
    del place[path[-1]]
    with pytest.raises(ValueError):
        identity_from_json(document)


@pytest.mark.parametrize("document", [None, 1, "x", [], {}, {"refused": "perhaps"}, {"refused": None}])
def test_what_is_neither_admission_nor_refusal_is_refused(document: Any) -> None:
    with pytest.raises(ValueError):
        answer_from_json(document)


def test_an_error_never_shows_the_data_key() -> None:
    document: Any = answer_to_json(Admission(SOMEBODY, "k", b"k"))
    document["data_key"] = "not hexadecimal: secret"
    with pytest.raises(ValueError) as caught:
        answer_from_json(document)
    assert "secret" not in str(caught.value)
    assert caught.value.__suppress_context__
