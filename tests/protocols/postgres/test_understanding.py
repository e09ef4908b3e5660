"""What a text means in a session."""

from __future__ import annotations

import pytest

from tests.support.gates import gate
from tests.support.pg_play import session
from tests.support.playbook import Did, Playbook
from tests.support.policies import HEAD
from vestibule.analysis.sql.analyse import analyse
from vestibule.analysis.sql.catalog import Catalog
from vestibule.model.effect import Analyse
from vestibule.model.event import Side
from vestibule.model.statement import Parameter, Parsed
from vestibule.policy.document import load
from vestibule.policy.engine import Engine
from vestibule.protocols.postgres import messages as pg
from vestibule.protocols.postgres.learning import QUESTION
from vestibule.protocols.postgres.understanding import copies, judge_bound, judge_types

READY = pg.ReadyForQuery("I")
FAILED = pg.ErrorResponse((("S", "ERROR"), ("V", "ERROR"), ("C", "22012"), ("M", "division by zero")))


def codes(*said: pg.FrontendMessage) -> list[str]:
    play = session()
    play.client(*said)
    return [each.text("C") for each in play.to(Side.CLIENT) if isinstance(each, pg.ErrorResponse)]


def parsed(text: str) -> Parsed:
    result = analyse(text.encode(), Catalog())
    assert isinstance(result, Parsed)
    return result


@pytest.mark.parametrize("text", ["ALTER USER vestibule_rw PASSWORD 'x'", "DROP ROLE CURRENT_USER"])
def test_an_administrator_cannot_lock_out_the_account_with_which_the_gateway_logs_in(text: str) -> None:
    play = session("dba")
    play.client(pg.Query(text.encode()))
    refused, ready = play.to(Side.CLIENT)
    assert isinstance(refused, pg.ErrorResponse)
    assert (refused.text("C"), ready) == ("42501", READY)
    assert "vestibule_rw is the account" in refused.text("M")
    assert play.to(Side.TARGET) == []
    play.client(pg.Query(b"ALTER USER bob PASSWORD 'x'"))
    assert play.to(Side.TARGET) == [pg.Query(b"ALTER USER bob PASSWORD 'x'")]


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


def test_a_parameter_of_a_type_that_runs_code_is_refused() -> None:
    catalog = Catalog(type_numbers=frozenset({"16400"}))
    assert judge_types((25, 0, 16401), catalog) is None
    problem = judge_types((25, 16400), catalog)
    assert problem is not None
    assert problem.code == "42501"


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("COPY t FROM STDIN", 1),
        ("COPY t TO STDOUT", 0),
        ("SELECT 1", 0),
        ("SELECT 1; COPY t FROM STDIN; COPY t TO STDOUT; COPY t FROM STDIN", 2),
    ],
)
def test_copies_from_the_client_are_seen_in_the_text(text: str, count: int) -> None:
    assert copies(parsed(text).statements) == count


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


@pytest.mark.parametrize(
    ("behind", "refused"),
    [
        ("ALTER TEXT SEARCH CONFIGURATION w ADD MAPPING FOR word WITH simple", []),
        ("COMMENT ON TEXT SEARCH CONFIGURATION w IS 'x'; ALTER TEXT SEARCH CONFIGURATION w OWNER TO bob", []),
        ("COMMENT ON TEXT SEARCH CONFIGURATION w IS 'x'; SELECT 1", ["0A000"]),
        ("SELECT 1; COMMENT ON TEXT SEARCH CONFIGURATION w IS 'x'", ["0A000"]),
    ],
)
def test_behind_a_change_of_the_catalog_in_one_text_only_what_calls_nothing_can_be_judged(
    behind: str, refused: list[str]
) -> None:
    play = session("migrators", "dba")

    play.client(pg.Query(f"CREATE TEXT SEARCH CONFIGURATION w (COPY = simple); {behind}".encode()))

    found = [each.text("C") for each in play.to(Side.CLIENT) if isinstance(each, pg.ErrorResponse)]
    assert found == refused


def test_behind_an_unsynced_change_of_the_catalog_nothing_can_be_judged() -> None:
    play = session("migrators")
    create = b"CREATE FUNCTION lower(int) RETURNS int LANGUAGE sql AS 'SELECT 1'"
    play.client(pg.Parse("", create), pg.Bind("", ""), pg.Execute(""))
    play.take()
    play.client(pg.Parse("", b"CREATE TABLE t (x int)"))
    assert not any(isinstance(message, pg.Parse) for message in play.to(Side.TARGET))


READING = """
access:
  - {name: engineers read, groups: [engineering], targets: [core-banking], allow: [read]}
"""

CREATE = b"CREATE FUNCTION lower(int) RETURNS int LANGUAGE sql AS 'SELECT 1'"


def test_in_a_failed_transaction_that_changed_the_catalog_only_its_end_travels() -> None:
    play = session("migrators", "dba")
    done(play, "BEGIN")
    play.client(pg.Query(CREATE))
    play.target(FAILED, pg.ReadyForQuery("E"))
    play.take()
    for text in (b"ROLLBACK TO s; SELECT lower(1)", b"SELECT lower(1)"):
        play.client(pg.Query(text))
        assert not any(isinstance(message, pg.Query) for message in play.to(Side.TARGET))
        play.target(FAILED, pg.ReadyForQuery("E"))
        play.take()
    play.client(pg.Query(b"ROLLBACK TO s"))
    assert play.to(Side.TARGET) == [pg.Query(b"ROLLBACK TO s")]


def test_the_end_of_a_transaction_may_undo_a_change_of_the_catalog_so_it_is_asked_again() -> None:
    play = session("migrators", "dba")
    done(play, "BEGIN")
    play.client(pg.Query(CREATE))
    play.target(pg.CommandComplete("CREATE FUNCTION"), pg.ReadyForQuery("T"))
    play.client(pg.Query(b"SELECT 1"))
    assert play.bytes[Side.TARGET].endswith(QUESTION)
    answer = [pg.RowDescription((pg.Field("x", 0, 0, 25, -1, -1, 0),) * 6), pg.CommandComplete("SELECT 0")]
    play.target(*answer, pg.ReadyForQuery("T"))
    play.target(pg.CommandComplete("SELECT 1"), pg.ReadyForQuery("T"))
    play.client(pg.Query(b"ROLLBACK"))
    play.target(pg.CommandComplete("ROLLBACK"), READY)
    play.take()
    play.client(pg.Query(b"SELECT lower(1)"))
    assert play.bytes[Side.TARGET].endswith(QUESTION)
    assert pg.Query(b"SELECT lower(1)") not in play.to(Side.TARGET)


# --- what a name stands for ------------------------------------------------------------------------------------------


def reading(groups: str = "dba") -> Playbook:
    """A session of somebody who may read, and not write."""
    return session(groups)


def refusals(play: Playbook) -> list[str]:
    return [each.text("C") for each in play.to(Side.CLIENT) if isinstance(each, pg.ErrorResponse)]


def done(play: Playbook, *said: str, status: pg.TransactionStatus = "T") -> None:
    """Let the target carry out Queries, answered by their tags."""
    for text in said:
        play.client(pg.Query(text.encode()))
        tag = {"CLOSE": "CLOSE CURSOR", "DECLARE": "DECLARE CURSOR"}.get(text.split()[0], text.split()[0])
        play.target(pg.CommandComplete(tag), pg.ReadyForQuery(status))
    play.take()


def operations(play: Playbook) -> list[object]:
    """What the last decision was about."""
    (*_, last) = [record for record in play.records if record.kind == "StatementDecided"]
    operations = last.members["ops"]
    assert isinstance(operations, list)
    return [" ".join(operation.values()) for operation in operations]


@pytest.mark.parametrize("prepared_by_protocol", [False, True])
def test_execute_never_gives_the_value_of_a_setting(prepared_by_protocol: bool) -> None:
    text = b"SELECT set_config('standard_conforming_strings', $1, false)"
    play = reading()
    if prepared_by_protocol:
        play.client(pg.Parse("p", text), pg.Sync())
        play.target(pg.ParseComplete(), READY)
    else:
        done(play, f"PREPARE p AS {text.decode()}", status="I")
    play.take()
    play.client(pg.Query(b"EXECUTE p('off')"), pg.Query(b"SELECT '\\', '; DELETE FROM loans; --'"))
    assert refusals(play) == ["0A000"]


@pytest.mark.parametrize("text", ["DEALLOCATE x", "PREPARE y AS SELECT 1", "COPY t FROM STDIN", "SET jit TO off"])
def test_execute_runs_only_what_prepare_takes(text: str) -> None:
    play = session()
    play.client(pg.Parse("p", text.encode()), pg.Sync())
    play.target(pg.ParseComplete(), READY)
    play.take()
    play.client(pg.Query(b"EXECUTE p"))
    assert refusals(play) == ["0A000"]


def test_an_execute_of_a_cursor_that_is_suspended_leaves_its_name_in_no_doubt() -> None:
    play = session()
    done(play, "BEGIN", "DECLARE c CURSOR FOR VALUES (1), (2)")
    for _ in range(2):
        play.client(pg.Execute("c", 1), pg.Sync())
        assert pg.Execute("c", 1) in play.to(Side.TARGET)
        shape = pg.RowDescription((pg.Field("column1", 0, 0, 23, 4, -1, 0),))
        described = [] if play.bytes[Side.CLIENT].count(b"column1") else [shape]
        play.target(*described, pg.DataRow((b"1",)), pg.PortalSuspended(), pg.ReadyForQuery("T"))


def test_a_fetch_does_what_its_cursor_does() -> None:
    play = session()
    done(play, "BEGIN", "DECLARE c CURSOR FOR SELECT ssn FROM customers")
    play.client(pg.Query(b"FETCH ALL FROM c"))
    assert operations(play) == ["fetch c read", "select customers read"]


def test_a_fetch_of_a_portal_does_what_was_bound() -> None:
    play = session()
    done(play, "BEGIN")
    play.client(pg.Parse("", b"DELETE FROM loans RETURNING id"), pg.Bind("p", ""), pg.Sync())
    play.target(pg.ParseComplete(), pg.BindComplete(), pg.ReadyForQuery("T"))
    play.client(pg.Query(b"FETCH ALL FROM p"))
    assert operations(play) == ["fetch p read", "delete loans write"]


@pytest.mark.parametrize("text", [b"FETCH ALL FROM p", b"MOVE ALL IN p", b"DECLARE q CURSOR FOR SELECT 1; FETCH p"])
def test_a_fetch_is_decided_by_the_policy_of_now(text: bytes) -> None:
    at = gate()
    play = session(at=at)
    done(play, "BEGIN")
    play.client(pg.Parse("", b"DELETE FROM loans RETURNING id"), pg.Bind("p", ""), pg.Sync())
    play.target(pg.ParseComplete(), pg.BindComplete(), pg.ReadyForQuery("T"))
    play.take()
    at.apply(Engine(load((HEAD + READING).encode(), "policy.yaml")))
    play.client(pg.Query(text))
    assert not any(isinstance(message, pg.Query) for message in play.to(Side.TARGET))


def test_a_cursor_of_the_same_text_may_be_fetched_from_and_an_unknown_one_may_not() -> None:
    play = session()
    text = b"BEGIN; DECLARE c CURSOR FOR SELECT id FROM loans; FETCH 1 FROM c"
    play.client(pg.Query(text))
    assert pg.Query(text) in play.to(Side.TARGET)
    assert codes(pg.Query(b"FETCH 1 FROM c")) == ["34000"]


def test_a_cursor_takes_the_name_of_the_portal_that_sql_has_closed() -> None:
    play = session()
    done(play, "BEGIN")
    play.client(pg.Parse("", b"SELECT 'innocent'"), pg.Bind("c", ""), pg.Sync())
    play.target(pg.ParseComplete(), pg.BindComplete(), pg.ReadyForQuery("T"))
    done(play, "CLOSE c", "DECLARE c CURSOR FOR SELECT ssn FROM customers")
    play.client(pg.Execute("c"))
    assert operations(play) == ["select customers read"]


def test_what_is_only_prepared_may_name_what_there_will_be() -> None:
    play = session()
    play.client(pg.Parse("f", b"FETCH ALL FROM c"), pg.Parse("e", b"EXECUTE q"))
    assert play.to(Side.TARGET) == [pg.Parse("f", b"FETCH ALL FROM c"), pg.Parse("e", b"EXECUTE q")]
    play.client(pg.Bind("", "f"))
    assert not any(isinstance(message, pg.Bind) for message in play.to(Side.TARGET))


@pytest.mark.parametrize(
    ("text", "before", "after"),
    [
        (
            "FETCH ALL FROM c",
            ["DECLARE c CURSOR FOR SELECT 1"],
            ["CLOSE c", "DECLARE c CURSOR FOR SELECT * FROM loans"],
        ),
        ("EXECUTE c", ["PREPARE c AS SELECT 1"], ["DEALLOCATE c", "PREPARE c AS SELECT * FROM loans"]),
    ],
)
def test_a_name_that_stands_for_something_else_when_it_is_run_is_decided_anew(
    text: str, before: list[str], after: list[str]
) -> None:
    play = session()
    done(play, "BEGIN", *before)
    play.client(pg.Parse("", text.encode()), pg.Bind("p", ""), pg.Sync())
    play.target(pg.ParseComplete(), pg.BindComplete(), pg.ReadyForQuery("T"))
    done(play, *after)
    play.client(pg.Execute("p"))
    assert operations(play)[-1] == "select loans read"


@pytest.mark.parametrize(("text", "tag"), [("CLOSE c", "CLOSE CURSOR"), ("CLOSE ALL", "CLOSE CURSOR ALL")])
def test_a_portal_that_sql_closes_has_ended(text: str, tag: str) -> None:
    play = session()
    done(play, "BEGIN")
    play.client(pg.Parse("", b"SELECT 1"), pg.Bind("c", ""), pg.Sync())
    play.target(pg.ParseComplete(), pg.BindComplete(), pg.ReadyForQuery("T"))
    play.client(pg.Query(text.encode()))
    play.target(pg.CommandComplete(tag), pg.ReadyForQuery("T"))
    ended = [record for record in play.records if record.kind == "StatementFinished"]
    assert [record.members["outcome"] for record in ended] == ["ok"] * 3
    play.take()
    play.client(pg.Execute("c"))
    play.target(FAILED)
    assert refusals(play) == ["34000"]


# --- large texts -----------------------------------------------------------------------------------------------------

LARGE = b"SELECT '" + b"x" * 40_000 + b"'"
OTHER = b"DELETE FROM loans -- " + b"x" * 40_000


def test_the_analysis_of_a_text_that_was_skipped_is_not_taken_for_that_of_the_next() -> None:
    play = reading()
    play.holds = {Analyse}
    play.client(pg.Parse("", b"SELECT 1 / 0"), pg.Bind("", ""), pg.Execute(""), pg.Parse("q", LARGE))
    play.target(pg.ParseComplete(), pg.BindComplete(), FAILED)
    play.client(pg.Sync(), pg.Query(OTHER))
    play.target(READY)
    play.take()

    play.answer()
    assert play.to(Side.CLIENT) == []
    play.answer()

    assert refusals(play) == ["42501"]
    assert OTHER not in play.bytes[Side.TARGET]


def test_one_large_text_is_analysed_at_a_time_however_many_are_given_up() -> None:
    play = reading()
    play.holds = {Analyse}
    for number in range(3):
        play.client(pg.Parse("", b"SELECT 1 / 0"), pg.Bind("", ""), pg.Execute(""))
        play.client(pg.Parse("", LARGE + b" -- %d" % number))
        play.target(pg.ParseComplete(), pg.BindComplete(), FAILED)
        play.client(pg.Sync())
        play.target(READY)
    asked = [seen for seen in play.take() if isinstance(seen, Did) and isinstance(seen.effect, Analyse)]
    assert len(asked) == 1
