from __future__ import annotations

import re
from pathlib import Path

import pytest
from postgast.pg_query_pb2 import DESCRIPTOR, Node

from tests.support.analysed import does, only
from vestibule.analysis.sql import settings
from vestibule.analysis.sql.actions import ACTIONS
from vestibule.analysis.sql.statements import TABLE
from vestibule.analysis.sql.visit import PLAIN

#: What each statement does: `statement => verb object impact, ...`.
DATA = """
SELECT 1 => select read
SELECT * FROM t => select t read
TABLE public.t => select public.t read
VALUES (1), (2) => select read
SELECT * FROM core.public.t => select core.public.t read
SELECT * FROM "Upper Case", "a.b" => select Upper Case read, select "a.b" read
SELECT FROM A, B AS x, LATERAL (SELECT * FROM c) y => select a read, select b read, select c read
SELECT * FROM a WHERE EXISTS (SELECT 1 FROM b WHERE b.i IN (SELECT i FROM c))
  => select a read, select b read, select c read
SELECT * FROM a UNION SELECT * FROM b EXCEPT TABLE c => select a read, select b read, select c read
SELECT * FROM a FOR UPDATE => select a write
SELECT * FROM a JOIN b USING (i) FOR SHARE OF b => select b write, select a read
SELECT * FROM a x, b FOR NO KEY UPDATE OF x SKIP LOCKED => select a write, select b read
SELECT * FROM (SELECT * FROM a) x FOR UPDATE => select write, select a read
SELECT * INTO new FROM t => create new schema, select t read
SELECT * INTO TEMP new FROM t => create new write, select t read
INSERT INTO t VALUES (1) => insert t write
INSERT INTO s.t SELECT * FROM u => insert s.t write, select u read
INSERT INTO t VALUES (1) ON CONFLICT DO NOTHING => insert t write
INSERT INTO t VALUES (1) ON CONFLICT (i) DO UPDATE SET i = 2 => insert t write, update t write
UPDATE t SET a = 1 => update t write
UPDATE ONLY t SET a = u.a FROM u WHERE t.i = u.i => update t write, select u read
DELETE FROM t => delete t write
DELETE FROM t USING u WHERE t.i = u.i RETURNING * => delete t write, select u read
MERGE INTO t USING u ON t.i = u.i WHEN MATCHED THEN DELETE => merge t write, delete t write, select u read
MERGE INTO t USING u ON true WHEN MATCHED THEN UPDATE SET a = 1 WHEN NOT MATCHED THEN INSERT VALUES (1)
  => merge t write, update t write, insert t write, select u read
MERGE INTO t USING u ON true WHEN MATCHED THEN DO NOTHING => merge t write, select u read
TRUNCATE a, s.b => truncate a write, truncate s.b write
LOCK a, s.b IN SHARE MODE => lock a write, lock s.b write
LOCK a, s.b IN ACCESS SHARE MODE NOWAIT => lock a read, lock s.b read
LOCK a IN ROW SHARE MODE => lock a write
LOCK a => lock a write
WITH c AS (SELECT * FROM t) SELECT * FROM c => select t read
WITH t AS (SELECT * FROM t) SELECT * FROM t => select t read
WITH a AS (SELECT 1), b AS (SELECT * FROM a, c) SELECT * FROM a, b, s.a => select c read, select s.a read
WITH b AS (SELECT * FROM a), a AS (SELECT 1) SELECT * FROM b => select a read
WITH RECURSIVE c AS (SELECT 1 UNION SELECT * FROM c, t) SELECT * FROM c => select t read
SELECT * FROM (WITH t AS (SELECT 1) SELECT * FROM t) x, t => select t read
WITH d AS (DELETE FROM t RETURNING *) SELECT * FROM d => delete t write
WITH i AS (INSERT INTO a TABLE b RETURNING *), u AS (UPDATE c SET x = 1) SELECT
  => insert a write, select b read, update c write
SELECT * FROM a, (WITH d AS (SELECT * FROM b FOR UPDATE) TABLE d) x => select a read, select b write
WITH t AS (SELECT 1) INSERT INTO t TABLE t => insert t write
DELETE FROM pg_authid => delete pg_authid admin
INSERT INTO pg_catalog.pg_proc DEFAULT VALUES => insert pg_catalog.pg_proc admin
UPDATE information_schema.sql_features SET a = 1 => update information_schema.sql_features admin
SELECT * FROM pg_hba_file_rules => select pg_hba_file_rules admin
SELECT * FROM public.pg_hba_file_rules => select public.pg_hba_file_rules read
"""

COPIES = """
COPY t TO STDOUT => copy t read
COPY s.t (a, b) TO STDOUT (FORMAT binary) => copy s.t read
COPY (SELECT * FROM t) TO STDOUT => copy read, select t read
COPY (DELETE FROM t RETURNING *) TO STDOUT => copy read, delete t write
COPY t FROM STDIN => copy t write
COPY t FROM STDIN WHERE i > 1 => copy t write
COPY t TO '/tmp/x' => copy t admin
COPY t FROM '/tmp/x' => copy t admin
COPY t TO PROGRAM 'x' => copy t admin
COPY t FROM PROGRAM 'x' => copy t admin
COPY (SELECT * FROM t) TO PROGRAM 'x' => copy admin, select t read
COPY pg_class FROM STDIN => copy pg_class admin
"""

AROUND = """
EXPLAIN SELECT * FROM t => explain t read
EXPLAIN DELETE FROM t => explain t read
EXPLAIN (ANALYZE false) DELETE FROM t => explain t read
EXPLAIN (ANALYZE 0) DELETE FROM t => explain t read
EXPLAIN SELECT 1 => explain read
EXPLAIN SELECT nextval('s') => explain read, call nextval write
EXPLAIN ANALYZE DELETE FROM t => delete t write
EXPLAIN (ANALYZE) SELECT * FROM t => select t read
EXPLAIN (ANALYZE off, ANALYZE on) DELETE FROM t => delete t write
EXPLAIN (VERBOSE, ANALYZE 1) DELETE FROM t => delete t write
EXPLAIN ANALYZE CREATE TABLE a AS SELECT * FROM b => create a schema, select b read
PREPARE p AS SELECT 1 => select read
PREPARE p (int) AS DELETE FROM t WHERE i = $1 => delete t write
EXECUTE p (1) => execute p read
EXECUTE p (nextval('s')) => execute p read, call nextval write
EXPLAIN ANALYZE EXECUTE p => execute p read
DEALLOCATE p => deallocate p read
DEALLOCATE ALL => deallocate read
DECLARE c CURSOR FOR SELECT * FROM t => select t read
DECLARE c CURSOR WITH HOLD FOR SELECT * FROM t FOR UPDATE => select t write
FETCH 3 FROM c => fetch c read
MOVE ALL IN c => move c read
CLOSE c => close c read
CLOSE ALL => close read
"""

SESSION = """
BEGIN => begin read
START TRANSACTION ISOLATION LEVEL SERIALIZABLE READ ONLY => begin read
COMMIT => commit read
END => commit read
ROLLBACK => rollback read
ABORT => rollback read
SAVEPOINT s => savepoint s read
RELEASE s => release s read
ROLLBACK TO s => rollback to s read
PREPARE TRANSACTION 'x' => prepare transaction x write
COMMIT PREPARED 'x' => commit prepared x write
ROLLBACK PREPARED 'x' => rollback prepared x write
SHOW search_path => show search_path read
SHOW ALL => show all read
SET CONSTRAINTS ALL DEFERRED => set write
DISCARD ALL => discard all read
DISCARD TEMP => discard temp read
LISTEN c => listen c read
UNLISTEN * => unlisten read
NOTIFY c, 'x' => notify c write
VACUUM => vacuum write
VACUUM ANALYZE a, s.b => vacuum a write, vacuum s.b write
ANALYZE a (x) => analyze a write
REINDEX TABLE a => reindex a write
REINDEX DATABASE d => reindex d write
CLUSTER a => cluster a write
REFRESH MATERIALIZED VIEW m => refresh m write
CHECKPOINT => checkpoint write
LOAD 'x' => load admin
DO $$BEGIN END$$ => do unknown
CALL p(1) => call p unknown
CALL s.p(nextval('q')) => call s.p unknown, call nextval write
"""

DEFINITIONS = """
CREATE TABLE t (a int) => create t schema
CREATE TABLE s.t (a int REFERENCES u, LIKE w) INHERITS (p)
  => create s.t schema, alter p schema, select u read, select w read, select p read
CREATE TABLE t (a int DEFAULT f()) => create t schema, call f unknown
CREATE TABLE t AS SELECT * FROM u => create t schema, select u read
CREATE TABLE t AS EXECUTE p => create t schema, execute p read
CREATE TEMP TABLE t (a int) => create t write
CREATE TABLE pg_temp.t (a int) => create pg_temp.t write
CREATE TEMP TABLE t AS SELECT * FROM u => create t write, select u read
CREATE TEMP VIEW v AS SELECT * FROM u => create v write, select u read
CREATE TEMP SEQUENCE q => create q write
DROP TABLE pg_temp.t => drop pg_temp.t write
ALTER TABLE pg_temp.t ADD b int => alter pg_temp.t write
ALTER TABLE pg_temp.t INHERIT p => alter pg_temp.t write, alter p schema, select p read
CREATE TEMP TABLE t () INHERITS (p) => create t write, alter p schema, select p read
CREATE TEMP TABLE t () INHERITS (pg_temp.p) => create t write, alter pg_temp.p write, select pg_temp.p read
CREATE DOMAIN pg_temp.d AS int => create pg_temp.d schema
CREATE OPERATOR pg_temp.@@ (LEFTARG = int, FUNCTION = f) => create pg_temp.@@ schema
CREATE UNLOGGED TABLE t (a int) => create t schema
CREATE VIEW v AS SELECT * FROM t => create v schema, select t read
CREATE TEMP VIEW v AS SELECT * FROM pg_settings => create v write, select pg_settings admin
CREATE MATERIALIZED VIEW m AS SELECT * FROM t => create m schema, select t read
CREATE INDEX i ON s.t (lower(a)) => create i schema, alter s.t schema
CREATE SEQUENCE q => create q schema
CREATE SCHEMA s CREATE TABLE t (a int) GRANT SELECT ON t TO bob => create s schema, create t schema, grant t admin
CREATE FUNCTION s.f() RETURNS int LANGUAGE sql AS 'SELECT 1' => create s.f schema, create function s.f schema
CREATE FUNCTION f() RETURNS int SET search_path = x LANGUAGE sql AS '' => create f schema, create function f schema
CREATE FUNCTION f() RETURNS void BEGIN ATOMIC DELETE FROM t; END
  => create f schema, create function f schema, delete t write
CREATE PROCEDURE p() LANGUAGE sql AS '' => create p schema, create function p schema
CREATE TRIGGER g AFTER INSERT ON s.t EXECUTE FUNCTION f() => create g schema, alter s.t schema
CREATE RULE r AS ON INSERT TO t DO ALSO DELETE FROM u => create r schema, alter t schema, delete u write
CREATE POLICY p ON t USING (true) => create p schema, alter t schema
CREATE TYPE e AS ENUM ('a') => create e schema
CREATE TYPE c AS (a int) => create c schema
CREATE DOMAIN d AS text => create d schema
CREATE OPERATOR s.+ (FUNCTION = f) => create s.+ schema
CREATE CAST (a AS b) WITHOUT FUNCTION => create b schema
CREATE AGGREGATE a (int) (SFUNC = f, STYPE = int) => create a schema
CREATE EXTENSION e => create e schema
CREATE DATABASE d => create d schema
CREATE STATISTICS s ON a, b FROM t => create s schema, select t read
ALTER TABLE s.t ADD a int => alter s.t schema
ALTER TABLE s.t DROP COLUMN a, DROP b => alter s.t schema, drop s.t.a schema, drop s.t.b schema
ALTER TABLE t ATTACH PARTITION p FOR VALUES IN (1) => alter t schema, alter p schema
ALTER TABLE t RENAME TO u => alter t schema
ALTER TABLE t RENAME COLUMN a TO b => alter t schema
ALTER TABLE t OWNER TO bob => alter t schema
ALTER TABLE t SET SCHEMA s => alter t schema
ALTER FUNCTION s.f(int) RENAME TO g => alter s.f schema
ALTER FUNCTION f() OWNER TO bob => alter f schema
ALTER TYPE t ADD VALUE 'x' => alter t schema
ALTER DATABASE d CONNECTION LIMIT 1 => alter d schema
DROP TABLE a, s.b => drop a schema, drop s.b schema
DROP FUNCTION s.f(int) => drop s.f schema
DROP TYPE s.t => drop s.t schema
DROP SCHEMA s CASCADE => drop s schema
DROP TRIGGER g ON s.t => drop s.t.g schema
DROP EXTENSION e => drop e schema
DROP DATABASE d => drop d schema
COMMENT ON TABLE s.t IS 'x' => comment s.t schema
COMMENT ON COLUMN s.t.c IS 'x' => comment s.t.c schema
"""

ADMINISTRATION = """
GRANT SELECT ON a, s.b TO bob => grant a admin, grant s.b admin
REVOKE ALL ON a FROM bob => revoke a admin
GRANT EXECUTE ON FUNCTION s.f(int) TO bob => grant s.f admin
GRANT SELECT ON ALL TABLES IN SCHEMA s TO bob => grant s admin
GRANT boss TO bob => grant boss admin
REVOKE boss FROM bob => revoke boss admin
ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO bob => alter admin
CREATE ROLE r => create r admin
CREATE USER u PASSWORD 'x' => create u admin
ALTER ROLE r SUPERUSER => alter r admin
ALTER ROLE CURRENT_USER PASSWORD 'x' => alter current_user admin
ALTER ROLE r SET work_mem = '1MB' => alter r admin
ALTER ROLE a RENAME TO b => alter a admin
DROP ROLE a, b => drop a admin, drop b admin
DROP OWNED BY r => drop r admin
REASSIGN OWNED BY a TO b => alter a admin
ALTER SYSTEM SET work_mem = '1MB' => alter admin
ALTER DATABASE d SET work_mem = '1MB' => alter d admin
SECURITY LABEL ON TABLE t IS 'x' => label t admin
CREATE TABLESPACE s LOCATION '/x' => create s admin
DROP TABLESPACE s => drop s admin
CREATE SERVER s FOREIGN DATA WRAPPER w => create s admin
CREATE FOREIGN TABLE f (a int) SERVER s => create f admin
ALTER FOREIGN TABLE f ADD b int => alter f admin
DROP FOREIGN TABLE f => drop f admin
DROP SERVER s => drop s admin
CREATE USER MAPPING FOR u SERVER s => create s admin
IMPORT FOREIGN SCHEMA a FROM SERVER s INTO c => create c admin
CREATE SUBSCRIPTION s CONNECTION 'x' PUBLICATION p => create s admin
DROP SUBSCRIPTION s => drop s admin
SET ROLE bob => set role admin
RESET ROLE => reset role admin
SET SESSION AUTHORIZATION bob => set session_authorization admin
SELECT set_config('role', 'bob', false) => set role admin
"""

TABLES = {
    "data": DATA,
    "copies": COPIES,
    "around": AROUND,
    "session": SESSION,
    "definitions": DEFINITIONS,
    "administration": ADMINISTRATION,
}


def rows(text: str) -> list[tuple[str, list[str]]]:
    """Read `statement => operation, ...`; an indented line goes on with the one before."""
    lines = text.replace("\n  ", " ").strip().splitlines()
    halves = [line.rsplit(" => ", 1) for line in lines]
    return [(statement.strip(), operations.split(", ")) for statement, operations in halves]


@pytest.mark.parametrize(
    ("text", "operations"), [row for text in TABLES.values() for row in rows(text)], ids=lambda value: str(value)[:60]
)
def test_a_statement_does_what_the_table_says(text: str, operations: list[str]) -> None:
    assert does(text) == operations


def nodes() -> list[str]:
    return [field.message_type.name for field in Node.DESCRIPTOR.fields]


@pytest.mark.parametrize("kind", [name for name in nodes() if name.endswith("Stmt")])
def test_every_statement_of_the_grammar_is_in_the_table_or_is_unknown(kind: str) -> None:
    if kind in TABLE or kind in PLAIN or kind in ACTIONS:
        return

    # These are no statements of SQL: parts of other nodes, of PL/pgSQL, or made after parsing.
    assert kind in {"RawStmt", "SetOperationStmt", "PLAssignStmt"}


def test_the_table_names_only_statements_that_the_grammar_has() -> None:
    assert set(TABLE) <= set(nodes())
    assert set(PLAIN) <= set(nodes())


def test_every_relation_that_the_grammar_leaves_unwrapped_stands_under_a_name_that_is_looked_for() -> None:
    # A RangeVar is found by its own field; were another message to have it, it would be taken for a relation.
    having = [name for name, message in DESCRIPTOR.message_types_by_name.items() if "relname" in message.fields_by_name]

    assert set(having) == {"RangeVar", "WithCheckOption"}  # the second is made after parsing


def test_a_query_that_the_grammar_leaves_unwrapped_stands_under_a_field_with_an_action() -> None:
    fields = {
        field.json_name
        for message in DESCRIPTOR.message_types_by_name.values()
        for field in message.fields
        if message.name not in ("Node", "PLAssignStmt")
        and field.message_type is DESCRIPTOR.message_types_by_name["SelectStmt"]
    }

    assert fields == {"larg", "rarg"}
    assert fields <= set(ACTIONS)


def test_what_is_left_of_the_statement_is_visited() -> None:
    text = "DELETE FROM t WHERE a = ANY (SELECT f(x) FROM u)"

    assert does(text) == ["delete t write", "call f unknown", "select u read"]


def test_a_statement_that_is_not_understood_says_so() -> None:
    assert not only("DO 'x'").understood
    assert only("DELETE FROM t").understood


PAGE = (Path(__file__).parents[3] / "docs/reference/statements.md").read_text()


def documented(heading: str) -> list[tuple[list[str], str]]:
    """Read a table of the page: the statements of the first column, and the second column."""
    lines = PAGE.split(heading)[1].split("\n\n")[0].strip().splitlines()[1:]
    rows = [line.strip("| ").rsplit(" | ", 1) for line in lines]
    return [(re.findall(r"`([^`]+)`", first), second) for first, second in rows]


@pytest.mark.parametrize(
    ("text", "impact"),
    [(text, impact) for texts, impact in documented("| statement | impact |\n") for text in texts],
)
def test_every_example_of_the_reference_has_the_impact_beside_it(text: str, impact: str) -> None:
    assert only(text).refusal is None
    assert only(text).impact.word == impact


@pytest.mark.parametrize(("texts", "operations"), documented("| statement | operations |\n"))
def test_every_example_of_the_reference_has_the_operations_beside_it(texts: list[str], operations: str) -> None:
    assert does(texts[0]) == re.findall(r"`([^`]+)`", operations)


@pytest.mark.parametrize(("names", "values"), documented("| setting | values |\n"))
def test_every_setting_of_the_reference_may_be_set_as_it_says(names: list[str], values: str) -> None:
    for name in names:
        if values == "any" and "..." not in name and name != "default_":
            assert settings.judge(name, "x") is None
        elif name in settings.RESTRICTED:
            assert settings.judge(name, "x y") is not None
            good = re.findall(r"`([^`$]+)`", values) or ["public"]
            assert [value for value in good if settings.judge(name, value) is not None] == []


def test_the_reference_names_every_restricted_setting() -> None:
    named = {name for names, _ in documented("| setting | values |\n") for name in names}

    assert set(settings.RESTRICTED) | settings.PEOPLE <= named
