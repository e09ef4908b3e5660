from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests.support.masked import BRANCHES, CUSTOMERS, FULL, HIDE, SENSITIVE, TAIL, decided
from vestibule.masking.layout import Fault, Field, Layout, Masking, layout
from vestibule.model.names import Digest
from vestibule.model.plan import Form, Plan

CLEAN = Plan(Form.CLEAN, Digest(""))
ID, SSN = Field("id", CUSTOMERS, 1, 23, 0), Field("ssn", CUSTOMERS, 2, 25, 1)
COMPUTED = Field("x", 0, 0, 25, 0)


def plain(text: str) -> Plan:
    plan = decided(text)
    assert isinstance(plan, Plan)
    return plan


def test_planned_columns_are_masked_with_type_and_format() -> None:
    found = layout(plain("SELECT id, ssn FROM customers"), [ID, SSN], SENSITIVE)

    assert found == Layout((None, Masking(TAIL, 25, 1)))
    assert not found.is_clear


def test_what_is_planned_is_masked_whatever_the_target_says() -> None:
    plan = plain("SELECT ssn FROM customers")

    assert layout(plan, [COMPUTED], SENSITIVE) == Layout((Masking(TAIL, 25, 0),))


def test_another_number_of_columns_is_a_fault() -> None:
    plan = plain("SELECT id, ssn FROM customers")

    assert isinstance(layout(plan, [ID], SENSITIVE), Fault)
    assert isinstance(layout(plan, [ID, SSN, COMPUTED], SENSITIVE), Fault)
    assert isinstance(layout(plain("SELECT * FROM nosuch"), [ID], SENSITIVE), Fault)


def test_a_sensitive_column_that_was_not_foretold_is_a_fault() -> None:
    fault = layout(CLEAN, [ID, SSN], SENSITIVE)

    assert fault == Fault("column 2 of the answer is customers.ssn, which was not foretold")
    assert isinstance(layout(plain("SELECT ssn, id FROM customers"), [ID, SSN], SENSITIVE), Fault)
    assert isinstance(layout(CLEAN, [Field("tax_ref", FULL, 2, 25, 0)], SENSITIVE), Fault)


def test_what_the_snapshot_does_not_know_is_hidden_and_asks_for_a_new_one() -> None:
    for field in (Field("new", 99_999, 1, 25, 0), Field("new", BRANCHES, 9, 25, 0)):
        assert layout(CLEAN, [ID, field], SENSITIVE) == Layout((None, Masking(HIDE, 25, 0)), is_stale=True)


def test_computed_columns_and_those_of_the_system_pass_as_they_were_proven_clean() -> None:
    fields = [COMPUTED, Field("relname", 1_259, 2, 19, 0), Field("ctid", CUSTOMERS, -1, 27, 0)]
    found = layout(CLEAN, fields, SENSITIVE)

    assert found == Layout((None, None, None))
    assert found.is_clear


NUMBERS = st.sampled_from([0, 1, 2, 3, 6, 9, -1])
FIELDS = st.lists(
    st.builds(Field, st.just("x"), st.sampled_from([0, CUSTOMERS, 99_999]), NUMBERS, st.just(25), st.just(0))
)


@given(FIELDS)
def test_a_sensitive_column_never_passes(fields: list[Field]) -> None:
    for plan in (CLEAN, plain("SELECT id, ssn FROM customers"), plain("SELECT count(ssn) FROM customers")):
        found = layout(plan, fields, SENSITIVE)
        if isinstance(found, Layout):
            passed = [field for field, masking in zip(fields, found.columns, strict=True) if masking is None]
            assert not [field for field in passed if (field.relation, field.number) in SENSITIVE.masks]
