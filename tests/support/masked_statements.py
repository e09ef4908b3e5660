"""Statements over the small bank of `masked`, by what masking decides of them."""

from __future__ import annotations

#: Statements that refer to no sensitive column, whatever they do.
CLEAN = """
SELECT 1
SELECT now() IS NOT NULL
SELECT count(*) FROM customers
SELECT state, count(*) FROM customers GROUP BY state ORDER BY state
SELECT c.state, sum(a.balance) FROM customers c JOIN accounts a ON a.customer_id = c.id GROUP BY 1 ORDER BY 1
SELECT id FROM customers WHERE id IN (SELECT customer_id FROM accounts WHERE balance > 5)
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 10) SELECT sum(i) FROM n
SELECT to_jsonb(b) FROM branches b
SELECT b FROM branches b
SELECT * FROM reporting.v_public
SELECT id, n FROM reporting.v_expr
SELECT hid, changed_at FROM cust_history
SELECT x.a FROM customers AS x(a, b)
SELECT ctid, tableoid, xmin FROM customers
SELECT c.ctid FROM customers c
SELECT id FROM (SELECT id, state FROM customers) t WHERE state = 'NY'
SELECT EXISTS (SELECT 1 FROM customers WHERE id = 5)
WITH customers AS (SELECT 1 AS ssn) SELECT ssn FROM customers
WITH ssn AS (SELECT 2 AS id) SELECT ssn.id FROM ssn, customers
SELECT g.ssn FROM customers, LATERAL (SELECT 1 AS ssn) g
SELECT id AS ssn FROM customers
SELECT relname FROM pg_class
SELECT proname FROM pg_proc ORDER BY 1
SELECT tablename FROM pg_stats
SELECT column_name FROM information_schema.columns
SELECT name.text FROM branches name, customers
SELECT x.id FROM customers c, LATERAL (VALUES (c.id)) x(id)
SELECT id FROM customers TABLESAMPLE SYSTEM (10)
SELECT id FROM customers FOR UPDATE
SELECT j.id FROM (customers JOIN accounts USING (id)) j
SELECT * FROM ROWS FROM (generate_series(1, 2), generate_series(1, 3)) WITH ORDINALITY
VALUES (1, 'a'), (2, 'b') ORDER BY 1
TABLE branches
EXPLAIN (COSTS OFF) SELECT * FROM branches
EXPLAIN ANALYZE SELECT id FROM customers
EXPLAIN SELECT ssn FROM customers WHERE id = 5
COPY branches TO STDOUT
COPY (SELECT id, state FROM customers) TO STDOUT (FORMAT csv)
COPY branches FROM STDIN
COPY customers FROM STDIN
COPY branches FROM STDIN WHERE id > 5
INSERT INTO tickets VALUES (800, 1, 'hello', 'n')
INSERT INTO customers (id, ssn) VALUES (1, '353-34-3540')
INSERT INTO customers (id, ssn) VALUES (1, $1) ON CONFLICT (id) DO UPDATE SET state = excluded.state RETURNING id
INSERT INTO tickets SELECT id, id, state, segment FROM customers
INSERT INTO branches DEFAULT VALUES ON CONFLICT DO NOTHING
UPDATE customers SET ssn = NULL WHERE id = 1
UPDATE customers SET home.street = 'x' WHERE id = 1 RETURNING id
UPDATE tickets t SET note = c.state FROM customers c WHERE c.id = t.customer_id
UPDATE tickets SET (note, subject) = (SELECT state, segment FROM customers WHERE customers.id = tickets.id)
DELETE FROM customers WHERE id = 5
DELETE FROM tickets USING customers c WHERE c.id = customer_id AND c.state = 'NY' RETURNING tickets.*
MERGE INTO tickets t USING customers c ON c.id = t.id WHEN MATCHED THEN UPDATE SET note = c.state
MERGE INTO tickets t USING customers c ON c.id = t.id WHEN NOT MATCHED THEN INSERT (id) VALUES (c.id)
WITH gone AS (DELETE FROM customers RETURNING id) SELECT count(*) FROM gone
PREPARE p AS SELECT id FROM customers
DECLARE d CURSOR FOR SELECT id FROM customers
CREATE TEMP TABLE w (a int PRIMARY KEY, b text CHECK (length(b) > 1))
CREATE TEMP TABLE w (LIKE branches)
CREATE TABLE pg_temp.w (a int)
CREATE TEMP TABLE w AS SELECT id, state FROM customers
SELECT id INTO TEMP w FROM customers
SELECT id INTO TEMP w FROM customers UNION SELECT id FROM branches
BEGIN
COMMIT
ROLLBACK TO SAVEPOINT a
SAVEPOINT a
SHOW search_path
SET search_path = reporting, public
RESET ALL
DISCARD ALL
LISTEN ch
UNLISTEN *
NOTIFY ch, 'text'
LOCK TABLE customers
SET CONSTRAINTS ALL DEFERRED
TRUNCATE customers
VACUUM customers
ANALYZE customers
REINDEX TABLE customers
CLUSTER customers
REFRESH MATERIALIZED VIEW kept
CHECKPOINT
CLOSE c
DEALLOCATE p
SELECT set_config('jit', $1, false)
"""

#: Statements that carry sensitive columns on, or count them: (what is masked, statement).
PLAIN = """
ssn | SELECT id, ssn FROM customers WHERE id <= 12 ORDER BY id
ssn, email, home | SELECT * FROM customers
ssn, email, home | TABLE customers
ssn, email, home | SELECT c.* FROM customers c JOIN branches b ON b.id = c.id
ssn, email, home | SELECT * FROM customers JOIN branches USING (id)
ssn, email, home | SELECT * FROM (customers CROSS JOIN branches) AS j
id | SELECT ssn AS id, id AS ssn FROM customers
ssn | SELECT /* /* nested */ hidden */ SsN FROM CuStOmErS
ssn | SELECT customers.ssn FROM customers, branches WHERE customers.id = branches.id
ssn | SELECT bank.public.customers.ssn FROM bank.public.customers
ssn | SELECT public.customers.ssn FROM customers
ssn | SELECT ssn FROM ONLY customers
ssn | SELECT ssn FROM customers_vip
b | SELECT x.b FROM customers AS x(a, b)
b | SELECT b FROM (customers JOIN branches USING (id)) AS x(a, b)
old_row | SELECT old_row FROM cust_history
tax_ref | SELECT tax_ref FROM reporting.v_full
r | SELECT r, n FROM reporting.v_expr
z | WITH q AS (SELECT ssn AS z FROM customers) SELECT z FROM q
b | WITH q AS (SELECT * FROM customers), r(a, b) AS (SELECT id, ssn FROM q) SELECT b FROM r WHERE a <= 12
ssn | WITH customers AS (SELECT * FROM customers) SELECT ssn FROM customers
ssn | SELECT b.id, l.ssn FROM branches b, LATERAL (SELECT ssn FROM customers c WHERE c.id = b.id) l
s | SELECT s FROM customers JOIN (SELECT id AS i, ssn AS s FROM customers) t ON t.i = customers.id
ssn | SELECT ssn FROM customers TABLESAMPLE SYSTEM (100)
ssn | SELECT ssn FROM customers FOR UPDATE OF customers
ssn | SELECT id, ssn FROM customers GROUP BY id
ssn | SELECT ssn FROM customers WHERE EXISTS (SELECT * FROM cards WHERE cards.id = customers.id)
ssn | UPDATE customers SET state = state WHERE id <= 12 RETURNING ssn
ssn, email, home | UPDATE customers SET state = state RETURNING *
ssn, ssn | UPDATE customers SET state = state RETURNING old.ssn, new.ssn
ssn | UPDATE customers SET state = state RETURNING WITH (OLD AS o) o.ssn
ssn | DELETE FROM customers WHERE id = 1 RETURNING id, ssn
email | INSERT INTO customers (id) VALUES (5) RETURNING email
prosrc | SELECT prosrc FROM pg_proc WHERE proname = 'f'
most_common_vals | SELECT * FROM pg_stats
 | SELECT count(ssn), count(DISTINCT email) FROM customers
 | SELECT EXISTS (SELECT * FROM customers)
ssn | SELECT ssn, EXISTS (SELECT * FROM customers) AS e FROM customers
 | SELECT pg_catalog.count(ssn) FROM customers
 | SELECT id FROM customers WHERE email IS NULL
 | SELECT id, ssn IS NOT NULL FROM customers ORDER BY id
 | SELECT state FROM customers GROUP BY state HAVING count(ssn) > 1
 | SELECT id FROM (SELECT * FROM customers) t
 | CREATE TEMP TABLE w AS SELECT count(ssn) FROM customers
 | COPY (SELECT count(ssn) FROM customers) TO STDOUT
 | DECLARE d CURSOR FOR SELECT id FROM customers WHERE ssn IS NULL
"""

#: Statements that are refused, and in which construct: (construct, statement).
REFUSED = """
WHERE | SELECT 1 FROM customers WHERE ssn = '353-34-3540'
WHERE | SELECT 1 FROM customers WHERE ssn = $1
WHERE | SELECT 1 FROM customers WHERE id = 1 AND ascii(substr(ssn, 1, 1)) >= 51
WHERE | SELECT 1 FROM reporting.v_full WHERE tax_ref LIKE '3%'
WHERE | SELECT 1 FROM customers c WHERE (c.id, c.ssn) = (1, 'x')
WHERE | SELECT 1 FROM customers c WHERE c.ssn IS NOT DISTINCT FROM 'x'
WHERE | SELECT 1 FROM customers WHERE ssn = ANY (SELECT name FROM branches)
WHERE as a whole row | SELECT 1 FROM customers c WHERE c IS NOT NULL
WHERE as a whole row | SELECT 1 FROM customers c WHERE c.* IS NULL
a subquery in WHERE | SELECT 1 FROM branches WHERE name IN (SELECT ssn FROM customers)
a subquery in WHERE | SELECT 1 FROM branches WHERE name = (SELECT ssn FROM customers LIMIT 1)
WHERE | SELECT id FROM branches b WHERE EXISTS (SELECT 1 FROM customers c WHERE c.ssn = b.name)
an expression | SELECT ssn || '' FROM customers
an expression | SELECT ssn::varchar(40) FROM customers
an expression | SELECT ssn COLLATE "C" FROM customers
an expression | SELECT reverse(ssn) FROM customers
an expression | SELECT CASE WHEN ssn > 'a' THEN 1 END FROM customers
an expression | SELECT ARRAY[ssn] FROM customers
an expression | SELECT ROW(id, ssn) FROM customers
an expression | SELECT string_agg(state, ssn) FROM customers
an expression | SELECT count(*) FILTER (WHERE ssn > 'a') FROM customers
an expression | SELECT count(ssn) FILTER (WHERE id > 1) FROM customers
an expression | SELECT count(ssn) OVER () FROM customers
an expression | SELECT count(ssn ORDER BY id) FROM customers
an expression | SELECT count(VARIADIC ssn) FROM customers
an expression | SELECT row_number() OVER (ORDER BY ssn) FROM customers
an expression | SELECT min(ssn) FROM customers
an expression | SELECT xmlforest(ssn, email) FROM customers
an expression | SELECT xmlelement(name e, ssn) FROM customers
an expression | SELECT JSON_OBJECT('k': ssn) FROM customers
an expression | SELECT (home).street FROM customers
an expression | SELECT home['kyc'] FROM customers
an expression as a whole row | SELECT count(c) FROM customers c
an expression as a whole row | SELECT count(c.*) FROM customers c
an expression as a whole row | SELECT to_jsonb(c) - 'id' FROM customers c
an expression as a whole row | SELECT c::text FROM customers c
an expression as a whole row | SELECT (c).ssn FROM customers c
an expression as a whole row | SELECT (c).id FROM customers c
an expression as a whole row | SELECT (c).* FROM customers c
an expression as a whole row | SELECT ssn(c) FROM customers c
an expression as a whole row | SELECT ROW(c.*) FROM customers c
a whole row | SELECT c FROM customers c
a whole row | SELECT customers FROM customers
a whole row | SELECT c.length FROM customers c
a whole row | SELECT public.customers.length FROM customers
a whole row | SELECT t FROM (SELECT * FROM customers) t
a subquery in an expression | SELECT (SELECT ssn FROM customers WHERE id = 1)
a subquery in an expression | SELECT ARRAY(SELECT ssn FROM customers)
a subquery in an expression | SELECT (SELECT c.ssn) FROM customers c
JOIN ... ON | SELECT 1 FROM customers c JOIN branches b ON b.name = c.ssn
JOIN ... USING | SELECT 1 FROM customers JOIN customers_vip USING (ssn)
NATURAL JOIN | SELECT 1 FROM customers NATURAL JOIN customers_vip
ORDER BY | SELECT id FROM customers ORDER BY ssn
ORDER BY | SELECT id, ssn FROM customers ORDER BY 2
ORDER BY | SELECT ssn AS id, id AS ssn FROM customers ORDER BY id
ORDER BY | SELECT * FROM customers ORDER BY 2
ORDER BY | SELECT id FROM (SELECT id, ssn FROM customers ORDER BY ssn) t
GROUP BY | SELECT count(*) FROM customers GROUP BY ssn
GROUP BY | SELECT ssn FROM customers GROUP BY 1
GROUP BY | SELECT ssn AS s FROM customers GROUP BY s
GROUP BY | SELECT 1 FROM customers GROUP BY GROUPING SETS ((ascii(ssn)), ())
GROUP BY | SELECT 1 FROM customers GROUP BY ROLLUP (state, ssn)
HAVING | SELECT state FROM customers GROUP BY state HAVING max(ssn) > 'a'
DISTINCT | SELECT DISTINCT ssn FROM customers
DISTINCT | SELECT DISTINCT ON (id) ssn FROM customers
DISTINCT ON | SELECT DISTINCT ON (ssn) id FROM customers
WINDOW | SELECT rank() OVER w FROM customers WINDOW w AS (ORDER BY ssn)
a subquery in LIMIT | SELECT name FROM branches OFFSET (SELECT ssn FROM customers WHERE id = 1)
a subquery in LIMIT | SELECT name FROM branches LIMIT (SELECT ssn FROM customers WHERE id = 1)
an expression | SELECT name FROM branches LIMIT (SELECT ascii(ssn) FROM customers WHERE id = 1)
UNION | SELECT state FROM customers UNION ALL SELECT ssn FROM customers
UNION | WITH RECURSIVE r(n, s) AS (SELECT 1, ssn FROM customers UNION ALL SELECT n + 1, s FROM r) SELECT s FROM r
INTERSECT | SELECT ssn FROM customers INTERSECT SELECT ssn FROM customers
VALUES | SELECT s FROM customers, LATERAL (VALUES (ssn)) v(s)
a function in FROM | SELECT u FROM customers, unnest(ARRAY[ssn]) u
an expression | SELECT f.a FROM ROWS FROM (unnest((SELECT array_agg(ssn) FROM customers))) AS f(a)
XMLTABLE | SELECT x.t FROM customers, XMLTABLE('/a' PASSING ssn COLUMNS t text PATH 'b') x
JSON_TABLE | SELECT x.t FROM customers, JSON_TABLE(ssn, '$' COLUMNS (t text PATH '$.b')) x
TABLESAMPLE | SELECT id FROM customers, LATERAL (SELECT 1 FROM branches TABLESAMPLE SYSTEM (length(ssn))) b
SET | UPDATE tickets t SET note = c.ssn FROM customers c WHERE c.id = t.id
SET | UPDATE customers SET ssn = 'x' || ssn
SET | INSERT INTO customers (id) VALUES (1) ON CONFLICT (id) DO UPDATE SET state = customers.ssn
SET | INSERT INTO customers (id) VALUES (1) ON CONFLICT (id) DO UPDATE SET state = excluded.ssn
SET | MERGE INTO tickets t USING customers c ON c.id = t.id WHEN MATCHED THEN UPDATE SET note = c.ssn
WHEN | MERGE INTO tickets t USING customers c ON c.id = t.id WHEN NOT MATCHED THEN INSERT (note) VALUES (c.ssn)
WHEN | MERGE INTO tickets t USING customers c ON c.id = t.id WHEN MATCHED AND c.ssn > 'a' THEN DELETE
MERGE ... ON | MERGE INTO tickets t USING customers c ON c.ssn = t.note WHEN MATCHED THEN DELETE
RETURNING of MERGE | MERGE INTO customers c USING tickets t ON c.id = t.id WHEN MATCHED THEN DELETE RETURNING *
RETURNING in WITH | WITH g AS (DELETE FROM customers RETURNING ssn) SELECT count(*) FROM g
INSERT ... SELECT | INSERT INTO tickets SELECT id, id, ssn, '' FROM customers
INSERT ... SELECT | INSERT INTO customers TABLE ONLY customers
VALUES | INSERT INTO accounts SELECT 1 FROM customers, LATERAL (VALUES (ssn)) v
ON CONFLICT | INSERT INTO customers (id) VALUES (1) ON CONFLICT (ssn) DO NOTHING
WHERE | DELETE FROM customers WHERE ssn = 'x'
WHERE | UPDATE customers SET state = 'x' WHERE ssn > 'a'
an expression | UPDATE customers SET state = 'x' RETURNING lower(ssn)
a whole row | UPDATE customers SET state = 'x' RETURNING old
"""

#: Statements that are refused for what they are.
CLOSED = """
COPY customers TO STDOUT
COPY customers (id) TO STDOUT
COPY (SELECT ssn FROM customers) TO STDOUT
COPY (TABLE reporting.v_full) TO STDOUT
COPY (DELETE FROM customers RETURNING ssn) TO STDOUT
COPY branches TO '/tmp/x'
COPY branches FROM PROGRAM 'ls'
COPY customers FROM STDIN WHERE ssn > 'a'
PREPARE p AS SELECT ssn FROM customers
DECLARE d CURSOR FOR SELECT ssn FROM customers
DECLARE d BINARY CURSOR FOR TABLE customers
SELECT ssn INTO TEMP w FROM customers
SELECT id INTO w FROM branches
SELECT id INTO w FROM branches UNION SELECT 1
SELECT 1 FROM (SELECT id INTO w FROM branches) x
CREATE TEMP TABLE w AS SELECT ssn FROM customers
CREATE TEMP TABLE customers AS SELECT id FROM branches
CREATE TEMP TABLE customers (id int)
CREATE TABLE w AS SELECT 1
CREATE TABLE w (a int)
CREATE TEMP TABLE w (LIKE customers)
CREATE TEMP TABLE w () INHERITS (customers)
CREATE TEMP TABLE w (a int REFERENCES customers)
CREATE MATERIALIZED VIEW w AS SELECT 1
CREATE TEMP VIEW w AS SELECT 1
EXPLAIN ANALYZE SELECT ssn FROM customers
EXPLAIN SELECT 1 FROM customers WHERE ssn = 'x'
EXPLAIN ANALYZE UPDATE customers SET state = 'x' RETURNING ssn
EXECUTE nosuch
FETCH ALL FROM nosuch
DROP TABLE branches
INSERT INTO customers (id) VALUES (1) ON CONFLICT DO NOTHING
INSERT INTO customers (id) VALUES (1) ON CONFLICT ON CONSTRAINT customers_ssn_key DO NOTHING
DO $$BEGIN END$$
CALL p()
ALTER TABLE customers RENAME ssn TO s
ALTER TABLE branches INHERIT customers
CREATE INDEX ON customers (ssn)
CREATE STATISTICS s ON id, ssn FROM customers
CREATE FUNCTION f() RETURNS text LANGUAGE sql AS 'SELECT 1'
CREATE RULE r AS ON INSERT TO branches DO ALSO SELECT 1
CREATE TRIGGER t BEFORE INSERT ON branches EXECUTE FUNCTION f()
CREATE PUBLICATION p FOR ALL TABLES
COMMENT ON TABLE branches IS 'x'
GRANT SELECT ON customers TO PUBLIC
SET ROLE postgres
SET SESSION AUTHORIZATION postgres
SELECT set_config('role', 'postgres', false)
SELECT set_config(name, 'x', false) FROM branches
LOAD 'x'
ALTER SYSTEM SET jit = off
SELECT table_to_xml('customers', true, false, '')
SELECT query_to_xml('SELECT ssn FROM customers', true, false, '')
SELECT ts_stat('SELECT 1')
SELECT pg_read_file('x')
SELECT ('x').pg_read_file
SELECT x.pg_read_file FROM branches x
SELECT * FROM dblink('', 'SELECT ssn FROM customers') AS t(a text)
SELECT get_raw_page('customers', 0)
SELECT pg_get_functiondef(1)
SELECT lo_get(1)
SELECT chunk_data FROM pg_toast.pg_toast_20000
SELECT * FROM pg_temp_3.w
SELECT *, g.* FROM customers, jsonb_each('{}') g
SELECT * FROM customers NATURAL JOIN jsonb_each('{}') g
"""


def lines(table: str) -> list[str]:
    """Give the statements of a table."""
    return table.strip("\n").splitlines()


def pairs(table: str) -> list[tuple[str, str]]:
    """Give the rows of a table in two columns."""
    return [(word.strip(), text.strip()) for word, _, text in (line.partition("|") for line in lines(table))]
