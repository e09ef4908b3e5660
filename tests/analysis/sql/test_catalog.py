from __future__ import annotations

import pytest

from tests.support.analysed import only
from tests.support.postgres import PostgresServer
from vestibule.analysis.sql.catalog import QUERY, Catalog, catalog, qualified, search_path
from vestibule.model.statement import Impact

ROWS = [
    ("function", "public", "f", "plpgsql", "v", "f"),
    ("function", "public", "g", "sql", "s", "t"),
    ("function", "pg_catalog", "h", "c", "v", "f"),
    ("operator", "public", "@@@", "sql", "s", "f"),
    ("operator", "public", "<->", "c", "i", "f"),
    ("type", "public", "checked", "code", "v", "16400"),
]


def test_rows_become_names() -> None:
    found = catalog(ROWS, ["public.f(int, text)"])

    assert found == Catalog(
        user_functions=frozenset({"f", "g", "h"}),
        registered=frozenset({"public.f"}),
        version=found.version,
        added=frozenset({"h"}),
        row_functions=frozenset({"g"}),
        clean=frozenset({"f"}),
        user_operators=frozenset({"@@@"}),
        user_types=frozenset({"checked"}),
        type_numbers=frozenset({"16400"}),
    )


def test_the_search_path_is_of_the_session_and_no_part_of_the_catalog() -> None:
    row = ("session", "search_path", "public, audit", "", "", "")
    assert search_path([*ROWS, row]) == "public, audit"
    assert search_path(ROWS) == ""
    assert catalog([*ROWS, row]) == catalog(ROWS)


def test_the_version_is_of_the_contents_whatever_their_order() -> None:
    assert catalog(ROWS).version == catalog(ROWS[::-1]).version
    assert len(catalog([]).version) == 64


@pytest.mark.parametrize("at", range(len(ROWS)))
def test_every_row_and_every_registration_counts_in_the_version(at: int) -> None:
    less = ROWS[:at] + ROWS[at + 1 :]

    assert catalog(less).version != catalog(ROWS).version != catalog(ROWS, ["public.f()"]).version


def test_parts_of_a_row_cannot_run_into_each_other_in_the_version() -> None:
    one = catalog([("function", "ab", "c", "sql", "s", "f")])
    other = catalog([("function", "a", "bc", "sql", "s", "f")])

    assert one.version != other.version


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("public.f(text)", "public.f"),
        ("Public.F()", "public.f"),
        ('public."F"(text)', "public.F"),
        ('"a.b"."c""d"(int)', 'a.b.c"d'),
        (" s . f", "s"),
        ("f(int)", "f"),
        ("", ""),
    ],
)
def test_a_registration_is_read_as_an_identifier(written: str, name: str) -> None:
    assert qualified(written) == name


def test_the_query_itself_only_reads() -> None:
    assert only(QUERY).impact is Impact.READ


@pytest.mark.server
@pytest.mark.parametrize("version", [15, 18])
def test_the_query_finds_what_a_server_has_of_its_own(version: int, request: pytest.FixtureRequest) -> None:
    server: PostgresServer = request.getfixturevalue(f"postgres{version}")
    with server.connect() as connection, connection.transaction(force_rollback=True):
        connection.execute(
            """
            CREATE SCHEMA own;
            CREATE TABLE own.t (a int);
            CREATE FUNCTION own.f(int) RETURNS int LANGUAGE sql AS 'SELECT 1';
            CREATE FUNCTION own.r(own.t) RETURNS int LANGUAGE sql AS 'SELECT 1';
            CREATE FUNCTION own.lower(text) RETURNS text LANGUAGE sql AS 'SELECT $1';
            CREATE OPERATOR own.@@@ (FUNCTION = own.f, RIGHTARG = int);
            CREATE DOMAIN own.d AS int CHECK (own.f(VALUE) = 1);
            CREATE DOMAIN own.plain AS int CHECK (VALUE > 0);
            CREATE DOMAIN own.by_operator AS int CHECK ((OPERATOR(own.@@@) VALUE) = 1);
            CREATE DOMAIN own.over_domain AS own.d;
            CREATE TYPE own.pair AS (a own.d, b int);
            CREATE TABLE own.wide (a own.pair[]);
            CREATE TYPE own.span AS RANGE (subtype = own.d);
            CREATE DOMAIN own.by_cast AS text CHECK (VALUE::own.d > 0);
            CREATE TYPE own.cast_to AS (a int);
            CREATE FUNCTION own.cast(int) RETURNS own.cast_to LANGUAGE sql AS 'SELECT row(1)::own.cast_to';
            CREATE CAST (int AS own.cast_to) WITH FUNCTION own.cast(int);
            """
        )
        numbers = {str(row[0]) for row in connection.execute("SELECT 'own.d'::regtype::oid").fetchall()}
        rows = [tuple(map(str, row)) for row in connection.execute(QUERY).fetchall()]
        found = catalog(rows)

    assert {"f", "r", "lower"} <= found.user_functions
    assert found.row_functions & {"f", "r", "lower"} == {"r"}
    assert found.user_operators == {"@@@"}
    coded = {"d", "by_operator", "over_domain", "pair", "wide", "span", "by_cast", "cast_to"}
    assert {name.removeprefix("_") for name in found.user_types if "multirange" not in name} == coded
    assert {"_d", "_pair"} <= found.user_types
    assert numbers <= found.type_numbers
    assert "upper" not in found.user_functions
    assert found.added == frozenset()


EXPANDARRAY = ("function", "information_schema", "_pg_expandarray", "sql", "i", "f")


def test_the_helpers_of_information_schema_are_vouched_for_while_they_are_the_only_ones_of_their_name() -> None:
    made_by_initdb, overloaded = catalog([EXPANDARRAY]), catalog([EXPANDARRAY, EXPANDARRAY])
    call = "SELECT (information_schema._pg_expandarray(i.indkey)).n FROM pg_catalog.pg_index i"

    assert only(call, made_by_initdb).impact is Impact.READ
    assert only(call, overloaded).impact is Impact.UNKNOWN
    assert only(call, catalog([])).impact is Impact.UNKNOWN
    assert only(call.replace("information_schema", "public"), made_by_initdb).impact is Impact.UNKNOWN
