import pytest
from hypothesis import given
from hypothesis import strategies as st

from vestibule.evidence import members
from vestibule.evidence.errors import MemberRefused
from vestibule.model.record import Reference

PLACE = members.shape(
    {"name": members.text, "size?": members.count, "rooms?": members.many(members.shape({"no": members.count}))}
)
CHECKS = [
    members.text,
    members.document,
    members.integer,
    members.count,
    members.boolean,
    members.uuid,
    members.hex32,
    members.moment,
    members.counts,
    members.one_of("a", "b"),
    members.either(members.count, members.text),
    members.many(members.count, 3),
    PLACE,
]
anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.binary(max_size=5)
    | st.just(Reference("x")),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5) | st.sampled_from(["name", "size"]), inner)
    ),
    max_leaves=8,
)


@pytest.mark.parametrize(
    ("check", "value"),
    [
        (members.text, "x" * 16_384),
        (members.document, "x" * 100_000),
        (members.integer, -(2**53) + 1),
        (members.count, 2**53 - 1),
        (members.boolean, False),
        (members.uuid, "019b7ca9-8d03-7000-8000-000000000001"),
        (members.hex32, "0f" * 32),
        (members.moment, "2026-01-02T03:04:05.000006Z"),
        (members.one_of("a", "b"), "b"),
        (members.either(members.count, members.text), "7"),
        (members.many(members.count, 2), [1, 2]),
    ],
)
def test_a_value_of_the_type_is_stored_as_it_is(check, value) -> None:
    assert check(value) == value


@pytest.mark.parametrize(
    ("check", "value"),
    [
        (members.text, "x" * 16_385),
        (members.text, b"x"),
        (members.document, None),
        (members.integer, 2**53),
        (members.integer, True),
        (members.integer, 1.0),
        (members.count, -1),
        (members.boolean, 0),
        (members.uuid, "019B7CA9-8D03-7000-8000-000000000001"),
        (members.hex32, "0F" * 32),
        (members.hex32, "0f" * 32 + "\n"),
        (members.moment, "2026-01-02T03:04:05Z"),
        (members.one_of("a", "b"), "c"),
        (members.either(members.count, members.text), None),
        (members.many(members.count, 2), [1, 2, 3]),
        (members.many(members.count, 2), "12"),
        (members.counts, {"a": -1}),
        (members.counts, {1: 1}),
        (members.count, Reference("opened")),
        (PLACE, []),
    ],
)
def test_a_value_of_another_type_is_refused(check, value) -> None:
    with pytest.raises(MemberRefused):
        check(value)


def test_counts_are_stored_in_the_order_of_their_names() -> None:
    assert list(members.counts({"b": 1, "a": 2})) == ["a", "b"]


def test_an_object_is_stored_in_the_order_of_its_table_without_what_is_empty() -> None:
    assert list(PLACE({"size": 0, "name": ""})) == ["name", "size"]
    assert PLACE({"rooms": [], "size": None, "name": "x"}) == {"name": "x"}


def test_a_text_that_readers_count_on_is_stored_even_when_it_is_empty() -> None:
    statement = members.shape({"text=": members.text, "size?": members.count})
    assert statement({}) == statement({"text": ""}) == {"text": ""}
    with pytest.raises(MemberRefused):
        statement({"text": None})


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({}, "name is missing"),
        ({"name": 1}, "name must be text"),
        ({"name": "x", "rooms": [{"no": 1}, {"no": "2"}]}, r"rooms\[\]\.no must be a whole number"),
        ({"name": "x", "door": 1}, "has unknown members: door"),
    ],
)
def test_a_refusal_leads_to_the_member(value, words) -> None:
    with pytest.raises(MemberRefused, match=f"^{words}"):
        PLACE(value)


@given(st.sampled_from(CHECKS), anything)
def test_anything_is_stored_twice_the_same_or_refused(check, value) -> None:
    try:
        stored = check(value)
    except MemberRefused:
        return
    assert check(stored) == stored
