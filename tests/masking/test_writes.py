from __future__ import annotations

import pytest

from tests.support.masked import SENSITIVE, decided, form
from vestibule.masking.refusal import RefusedError
from vestibule.masking.writes import Writer
from vestibule.model.statement import Unsupported

#: What may be written from what: (decision, statement).
WRITES = """
clean | INSERT INTO customers (id, ssn, home.street) VALUES (1, 'x', DEFAULT)
clean | INSERT INTO customers SELECT id, name, city FROM branches
refused | INSERT INTO branches (name) VALUES ((SELECT ssn FROM customers))
refused | INSERT INTO branches (name[(SELECT length(ssn) FROM customers)]) VALUES ('x')
clean | INSERT INTO customers (id) VALUES (1) ON CONFLICT (id) WHERE state = 'a' DO NOTHING
refused | INSERT INTO customers (id) VALUES (1) ON CONFLICT (id) WHERE ssn > 'a' DO NOTHING
refused | INSERT INTO customers (id) VALUES (1) ON CONFLICT (lower(ssn)) DO NOTHING
refused | INSERT INTO customers (id) VALUES (1) ON CONFLICT (id) DO UPDATE SET state = 'x' WHERE customers.ssn > 'a'
refused | INSERT INTO customers (id) VALUES (1) ON CONFLICT (id) DO UPDATE SET state = 'x' WHERE excluded.ssn > 'a'
clean | INSERT INTO customers (id) VALUES (1) ON CONFLICT (id) DO UPDATE SET ssn = 'x' WHERE excluded.state > 'a'
clean | INSERT INTO customers (id) VALUES (1) RETURNING id, 'x'
refused | INSERT INTO customers (id) VALUES (1) RETURNING id, lower(ssn)
plain(ssn) | INSERT INTO customers AS c (id) VALUES (1) RETURNING c.ssn
clean | UPDATE customers SET (state, ssn) = ROW('a', 'b')
refused | UPDATE customers SET (state, ssn) = (SELECT ssn, 'a' FROM customers)
refused | UPDATE customers SET (state, segment) = ROW(ssn, 'a')
refused | UPDATE branches SET name = (SELECT max(ssn) FROM customers)
refused | UPDATE branches SET name[(SELECT length(ssn) FROM customers)] = 'x'
refused | UPDATE branches b SET name = c.ssn FROM customers c
refused | UPDATE branches b SET name = 'x' FROM customers c WHERE c.ssn > 'a'
refused | UPDATE branches b SET name = 'x' FROM branches d JOIN customers c ON c.ssn = d.name
clean | UPDATE branches b SET name = c.state FROM customers c WHERE c.id = b.id
clean | UPDATE customers SET state = 'x' WHERE CURRENT OF d
refused | UPDATE customers SET state = 'x' WHERE ssn IN ('a')
plain(ssn) | UPDATE branches b SET name = 'x' FROM customers c WHERE c.id = b.id RETURNING c.ssn
plain(o) | UPDATE customers SET state = 'x' RETURNING WITH (OLD AS a, NEW AS b) a.ssn AS o, b.id
refused | UPDATE customers SET state = 'x' RETURNING WITH (OLD AS a, NEW AS b) a.ssn = b.ssn
clean | DELETE FROM customers WHERE state = 'x' AND email IS NULL
refused | DELETE FROM branches USING customers c WHERE c.ssn = name
plain(ssn) | DELETE FROM branches USING customers c WHERE c.id = branches.id RETURNING c.ssn
refused | WITH d AS (DELETE FROM branches USING customers c RETURNING c.ssn) SELECT 1 FROM d
clean | MERGE INTO customers c USING branches b ON c.id = b.id WHEN MATCHED THEN UPDATE SET ssn = b.name
clean | MERGE INTO customers c USING branches b ON c.id = b.id WHEN NOT MATCHED THEN INSERT (ssn) VALUES (b.name)
refused | MERGE INTO customers c USING branches b ON c.ssn = b.name WHEN MATCHED THEN DO NOTHING
refused | MERGE INTO branches b USING (SELECT lower(ssn) AS s FROM customers) c ON true WHEN MATCHED THEN DO NOTHING
refused | MERGE INTO branches b USING customers c ON true WHEN NOT MATCHED BY SOURCE AND b.name = c.ssn THEN DELETE
clean | MERGE INTO branches b USING customers c ON b.id = c.id WHEN MATCHED THEN DELETE RETURNING merge_action(), b.id
refused | MERGE INTO branches b USING customers c ON b.id = c.id WHEN MATCHED THEN DELETE RETURNING c.ssn
""".strip().splitlines()


@pytest.mark.parametrize("line", WRITES)
def test_nothing_that_decides_what_is_written_is_sensitive(line: str) -> None:
    expected, _, text = line.partition(" | ")
    decision = decided(text)

    assert form(decision) in ({expected, "plain()"} if expected == "clean" else {expected}), decision


@pytest.mark.parametrize("conflict", ["DO NOTHING", "ON CONSTRAINT customers_ssn_key DO NOTHING"])
def test_a_conflict_over_a_sensitive_relation_names_its_columns(conflict: str) -> None:
    conflicting = f"INSERT INTO customers (id) VALUES (1) ON CONFLICT {conflict}"

    decision = decided(conflicting)

    assert isinstance(decision, Unsupported)
    assert "ON CONFLICT (column)" in decision.hint
    assert form(decided(conflicting.replace("customers (", "branches ("))) == "clean"


def test_a_statement_that_does_not_write_is_not_understood() -> None:
    writer = Writer(lambda _: SENSITIVE.source(20_000), is_strict=True)

    with pytest.raises(RefusedError, match="TruncateStmt"):
        writer.write("TruncateStmt", {})
