from __future__ import annotations

from contextlib import suppress
from fnmatch import fnmatchcase

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.policies import HEAD, RULES, identity, sample
from vestibule.model.decision import Decision, Deny, Hold
from vestibule.model.names import GroupName, RuleName, TargetName
from vestibule.model.plan import Label, Transform
from vestibule.policy.access import Selector
from vestibule.policy.document import load
from vestibule.policy.engine import Engine
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


LIFTED = """
masks:
  - {name: ssn, columns: ["*.customers.ssn"], unmask: {groups: [privacy, dba], quorum: 2}}
  - {name: card, columns: ["*.cards.pan"], unmask: {groups: [dba], expires: 5m}}
  - {name: cvv, columns: ["*.cards.cvv"]}
  - {name: memo, columns: ["*.transactions.memo"], clear_for: {groups: [engineering]}, unmask: {groups: [privacy]}}
  - {name: home, columns: ["*.customers.home"], unmask: {groups: [privacy]}}
"""


def lifted(*names: str) -> tuple[Decision, tuple[str, ...]]:
    made = Engine(load((HEAD + RULES + LIFTED).encode(), "policy.yaml"))
    target = made.policy.targets[TargetName("core-banking")]
    decision, left = made.lifted(identity("engineering"), target, frozenset(names))
    return decision, tuple(label.rule for label in left)


def test_a_mask_that_is_named_is_lifted_by_its_own_approvers_and_the_others_stay() -> None:
    decision, left = lifted("card")
    assert isinstance(decision, Hold)
    assert (decision.rule.name, decision.rule.section) == ("card", "masks")
    assert (decision.approvers, decision.quorum, decision.expires_us) == ({"dba"}, 1, 5 * 60_000_000)
    assert left == ("ssn", "cvv", "home")


def test_several_masks_are_lifted_by_whoever_may_lift_all_of_them() -> None:
    decision, left = lifted("ssn", "card")
    assert isinstance(decision, Hold)
    assert (decision.approvers, decision.quorum, decision.expires_us) == ({"dba"}, 2, 5 * 60_000_000)
    assert left == ("cvv", "home")


def test_without_names_all_masks_are_meant_that_may_be_lifted() -> None:
    decision, left = lifted()
    assert isinstance(decision, Deny)
    assert "different groups" in decision.reason
    assert left == ("ssn", "card", "cvv", "home")


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        (["cvv"], 'the mask "cvv" may not be lifted by approval'),
        (["ssn", "cvv"], 'the mask "cvv" may not be lifted by approval'),
        (["nothing"], 'there is no mask "nothing" for you here'),
        (["memo"], 'there is no mask "memo" for you here'),
    ],
)
def test_what_may_not_be_lifted_is_denied(names: list[str], reason: str) -> None:
    decision, left = lifted(*names)
    assert isinstance(decision, Deny)
    assert decision.reason == reason
    assert "cvv" in left
