from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.analysed import does, only, parsed, worst
from tests.support.texts import DEEP, deep
from vestibule.analysis.sql import analyse as module
from vestibule.analysis.sql.analyse import analyse, small
from vestibule.analysis.sql.catalog import Catalog
from vestibule.model.statement import Analysis, Impact, Operation, Parsed, Span, Unsupported

EMPTY = Catalog()

#: Ways to write a statement so that a reader, or a weaker parser, takes it for another one; and the plain form.
EVASIONS = {
    "nested comments": ("DROP/* /* ; */ SELECT 1 */TABLE t", "DROP TABLE t"),
    "comment that hides a quote": ("DELETE /* ' */ FROM t -- '", "DELETE FROM t"),
    "comment at the end of a line": ("SELECT 1 --\n; DROP TABLE t", "SELECT 1; DROP TABLE t"),
    "unicode identifier": ('DROP TABLE U&"\\0074"', "DROP TABLE t"),
    "unicode identifier with its own escape": ("DELETE FROM U&\"!0074\" UESCAPE '!'", "DELETE FROM t"),
    "quoted identifier": ('DELETE FROM "t"', "DELETE FROM t"),
    "case": ("dElEtE fRoM T", "DELETE FROM t"),
    "escape string": ("SELECT E'\\'; DROP TABLE t; --'", "SELECT 'x'"),
    "standard string": ("SELECT '\\'; DROP TABLE t; --'", "SELECT 'x'; DROP TABLE t"),
    "dollar quotes": ("SELECT $a$ $b$; DROP TABLE t; $a$; DELETE FROM t", "SELECT 'x'; DELETE FROM t"),
    "dollar quotes in a DO": ("DO $x$BEGIN DROP TABLE t; END$x$", "DO 'x'"),
    "semicolon in a string": ("SELECT ';DROP TABLE t'", "SELECT 'x'"),
    "psql's \\;": ("SELECT 1;DROP TABLE t", "SELECT 1; DROP TABLE t"),
    "empty statements": (";;SELECT 1;;;DROP TABLE t;;", "SELECT 1; DROP TABLE t"),
    "white space of all kinds": ("DROP\t\n\r\v\fTABLE\ft", "DROP TABLE t"),
    "function in quotes": ("SELECT \"pg_read_file\"('x')", "SELECT pg_read_file('x')"),
    "function in a default": ("SELECT coalesce(NULL, pg_ls_dir('.'))", "SELECT pg_ls_dir('.')"),
    "function in FROM": ("SELECT * FROM pg_read_file('x')", "SELECT pg_read_file('x')"),
    "function as a field": ("SELECT ('x').pg_read_file", "SELECT pg_read_file('x')"),
    "CTE that writes": ("WITH x AS (DELETE FROM t RETURNING *) SELECT 1", "DELETE FROM t"),
    "CTE in a CTE that writes": ("WITH a AS (WITH b AS (DELETE FROM t RETURNING *) TABLE b) TABLE a", "DELETE FROM t"),
    "CTE that writes in an INSERT": (
        "WITH x AS (DELETE FROM t RETURNING *) INSERT INTO u TABLE x",
        "DELETE FROM t; INSERT INTO u TABLE u",
    ),
    "EXPLAIN ANALYZE": ("EXPLAIN (COSTS off, ANALYZE) DELETE FROM t", "DELETE FROM t"),
    "PREPARE": ("PREPARE p AS DELETE FROM t", "DELETE FROM t"),
    "cursor": ("DECLARE c CURSOR FOR SELECT nextval('s')", "SELECT nextval('s')"),
    "COPY of a query": ("COPY (DELETE FROM t RETURNING *) TO STDOUT", "DELETE FROM t"),
    "COPY with old syntax": ("COPY BINARY t FROM '/x'", "COPY t FROM '/x'"),
    "SET ROLE by set_config": ("SELECT set_config('role', 'postgres', false)", "SET ROLE postgres"),
    "SET ROLE as a setting": ("SET role = postgres", "SET ROLE postgres"),
    "SET SESSION AUTHORIZATION as a setting": ("SET session_authorization TO bob", "SET SESSION AUTHORIZATION bob"),
    "pinned setting by set_config": ("SELECT set_config('backslash_quote', 'on', false)", "SET backslash_quote = on"),
    "SELECT INTO": ("SELECT * INTO u FROM t", "CREATE TABLE u AS SELECT * FROM t"),
    "CREATE TABLE AS": ("CREATE TABLE u AS WITH x AS (SELECT 1) TABLE x", "CREATE TABLE u AS SELECT 1"),
    "MERGE that deletes": ("MERGE INTO t USING u ON true WHEN MATCHED THEN DELETE", "DELETE FROM t"),
    "upsert": ("INSERT INTO t VALUES (1) ON CONFLICT (a) DO UPDATE SET a = 1", "UPDATE t SET a = 1"),
    "schema with what it grants": (
        "CREATE SCHEMA s GRANT ALL ON t TO bob CREATE TABLE t (a int)",
        "GRANT ALL ON t TO bob",
    ),
}
#: The same in other words: policy sees another object or verb, but the same impact.
DISGUISES = {
    "function with its schema": ("SELECT pg_catalog.pg_terminate_backend(1)", "SELECT pg_terminate_backend(1)"),
    "function as a cast": ("SELECT treat('x' AS pg_read_file)", "SELECT pg_read_file('x')"),
    "COPY PROGRAM": ("COPY (SELECT 1) TO PROGRAM 'rm -rf /'", "COPY t TO '/x'"),
    "pinned setting by a view": ("UPDATE pg_settings SET setting = 'on'", "SET backslash_quote = on"),
}


def changes(text: str) -> set[str]:
    return {operation for operation in does(text) if not operation.endswith(" read")}


@pytest.mark.case("PG-24")
@pytest.mark.parametrize(("written", "plain"), EVASIONS.values(), ids=EVASIONS.keys())
def test_an_evasion_is_decided_as_the_plain_form(written: str, plain: str) -> None:
    assert worst(written) == worst(plain)
    assert changes(plain) <= changes(written)


@pytest.mark.case("PG-24")
@pytest.mark.parametrize(("written", "plain"), DISGUISES.values(), ids=DISGUISES.keys())
def test_what_does_the_same_in_other_words_weighs_as_much(written: str, plain: str) -> None:
    assert worst(written) == worst(plain) > Impact.READ


@pytest.mark.case("PG-24")
@pytest.mark.parametrize("space", ["\u00a0", "\u2003", "\u3000", "\u200b", "\ufeff", "\u0085"])
def test_a_space_that_the_server_takes_for_a_letter_hides_nothing(space: str) -> None:
    assert isinstance(analyse(f"DROP{space}TABLE t".encode(), EMPTY), Unsupported)
    assert does(f"SELECT 1 AS x{space}; DROP TABLE t") == ["select read", "drop t schema"]


@pytest.mark.case("PG-24")
def test_a_deny_class_is_never_taken_for_reading_or_writing() -> None:
    for text in (
        "DO 'x'",
        "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS ''",
        "COPY t FROM PROGRAM 'x'",
        "COPY t TO '/x'",
        "SELECT dblink('host=x', 'DROP TABLE t')",
        "SELECT * FROM public.dblink('host=x', 'SELECT 1') AS t(a int)",
        "SELECT dblink_exec('x', 'y')",
        "CREATE SERVER s FOREIGN DATA WRAPPER postgres_fdw",
        "SELECT lo_import('/etc/passwd')",
        "SELECT lo_export(1, '/x')",
        "SELECT pg_read_file('/etc/passwd')",
        "SELECT pg_read_binary_file('/etc/passwd')",
        "SELECT pg_ls_dir('/')",
        "SELECT pg_stat_file('/')",
        "SELECT * FROM pg_hba_file_rules",
        "SET ROLE postgres",
        "SET SESSION AUTHORIZATION postgres",
        "SELECT pg_cancel_backend(1)",
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity",
        "SELECT set_config('standard_conforming_strings', 'off', false)",
    ):
        assert worst(text) > Impact.WRITE, text


WRITES = st.sampled_from(
    [
        "INSERT INTO t VALUES (1) RETURNING *",
        "UPDATE t SET a = 1 RETURNING *",
        "DELETE FROM t WHERE a = 1 RETURNING *",
        "SELECT nextval('s')",
        "SELECT * FROM t FOR UPDATE",
        "SELECT pg_read_file('x')",
        "SELECT unknown_function(1)",
        "SELECT ('x').pg_ls_dir",
        "INSERT INTO pg_catalog.pg_authid DEFAULT VALUES RETURNING *",
        "SELECT set_config('work_mem', '1GB', false)",
    ]
)
WRAPPERS: list[Callable[[str], str]] = [
    lambda text: f"WITH w AS ({text}) SELECT * FROM w",
    lambda text: f"WITH w AS (SELECT 1), v AS ({text}) INSERT INTO u TABLE v RETURNING *",
    lambda text: f"WITH w AS MATERIALIZED ({text}) (SELECT 1 UNION SELECT 2)",
]
OUTER: list[Callable[[str], str]] = [
    lambda text: text,
    lambda text: f"EXPLAIN ANALYZE {text}",
    lambda text: f"EXPLAIN (ANALYZE, FORMAT json) {text}",
    lambda text: f"PREPARE p AS {text}",
    lambda text: f"SELECT 1; {text}; SELECT 2",
    lambda text: f"COPY ({text}) TO STDOUT",
    lambda text: f"/* {'/* '} */ */ {text} --",
]


@given(WRITES, st.lists(st.sampled_from(WRAPPERS), max_size=4), st.sampled_from(OUTER))
def test_to_wrap_a_statement_never_lowers_its_impact(
    text: str, inner: list[Callable[[str], str]], outer: Callable[[str], str]
) -> None:
    wrapped = text
    for wrap in inner:
        wrapped = wrap(wrapped)
    wrapped = outer(wrapped)

    assert worst(wrapped) >= worst(text)


SEEDS = st.sampled_from(
    [written for pair in [*EVASIONS.values(), *DISGUISES.values()] for written in pair]
    + [
        "SELECT a.b, (c).d, e::regclass, f(g) FROM h JOIN i USING (j) WHERE k IN (SELECT 1) ORDER BY 1",
        "CREATE TABLE t (a int CHECK (a > 0) REFERENCES u, LIKE v) PARTITION BY RANGE (a)",
        "ALTER TABLE t ADD c int, ALTER a TYPE text USING a::text, DROP b, ATTACH PARTITION p DEFAULT",
        "GRANT SELECT (a) ON t TO bob WITH GRANT OPTION",
        "SELECT json_table.* FROM json_table('{}', '$' COLUMNS (a int)), xmltable('/' PASSING x COLUMNS b text)",
    ]
)
PIECES = st.sampled_from(
    [
        "",
        " ",
        "'",
        '"',
        "$$",
        "(",
        ")",
        ";",
        ",",
        ".",
        "*",
        "::",
        "--",
        "/*",
        "*/",
        "1",
        "NULL",
        "t",
        "SELECT ",
        "\\",
        "\u00fc",
        "U&",
        "E",
    ]
)


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    text = draw(SEEDS)
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(text)))
        text = text[:at] + draw(PIECES) + text[at + draw(st.integers(0, 6)) :]
    return text.encode()


@given(st.one_of(st.binary(max_size=100), mutated(), mutated(), mutated()))
def test_whatever_the_text_the_answer_is_well_formed(text: bytes) -> None:
    result = analyse(text, EMPTY)

    if isinstance(result, Unsupported):
        assert result.code in {"22021", "42601", "54000", "54001"}
        return
    ends = [0]
    for analysis in result.statements:
        assert analysis.operations
        assert ends[-1] <= analysis.start < analysis.end <= len(text)
        assert analysis.understood == (analysis.impact is not Impact.UNKNOWN)
        edges = [edge for span in analysis.literals for edge in (span.start, span.end)]
        assert edges == sorted(edges)
        assert all(analysis.start <= edge <= analysis.end for edge in edges)
        ends.append(analysis.end)


@pytest.mark.parametrize("name", DEEP)
def test_a_deep_text_is_understood_or_refused(name: str) -> None:
    for size in (200, 2_000, 20_000):
        result = analyse(deep(name, size), EMPTY)
        assert isinstance(result, Parsed) or result.code in ("42601", "54001", "54000")


def test_statements_of_a_text_have_their_places_kinds_literals_and_fingerprints() -> None:
    text = "SELECT 'ü', 1; /* 2 */ DELETE FROM t WHERE a = 3 ; -- 4"

    first, second = parsed(text)

    assert first == Analysis(
        kind="SelectStmt",
        operations=(Operation("select", "", Impact.READ),),
        start=0,
        end=14,
        literals=(Span(7, 11), Span(13, 14)),
        fingerprint=only("SELECT 'x', 2").fingerprint,
    )
    assert second.kind == "DeleteStmt"
    assert text.encode()[second.start : second.end].strip() == b"DELETE FROM t WHERE a = 3"
    assert [text.encode()[span.start : span.end] for span in second.literals] == [b"3"]
    assert second.fingerprint == only("delete from t where a = 'x'").fingerprint != first.fingerprint


def test_a_statement_without_an_end_goes_to_the_end_of_the_text() -> None:
    assert (only("  SELECT 1 -- x").start, only("  SELECT 1 -- x").end) == (2, 15)


@pytest.mark.parametrize("text", ["", " ;; ", "-- x", "/* x */;"])
def test_an_empty_text_has_no_statement(text: str) -> None:
    assert parsed(text) == ()


def test_what_does_not_parse_is_unsupported_and_nothing_of_it_counts() -> None:
    result = analyse(b"SELECT 1; DROP TABL t", EMPTY)

    assert result == Unsupported("42601", 'syntax error at or near "TABL"', position=16)


def test_what_a_text_creates_its_later_statements_do_not_take_for_built_in() -> None:
    lower = "CREATE FUNCTION public.lower(text) RETURNS text LANGUAGE sql AS ''"

    assert "call lower unknown" in does(f"{lower}; SELECT lower('x')")
    assert "call upper unknown" in does("ALTER FUNCTION f() RENAME TO upper; SELECT upper('x')")
    assert "call lower unknown" not in does(f"SELECT lower('x'); {lower}")
    assert worst("SELECT lower('x')") is Impact.READ


def test_a_tree_of_an_unexpected_form_is_a_statement_that_is_not_understood(monkeypatch: pytest.MonkeyPatch) -> None:
    for node in ({"relation": 7}, {"relation": {}}, {"withClause": {}}, {"targetList": [{"FuncCall": {}}]}, []):
        monkeypatch.setattr(module.parser, "parse", lambda text, node=node: [{"stmt": {"DeleteStmt": node}}])
        assert worst("DELETE FROM t") is Impact.UNKNOWN
        assert not only("DELETE FROM t").understood


def test_an_answer_is_not_larger_than_its_limits() -> None:
    many = analyse(b"SELECT 1;" * (module.STATEMENTS + 1), EMPTY)
    wide = analyse(b"SELECT FROM " + b",".join(b"t%d" % at for at in range(module.OPERATIONS + 1)), EMPTY)

    assert isinstance(many, Unsupported)
    assert many.code == "54000"
    assert isinstance(wide, Unsupported)
    assert wide.code == "54001"


def test_small_texts_are_those_of_the_parser() -> None:
    assert small(b"SELECT 1")
    assert not small(b"x" * (32 * 1024 + 1))
