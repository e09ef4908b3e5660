from __future__ import annotations

import pytest

from tests.support.masked import tree
from vestibule.masking.scene import Temporary
from vestibule.masking.temporaries import dropped, made


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("CREATE TEMP TABLE w (a int, b text, CHECK (a > 1))", ("w", Temporary(("a", "b")))),
        ("CREATE TEMP TABLE w (a int, LIKE branches)", ("w", Temporary())),
        ("CREATE TEMP TABLE w AS SELECT 1", ("w", Temporary())),
        ("SELECT 1 INTO TEMP w", ("w", Temporary())),
        ("SELECT 1 INTO TEMP w UNION SELECT 2 UNION SELECT 3", ("w", Temporary())),
        ("SELECT 1 UNION SELECT 2", None),
        ("INSERT INTO w VALUES (1)", None),
    ],
)
def test_a_statement_tells_what_it_makes(text: str, expected: tuple[str, Temporary] | None) -> None:
    assert made(tree(text)) == expected


def test_a_statement_tells_what_it_takes_away() -> None:
    assert dropped(tree("DROP TABLE w, pg_temp.x")) == ("w", "x")
    assert dropped(tree("SELECT 1")) == ()
