from __future__ import annotations

import pytest

from scripts import list_functions
from tests.support.postgres import DATABASE, SUPERUSER, PostgresServer
from vestibule.analysis.sql import built_in, functions
from vestibule.analysis.sql.catalog import Catalog, catalog
from vestibule.model.statement import Impact

EMPTY = Catalog()

READERS = (
    "lower count max sum now random clock_timestamp gen_random_uuid pg_backend_pid "
    "pg_is_in_recovery pg_database_size txid_current currval pg_advisory_lock pg_try_advisory_xact_lock version "
    "current_setting format_type pg_get_viewdef obj_description array_agg json_build_object to_char extract "
    "generate_series pg_table_is_visible pg_sleep"
)
ADMINISTRATORS = (
    "pg_read_file pg_read_binary_file pg_ls_dir pg_stat_file pg_file_write lo_import lo_export pg_terminate_backend "
    "pg_cancel_backend pg_reload_conf pg_rotate_logfile pg_hba_file_rules pg_switch_wal pg_promote "
    "pg_create_logical_replication_slot pg_logical_emit_message pg_stat_reset"
)
DOUBTFUL = (
    "query_to_xml table_to_xml database_to_xmlschema cursor_to_xml ts_stat ts_rewrite pg_stat_get_activity lo_get "
    "loread pg_input_is_valid fmgr_c_validator regclass textin domain_in no_such_function dblink crypt"
)


@pytest.mark.parametrize("name", READERS.split())
def test_what_every_reader_needs_is_read(name: str) -> None:
    assert functions.called((name,), EMPTY) is Impact.READ
    assert functions.called(("pg_catalog", name), EMPTY) is Impact.READ
    assert functions.called(("db", "pg_catalog", name), EMPTY) is Impact.READ


@pytest.mark.parametrize("name", ["nextval", "setval", "pg_notify", "lo_unlink", "lowrite", "lo_put", "lo_create"])
def test_what_changes_data_is_write(name: str) -> None:
    assert functions.called((name,), EMPTY) is Impact.WRITE


@pytest.mark.parametrize("name", ADMINISTRATORS.split())
def test_files_other_sessions_and_the_server_are_for_administrators(name: str) -> None:
    assert functions.called((name,), EMPTY) is Impact.ADMIN


@pytest.mark.parametrize("name", DOUBTFUL.split())
def test_what_runs_sql_shows_other_sessions_or_is_not_listed_is_unknown(name: str) -> None:
    assert functions.called((name,), EMPTY) is Impact.UNKNOWN


def test_the_lists_are_disjoint_and_not_empty() -> None:
    lists = (built_in.READ, built_in.WRITE, built_in.ADMIN, built_in.UNKNOWN)

    assert sum(map(len, lists)) == len(frozenset().union(*lists)) == len(functions.BUILT_IN)
    assert len(built_in.READ) > 1_500


def test_no_listed_function_that_names_files_sql_or_other_sessions_is_for_readers() -> None:
    telling = (
        "pg_read",
        "pg_ls_",
        "lo_",
        "loread",
        "lowrite",
        "pg_logical",
        "pg_stat_get_backend",
        "dblink",
        "pg_file_",
    )
    running = ("query_to_xml", "table_to_xml", "schema_to_xml", "database_to_xml", "cursor_to_xml", "ts_stat")

    assert [name for name in built_in.READ if name.startswith(telling + running)] == []


def test_the_lists_are_what_the_script_finds_on_the_servers(
    postgres15: PostgresServer, postgres18: PostgresServer
) -> None:
    servers = [server.conninfo(SUPERUSER, DATABASE) for server in (postgres15, postgres18)]

    found = list_functions.sections(function for server in servers for function in list_functions.functions(server))
    listed = {"READ": built_in.READ, "WRITE": built_in.WRITE, "ADMIN": built_in.ADMIN, "UNKNOWN": built_in.UNKNOWN}

    assert {section: names - frozenset(found[section]) for section, names in listed.items()} == dict.fromkeys(
        listed, frozenset()
    )
    later = frozenset().union(*found.values()) - functions.BUILT_IN.keys()
    assert len(later) <= 10, "a minor release adds few functions: run scripts/list_functions.py again"
    assert {functions.called((name,), EMPTY) for name in later} <= {Impact.UNKNOWN}
    assert {name for server in servers for name in list_functions.catalogs(server)} == built_in.CATALOGS


def test_a_name_that_the_target_has_too_is_no_longer_the_built_in_one() -> None:
    own = Catalog(user_functions=frozenset({"lower"}))

    assert functions.called(("lower",), own) is Impact.UNKNOWN
    assert functions.called(("pg_catalog", "lower"), own) is Impact.READ
    assert functions.called(("upper",), own) is Impact.READ


def test_what_somebody_put_among_the_built_in_functions_is_unknown() -> None:
    own = Catalog(user_functions=frozenset({"lower"}), added=frozenset({"lower"}))

    assert functions.called(("pg_catalog", "lower"), own) is Impact.UNKNOWN


def test_a_function_of_the_target_counts_as_read_only_if_it_is_registered() -> None:
    own = catalog(
        [("function", "public", "f", "sql", "s", "f"), ("function", "x", "g", "sql", "s", "f")], ["public.f(text)"]
    )

    assert functions.called(("public", "f"), own) is Impact.READ
    assert functions.called(("f",), own) is Impact.READ
    assert functions.called(("x", "f"), own) is Impact.UNKNOWN
    assert functions.called(("x", "g"), own) is Impact.UNKNOWN
    assert functions.called(("g",), own) is Impact.UNKNOWN


def test_an_unqualified_name_is_registered_only_if_every_function_of_that_name_is() -> None:
    rows = [("function", "public", "f", "sql", "s", "f"), ("function", "other", "f", "sql", "s", "f")]

    assert functions.called(("f",), catalog(rows, ["public.f()"])) is Impact.UNKNOWN
    assert functions.called(("f",), catalog(rows, ["public.f()", "other.f(int)"])) is Impact.READ


def test_one_overload_that_is_not_registered_makes_all_of_that_name_doubtful() -> None:
    rows = [("function", "public", "f", "sql", "s", "f"), ("function", "public", "f", "plpgsql", "v", "f")]

    assert functions.called(("public", "f"), catalog(rows, ["public.f(text)"])) is Impact.UNKNOWN
    assert functions.called(("f",), catalog(rows, ["public.f(text)"])) is Impact.UNKNOWN
    assert functions.called(("public", "f"), catalog(rows, ["public.f(text)", "public.f(int)"])) is Impact.READ


def test_to_register_a_function_does_not_make_a_dangerous_built_in_one_harmless() -> None:
    own = catalog([("function", "public", "pg_read_file", "sql", "s", "f")], ["public.pg_read_file(text)"])

    assert functions.called(("pg_read_file",), own) is Impact.UNKNOWN
    assert functions.called(("public", "pg_read_file"), own) is Impact.READ


def test_json_object_is_the_targets_own_where_an_older_server_would_take_it() -> None:
    own = Catalog(user_functions=frozenset({"json_object"}))

    assert functions.called(("pg_catalog", "json_object"), own) is Impact.UNKNOWN
    assert functions.called(("pg_catalog", "json_object"), EMPTY) is Impact.READ


def test_a_field_may_be_a_function_and_then_counts_as_one() -> None:
    own = Catalog(user_functions=frozenset({"f"}), user_types=frozenset({"checked"}))

    assert functions.field("checked", own) is Impact.UNKNOWN
    assert functions.field("pg_start_backup", EMPTY) is Impact.UNKNOWN
    assert functions.field("pg_read_file", EMPTY) is Impact.ADMIN
    assert functions.field("nextval", EMPTY) is Impact.WRITE
    assert functions.field("query_to_xml", EMPTY) is Impact.UNKNOWN
    assert functions.field("f", own) is Impact.UNKNOWN
    assert functions.field("f", EMPTY) is Impact.READ
    assert functions.field("lower", EMPTY) is Impact.READ


def test_a_column_may_be_a_function_only_if_one_takes_a_row() -> None:
    own = Catalog(user_functions=frozenset({"f", "g"}), row_functions=frozenset({"g"}))

    assert functions.column("f", own) is Impact.READ
    assert functions.column("g", own) is Impact.UNKNOWN
    assert functions.column("query_to_xml", own) is Impact.READ
    assert functions.column("pg_restore_relation_stats", own) is Impact.ADMIN
