from __future__ import annotations

import pytest

from tests.support.analysed import does, only, worst
from vestibule.analysis.sql.catalog import Catalog
from vestibule.model.statement import Impact

OWN = Catalog(
    user_functions=frozenset({"f", "json_array", "json_value", "system"}),
    row_functions=frozenset({"f"}),
    user_operators=frozenset({"@@@", "~>", "=", "<", ">="}),
    user_types=frozenset({"checked"}),
)


@pytest.mark.parametrize(
    "text",
    [
        "SELECT coalesce(a, b), nullif(a, b), greatest(a, b), CASE a WHEN 1 THEN 2 END FROM t",
        "SELECT extract(day FROM a), overlay('x' PLACING 'y' FROM 1), position('a' IN b), trim(BOTH 'x' FROM a) FROM t",
        "SELECT substring(a FROM 1 FOR 2), substring(a SIMILAR 'x' ESCAPE '#'), normalize(a), a IS NORMALIZED FROM t",
        "SELECT current_date, current_timestamp(3), localtime, current_user, session_user, current_schema",
        "SELECT a AT TIME ZONE 'UTC', (a, b) OVERLAPS (c, d), a COLLATE \"C\", COLLATION FOR (a) FROM t",
        "SELECT xmlserialize(CONTENT a AS text), xmlelement(NAME x, a), xmlparse(DOCUMENT '<a/>'), a IS DOCUMENT",
        "SELECT xmlexists('//a' PASSING BY VALUE x), xmlforest(a), xmlpi(NAME x), xmlroot(a, VERSION '1') FROM t",
        "SELECT * FROM xmltable('//a' PASSING x COLUMNS a int PATH 'a' DEFAULT 1, n FOR ORDINALITY)",
        "SELECT json_object('a': 1), json_object('{a,1}'), json_array(1, 2), json_arrayagg(a), json_objectagg(a: b)",
        "SELECT json_value(a, '$.x'), json_query(a, '$'), json_exists(a, '$'), json_scalar(1), json_serialize(a)",
        "SELECT * FROM json_table(x, '$[*]' COLUMNS (a int PATH '$.a', NESTED '$.b[*]' COLUMNS (b text)))",
        "SELECT a IS JSON, json('1'), a IS NOT DISTINCT FROM b, a BETWEEN SYMMETRIC 1 AND 2, a LIKE 'x' ESCAPE 'y'",
        "SELECT a SIMILAR TO 'x', a ILIKE 'x', NOT a, a IS NULL, a IS UNKNOWN, a[1:2], (a).b, (a).*, row(1, 2) FROM t",
        "SELECT count(*) FILTER (WHERE a), sum(a) OVER (PARTITION BY b ORDER BY c ROWS 1 PRECEDING) FROM t",
        "SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY a), array_agg(a ORDER BY b), string_agg(DISTINCT a, ',')",
        "SELECT ARRAY[1, 2], ARRAY(SELECT 1), a = ANY (ARRAY[1]), a <> ALL (SELECT 1), a IN (1, 2), '{}'::int[] FROM t",
        "SELECT a::numeric(10, 2), CAST(a AS varchar), int '1', interval '1' day, 'x'::regclass, $1::regtype FROM t",
        "SELECT GROUPING(a) FROM t GROUP BY ROLLUP (a), CUBE (b), GROUPING SETS ((a), ())",
        "SELECT 1 OPERATOR(pg_catalog.+) 1, a -> 'b' ->> 'c' FROM t ORDER BY a USING <, b DESC NULLS LAST LIMIT 1",
        "SELECT * FROM t TABLESAMPLE bernoulli (10) REPEATABLE (1), u TABLESAMPLE pg_catalog.system (1)",
        "SELECT * FROM generate_series(1, 2) WITH ORDINALITY AS g(a, b), ROWS FROM (unnest('{}'::int[]) AS (a int)) x",
        "SELECT * FROM t ORDER BY a FETCH FIRST 3 ROWS WITH TIES",
        "WITH RECURSIVE c AS (SELECT 1 a) SEARCH DEPTH FIRST BY a SET o CYCLE a SET k USING p SELECT * FROM c",
    ],
)
def test_what_the_grammar_offers_a_reader_is_read(text: str) -> None:
    assert worst(text) is Impact.READ


@pytest.mark.parametrize(
    ("text", "operation"),
    [
        ("SELECT f(1)", "call f unknown"),
        ("SELECT s.g(1)", "call s.g unknown"),
        ("SELECT ('1').f", "call f unknown"),
        ("SELECT (a[1]).f FROM t", "call f unknown"),
        ("SELECT ($1).f", "call f unknown"),
        ("SELECT t.f FROM t", "call t.f unknown"),
        ("SELECT s.t.f FROM s.t", "call s.t.f unknown"),
        ("SELECT count(*) FILTER (WHERE f(1) = 1)", "call f unknown"),
        ("SELECT count(*) OVER (ORDER BY f(1))", "call f unknown"),
        ("SELECT array_agg(1 ORDER BY f(1))", "call f unknown"),
        ("SELECT 1 LIMIT f(1)", "call f unknown"),
        ("SELECT * FROM f(1)", "call f unknown"),
        ("SELECT * FROM a JOIN b ON f(1) = 1", "call f unknown"),
        ("VALUES (f(1))", "call f unknown"),
        ("INSERT INTO t VALUES (f(1))", "call f unknown"),
        ("INSERT INTO t (a[f(1)]) VALUES (1)", "call f unknown"),
        ("INSERT INTO t VALUES (1) ON CONFLICT (a) DO UPDATE SET a = f(1)", "call f unknown"),
        ("UPDATE t SET (a, b) = (SELECT f(1), 2)", "call f unknown"),
        ("DELETE FROM t RETURNING f(1)", "call f unknown"),
        ("MERGE INTO t USING u ON true WHEN MATCHED AND f(1) = 1 THEN DELETE", "call f unknown"),
        ("COPY t FROM STDIN WHERE f(1) = 1", "call f unknown"),
        ("COPY (SELECT f(1)) TO STDOUT", "call f unknown"),
        ("EXPLAIN SELECT f(1)", "call f unknown"),
        ("SELECT treat(1 AS pg_read_file)", "call pg_catalog.pg_read_file admin"),
        ("SELECT ('pg_hba.conf').pg_read_file", "call pg_read_file admin"),
        ("SELECT 1 OPERATOR(public.+) 1", "call public.+ unknown"),
        ("SELECT 1 @@@ 2", "call @@@ unknown"),
        ("SELECT @@@ 2", "call @@@ unknown"),
        ("SELECT a OPERATOR(s.=) ANY (SELECT 1) FROM t", "call s.= unknown"),
        ("SELECT a ~> ALL (SELECT 1) FROM t", "call ~> unknown"),
        ("SELECT a FROM t ORDER BY a USING OPERATOR(s.<)", "call s.< unknown"),
        ("SELECT '1'::checked", "cast checked unknown"),
        ("SELECT ('1').checked", "call checked unknown"),
        ("SELECT a BETWEEN 1 AND 2 FROM t", "call >= unknown"),
        ("SELECT a NOT BETWEEN SYMMETRIC 1 AND 2 FROM t", "call < unknown"),
        ("SELECT CASE a WHEN 1 THEN 2 END FROM t", "call = unknown"),
        ("SELECT NULLIF(a, 1), a IN (1, 2) FROM t", "call = unknown"),
        ("SELECT * FROM a JOIN b USING (c)", "call = unknown"),
        ("SELECT * FROM a NATURAL JOIN b", "call = unknown"),
        ("SELECT CAST(a AS s.checked[]) FROM t", "cast s.checked unknown"),
        ("SELECT * FROM json_to_record('{}') AS x(a checked)", "cast checked unknown"),
        ("SELECT a::regclass FROM t", "cast regclass unknown"),
        ("SELECT (a || b)::pg_catalog.regproc FROM t", "cast regproc unknown"),
        ("SELECT a::regclass FROM pg_stats", "cast regclass unknown"),
        ("SELECT json_array(1)", "call json_array unknown"),
        ("SELECT json_value('{}', '$')", "call json_value unknown"),
        ("SELECT * FROM t TABLESAMPLE mine (1)", "call mine unknown"),
        ("SELECT * FROM t TABLESAMPLE s.bernoulli (1)", "call s.bernoulli unknown"),
        ("SELECT * FROM t TABLESAMPLE system (1)", "call system unknown"),
        ("SELECT * FROM t TABLESAMPLE bernoulli (f(1))", "call f unknown"),
    ],
)
def test_a_call_is_found_wherever_and_however_it_is_written(text: str, operation: str) -> None:
    assert operation in does(text, OWN)


@pytest.mark.parametrize(
    "text",
    [
        "SELECT oid::regclass FROM pg_catalog.pg_class",
        "SELECT oid::regclass FROM pg_class WHERE relnamespace::regnamespace::text = 'x'",
        "SELECT 'public.t'::regclass, $1::regtype, 'x'::text::regclass, 1::oid::regclass FROM t",
    ],
)
def test_looking_up_names_of_the_catalogs_or_of_the_client_is_read(text: str) -> None:
    assert worst(text) is Impact.READ


def test_only_a_name_that_a_function_can_have_makes_a_column_doubtful() -> None:
    assert worst("SELECT t.a, t.lower, s.t.b, t.* FROM t", OWN) is Impact.READ
    assert worst("SELECT (a).b, (a).lower FROM t", OWN) is Impact.READ


@pytest.mark.parametrize(
    ("text", "settings", "bound"),
    [
        ("SELECT set_config('search_path', '', false)", [("search_path", "")], []),
        ("SELECT pg_catalog.set_config('Search_Path', 'A, \"b C\"', true)", [("search_path", '"a", "b C"')], []),
        ("SELECT set_config('jit', $1, false)", [("jit", None)], [("jit", 1)]),
        (
            "SELECT set_config('jit', $2, false), set_config('search_path', $1, false)",
            [("jit", None), ("search_path", None)],
            [("jit", 2), ("search_path", 1)],
        ),
    ],
)
def test_set_config_counts_as_set(text: str, settings: list[tuple[str, str]], bound: list[tuple[str, int]]) -> None:
    analysis = only(text)

    assert analysis.refusal is None
    assert analysis.impact is Impact.READ
    assert list(analysis.settings) == settings
    assert list(analysis.bound_settings) == bound


@pytest.mark.parametrize(
    "text",
    [
        "SELECT set_config('work_mem', '1GB', false)",
        "SELECT set_config('standard_conforming_strings', 'off', false)",
        "SELECT set_config('search_path', '$user', false)",
        "SELECT set_config($1, 'x', false)",
        "SELECT set_config(name, 'x', false) FROM pg_settings",
        "SELECT set_config('j' || 'it', 'x', false)",
        "SELECT set_config('jit', current_user, false)",
        "SELECT set_config('jit', NULL, false)",
        "SELECT set_config('jit', 'x')",
        "SELECT set_config(is_local => false, setting_name => 'jit', new_value => 'x')",
        "SELECT set_config(VARIADIC ARRAY['a', 'b', 'c'])",
        "UPDATE pg_settings SET setting = 'off' WHERE name = 'standard_conforming_strings'",
        "WITH x AS (UPDATE pg_catalog.pg_settings SET setting = 'off') SELECT",
        "MERGE INTO pg_settings s USING t ON true WHEN MATCHED THEN UPDATE SET setting = 'off'",
        "CREATE VIEW v AS SELECT set_config('work_mem', '1GB', false)",
    ],
)
def test_no_other_way_sets_what_set_may_not(text: str) -> None:
    analysis = only(text)

    assert analysis.refusal is not None
    assert analysis.refusal.code == "42501"
    assert analysis.impact is Impact.UNKNOWN
