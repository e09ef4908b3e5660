from __future__ import annotations

import pytest

from tests.support.masked import decided, form
from vestibule.model.plan import Plan
from vestibule.model.statement import Unsupported

#: What names mean: (decision, statement).
NAMES = """
clean | SELECT ssn FROM branches AS x(ssn), customers AS y(a, b)
refused | SELECT lower(b) FROM branches AS x(ssn), customers AS y(a, b)
clean | SELECT lower(y.email) FROM customers AS y(a, b, c, email)
plain(ssn) | SELECT customers.ssn FROM (SELECT 1 AS ssn) c, customers
clean | SELECT c.ssn FROM (SELECT 1 AS ssn) c, customers
refused | SELECT lower(ssn) FROM (SELECT 1 AS ssn) c, customers
clean | SELECT (SELECT lower(ssn) FROM (SELECT 'a' AS ssn) x) FROM customers
refused | SELECT (SELECT lower(ssn) FROM branches) FROM customers
refused | SELECT (SELECT lower(ssn) FROM jsonb_each('{}')) FROM customers
refused | SELECT (SELECT lower(ssn) FROM (SELECT f.* FROM jsonb_each('{}') f) x) FROM customers
refused | SELECT x.v FROM customers, (SELECT 1 AS ssn) s, LATERAL (SELECT lower(customers.ssn) AS v) x
clean | SELECT x.v FROM branches AS customers(id, ssn), LATERAL (SELECT lower(customers.ssn) AS v) x
refused | SELECT (SELECT x FROM branches AS b(ssn), (SELECT lower(ssn) AS x) y) FROM customers
clean | SELECT (SELECT x FROM branches AS b(ssn), LATERAL (SELECT lower(ssn) AS x) y) FROM customers
refused | SELECT (SELECT 1 FROM branches AS b(ssn), branches c JOIN branches d ON c.id::text = ssn) FROM customers
clean | SELECT (SELECT 1 FROM branches AS b(ssn) JOIN branches d ON d.name = ssn) FROM customers
clean | SELECT customers FROM (SELECT 1 AS customers) x, customers
refused | SELECT customers FROM (SELECT 1 AS customer) x, customers
plain(ssn) | SELECT ssn FROM customers ssn
plain(ssn) | SELECT ssn.ssn FROM customers ssn
refused | SELECT lower(ssn.ssn) FROM customers ssn
clean | SELECT c.id FROM customers c JOIN branches b USING (id)
plain(ssn) | SELECT c.ssn FROM customers c JOIN branches b USING (id)
plain(ssn) | SELECT ssn FROM customers c JOIN branches b USING (id)
plain(ssn) | SELECT ssn FROM (customers c JOIN branches b USING (id)) j
refused | SELECT lower(j.ssn) FROM (customers c JOIN branches b USING (id)) j
refused | SELECT c.ssn FROM (customers c JOIN branches b USING (id)) j
clean | SELECT u.id FROM customers c JOIN branches b USING (id) AS u
plain(ssn) | SELECT u.id, c.ssn FROM customers c JOIN branches b USING (id) AS u
clean | SELECT id FROM customers NATURAL JOIN branches
refused | SELECT id FROM customers NATURAL JOIN (SELECT ssn FROM customers) x
refused | SELECT 1 FROM (SELECT id AS ssn FROM branches) x NATURAL JOIN customers
clean | SELECT a FROM ROWS FROM (jsonb_to_record('{}') AS (a int)) x, customers
clean | SELECT ssn FROM jsonb_to_record('{}') AS x(ssn int), branches
plain(s) | SELECT s FROM (SELECT id, ssn FROM customers) t(i, s)
clean | SELECT i FROM (SELECT id, ssn FROM customers) t(i, s) ORDER BY i
refused | SELECT i FROM (SELECT id, ssn FROM customers) t(i, s) ORDER BY s
refused | SELECT i FROM (SELECT id, ssn FROM customers) t(i, s) WHERE t.s > 'a'
clean | SELECT column1 FROM (VALUES (1), (2)) v, customers
clean | SELECT lower FROM (SELECT lower(state) FROM customers) t
plain(ssn) | SELECT ssn, current_date, EXISTS (SELECT 1) FROM customers
refused | SELECT (SELECT lower(ssn) FROM (SELECT current_date) x) FROM customers
clean | SELECT "?column?" FROM (SELECT 1 FROM customers) t
""".strip().splitlines()

#: The same for WITH.
WITH = """
clean | WITH q AS (SELECT ssn FROM customers) SELECT 1 FROM q
clean | WITH q AS (SELECT id, ssn FROM customers) SELECT id FROM q ORDER BY id
refused | WITH q AS (SELECT ssn FROM customers) SELECT lower(ssn) FROM q
refused | WITH q AS (SELECT ssn FROM customers) SELECT 1 FROM q WHERE ssn > 'a'
refused | WITH q AS (SELECT lower(ssn) AS s FROM customers) SELECT 1
refused | WITH q(a) AS (SELECT ssn FROM customers) SELECT 1 FROM q GROUP BY a
refused | WITH q AS (SELECT ssn FROM customers) SELECT q FROM q
refused | WITH q AS (SELECT ssn FROM customers) SELECT (SELECT ssn FROM q)
refused | WITH q AS (WITH r AS (SELECT ssn FROM customers) SELECT lower(ssn) FROM r) SELECT 1
clean | WITH q AS (SELECT 'a' AS ssn), customers AS (SELECT * FROM q) SELECT lower(ssn) FROM customers
refused | WITH q AS (SELECT * FROM customers), customers AS (SELECT 'a' AS ssn) SELECT lower(ssn) FROM q
clean | WITH RECURSIVE q AS (SELECT * FROM customers), customers AS (SELECT 'a' AS ssn) SELECT lower(ssn) FROM q
clean | WITH RECURSIVE t(n) AS (VALUES (1) UNION ALL SELECT n + 1 FROM t WHERE n < 9) SELECT n FROM t, customers
refused | WITH RECURSIVE t(n) AS (SELECT ssn FROM customers UNION ALL SELECT n FROM t) SELECT n FROM t
refused | WITH RECURSIVE t(n) AS (SELECT 'a' UNION ALL SELECT ssn FROM t, customers) SELECT n FROM t
refused | WITH RECURSIVE t AS (SELECT 1 FROM t, customers) SELECT 1 FROM t
refused | WITH RECURSIVE t AS (SELECT 1 FROM u), u AS (SELECT 1 FROM t) SELECT 1 FROM t, customers
clean | WITH RECURSIVE t(n) AS (SELECT 1 UNION SELECT n FROM t) CYCLE n SET c USING p SELECT c, p FROM t, customers
refused | SELECT lower(ssn) FROM (WITH q AS (SELECT ssn FROM customers) SELECT * FROM q) x
plain(ssn) | SELECT ssn FROM (WITH q AS (SELECT ssn FROM customers) SELECT * FROM q) x
refused | WITH q AS (SELECT ssn FROM customers) INSERT INTO tickets (note) SELECT ssn FROM q
clean | WITH q AS (SELECT id, ssn FROM customers) INSERT INTO tickets (id) SELECT id FROM q
clean | WITH customers AS (SELECT 1 AS ssn) SELECT (SELECT lower(ssn) FROM customers)
refused | WITH customers AS (SELECT 1 AS ssn) SELECT (SELECT lower(ssn) FROM public.customers)
""".strip().splitlines()


@pytest.mark.parametrize("line", [*NAMES, *WITH])
def test_names_mean_what_they_mean_on_the_server(line: str) -> None:
    expected, _, text = line.partition(" | ")
    decision = decided(text)

    # What is only carried on, and then left, is no reference to speak of: it may be called either.
    assert form(decision) in ({expected, "plain()"} if expected == "clean" else {expected}), decision


def columns(text: str) -> list[str]:
    decision = decided(text)
    assert isinstance(decision, Plan)
    assert decision.columns is not None
    return [column.name + ("*" if column.mask else "") for column in decision.columns]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("SELECT * FROM customers JOIN branches USING (id)", "id ssn* email* state segment home* name city"),
        ("SELECT * FROM branches NATURAL JOIN customers", "id name city ssn* email* state segment home*"),
        ("SELECT b.*, c.ssn FROM customers c, branches b", "id name city ssn*"),
        (
            "SELECT j.* FROM (branches b JOIN customers c USING (id)) j(x, y)",
            "x y city ssn* email* state segment home*",
        ),
        ("SELECT * FROM branches b JOIN customers c ON true", "id name city id ssn* email* state segment home*"),
        ("SELECT ssn, lower(state), 1, state::text, 1 AS x FROM customers", "ssn* lower ?column? state x"),
        (
            "UPDATE customers c SET state = 'x' FROM branches b RETURNING *",
            "id ssn* email* state segment home* id name city",
        ),
    ],
)
def test_a_star_stands_for_the_columns_in_the_servers_order(text: str, expected: str) -> None:
    assert columns(text) == expected.split(" ")


def test_an_answer_with_masked_columns_and_others_that_nobody_can_count_is_refused() -> None:
    decision = decided("SELECT *, f.* FROM customers, jsonb_each('{}') f")

    assert isinstance(decision, Unsupported)
    assert decision.hint == "Name the columns one by one."


def test_sides_of_a_set_operation_have_the_same_number_of_columns() -> None:
    decision = decided("SELECT id FROM customers UNION SELECT id, name FROM branches")

    assert isinstance(decision, Unsupported)
    assert decision.code == "42601"


@pytest.mark.parametrize("clause", ["ORDER BY", "GROUP BY"])
@pytest.mark.parametrize(
    ("outputs", "by", "is_refused"),
    [
        ("id, ssn", "1", False),
        ("id, ssn", "2", True),
        ("id, ssn", "3", False),
        ("*", "2", True),
        ("id AS ssn", "ssn", True),
        ("ssn AS s, id", "s", True),
        ("ssn AS id, state", "id", True),
        ("id AS x, ssn", "x", False),
        ("id, ssn", "customers.ssn", True),
        ("id, ssn", "customers.id", False),
        ("id, ssn", "lower(ssn)", True),
    ],
)
def test_numbers_and_output_names_refer_to_what_they_name(clause: str, outputs: str, by: str, is_refused: bool) -> None:
    assert (form(decided(f"SELECT {outputs} FROM customers {clause} {by}")) == "refused") is is_refused
