from __future__ import annotations

from typing import Annotated

import pytest
from pydantic import Field

from vestibule.model.errors import ConfigurationError
from vestibule.policy.reading import InvalidFile, Strict, check, show, spell, suggestion
from vestibule.policy.source import Faulty, Place, Problem, parse


class Leaf(Strict):
    size: Annotated[int, Field(ge=1, le=9)] = Field(default=3, examples=["3"])
    key: str = Field(default="x", examples=["file:/x"])


class Root(Strict):
    name: str = Field(examples=["corp"])
    leaf: Leaf = Leaf()
    leaves: list[Leaf] = Field(default=[], examples=["[{size: 3}]"])
    named: dict[str, Leaf] = Field(default={})
    other: Leaf | None = None


LATER = {"masks": "masks come later"}


def told(text: str) -> list[str]:
    with pytest.raises(Faulty) as caught:
        check(Root, parse(text.encode()), LATER)
    return [f"{problem.place.line} {problem.message}" for problem in caught.value.problems]


def test_a_good_file_becomes_the_model() -> None:
    assert check(Root, parse(b"name: a\nnamed: {x: {size: 4}}"), LATER) == Root(name="a", named={"x": Leaf(size=4)})


def test_nothing_is_converted_silently() -> None:
    assert told("name: 7\nleaf: {size: '3'}\nleaves: {size: 3}") == [
        "1 name: must be text; put it in quotes if it looks like a number; write for example name: corp",
        "2 leaf.size: must be a whole number; write for example size: 3",
        "3 leaves: must be a list; write for example leaves: [{size: 3}]",
    ]


def test_bounds_are_told() -> None:
    assert told("name: a\nleaf: {size: 0}\nother: {size: 10}") == [
        "2 leaf.size: must be at least 1",
        "3 other.size: must be at most 9",
    ]


@pytest.mark.parametrize(
    "where", ["leaf: {sise: 1}", "leaves: [{sise: 1}]", "named: {x: {sise: 1}}", "other: {sise: 1}"]
)
def test_the_meant_key_is_found_at_any_depth(where: str) -> None:
    (only,) = told(f"name: a\n{where}")
    assert only.endswith('unknown key "sise"; did you mean "size"?')


def test_a_key_that_resembles_none_gets_the_list() -> None:
    assert told("name: a\nleaf: {zzz: 1}") == ['2 leaf: unknown key "zzz"; known here: key, size']


def test_keys_of_coming_versions_are_refused_by_name_wherever_they_stand() -> None:
    assert told("name: a\nmasks: []\nleaf: {masks: 1}") == [
        "2 masks: masks come later",
        "3 leaf.masks: masks come later",
    ]


def test_a_key_without_a_value_means_nothing() -> None:
    assert told("name:\nother:\nleaves: [~]\nzzz:\n") == [
        "1 name: has no value; write one or remove the key; write for example name: corp",
        "2 other: has no value; write one or remove the key",
        "3 leaves[0]: has no value; write one or remove the key",
        "4 zzz: has no value; write one or remove the key",
    ]


def test_an_invalid_file_has_one_line_a_problem() -> None:
    error = InvalidFile("p.yaml", [Problem(Place(1, 2), "a"), Problem(Place(3, 4), "b")])
    assert isinstance(error, ConfigurationError)
    assert str(error) == "p.yaml:1:2: a\np.yaml:3:4: b"
    assert len(error.problems) == 2


def test_a_path_is_spelled_as_people_read_it() -> None:
    assert spell(("targets", "core", "hosts", 0)) == "targets.core.hosts[0]"
    assert spell(()) == ""


def test_a_suggestion_is_near_or_the_list_or_nothing() -> None:
    assert suggestion("Core", ["core-banking", "x"]) == 'did you mean "core-banking"?'
    assert suggestion("zzz", ["b", "a"]) == "known here: a, b"
    assert suggestion("zzz", []) == "none is known here"


def test_what_is_shown_is_cut() -> None:
    assert show("x" * 61) == f'"{"x" * 60}..."'
    assert show({"a": 1}) == '"a dict"'
