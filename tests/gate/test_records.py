"""Members of records are bounded and masked."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests.support.policies import identity
from vestibule.gate import records
from vestibule.gate.gate import StorageKey
from vestibule.model.statement import Impact, Operation

KEY = StorageKey("k1", bytes(32))


def test_empty_members_are_left_out_and_zeros_stay() -> None:
    assert records.compact({"a": None, "b": "", "c": [], "d": {}, "e": 0, "f": False}) == {"e": 0, "f": False}


def test_operations_beyond_the_bound_are_counted() -> None:
    operations = [Operation("select", f"t{at}", Impact.READ) for at in range(70)]
    members = records.operations_json(operations)
    assert len(members["ops"]) == 64  # type: ignore[arg-type] - a list by its construction
    assert members["ops_more"] == 6


def test_a_name_that_somebody_chose_is_cut() -> None:
    assert records.cut("x" * 1000) == "x" * 255 + "…"


def test_groups_are_written_in_one_order() -> None:
    assert records.groups_json(identity("b", "a")) == ["a", "b"]


def test_parameters_pass_the_storage_mask() -> None:
    [row, null] = records.parameters_json([(25, b"078-05-1120"), (0, None)], True, KEY)
    assert "1120" not in str(row)
    assert null == {"type": "0", "null": True}


@given(st.lists(st.tuples(st.integers(0, 5000), st.one_of(st.none(), st.binary(max_size=3000))), max_size=400))
def test_whatever_is_bound_fits_a_record(parameters: list[tuple[int, bytes | None]]) -> None:
    rows = records.parameters_json(parameters, True, KEY)
    assert len(rows) <= records.PARAMETERS_SHOWN
    assert len(str(rows)) < 45_000
