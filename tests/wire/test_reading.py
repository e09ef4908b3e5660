from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest

from vestibule.wire.reading import boolean, integer, items, mapping, read, text, texts

READERS: list[tuple[Callable[[Any, str], Any], Any]] = [
    (text, "words"),
    (texts, ["words"]),
    (items, [1, None]),
    (integer, 7),
    (boolean, False),
]


@pytest.mark.parametrize(("reader", "value"), READERS)
def test_a_member_of_the_right_type_is_read(reader: Callable[[Any, str], Any], value: Any) -> None:
    assert reader({"member": value}, "member") == value


@pytest.mark.parametrize("reader", [reader for reader, _ in READERS])
@pytest.mark.parametrize("document", [{}, {"member": None}, {"member": {"a": 1}}, {"member": 1.5}])
def test_what_is_missing_or_of_another_type_is_refused_by_its_name(
    reader: Callable[[Any, str], Any], document: Any
) -> None:
    with pytest.raises(ValueError, match="member is n"):
        reader(document, "member")


def test_true_is_no_number_and_one_is_not_true() -> None:
    with pytest.raises(ValueError):
        integer({"member": True}, "member")
    with pytest.raises(ValueError):
        boolean({"member": 1}, "member")


def test_a_list_with_something_else_in_it_is_no_list_of_strings() -> None:
    with pytest.raises(ValueError):
        texts({"member": ["a", 1]}, "member")


@pytest.mark.parametrize("value", [None, [], "x", 1])
def test_what_is_no_object_is_refused(value: Any) -> None:
    with pytest.raises(ValueError):
        mapping(value)


@pytest.mark.parametrize("reader", [UUID, {"a": 1}.__getitem__])
def test_the_error_of_a_reader_never_shows_the_value(reader: Callable[[str], Any]) -> None:
    with pytest.raises(ValueError) as caught:
        read({"member": "a secret"}, "member", reader)
    assert "secret" not in str(caught.value)
    assert caught.value.__suppress_context__
