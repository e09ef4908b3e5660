"""Members of records are bounded and masked."""

from __future__ import annotations

import json
from uuid import UUID, uuid5

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.policies import identity
from vestibule.gate import records
from vestibule.gate.gate import StorageKey
from vestibule.model.names import Digest, RuleName
from vestibule.model.plan import Column, Form, Label, Mask, Plan, Transform
from vestibule.model.statement import Analysis, Impact, Operation

KEY = StorageKey("k1", bytes(32))


@given(session=st.uuids(), number=st.integers(1, 2**53))
def test_a_statement_is_named_by_the_uuid_of_its_number_in_its_session(session: UUID, number: int) -> None:
    assert records.statement_id(session, number) == str(uuid5(session, str(number)))


def test_empty_members_are_left_out_and_zeros_stay() -> None:
    assert records.compact({"a": None, "b": "", "c": [], "d": {}, "e": 0, "f": False}) == {"e": 0, "f": False}


def test_operations_beyond_the_bound_are_counted() -> None:
    operations = [Operation("select", f"t{at}", Impact.READ) for at in range(70)]
    members = records.operations_json(operations, KEY)
    assert len(members["ops"]) == 64  # type: ignore[arg-type] - a list by its construction
    assert members["ops_more"] == 6


def test_a_name_that_somebody_chose_is_cut() -> None:
    assert records.cut("x" * 1000) == "x" * 255 + "…"


def test_groups_are_written_in_one_order() -> None:
    assert records.groups_json(identity("b", "a")) == ["a", "b"]


def test_parameters_pass_the_storage_mask() -> None:
    [row, null] = records.parameters_json([(25, b"078-05-1120"), (0, None)], True, KEY)["parameters"]  # type: ignore[misc] - a list of two
    assert "1120" not in str(row)
    assert null == {"type": "0", "null": True}


def test_parameters_beyond_the_bound_are_counted() -> None:
    members = records.parameters_json([(25, b"x")] * 300, True, KEY)
    assert len(members["parameters"]) + members["parameters_more"] == 300  # type: ignore[operator,arg-type] - a list and a number


@given(st.lists(st.tuples(st.integers(0, 5000), st.one_of(st.none(), st.binary(max_size=3000))), max_size=400))
def test_whatever_is_bound_fits_a_record(parameters: list[tuple[int, bytes | None]]) -> None:
    members = records.parameters_json(parameters, True, KEY)
    assert len(json.dumps(members, ensure_ascii=False).encode()) <= records.PARAMETERS_BYTES


@pytest.mark.parametrize("character", ["x", '"', "\u6f22", "\x01", "\U0001f512"])
def test_whatever_somebody_calls_things_fits_a_record(character: str) -> None:
    name = character * 1_000
    operations = records.operations_json([Operation("select", name, Impact.READ)] * 100, KEY)
    assert len(json.dumps(operations, ensure_ascii=False).encode()) <= records.OPERATIONS_BYTES + 100
    groups = records.groups_json(identity(*(f"{number}{name}" for number in range(300))))
    assert len(json.dumps(groups, ensure_ascii=False).encode()) <= records.GROUPS_BYTES
    texts = [(25, (character * (1_000 // len(character.encode()))).encode())] * 300
    parameters = records.parameters_json(texts, True, KEY)
    assert len(json.dumps(parameters, ensure_ascii=False).encode()) <= records.PARAMETERS_BYTES + 100


def label(name: str) -> Label:
    return Label(RuleName(name), ("*.*.x",), Transform())


def column(name: str) -> Column:
    return Column("x", None, Mask(RuleName(name), Transform()))


@pytest.mark.parametrize(
    ("stored", "named"),
    [
        (Plan(Form.PLAIN, Digest(""), (column("a"), column("c"), column("the system's own"))), ["a"]),
        (Plan(Form.CLEAN, Digest(""), None), []),
        (None, ["a", "b"]),
    ],
)
def test_only_entries_that_let_something_pass_are_named(stored: Plan | None, named: list[str]) -> None:
    analysis = Analysis("SelectStmt", (), 0, 1, stored=stored)
    labels = [label("a"), label("b"), label("c")]

    assert records.clear_by_json([analysis], [label("c")], labels) == named
    assert records.clear_by_json([analysis], labels, labels) == []
