from __future__ import annotations

import pytest

from tests.support.masked import tree
from tests.support.postgres import PostgresServer
from vestibule.masking.titles import title

EXPRESSIONS = """
id
c.id
lower(name)
pg_catalog.lower(name)
1
'a'
id + 1
NOT true
name IS NULL
name COLLATE "C"
coalesce(name, 'x')
greatest(1, 2)
least(1, 2)
ARRAY[1]
ROW(1, 2)
(ROW(1, 2)).f1
(ARRAY[1])[1]
1::int8
1::pg_catalog.int8::text
name::text
lower(name)::name
(ROW(1, 2)).f1::text
(ARRAY[1])[1]::text
(1 + 1)::numeric(5, 2)
(name COLLATE "C")::text
('a' COLLATE "C")::text
greatest(1, 2)::text
ARRAY[1]::text
ROW(1)::text
now()::date
CAST(NULL AS integer)
true
true::text
""".strip().splitlines()


def titled(expression: str) -> str | None:
    target = tree(f"SELECT {expression}")["stmt"]["SelectStmt"]["targetList"][0]["ResTarget"]["val"]
    return title(target)


@pytest.mark.parametrize("expression", ["EXISTS (SELECT 1)", "current_date", "JSON_OBJECT('a': 1)"])
def test_what_the_server_has_its_own_rules_for_has_no_known_name(expression: str) -> None:
    assert titled(expression) is None


def test_known_names_are_those_of_the_server(postgres15: PostgresServer) -> None:
    with postgres15.connect() as connection:
        for expression in EXPRESSIONS:
            known = titled(expression)
            answer = connection.execute(
                f"SELECT {expression} FROM (SELECT 1 AS id, 'n'::text AS name) c"  # type: ignore[arg-type]
            )
            assert answer.description is not None
            assert known in (None, answer.description[0].name), expression
