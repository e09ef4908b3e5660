from __future__ import annotations

import pytest

from tests.support.postgres import PostgresServer
from vestibule.masking import built_in

REACHING = (
    "query_to_xml table_to_xmlschema schema_to_xml_and_xmlschema database_to_xml cursor_to_xml ts_stat ts_rewrite "
    "currtid2 pg_read_file pg_read_binary_file pg_ls_dir pg_stat_file lo_get loread lo_export pg_get_functiondef "
    "pg_logical_slot_get_changes pg_stat_get_activity dblink dblink_exec crosstab4 connectby get_raw_page "
    "heap_page_items bt_page_items gist_page_items brin_page_items pg_get_wal_records_info pg_stat_statements"
)
OTHERS = "lower count pg_get_viewdef pg_get_constraintdef pg_table_size nextval log xmlelement hash hash_aclitem"


@pytest.mark.parametrize("name", REACHING.split())
def test_functions_that_reach_rows_by_a_name_or_a_number_are_known(name: str) -> None:
    assert built_in.is_reaching(name)


@pytest.mark.parametrize("name", OTHERS.split())
def test_functions_that_do_not_are_left_alone(name: str) -> None:
    assert not built_in.is_reaching(name)


def test_the_columns_are_the_servers_own(postgres15: PostgresServer, postgres18: PostgresServer) -> None:
    found: set[tuple[str, str, str]] = set()
    for server in (postgres15, postgres18):
        rows = server.execute(
            "SELECT table_schema::text, table_name::text, column_name::text FROM information_schema.columns "
            "WHERE table_schema IN ('pg_catalog', 'information_schema')"
        )
        found.update((schema, table, column) for schema, table, column in rows)
    relations = {(schema, table) for schema, table, _ in found}

    listed = {(*name, column) for name, columns in built_in.COLUMNS.items() for column in columns - built_in.ALL}

    # `range_bounds_histogram` and the like came one by one, and not to each view.
    assert {entry for entry in listed - found if entry[2] not in built_in.STATISTICS} == set()
    assert built_in.COLUMNS.keys() - relations == set()
    # A system view with values of columns in it that nobody has listed yet.
    values = {entry for entry in found if entry[2] in built_in.STATISTICS}
    assert values <= listed
