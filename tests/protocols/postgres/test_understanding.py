"""What a text means in a session."""

from __future__ import annotations

import pytest

from tests.support.pg_play import session
from vestibule.analysis.sql.analyse import analyse
from vestibule.analysis.sql.catalog import Catalog
from vestibule.model.event import Side
from vestibule.model.statement import Parameter, Parsed
from vestibule.protocols.postgres import messages as pg
from vestibule.protocols.postgres.understanding import judge_bound, may_copy

READY = pg.ReadyForQuery("I")


def codes(*said: pg.FrontendMessage) -> list[str]:
    play = session()
    play.client(*said)
    return [each.text("C") for each in play.to(Side.CLIENT) if isinstance(each, pg.ErrorResponse)]


def parsed(text: str) -> Parsed:
    result = analyse(text.encode(), Catalog())
    assert isinstance(result, Parsed)
    return result


@pytest.mark.parametrize(
    "text",
    [
        "SET client_encoding TO latin1",
        "SET standard_conforming_strings TO off",
        "SET session_replication_role TO replica",
        "SELECT set_config('log_statement', 'none', false)",
        "SET search_path TO current_schema()",
    ],
)
def test_a_setting_that_is_pinned_or_not_listed_never_travels(text: str) -> None:
    assert codes(pg.Query(text.encode())) in (["42501"], ["42601"])


@pytest.mark.parametrize(("value", "is_judged_wrong"), [(b"LATIN1", True), (b"UTF8", False), (None, False)])
def test_a_setting_in_a_parameter_is_judged_when_it_is_bound(value: bytes | None, is_judged_wrong: bool) -> None:
    statements = parsed("SELECT set_config('client_encoding', $1, false)").statements
    problem = judge_bound(statements, [Parameter(25, 0, value)])
    assert (problem is not None) is is_judged_wrong


def test_a_bound_setting_that_is_wrong_is_refused_in_the_place_of_the_bind() -> None:
    play = session()
    play.client(pg.Parse("", b"SELECT set_config('client_encoding', $1, false)"), pg.Bind("", "", (), (b"LATIN1",)))
    assert not any(isinstance(message, pg.Bind) for message in play.to(Side.TARGET))


@pytest.mark.parametrize(
    ("text", "may"),
    [
        ("COPY t FROM STDIN", True),
        ("COPY t TO STDOUT", False),
        ("SELECT 1", False),
        ("SELECT 1; COPY t FROM STDIN", True),
    ],
)
def test_a_copy_from_the_client_is_seen_in_the_text(text: str, may: bool) -> None:
    assert may_copy(parsed(text).statements) is may


def test_a_name_that_another_segment_is_still_changing_is_waited_for() -> None:
    play = session()
    play.client(pg.Query(b"PREPARE p AS SELECT 1"))
    play.take()
    play.client(pg.Query(b"EXECUTE p"))
    assert play.to(Side.TARGET) == []
    play.target(pg.CommandComplete("PREPARE"), READY)
    assert pg.Query(b"EXECUTE p") in play.to(Side.TARGET)


def test_a_prepare_that_failed_leaves_no_name() -> None:
    play = session()
    play.client(pg.Query(b"PREPARE p AS SELECT 1"))
    play.target(pg.ErrorResponse((("S", "ERROR"), ("C", "42P01"), ("M", "no"))), READY)
    play.take()
    play.client(pg.Query(b"EXECUTE p"))
    assert [each.text("C") for each in play.to(Side.CLIENT) if isinstance(each, pg.ErrorResponse)] == ["26000"]


@pytest.mark.parametrize("text", [b"DEALLOCATE p", b"DEALLOCATE ALL", b"DISCARD ALL"])
def test_a_name_that_was_dropped_is_gone(text: bytes) -> None:
    play = session()
    play.client(pg.Query(b"PREPARE p AS SELECT 1"))
    play.target(pg.CommandComplete("PREPARE"), READY)
    play.client(pg.Query(text))
    play.target(pg.CommandComplete({b"DEALLOCATE p": "DEALLOCATE"}.get(text, text.decode())), READY)
    play.take()
    play.client(pg.Query(b"EXECUTE p"))
    assert [each.text("C") for each in play.to(Side.CLIENT) if isinstance(each, pg.ErrorResponse)] == ["26000"]


def test_a_function_made_in_a_text_is_not_taken_for_built_in_by_the_rest_of_it() -> None:
    text = b"CREATE FUNCTION lower(int) RETURNS int LANGUAGE sql AS 'SELECT 1'; SELECT lower(1)"
    play = session("migrators")
    play.client(pg.Query(text))
    assert [each.text("C") for each in play.to(Side.CLIENT) if isinstance(each, pg.ErrorResponse)] == ["0A000"]


def test_behind_an_unsynced_change_of_the_catalog_nothing_can_be_judged() -> None:
    play = session("migrators")
    create = b"CREATE FUNCTION lower(int) RETURNS int LANGUAGE sql AS 'SELECT 1'"
    play.client(pg.Parse("", create), pg.Bind("", ""), pg.Execute(""))
    play.take()
    play.client(pg.Parse("", b"CREATE TABLE t (x int)"))
    assert not any(isinstance(message, pg.Parse) for message in play.to(Side.TARGET))
