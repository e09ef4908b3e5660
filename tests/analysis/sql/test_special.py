from __future__ import annotations

import pytest

from tests.support.analysed import does, only, parsed
from vestibule.model.statement import Impact


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("PREPARE p AS SELECT 1", ("p",)),
        ('PREPARE "P x" AS SELECT 1', ("P x",)),
        ("EXECUTE p", ("p",)),
        ("EXPLAIN EXECUTE p", ("p",)),
        ("EXPLAIN ANALYZE EXECUTE p", ("p",)),
        ("CREATE TEMP TABLE t AS EXECUTE p", ("p",)),
        ("DEALLOCATE p", ("p",)),
        ("DEALLOCATE ALL", ()),
        ("DECLARE c CURSOR FOR SELECT 1", ("c",)),
        ("EXPLAIN DECLARE c CURSOR FOR SELECT 1", ()),
        ("FETCH 1 FROM c", ("c",)),
        ("MOVE 1 IN c", ("c",)),
        ("CLOSE c", ("c",)),
        ("CLOSE ALL", ()),
        ("SELECT 1", ()),
    ],
)
def test_a_session_learns_the_names_it_must_remember(text: str, names: tuple[str, ...]) -> None:
    assert only(text).names == names


@pytest.mark.parametrize(
    ("text", "operation", "settings"),
    [
        ("SET jit = off", "set jit read", [("jit", "off")]),
        ("SET LOCAL statement_timeout TO 500", "set statement_timeout read", [("statement_timeout", "500")]),
        ("SET datestyle = iso, dmy", "set datestyle read", [("datestyle", "iso, dmy")]),
        ("SET TIME ZONE 'UTC'", "set timezone read", [("timezone", "UTC")]),
        ("SET TIME ZONE -3.5", "set timezone read", [("timezone", "-3.5")]),
        ("SET TIME ZONE INTERVAL '1' HOUR", "set timezone read", [("timezone", None)]),
        ("SET NAMES 'utf8'", "set client_encoding read", [("client_encoding", "utf8")]),
        ("SET NAMES DEFAULT", "set client_encoding read", [("client_encoding", None)]),
        ('SET search_path TO a, "B c"', "set search_path read", [("search_path", '"a", "B c"')]),
        ("SET search_path = 'a, b'", "set search_path read", [("search_path", '"a, b"')]),
        ("SET search_path = ''", "set search_path read", [("search_path", "")]),
        ("SET SCHEMA 'a'", "set search_path read", [("search_path", '"a"')]),
        ("SET search_path TO DEFAULT", "set search_path read", [("search_path", None)]),
        ("RESET search_path", "reset search_path read", [("search_path", None)]),
        ("RESET work_mem", "reset work_mem read", [("work_mem", None)]),
        ("RESET ALL", "reset all read", [("all", None)]),
        ("DISCARD ALL", "discard all read", [("all", None)]),
        ("SET TRANSACTION READ ONLY", "set transaction read", []),
        ("SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE", "set session characteristics read", []),
        ("SET TRANSACTION SNAPSHOT 'x'", "set transaction snapshot read", []),
        ("SET ROLE bob", "set role admin", [("role", "bob")]),
        ("SET ROLE NONE", "set role admin", [("role", "none")]),
        (
            "SET LOCAL SESSION AUTHORIZATION DEFAULT",
            "set session_authorization admin",
            [("session_authorization", None)],
        ),
        ("RESET SESSION AUTHORIZATION", "reset session_authorization admin", [("session_authorization", None)]),
    ],
)
def test_set_and_reset_say_what_becomes_of_a_setting(
    text: str, operation: str, settings: list[tuple[str, str | None]]
) -> None:
    analysis = only(text)

    assert analysis.refusal is None
    assert does(text) == [operation]
    assert list(analysis.settings) == settings


@pytest.mark.parametrize(
    "text",
    [
        "SET work_mem = '1GB'",
        'SET "Work_Mem" = 1',
        "SET standard_conforming_strings = off",
        "SET standard_conforming_strings TO 'of'",
        "SET client_encoding TO LATIN1",
        "SET NAMES 'SJIS'",
        "SET client_min_messages = debug5",
        'SET search_path = "$user", public',
        "SET SCHEMA '$user'",
        "SET backslash_quote = on",
        "SET XML OPTION DOCUMENT",
        "SET vestibule.ticket = 'x'",
        "SET session_replication_role = replica",
        "SET LOCAL quote_all_identifiers = on",
        "SET seed TO 0.5",
    ],
)
def test_a_setting_that_is_pinned_may_not_be_set(text: str) -> None:
    analysis = only(text)

    assert analysis.refusal is not None
    assert analysis.refusal.code == "42501"
    assert analysis.impact is Impact.UNKNOWN
    assert not analysis.settings


def test_a_setting_of_a_function_is_none_of_the_session() -> None:
    analysis = only("CREATE FUNCTION f() RETURNS int SET work_mem = 1 SET role = bob LANGUAGE sql AS ''")

    assert analysis.refusal is None
    assert not analysis.settings
    assert analysis.impact is Impact.SCHEMA


def test_refusals_are_of_the_statement_and_not_of_its_neighbours() -> None:
    first, second, third = parsed("SELECT 1; SET work_mem = 1; SELECT 2")

    assert first.refusal is third.refusal is None
    assert second.refusal is not None


def test_functions_in_a_transaction_of_two_phases_stay_readable() -> None:
    assert does("COMMIT PREPARED 'a.b'") == ['commit prepared "a.b" write']
