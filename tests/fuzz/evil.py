"""Statements of somebody who may only read and wants more: calls in every place that the grammar has, in disguise.

A text is a *payload* (an expression that calls something, or a whole statement) in a *place*, *disguised*, and sent in
one of several *forms* of the protocol. All of it is made from a seed.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Final

from vestibule.protocols.postgres import messages as pg

Said = list[pg.FrontendMessage]


def _lines(text: str) -> list[str]:
    return [line.replace("{newline}", "\n") for line in text.strip().splitlines()]


#: What the target has of its own: each of these leaves a trace when it is run.
TRAPS: Final = """
CREATE TABLE touched (x text);
CREATE SEQUENCE counted;
CREATE FUNCTION touches() RETURNS int LANGUAGE sql AS 'INSERT INTO touched VALUES (''f''); SELECT 1';
CREATE FUNCTION touches(int) RETURNS int LANGUAGE plpgsql AS
    'BEGIN INSERT INTO touched VALUES (''int''); RETURN 1; END';
CREATE FUNCTION of_row(loans) RETURNS int LANGUAGE sql AS 'INSERT INTO touched VALUES (''row''); SELECT 1';
CREATE FUNCTION of_text(text) RETURNS bool LANGUAGE plpgsql AS
    'BEGIN INSERT INTO touched VALUES (''text''); RETURN true; END';
CREATE FUNCTION equal(int, text) RETURNS bool LANGUAGE plpgsql AS
    'BEGIN INSERT INTO touched VALUES (''op''); RETURN true; END';
CREATE FUNCTION lower(int) RETURNS int LANGUAGE sql AS 'INSERT INTO touched VALUES (''lower''); SELECT 1';
CREATE FUNCTION state_count(int) RETURNS int LANGUAGE sql AS 'INSERT INTO touched VALUES (''count''); SELECT 1';
CREATE FUNCTION "json_value"(text, text) RETURNS int LANGUAGE sql AS 'INSERT INTO touched VALUES (''json''); SELECT 1';
CREATE PROCEDURE proceeds() LANGUAGE sql AS 'INSERT INTO touched VALUES (''procedure'')';
CREATE AGGREGATE gathers(int) (SFUNC = int4pl, STYPE = int, INITCOND = '0', FINALFUNC = touches);
CREATE OPERATOR @@@ (LEFTARG = int, RIGHTARG = text, FUNCTION = equal);
CREATE OPERATOR = (LEFTARG = int, RIGHTARG = text, FUNCTION = equal);
CREATE OPERATOR >= (LEFTARG = int, RIGHTARG = text, FUNCTION = equal);
CREATE OPERATOR <= (LEFTARG = int, RIGHTARG = text, FUNCTION = equal);
CREATE DOMAIN checked AS text CHECK (of_text(VALUE));
CREATE DOMAIN over_checked AS checked;
CREATE TYPE paired AS (a checked, b int);
CREATE TYPE made AS (a int);
CREATE FUNCTION makes(int) RETURNS made LANGUAGE sql AS 'INSERT INTO touched VALUES (''cast''); SELECT NULL::made';
CREATE CAST (int AS made) WITH FUNCTION makes(int);
CREATE SCHEMA shadow;
CREATE FUNCTION shadow.upper(text) RETURNS text LANGUAGE sql AS 'INSERT INTO touched VALUES (''shadow''); SELECT $1';
"""

#: Expressions that call something; `{file}` is a file of the server's with a secret, `{to}` one that must not appear.
CALLS: Final = _lines("""
touches()
touches(1)
public.touches()
core.public.touches()
lower(1)
public.lower(1)
upper('x')
gathers(1)
(l).of_row
of_row(l)
l.of_row
state_count(1)
1 @@@ 'x'
1 OPERATOR(public.@@@) 'x'
1 = 'x'::text
1 BETWEEN 'a'::text AND 'b'::text
CASE 1 WHEN 'x'::text THEN 2 END
1 IN ('a'::text, 'b')
NULLIF(1, 'x'::text)
1 IS DISTINCT FROM 'x'::text
'x'::checked
checked 'x'
CAST('x' AS over_checked)
'{x}'::checked[]
'{x}'::_checked
'(x,1)'::paired
('x').checked
('x'::text).over_checked
checked('x')
1::made
json_value('{}', '$')
pg_read_file('{file}')
('{file}').pg_read_file
pg_read_binary_file('{file}')
pg_ls_dir('/')
pg_stat_file('{file}')
lo_import('{file}')
lo_export(1, '{to}')
lo_from_bytea(0, 'x')
lo_create(0)
lo_put(1, 0, 'x')
lo_unlink(1)
nextval('counted')
('counted').nextval
setval('counted', 99)
pg_notify('bell', 'x')
pg_terminate_backend({pid})
({pid}).pg_terminate_backend
pg_cancel_backend({pid})
pg_reload_conf()
pg_rotate_logfile()
pg_switch_wal()
pg_create_restore_point('x')
pg_logical_emit_message(true, 'a', 'b')
pg_create_physical_replication_slot('slot')
pg_promote()
pg_stat_reset()
pg_log_backend_memory_contexts({pid})
set_config('role', 'admin', false)
set_config('session_replication_role', 'replica', false)
set_config('standard_conforming_strings', 'off', false)
set_config('log_statement', 'none', false)
set_config('jit_dump_bitcode', 'on', false)
set_config('backslash_quote', 'on', false)
query_to_xml('select touches()', true, true, '')
table_to_xml('loans', true, true, '')
query_to_xmlschema('select touches()', true, true, '')
cursor_to_xml('c', 1, true, true, '')
database_to_xml(true, true, '')
ts_stat('select touches()::text::tsvector')
ts_rewrite('a'::tsquery, 'select touches()::text::tsquery, ''a''::tsquery')
dblink('dbname=core', 'select touches()')
pg_import_system_collations('pg_catalog')
brin_summarize_range('i', 1)
gin_clean_pending_list('i')
pg_extension_config_dump('loans', '')
binary_upgrade_create_empty_extension('x', 'x', true, 'x', '{}', '{}', '{}')
""")

#: Statements that change or reveal something.
ACTS: Final = _lines("""
DELETE FROM loans
UPDATE loans SET rate = 0
INSERT INTO touched VALUES ('x')
TRUNCATE loans
DROP TABLE loans
MERGE INTO touched USING loans ON true WHEN MATCHED THEN DELETE
COPY touched FROM STDIN
COPY loans TO '{to}'
COPY loans TO PROGRAM 'cat > {to}'
COPY touched FROM '{file}'
COPY touched FROM PROGRAM 'cat {file}'
CREATE TABLE t (a int)
CREATE TABLE t AS SELECT 1
SELECT * INTO t FROM loans
SELECT 1 AS a INTO TEMP t
CREATE TEMP TABLE t (a int DEFAULT touches())
CREATE VIEW v AS SELECT 1
CREATE FUNCTION g() RETURNS int LANGUAGE sql AS 'SELECT 1'
CREATE ROLE r
ALTER ROLE vestibule_rw RENAME TO x
GRANT ALL ON loans TO PUBLIC
REVOKE ALL ON loans FROM PUBLIC
DO $$ BEGIN PERFORM touches(); END $$
DO 'BEGIN PERFORM touches(); END'
CALL proceeds()
CALL public.proceeds()
SELECT * FROM loans FOR UPDATE
SELECT * FROM loans FOR KEY SHARE
LOCK TABLE loans
NOTIFY bell
VACUUM loans
ANALYZE loans
REINDEX TABLE loans
CLUSTER loans
CHECKPOINT
LOAD 'auto_explain'
ALTER SYSTEM SET jit = off
SET ROLE admin
SET SESSION AUTHORIZATION admin
SET LOCAL standard_conforming_strings = off
SET work_mem = '1GB'
SET session_replication_role = replica
SET client_encoding = 'LATIN1'
SET NAMES 'SQL_ASCII'
RESET ROLE
SET search_path = "$user"
SET jit_dump_bitcode = on
SET backslash_quote = on
SET "Standard_Conforming_Strings" = off
ALTER TABLE loans ADD x int
COMMENT ON TABLE loans IS 'x'
SECURITY LABEL ON TABLE loans IS 'x'
CREATE EXTENSION dblink
CREATE RULE r AS ON SELECT TO loans DO INSTEAD SELECT 1
ALTER DATABASE core SET jit = off
PREPARE TRANSACTION 'x'
COMMIT PREPARED 'x'
UPDATE pg_settings SET setting = 'off' WHERE name = 'jit'
DELETE FROM pg_class
REFRESH MATERIALIZED VIEW m
CREATE DATABASE d
DROP DATABASE core
DROP OWNED BY vestibule_rw
REASSIGN OWNED BY vestibule_rw TO admin
IMPORT FOREIGN SCHEMA a FROM SERVER s INTO public
SET CONSTRAINTS ALL DEFERRED
CREATE STATISTICS st ON a FROM loans
SELECT * FROM pg_hba_file_rules
ALTER SEQUENCE counted RESTART
""")

#: Places for an expression.
PLACES: Final = _lines("""
SELECT {e}
SELECT {e} FROM loans l
SELECT l.* FROM loans l WHERE {e} IS NOT NULL
SELECT 1 FROM loans l ORDER BY {e}
SELECT count(*) FROM loans l GROUP BY {e}
SELECT count(*) FROM loans l HAVING count({e}) > 0
SELECT count(*) FILTER (WHERE {e} IS NULL) FROM loans l
SELECT sum(1) OVER (PARTITION BY {e}) FROM loans l
SELECT 1 FROM loans l WINDOW w AS (ORDER BY {e})
SELECT DISTINCT ON ({e}) 1 FROM loans l
VALUES (1), ({e})
SELECT 1 LIMIT ({e})::text::int
SELECT 1 OFFSET length(({e})::text)
SELECT * FROM generate_series(1, 2) g, LATERAL (SELECT {e}) x
SELECT (SELECT {e})
SELECT ARRAY(SELECT {e})
SELECT EXISTS (SELECT {e})
SELECT 1 = ANY (SELECT 1 WHERE {e} IS NULL)
WITH x AS (SELECT {e}) SELECT * FROM x
WITH x AS MATERIALIZED (SELECT {e}) SELECT 1
WITH RECURSIVE x(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM x, (SELECT {e}) y WHERE n < 3) SELECT * FROM x
SELECT 1 UNION ALL SELECT 2 WHERE {e} IS NOT NULL
(SELECT 1) EXCEPT (SELECT 1 WHERE {e} IS NULL)
SELECT CASE WHEN {e} IS NULL THEN 1 END
SELECT COALESCE(NULL, ({e})::text)
SELECT GREATEST(({e})::text)
SELECT ROW({e})
SELECT ARRAY[{e}]
SELECT (ARRAY[1,2])[length(({e})::text)]
SELECT xmlelement(name a, xmlattributes({e} AS b))
SELECT xmlforest({e} AS a)
SELECT * FROM xmltable('/a' PASSING '<a/>'::xml COLUMNS x text DEFAULT ({e})::text)
SELECT json_build_object('a', {e})
SELECT * FROM ROWS FROM (generate_series(1, 1), unnest(ARRAY[{e}])) r
SELECT * FROM loans l TABLESAMPLE bernoulli (length(({e})::text))
SELECT * FROM loans l JOIN cards c ON {e} IS NOT NULL
EXPLAIN SELECT {e}
EXPLAIN ANALYZE SELECT {e}
EXPLAIN (ANALYZE, VERBOSE) SELECT {e} FROM loans l
COPY (SELECT {e}) TO STDOUT
DECLARE c CURSOR FOR SELECT {e}
PREPARE p AS SELECT {e}
SELECT overlay('abc' PLACING ({e})::text FROM 1)
SELECT 'a' LIKE 'b' ESCAPE ({e})::text
SELECT now() AT TIME ZONE ({e})::text
SELECT extract(day FROM now()) + length(({e})::text)
SELECT COLLATION FOR ({e})
SELECT 1 WHERE (1, 2) IN (SELECT 1, 2 WHERE {e} IS NULL)
SELECT * FROM (VALUES ({e})) v(a) NATURAL JOIN (VALUES (1)) w(b)
SELECT 1 FROM loans l GROUP BY ROLLUP ({e})
SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY 1) FROM loans l WHERE {e} IS NULL
SELECT string_agg('a', ',' ORDER BY ({e})::text) FROM loans l
EXECUTE q({e})
SELECT 1 FETCH FIRST (length(({e})::text)) ROWS ONLY
BEGIN; SELECT {e}; COMMIT
SELECT 1; SELECT {e}
""")

#: Places for a statement.
AROUND: Final = _lines("""
{s}
{s};
; {s}
SELECT 1; {s}
BEGIN; {s}; COMMIT
{s}; SELECT 1
/* */ {s}
EXPLAIN ANALYZE {s}
EXPLAIN (ANALYZE 1) {s}
PREPARE p AS {s}
WITH x AS ({s} RETURNING *) SELECT * FROM x
WITH x AS ({s} RETURNING 1), y AS (SELECT 1) TABLE y
COPY ({s} RETURNING *) TO STDOUT
SELECT '\\'; {s}; --'; {s}
SELECT E'\\''; {s}; --'
SELECT $$'$$; {s}; --'
SELECT 'a' "b"; {s}
SELECT 1 -- ; {newline}; {s}
SELECT 1 /* /* */ ; */; {s}
SELECT U&'\\0027'; {s}
DECLARE c CURSOR FOR {s}
""")


def text(random: Random, fill: Callable[[str], str]) -> str:
    """Make one text; `fill` puts in what is known only of the running server."""
    if random.random() < 0.6:
        made = random.choice(PLACES).replace("{e}", random.choice(CALLS))
    else:
        made = random.choice(AROUND).replace("{s}", random.choice(ACTS))
    return _disguised(random, fill(made))


def _disguised(random: Random, made: str) -> str:
    match random.randrange(12):
        case 0:
            return made.replace(" ", "/* x */")
        case 1:
            return made.replace(" ", random.choice(["\n", "\t", "\f", "\r\n"]))
        case 2:
            return "".join(random.choice([letter.upper(), letter.lower()]) for letter in made)
        case 3:
            return made.replace("touches", 'U&"touch\\0065s"').replace("pg_read_file", '"pg_read_file"')
        case 4:
            return f"{made} /* {'x' * random.choice([2_000, 33_000, 70_000])} */"
        case 5:
            return made + random.choice([" -- ", " /* ' */", ";", ";;", "\n--\n"])
        case 6:
            path = random.choice(["shadow, pg_catalog", "shadow, public", "public, pg_catalog"])
            return f"SET search_path = {path}; {made}"
        case _:
            return made


def said(random: Random, text: str) -> Said:
    """Say a text in one of the protocol's forms, among harmless messages that might hide it."""
    query = text.encode()
    form = random.choice([_queried, _queried, _bound, *FORMS])
    return [*form(query, random), SYNC, *map(pg.Query, (b"ROLLBACK", b"DEALLOCATE ALL", b"CLOSE ALL"))]


SYNC: Final = pg.Sync()


def _queried(query: bytes, _: Random) -> Said:
    return [pg.Query(query)]


def _bound(query: bytes, random: Random, name: str = "", portal: str = "") -> Said:
    between: Said = random.choice([[], [pg.Flush()], [pg.Describe("S", name)], [SYNC]])
    return [pg.Parse(name, query), *between, pg.Bind(portal, name), pg.Execute(portal, random.choice([0, 1])), SYNC]


def _bound_again(query: bytes, random: Random) -> Said:
    return [pg.Parse("s", b"SELECT 1"), *_bound(query, random, "s")]


def _executed(query: bytes, _: Random) -> Said:
    return [pg.Close("S", "s"), pg.Parse("s", query), pg.Query(b"EXECUTE s"), SYNC]


def _prepared(query: bytes, _: Random) -> Said:
    return [pg.Query(b"PREPARE p AS " + query), pg.Query(b"EXECUTE p"), pg.Query(b"EXPLAIN ANALYZE EXECUTE p")]


def _fetched(query: bytes, _: Random) -> Said:
    return [pg.Query(b"BEGIN; DECLARE c CURSOR FOR " + query), pg.Query(b"FETCH ALL FROM c")]


def _skipped(query: bytes, random: Random) -> Said:
    return [pg.Parse("", b"SELECT 1/0"), pg.Bind("", ""), pg.Execute(""), *_bound(query, random), pg.Query(query)]


def _behind_a_large_one(query: bytes, random: Random) -> Said:
    """A text whose analysis takes long is skipped when the one before it fails; another large one takes its place."""
    slow = b"SELECT 1 / (count(*) - 300000) FROM generate_series(1, 300000)"
    large = b"SELECT 1 IN (" + b",".join(b"%d" % at for at in range(random.choice([8_000, 40_000]))) + b")"
    failing = [pg.Parse("", slow), pg.Bind("", ""), pg.Execute("")]
    return [*failing, pg.Parse("x", large), SYNC, pg.Query(b"%s /* %s */" % (query, b"x" * 40_000))]


def _in_a_used_portal(query: bytes, random: Random) -> Said:
    return [pg.Query(b"BEGIN"), *_bound(b"SELECT 1", random, "", "p"), *_bound(query, random, "", "p")]


def _by_a_long_name(query: bytes, _: Random) -> Said:
    """The server takes names of 63 bytes, so to it these two are one."""
    one, other = "n" * 63 + "a", "n" * 63 + "b"
    return [
        pg.Parse(one, b"SELECT 1"),
        pg.Close("S", other),
        pg.Parse(other, query),
        pg.Bind("", one),
        pg.Execute(""),
    ]


def _after_another_setting(query: bytes, _: Random) -> Said:
    """To a server with that setting off, the string ends elsewhere."""
    prepare = b"PREPARE w AS SELECT set_config('standard_conforming_strings', $1, false)"
    string = b"SELECT '\\', '; " + query.replace(b"'", b"''") + b"; --'"
    return [pg.Query(prepare), pg.Query(b"EXECUTE w('off')"), pg.Query(string)]


def _with_a_typed_parameter(query: bytes, random: Random) -> Said:
    number = random.choice([25, 16_384 + random.randrange(300)])
    return [
        pg.Parse("t", b"SELECT $1", (number,)),
        pg.Bind("", "t", (), (b"x",)),
        pg.Execute(""),
        SYNC,
        pg.Query(query),
    ]


def _in_copy_data(query: bytes, _: Random) -> Said:
    return [pg.Query(b"COPY (SELECT 1) TO STDOUT"), pg.CopyData(query), pg.CopyDone(), pg.Query(query)]


def _by_number(query: bytes, random: Random) -> Said:
    return [pg.FunctionCall(random.randrange(1, 20_000), (0,), (query[:100],), 0)]


def _without_a_sync(query: bytes, random: Random) -> Said:
    return [pg.Query(b"SELECT 1; " + query), pg.Execute(""), SYNC, *_bound(query, random)]


FORMS: Final[list[Callable[[bytes, Random], Said]]] = [
    _bound_again,
    _executed,
    _prepared,
    _fetched,
    _skipped,
    _behind_a_large_one,
    _in_a_used_portal,
    _by_a_long_name,
    _after_another_setting,
    _with_a_typed_parameter,
    _in_copy_data,
    _by_number,
    _without_a_sync,
]
