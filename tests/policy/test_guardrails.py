from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.policies import operation, sample
from vestibule.model.statement import Impact
from vestibule.policy.access import Selector
from vestibule.policy.guardrails import Approval, Guardrail, Match, first_match, names, parts

CORE = sample().targets["core-banking"]


@pytest.mark.parametrize(
    ("pattern", "written", "named"),
    [
        ("public.customers", "public.customers", True),
        ("public.customers", "customers", True),
        ("public.customers", "PUBLIC.Customers", True),
        ("public.customers", '"public"."customers"', True),
        ("public.customers", "core.public.customers", True),
        ("public.customers", "audit.customers", False),
        ("public.customers", "public.customers_old", False),
        ("customers", "public.customers", True),
        ("*.customers", "audit.customers", True),
        ("audit.*", "audit.log", True),
        ("audit.*", "public.log", False),
        ("audit.*", "log", True),
        ("public.cust*", "public.customers", True),
        ('public."odd.name"', '"odd.name"', True),
        ('public."odd.name"', "name", False),
        ("public.customers", "", False),
    ],
)
def test_an_object_is_named_wherever_it_may_be_the_one_that_is_meant(pattern: str, written: str, named: bool) -> None:
    assert names(pattern, written) is named


def test_quotes_and_case_are_no_way_round() -> None:
    assert parts('Public."Cus""tomers"') == ("public", 'cus"tomers')


@given(st.text(max_size=30), st.text(max_size=30))
def test_any_two_texts_can_be_compared(pattern: str, written: str) -> None:
    assert names(pattern, written) in (True, False)


@pytest.mark.parametrize(
    ("match", "words", "matched"),
    [
        (Match(), "read select", True),
        (Match(impacts=frozenset({Impact.SCHEMA})), "schema drop t", True),
        (Match(impacts=frozenset({Impact.SCHEMA})), "admin drop t", False),
        (Match(verbs=frozenset({"drop", "delete"})), "write delete t", True),
        (Match(verbs=frozenset({"drop", "delete"})), "write update t", False),
        (Match(objects=("a", "b")), "write update s.b", True),
        (Match(objects=("a", "b")), "write update s.c", False),
        (Match(impacts=frozenset({Impact.WRITE}), verbs=frozenset({"delete"}), objects=("a",)), "write delete a", True),
        (
            Match(impacts=frozenset({Impact.WRITE}), verbs=frozenset({"delete"}), objects=("a",)),
            "write delete b",
            False,
        ),
        (Match(impacts=frozenset({Impact.READ}), verbs=frozenset({"delete"}), objects=("a",)), "write delete a", False),
    ],
)
def test_members_are_anded_and_lists_ored(match: Match, words: str, matched: bool) -> None:
    assert match.matches(operation(words)) is matched


@pytest.mark.parametrize(
    ("match", "groups", "concerned"),
    [
        (Match(), set(), True),
        (Match(groups=frozenset({"a", "b"})), {"b", "c"}, True),
        (Match(groups=frozenset({"a", "b"})), {"c"}, False),
        (Match(targets=Selector(labels={"env": "production"})), {"c"}, True),
        (Match(targets=Selector(names=frozenset({"sandbox"}))), {"c"}, False),
    ],
)
def test_a_match_concerns_its_groups_on_its_targets(match: Match, groups: set[str], concerned: bool) -> None:
    assert match.concerns(frozenset(groups), CORE) is concerned


def test_the_first_match_in_the_order_of_the_file_counts() -> None:
    one, two = Guardrail("one", Match(verbs=frozenset({"drop"})), "1"), Guardrail("two", Match(), "2")
    assert first_match((one, two), operation("schema drop t")) is one
    assert first_match((two, one), operation("schema drop t")) is two
    assert first_match((one,), operation("read select t")) is None


def test_a_guardrail_holds_exactly_if_somebody_may_approve() -> None:
    assert Guardrail("held", Match(), "", Approval(frozenset({"dba"}), 1, 60_000_000)).holds
    assert not Guardrail("denied", Match(), "no").holds
