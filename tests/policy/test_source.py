from __future__ import annotations

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from vestibule.policy import source
from vestibule.policy.source import Faulty, Place, Problem, parse


@pytest.fixture(params=["libyaml", "python"], autouse=True)
def reader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    loader = yaml.CSafeLoader if request.param == "libyaml" else yaml.SafeLoader
    monkeypatch.setattr(source, "_Loader", loader)


def problems(text: bytes) -> list[str]:
    with pytest.raises(Faulty) as caught:
        parse(text)
    return [problem.render("f.yaml") for problem in caught.value.problems]


def test_each_value_and_each_key_keeps_its_place() -> None:
    read = parse(b"version: 1\ntargets:\n  core:\n    hosts: [a:1, b:2]\n")
    assert read.data == {"version": 1, "targets": {"core": {"hosts": ["a:1", "b:2"]}}}
    assert read.place(("targets", "core", "hosts", 1)) == Place(4, 18)
    assert read.key(("targets", "core", "hosts")) == Place(4, 5)
    assert read.key(("targets", "core", "hosts", 0)) == Place(4, 13)


def test_a_place_that_is_not_there_is_the_nearest_one_around_it() -> None:
    read = parse(b"a:\n  b: 1\n")
    assert read.place(("a", "missing", 3)) == Place(2, 3)


def test_steps_that_are_no_part_of_the_file_are_left_out_of_a_path() -> None:
    read = parse(b"a: [{b: 1}]\n")
    assert read.resolve(("a", "<names>", 0, "b", "[key]")) == ("a", 0, "b")
    assert read.resolve(("a", 7, "c")) == ("a",)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("no", "no"),
        ("on", "on"),
        ("8:30", "8:30"),
        ("2026-01-01", "2026-01-01"),
        ("010", "010"),
        ("0x10", "0x10"),
        ("1.5", "1.5"),
        ("-3", -3),
        ("'7'", "7"),
        ('"true"', "true"),
        ("true", True),
        ("False", False),
        ("~", None),
        ("null", None),
        ("9" * 30, "9" * 30),
        ("<<", "<<"),
    ],
)
def test_plain_words_are_words_and_only_json_like_ones_are_not(text: str, value: object) -> None:
    assert parse(f"a: {text}".encode()).data == {"a": value}


def test_keys_are_always_words() -> None:
    assert parse(b"1: a\ntrue: b\n").data == {"1": "a", "true": "b"}


def test_a_key_written_twice_is_refused_and_the_first_line_named() -> None:
    assert problems(b"a: 1\nb: 2\na: 3\n") == ['f.yaml:3:1: "a" is written twice, first in line 1; keep one']


def test_the_same_key_in_two_mappings_is_fine() -> None:
    assert parse(b"x: {a: 1}\ny: {a: 2}\n").data == {"x": {"a": 1}, "y": {"a": 2}}


def test_anchors_aliases_and_tags_are_refused_where_they_stand() -> None:
    assert problems(b"a: &x 1\nb: *x\nc: !!python/object:os.system ls\n") == [
        "f.yaml:1:4: anchors and aliases (& and *) are not read; write the value out",
        "f.yaml:2:4: anchors and aliases (& and *) are not read; write the value out",
        "f.yaml:3:4: tags (!) are not read; remove it",
    ]


def test_an_alias_bomb_costs_nothing() -> None:
    layers = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    layers += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 30)]
    assert "anchors" in problems("\n".join(layers).encode())[0]


def test_depth_is_bounded_long_before_the_stack_is() -> None:
    assert problems(b"[" * 40 + b"]" * 40) == ["f.yaml:1:33: nested deeper than 32 levels"]
    assert len(problems(b"[" * 200_000)) == 1
    assert len(problems(b"\n".join(b" " * n + b"a:" for n in range(300)))) == 1


def test_size_is_bounded() -> None:
    assert problems(b"#" * (source.LIMIT + 1)) == [
        "f.yaml:1:1: the file has 1048577 bytes; at most 1048576 are read",
    ]


def test_one_document_only() -> None:
    assert problems(b"a: 1\n---\nb: 2\n") == ["f.yaml:2:1: a second document begins here; write one only"]


@pytest.mark.parametrize("text", [b"", b"\n# nothing\n", b"---\n", b"null"])
def test_an_empty_file_is_refused(text: bytes) -> None:
    assert problems(text) == ["f.yaml:1:1: the file is empty"]


def test_bytes_that_are_not_utf8_are_found() -> None:
    assert problems("a: ü\nb: é".encode() + b"\xff") == ["f.yaml:2:5: not UTF-8; save the file as UTF-8"]


def test_control_characters_are_found() -> None:
    assert problems(b"a: 1\nb: x\x00y") == ["f.yaml:2:5: control character U+0000; remove it"]


def test_a_byte_order_mark_is_passed_over() -> None:
    assert parse(b"\xef\xbb\xbfa: 1").data == {"a": 1}


def test_half_characters_are_refused() -> None:
    assert len(problems(b'a: "\\ud800"')) == 1


def test_a_list_as_key_is_refused() -> None:
    assert problems(b"? [a]\n: b\n") == ["f.yaml:1:3: a key must be a word, not a list or a mapping"]


def test_broken_syntax_names_the_place_and_quotes_nothing() -> None:
    found = problems(b"a: 1\npassword: [hunter2\nc: 3\n")
    assert len(found) == 1
    assert "not valid YAML" in found[0]
    assert found[0].startswith(("f.yaml:3:", "f.yaml:2:"))
    assert "hunter2" not in found[0]


def test_a_star_without_quotes_is_told_to_need_them() -> None:
    told = ["f.yaml:2:6: an alias (*) is not read; put a text that begins with * in quotes"]
    assert problems(b"a:\n  - *.customers.ssn\n") == told


def test_null_is_a_word_for_the_keys_that_ask_for_it_and_for_no_other() -> None:
    text = b"a: null\nb: null\nc: [null]\nd: {a: null, b: ~}\n"
    assert parse(text, frozenset({"a", "c"})).data == {
        "a": "null", "b": None, "c": [None], "d": {"a": "null", "b": None},
    }  # fmt: skip
    assert parse(b"a: null").data == {"a": None}
    assert parse(b"a: ~", frozenset({"a"})).data == {"a": None}


def test_problems_come_in_the_order_of_the_file_and_once() -> None:
    first, second = Problem(Place(1, 2), "x"), Problem(Place(3, 1), "a")
    assert Faulty(second, first, second).problems == (first, second)


_yaml_like = st.lists(
    st.sampled_from([*"abc:-[]{},&*!?|>'\"#%@` \n\t0~<", "\n  ", "- ", ": ", "---\n", "é", "\x00", "\\ud800"]),
    max_size=60,
).map("".join)


def read(text: bytes) -> tuple[object, tuple[Problem, ...]]:
    try:
        return parse(text).data, ()
    except Faulty as faulty:
        return None, faulty.problems


@given(st.one_of(st.binary(max_size=80), _yaml_like.map(str.encode)))
def test_any_bytes_give_values_or_problems(text: bytes) -> None:
    data, problems = read(text)
    assert (data is None) == bool(problems)
    assert all(problem.place.line >= 1 and problem.place.column >= 1 for problem in problems)
