"""The gateway's own question to a target."""

from __future__ import annotations

import pytest

from tests.support.policies import sample
from vestibule.model.errors import TargetProtocolError
from vestibule.model.names import TargetName
from vestibule.protocols.postgres import messages as pg
from vestibule.protocols.postgres.codec import encode
from vestibule.protocols.postgres.frames import Rows
from vestibule.protocols.postgres.learning import ANSWER_BYTES, Learning

TARGET = sample().targets[TargetName("core-banking")]
SHAPE = pg.RowDescription((pg.Field("x", 0, 0, 25, -1, -1, 0),) * 6)


def rows(*values: tuple[bytes, ...]) -> Rows:
    return Rows(b"".join(encode(pg.DataRow(each)) for each in values), len(values))


def test_the_answer_becomes_a_catalog() -> None:
    learning = Learning(TARGET)
    assert learning.take(SHAPE) is None
    assert learning.columns == 6
    learning.take_rows(
        rows(
            (b"function", b"public", b"state_count", b"sql", b"s", b"f"),
            (b"function", b"public", b"lower", b"plpgsql", b"v", b"f"),
            (b"session", b"search_path", b"public, audit", b"", b"", b""),
        )
    )
    assert learning.take(pg.CommandComplete("SELECT 2")) is None
    assert learning.columns is None
    learned = learning.take(pg.ReadyForQuery("I"))
    assert learned is not None
    assert learned.search_path == "public, audit"
    found = learned.catalog
    assert found.user_functions == {"state_count", "lower"}
    assert found.clean == {"state_count"}, "the policy vouches for it"


@pytest.mark.parametrize(
    "message", [pg.ErrorResponse((("C", "57014"),)), pg.CopyOutResponse(0, ()), pg.ParseComplete(), pg.NoData()]
)
def test_any_other_answer_is_the_targets_fault(message: pg.BackendMessage) -> None:
    with pytest.raises(TargetProtocolError):
        Learning(TARGET).take(message)


@pytest.mark.parametrize(
    "row",
    [
        (),
        (b"function",),
        (b"type", b"public", b"box"),
        (b"function", b"public", b"f", b"sql", b"s"),
        (b"session", b"search_path"),
        (b"session", b"temporary", b"t"),
        (b"session", b"temporary", b"t", b"many", b"", b""),
    ],
)
def test_rows_that_the_question_cannot_give_are_the_targets_fault(row: tuple[bytes, ...]) -> None:
    learning = Learning(TARGET)
    learning.take_rows(rows(row))

    with pytest.raises(TargetProtocolError, match="cannot be"):
        learning.take(pg.ReadyForQuery("I"))


def test_an_answer_is_bounded() -> None:
    learning = Learning(TARGET)
    big = rows((b"x" * (1 << 20),) * 6)
    for _ in range(ANSWER_BYTES // len(big.data)):
        learning.take_rows(big)
    with pytest.raises(TargetProtocolError):
        learning.take_rows(big)
    with pytest.raises(TargetProtocolError):
        Learning(TARGET).take_rows(Rows(b"D", 0, complete=False))
