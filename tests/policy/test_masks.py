from __future__ import annotations

from contextlib import suppress
from fnmatch import fnmatchcase

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.policies import sample
from vestibule.model.names import GroupName, RuleName
from vestibule.model.plan import Label, Transform
from vestibule.policy.access import Selector
from vestibule.policy.masks import MaskEntry, column_pattern

POLICY = sample()
CORE, SANDBOX = POLICY.targets["core-banking"], POLICY.targets["sandbox"]


@pytest.mark.parametrize(
    ("text", "pattern"),
    [
        ("public.customers.ssn", "public.customers.ssn"),
        ("customers.ssn", "*.customers.ssn"),
        ("*.customers.ssn", "*.customers.ssn"),
        ("Public.CUSTOMERS.Ssn", "public.customers.ssn"),
        ('public."Customers"."SSN"', "public.Customers.SSN"),
        ('"Customers".SSN', "*.Customers.ssn"),
        ("public.cust*.s?n", "public.cust*.s?n"),
        ('"Tax*"."the column"', "*.Tax*.the column"),
        ('t."a.b"', "*.t.a?b"),
        ('t."a""b"', "*.t.a?b"),
        ('t."a[0]"', "*.t.a?0?"),
        ("t.größe_1$", "*.t.größe_1$"),
        # SQL folds the letters of ASCII alone where a database is in UTF-8.
        ("t.GRÖSSE", "*.t.grÖsse"),
        ("t." + "c" * 63, "*.t." + "c" * 63),
    ],
)
def test_a_pattern_has_three_parts_read_as_sql_reads_names(text: str, pattern: str) -> None:
    assert column_pattern(text) == pattern


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("ssn", "names no table"),
        ("*", "names no table"),
        ("core.public.customers.ssn", "without the database"),
        ("", "is no column"),
        (".", "is no column"),
        ("t..c", "is no column"),
        ("t.c.", "is no column"),
        (".t.c", "is no column"),
        ("t.the column", "is no column"),
        ("t.c ", "is no column"),
        ("t.c-d", "is no column"),
        ("t.[c]", "is no column"),
        ('t."c', "is no column"),
        ('t."c"d', "is no column"),
        ('t.c"d"', "is no column"),
        ('t.""', "is no column"),
        ('t."a\nb"', "is no column"),
        ("t.c\n", "is no column"),
        ("t." + "c" * 64, "more than 63 bytes"),
        ("t." + "ö" * 32, "more than 63 bytes"),
    ],
)
def test_what_is_no_column_is_refused_with_what_to_write(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        column_pattern(text)


_names = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=8)


@given(_names, _names, _names)
def test_a_column_whose_quoted_name_is_the_pattern_is_always_meant(schema: str, table: str, column: str) -> None:
    quoted = ('"' + name.replace('"', '""') + '"' for name in (schema, table, column))
    parts = column_pattern(".".join(quoted)).split(".")
    assert len(parts) == 3
    for name, part in zip((schema, table, column), parts, strict=True):
        assert fnmatchcase(name, part)


@given(st.text(max_size=30) | st.text('ab."*?[]C ', max_size=12))
def test_any_text_is_a_pattern_of_three_plain_parts_or_refused(text: str) -> None:
    with suppress(ValueError):
        pattern = column_pattern(text)
        parts = pattern.split(".")
        assert len(parts) == 3
        assert all(parts)
        assert not set('"[]') & set(pattern)


@given(st.text('ab."*?[]C ', max_size=12))
def test_a_pattern_that_needs_no_quotes_is_read_again_as_it_is(text: str) -> None:
    with suppress(ValueError):
        pattern = column_pattern(text)
        if pattern == pattern.lower() and " " not in pattern:
            assert column_pattern(pattern) == pattern


def entry(clear_for: set[str] | None = None, targets: Selector | None = None) -> MaskEntry:
    groups = frozenset(GroupName(group) for group in clear_for or ())
    return MaskEntry(RuleName("ssn"), ("*.customers.ssn",), Transform("keep", last=4), groups, targets)


def test_an_entry_without_targets_is_about_all_of_them() -> None:
    assert entry().concerns(CORE)
    assert entry().concerns(SANDBOX)
    assert entry(targets=Selector(names=frozenset({"sandbox"}))).concerns(SANDBOX)
    assert not entry(targets=Selector(labels={"env": "production"})).concerns(SANDBOX)


def test_an_entry_is_clear_for_its_groups_and_for_nobody_if_it_names_none() -> None:
    assert entry({"a", "b"}).is_clear_for(frozenset({GroupName("b"), GroupName("c")}))
    assert not entry({"a"}).is_clear_for(frozenset({GroupName("c")}))
    assert not entry({"a"}).is_clear_for(frozenset())
    assert not entry().is_clear_for(frozenset({GroupName("a")}))


def test_an_entry_is_a_label_for_those_who_mask() -> None:
    assert entry({"a"}).label == Label(RuleName("ssn"), ("*.customers.ssn",), Transform("keep", last=4))
