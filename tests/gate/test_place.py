"""What a commitment covers besides the text."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.support.gates import gate
from tests.support.policies import identity
from vestibule.evidence.commitment import bytes_mac
from vestibule.gate.place import Place, committed
from vestibule.model.names import TargetName
from vestibule.model.statement import Parameter, Statement

STATEMENT = Statement(b"DELETE FROM loans WHERE id = $1", (), (Parameter(23, 0, b"7"),), (0,), (1,))


def place() -> Place:
    target = gate().target(identity("engineering"), TargetName("core-banking"))
    assert target is not None
    return Place("postgres", target, "core", "public")


def mac(where: Place, statement: Statement = STATEMENT) -> str:
    return bytes_mac(bytes(32), committed(where, statement))


@pytest.mark.parametrize("changed", [{"protocol": "mysql"}, {"database": "copy"}, {"search_path": "public, own"}])
def test_a_commitment_covers_where_the_statement_goes(changed: dict[str, str]) -> None:
    assert mac(replace(place(), **changed)) != mac(place())  # type: ignore[arg-type]  # words of the place


@pytest.mark.parametrize(
    "changed",
    [
        {"text": b"DELETE FROM loans WHERE id = $1 "},
        {"parameters": (Parameter(23, 0, b"8"),)},
        {"parameters": (Parameter(23, 0, None),)},
        {"parameter_formats": (1,)},
        {"result_formats": (0,)},
        {"parameter_types": (20,)},
        {"meaning": (b"SELECT 1",)},
        {"catalog": "another"},
    ],
)
def test_a_commitment_covers_every_part_of_a_statement(changed: dict[str, object]) -> None:
    assert mac(place(), replace(STATEMENT, **changed)) != mac(place())  # type: ignore[arg-type]  # parts by name
