from __future__ import annotations

import time
from itertools import chain

import pytest

from tests.support.masked import BANK, CUSTOMERS, Row, catalog, relation, row
from tests.support.postgres import PostgresServer
from tests.support.queries import SCHEMA
from vestibule.masking.catalog import QUERY, Attribute, Snapshot, snapshot


def test_rows_become_relations_with_their_columns() -> None:
    found = catalog().relations[CUSTOMERS]

    assert (found.schema, found.name, found.kind, found.is_system) == ("public", "customers", "r", False)
    assert found.columns[1] == Attribute(2, "ssn", 25)
    assert found.numbers == {1, 2, 3, 4, 5, 6}
    assert catalog().names["public", "customers"] == CUSTOMERS


def test_the_version_is_of_the_contents_whatever_their_order() -> None:
    assert snapshot(BANK).version == snapshot(BANK[::-1]).version
    assert len(snapshot([]).version) == 64


@pytest.mark.parametrize("at", range(len(BANK)))
def test_every_row_counts_in_the_version(at: int) -> None:
    assert snapshot(BANK[:at] + BANK[at + 1 :]).version != snapshot(BANK).version


def test_parts_of_a_row_cannot_run_into_each_other_in_the_version() -> None:
    one, other = (snapshot([row("coded", "function", *names)]) for names in (("ab", "c"), ("a", "bc")))

    assert one.version != other.version


@pytest.mark.parametrize("odd", [("relation", "1"), (), row("relation", "x"), row("references", 1, "y")])
def test_rows_of_another_form_are_no_snapshot(odd: Row) -> None:
    with pytest.raises(ValueError, match=r"columns instead|invalid literal"):
        snapshot([*BANK, odd])


def test_a_toast_relation_has_the_columns_that_all_have() -> None:
    assert [column.name for column in catalog().relations[20_900].columns] == ["chunk_id", "chunk_seq", "chunk_data"]


def test_five_thousand_relations_load_in_about_a_second() -> None:
    columns = [f"column_{number}" for number in range(12)]
    rows = list(chain.from_iterable(relation(20_000 + 10 * n, f"table_{n}", columns) for n in range(5_000)))

    start = time.process_time()
    found = snapshot(rows)

    assert len(found.relations) == 5_000
    assert time.process_time() - start < 2


@pytest.fixture(params=[pytest.param(name, marks=pytest.mark.server) for name in ("postgres15", "postgres18")])
def loaded(request: pytest.FixtureRequest) -> Snapshot:
    """The snapshot of a real server that tries to mislead the query."""
    server: PostgresServer = request.getfixturevalue(request.param)
    database = server.create_database("snapshots", template="template0")
    try:
        with server.connect(database=database) as connection:
            connection.execute(SCHEMA.replace("{salt}", "x"))
            connection.execute(
                """
                CREATE SCHEMA other;
                CREATE TABLE other.pg_class (oid oid, relname text);
                CREATE FUNCTION other.never(oid, oid) RETURNS bool LANGUAGE sql AS 'SELECT false';
                CREATE OPERATOR other.= (LEFTARG = oid, RIGHTARG = oid, FUNCTION = other.never);
                CREATE TABLE computed (a text, b text GENERATED ALWAYS AS (lower(a)) STORED);
                CREATE TABLE parts (a int, b text) PARTITION BY LIST (a);
                CREATE TABLE part_1 PARTITION OF parts FOR VALUES IN (1);
                CREATE TABLE refers (a int REFERENCES branches);
                CREATE AGGREGATE other.gathered (text) (SFUNC = textcat, STYPE = text);
                CREATE TYPE span AS RANGE (subtype = text);
                CREATE TABLE spans (a span, b customers[]);
                CREATE RULE r AS ON INSERT TO notes DO ALSO SELECT 1;
                ALTER TABLE notes ENABLE ROW LEVEL SECURITY;
                ALTER TABLE notes DROP COLUMN body;
                CREATE TEMP TABLE mine (a int);
                SET search_path = other, public, pg_catalog;
                """
            )
            return snapshot(connection.execute(QUERY).fetchall())
    finally:
        server.drop_database(database)


def test_the_query_finds_on_a_real_server_what_carries_values_on(loaded: Snapshot) -> None:
    names = {oid: relation.name for oid, relation in loaded.relations.items()}
    public = {relation.name: relation for relation in loaded.relations.values() if relation.schema == "public"}

    assert {"customers", "full_view", "kept", "history", "address", "parts"} <= public.keys()
    assert "mine" not in loaded.known
    assert ("other", "pg_class") in loaded.names
    assert {(names[child], names[parent]) for child, parent in loaded.children} >= {
        ("vip", "customers"),
        ("part_1", "parts"),
    }
    assert (public["refers"].oid, public["branches"].oid) in loaded.references
    assert (public["notes"].flags, public["customers"].flags) == ("rs", "")
    assert [column.name for column in public["notes"].columns] == ["id", "email"]
    assert [(names[oid], number) for oid, number, _ in loaded.generated] == [("computed", 2)]
    assert loaded.constraints >= {"customers_ssn_key", "customers_pkey"}
    assert ("function", "other", "never") in loaded.coded
    assert ("operator", "other", "=") in loaded.coded
    assert ("function", "other", "gathered") in loaded.coded


def test_definitions_are_written_with_the_schema_of_everything(loaded: Snapshot) -> None:
    text = loaded.definitions[loaded.names["public", "full_view"]]

    assert "FROM public.customers" in text


def test_the_system_is_in_the_snapshot_but_not_its_definitions(loaded: Snapshot) -> None:
    stats = loaded.names["pg_catalog", "pg_stats"]

    assert loaded.relations[stats].is_system
    assert stats not in loaded.definitions
    assert ("information_schema", "columns") in loaded.names


def test_a_relation_with_two_columns_of_one_name_cannot_be() -> None:
    with pytest.raises(ValueError, match="two columns of one name"):
        snapshot(relation(30_000, "twice", ["a", "a"]))
