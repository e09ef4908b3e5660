"""Where columns are masked: what a client can say, in whatever order, to see them all the same."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.support.masked import BANK, CUSTOMERS, relation, row
from tests.support.pg_masked import (
    ID,
    NOWHERE,
    NUMBER,
    NUMBERS,
    READY,
    SSN,
    Teller,
    answered,
    failure,
    is_closed_without,
    masked,
    masked_gate,
    query,
    said,
    shape,
    travelled,
)
from tests.support.playbook import Playbook
from tests.support.raw_client import extended
from vestibule.gate.masks import MAX_AGE_US
from vestibule.model.effect import Compute
from vestibule.model.event import Side
from vestibule.protocols.postgres import messages as pg

DONE = pg.CommandComplete("SELECT 1")
BOUND = (pg.ParseComplete(), pg.BindComplete())
OPEN, BROKEN = pg.ReadyForQuery("T"), pg.ReadyForQuery("E")
#: A relation of the same name in another schema, with nothing in it that is masked.
DECOY = relation(26_000, "decoy.customers", ["id", "ssn_", "state"])
PLAIN = "SELECT id, ssn FROM customers"


# --- rows -----------------------------------------------------------------------------------------------------------


def test_rows_of_a_query_are_masked_and_counted() -> None:
    play, _ = masked()
    play.client(query(PLAIN))
    assert answered(play, shape(ID, NUMBER), pg.DataRow((b"1", SSN)), pg.DataRow((b"2", None)), DONE, READY) == [
        "RowDescription",
        "row 1,***6789",
        "row 2,NULL",
        "SELECT 1",
        "Z I",
    ]
    play.client(pg.Terminate())
    assert [record.members["values_masked"] for record in play.records if record.kind == "SessionClosed"] == [1]


def test_each_statement_of_a_text_has_its_own_masks() -> None:
    play, _ = masked()
    play.client(query("SELECT state FROM customers; SELECT ssn FROM customers; SELECT ssn, id FROM customers"))
    state = replace(NUMBER, column=4)
    first = (shape(state), pg.DataRow((b"NY",)), DONE)
    second = (shape(NUMBER), pg.DataRow((SSN,)), DONE)
    third = (shape(NUMBER, ID), pg.DataRow((SSN, b"1")), DONE)
    rows = [each for each in answered(play, *first, *second, *third, READY) if each.startswith("row")]
    assert rows == ["row NY", "row ***6789", "row ***6789,1"]


@pytest.mark.parametrize("is_described", [False, True])
def test_rows_of_a_portal_are_masked_whether_the_client_describes_it_or_not(is_described: bool) -> None:
    play, _ = masked()
    asks = [pg.Describe("P", "")] if is_described else []
    play.client(pg.Parse("", PLAIN.encode()), pg.Bind("", ""), *asks, pg.Execute("", 0), pg.Sync())
    told = answered(play, *BOUND, shape(ID, NUMBER), pg.DataRow((b"1", SSN)), DONE, READY)
    assert told == ["ParseComplete", "BindComplete", *["RowDescription"] * is_described, "row 1,***6789", *told[-2:]]


def test_a_binary_number_becomes_null_and_binary_text_keeps_its_tail() -> None:
    play, _ = masked(at=masked_gate(NUMBERS, NUMBERS.replace("numbers", "ids").replace("ssn", "id")))
    play.client(pg.Parse("", PLAIN.encode()), pg.Bind("", "", (), (), (1,)), pg.Execute("", 0), pg.Sync())
    fields = replace(ID, format=1), replace(NUMBER, format=1)
    told = answered(play, *BOUND, shape(*fields), pg.DataRow((b"\0\0\0\7", SSN)), DONE, READY)
    assert "row NULL,***6789" in told


def test_a_suspended_portal_stays_masked_over_all_batches() -> None:
    play, _ = masked()
    play.client(*extended(PLAIN, portal="p", max_rows=1), pg.Sync())
    play.target(*BOUND, shape(ID, NUMBER), pg.DataRow((b"1", SSN)), pg.PortalSuspended(), OPEN)
    for _ in range(3):
        play.client(pg.Execute("p", 1), pg.Sync())
        assert answered(play, pg.DataRow((b"1", SSN)), pg.PortalSuspended(), OPEN)[0] == "row 1,***6789"


def test_in_a_pipeline_each_portal_has_its_own_masks() -> None:
    play, _ = masked()
    texts = ("SELECT ssn, state FROM customers", "SELECT state, ssn FROM customers")
    parts = [[pg.Parse(f"s{n}", text.encode()), pg.Bind(f"p{n}", f"s{n}")] for n, text in enumerate(texts)]
    play.client(*parts[0], *parts[1], pg.Execute("p1", 1), pg.Execute("p0", 1), pg.Execute("p1", 1), pg.Sync())
    state = replace(NUMBER, column=4)
    told = answered(
        play,
        *(*BOUND, *BOUND),
        *(shape(state, NUMBER), pg.DataRow((b"NY", SSN)), pg.PortalSuspended()),
        *(shape(NUMBER, state), pg.DataRow((SSN, b"TX")), pg.PortalSuspended()),
        *(pg.DataRow((b"OH", SSN)), pg.PortalSuspended(), READY),
    )
    assert [each for each in told if each.startswith("row")] == ["row NY,***6789", "row ***6789,TX", "row OH,***6789"]


def test_a_portal_keeps_the_masks_it_was_bound_with_when_its_statement_is_read_anew() -> None:
    """The same text means another relation after a change of the path; what was bound before does not change."""
    decoy = relation(26_300, "decoy.customers", ["id", "ssn"])
    play, teller = masked(at=masked_gate(NUMBERS.replace("*.customers", "public.customers")), teller=told_of(decoy))
    play.client(query("BEGIN"))
    play.target(pg.CommandComplete("BEGIN"), OPEN)
    teller.status = "T"
    play.client(pg.Parse("s", PLAIN.encode()), pg.Bind("old", "s"), pg.Sync())
    play.target(*BOUND, OPEN)
    play.client(query("SET search_path TO decoy"))
    play.target(pg.CommandComplete("SET"), OPEN)
    teller.path = "decoy"
    play.client(pg.Bind("new", "s"), pg.Sync())
    play.target(pg.BindComplete(), OPEN)
    play.client(pg.Execute("old", 0), pg.Sync())
    # Views and functions may lose where a column comes from, so that only the plan says what it is.
    assert "row 1,***6789" in answered(play, shape(ID, NOWHERE), pg.DataRow((b"1", SSN)), DONE, OPEN)


def told_of(more: list[tuple[str, ...]], path: str = "public") -> Teller:
    teller = Teller()
    teller.rows, teller.path = [*BANK, *more], path
    return teller


# --- names ----------------------------------------------------------------------------------------------------------


def test_an_unknown_name_is_asked_once_and_then_the_server_may_answer() -> None:
    play, teller = masked()
    play.client(query("SELECT 1"))
    play.target(shape(NOWHERE), DONE, READY)
    teller.asked.clear()
    play.client(query("SELECT x FROM fresh"))
    assert teller.asked == ["question", "survey"]
    assert travelled(play) == [query("SELECT x FROM fresh")]
    assert answered(play, failure("42P01"), READY) == ["ERROR 42P01", "Z I"]
    assert not play.closed


def test_rows_of_a_relation_that_is_not_there_end_the_session() -> None:
    play, _ = masked()
    play.client(query("SELECT x FROM fresh"))
    play.target(shape(NUMBER), pg.DataRow((SSN,)), DONE, READY)
    assert is_closed_without(play, SSN)


def test_a_name_that_another_session_has_just_made_is_found_by_asking() -> None:
    play, teller = masked()
    play.client(query("SELECT 1"))
    play.target(shape(NOWHERE), DONE, READY)
    teller.rows = [*BANK, *relation(26_100, "fresh.customers", ["ssn"])]
    play.client(query("SELECT ssn FROM fresh.customers"))
    told = answered(play, shape(replace(NUMBER, table=26_100, column=1)), pg.DataRow((SSN,)), DONE, READY)
    assert "row ***6789" in told


def test_a_snapshot_grows_old_and_is_asked_again() -> None:
    play, teller = masked()
    for _ in range(2):
        play.client(query("SELECT 1"))
        play.target(shape(NOWHERE), DONE, READY)
    assert teller.asked == ["question", "survey"]
    play.pass_time(MAX_AGE_US)
    play.client(query("SELECT 1"))
    assert teller.asked == ["question", "survey"] * 2


def test_what_is_told_inside_a_transaction_is_for_that_session_alone() -> None:
    gate = masked_gate()
    one, teller = masked(at=gate)
    one.client(query("BEGIN"))
    one.target(pg.CommandComplete("BEGIN"), OPEN)
    teller.status = "T"
    one.pass_time(MAX_AGE_US)
    one.client(query(PLAIN))
    assert teller.asked[-1] == "survey in a transaction"
    other, asked = masked(at=gate)
    other.pass_time(MAX_AGE_US)
    other.client(query(PLAIN))
    assert asked.asked == ["question", "survey"]


def test_a_prepared_statement_is_read_anew_when_the_catalog_has_changed() -> None:
    play, teller = masked()
    play.client(pg.Parse("s", b"SELECT branches.city FROM branches"), pg.Sync())
    play.target(pg.ParseComplete(), READY)
    play.pass_time(MAX_AGE_US)
    # The relation is a view by now, and its column another one.
    gone = {each for each in BANK if each[1] == str(CUSTOMERS + 40)}
    made = [*relation(26_200, "branches", ["city"], "v"), row("definition", 26_200, "SELECT ssn FROM public.customers")]
    teller.rows = [*(each for each in BANK if each not in gone), *made]
    play.client(pg.Bind("", "s"), pg.Execute("", 0), pg.Sync())
    field = replace(NUMBER, table=26_200, column=1)
    assert "row ***6789" in answered(play, BOUND[1], shape(field), pg.DataRow((SSN,)), DONE, READY)


def test_while_a_snapshot_is_made_beside_everything_else_the_statement_waits() -> None:
    play, _ = masked()
    play.holds = {Compute}
    play.client(query(PLAIN), query("SELECT 1"))
    assert query(PLAIN) not in play.to(Side.TARGET)
    play.answer()
    assert query(PLAIN) in play.to(Side.TARGET)


def test_a_client_that_leaves_meanwhile_is_let_go() -> None:
    play, _ = masked()
    play.holds = {Compute}
    play.client(query(PLAIN), pg.Terminate())
    play.end(Side.CLIENT)
    play.answer()
    assert play.closed == "client_closed"
    assert query(PLAIN) not in play.to(Side.TARGET)


# --- the session's own path and temporary relations -----------------------------------------------------------------


def lost_path() -> tuple[Playbook, Teller]:
    """A failed transaction in which the path leads to the decoy; its end leads back to what is masked."""
    play, teller = masked(teller=told_of(DECOY))
    play.client(query("BEGIN"))
    play.target(pg.CommandComplete("BEGIN"), OPEN)
    teller.status = "T"
    play.client(query("SET search_path TO decoy"))
    play.target(pg.CommandComplete("SET"), OPEN)
    teller.path = "decoy"
    play.client(query("SELECT upper(ssn_) FROM customers"))
    play.target(failure("22012"), BROKEN)
    teller.path, teller.status = "public", "I"
    play.take()
    return play, teller


def test_behind_the_end_of_a_failed_transaction_the_path_is_asked_before_a_text_is_read() -> None:
    play, teller = lost_path()
    play.client(query("ROLLBACK"), query("SELECT ssn_ FROM customers"))
    assert travelled(play) == [query("ROLLBACK")]
    teller.asked.clear()
    play.target(pg.CommandComplete("ROLLBACK"), READY)
    assert teller.asked[0] == "question"
    assert query("SELECT ssn_ FROM customers") not in travelled(play)


def test_in_one_pipeline_nothing_is_read_by_the_path_of_a_transaction_that_has_ended() -> None:
    play, _ = lost_path()
    play.client(*extended("ROLLBACK"), *extended("SELECT ssn_ FROM customers"), pg.Sync())
    binds = [each for each in play.to(Side.TARGET) if isinstance(each, pg.Bind)]
    assert len(binds) == 1
    assert not any(b"ssn_" in each.text for each in play.to(Side.TARGET) if isinstance(each, pg.Parse))


@pytest.mark.parametrize("end", [[query("ROLLBACK")], [*extended("ROLLBACK"), pg.Sync()]])
def test_a_failed_transaction_says_so_and_is_ended_by_either_protocol(end: list[pg.FrontendMessage]) -> None:
    play, _ = masked(teller=told_of(DECOY))
    play.client(query("BEGIN"))
    play.target(pg.CommandComplete("BEGIN"), OPEN)
    play.client(query("SET search_path TO nowhere"))
    play.target(failure("3F000"), BROKEN)
    play.take()
    play.client(query("SELECT ssn_ FROM customers"))
    assert answered(play, failure("34000"), BROKEN) == ["ERROR 25P02", "Z E"]
    play.client(*end)
    assert end[0] in play.to(Side.TARGET)


def test_a_text_may_not_change_the_path_and_use_it() -> None:
    play, _ = masked(teller=told_of(DECOY))
    for text in ("SET search_path TO decoy; SELECT ssn_ FROM customers", "CREATE TEMP TABLE w (a int); TABLE w"):
        play.client(query(text))
        assert said(play) == ["ERROR 0A000", "Z I"] or said(play) == []
    play.client(*extended("SET search_path TO decoy"), *extended("SELECT ssn_ FROM customers"), pg.Sync())
    assert len([each for each in play.to(Side.TARGET) if isinstance(each, pg.Bind)]) == 1


def test_a_temporary_relation_is_the_sessions_own_once_the_target_has_told_of_it() -> None:
    play, teller = masked()
    play.client(query("CREATE TEMP TABLE w AS SELECT id, state FROM customers"))
    play.target(pg.CommandComplete("SELECT 1"), READY)
    teller.temporaries = {"w": 27_000}
    play.client(query("SELECT upper(state) FROM w"))
    assert teller.asked[-1] == "question"
    assert "row NY" in answered(play, shape(NOWHERE), pg.DataRow((b"NY",)), DONE, READY)
    play.client(query("SELECT state FROM w"))
    assert "row NY" in answered(play, shape(replace(NUMBER, table=27_000)), pg.DataRow((b"NY",)), DONE, READY)


# --- what names stand for -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["EXECUTE s", "FETCH ALL FROM p", "MOVE p", "CREATE TEMP TABLE w AS EXECUTE s"])
def test_what_is_masked_by_the_protocol_does_not_come_out_of_execute_or_fetch(text: str) -> None:
    play, _ = masked()
    play.client(query("BEGIN"))
    play.target(pg.CommandComplete("BEGIN"), OPEN)
    play.client(pg.Parse("s", PLAIN.encode()), pg.Bind("p", "s"), pg.Sync())
    play.target(*BOUND, OPEN)
    play.take()
    play.client(query(text))
    assert query(text) not in play.to(Side.TARGET)


def test_a_prepared_fetch_is_read_anew_for_what_its_name_means_now() -> None:
    play, _ = masked()
    play.client(query("BEGIN"))
    play.target(pg.CommandComplete("BEGIN"), OPEN)
    play.client(query("DECLARE c CURSOR FOR SELECT id FROM customers"))
    play.target(pg.CommandComplete("DECLARE CURSOR"), OPEN)
    play.client(pg.Parse("f", b"FETCH c"), pg.Sync())
    play.target(pg.ParseComplete(), OPEN)
    play.client(query("CLOSE c"))
    play.target(pg.CommandComplete("CLOSE CURSOR"), OPEN)
    play.client(pg.Parse("s", PLAIN.encode()), pg.Bind("c", "s"), pg.Sync())
    play.target(*BOUND, OPEN)
    play.take()
    play.client(pg.Bind("", "f"), pg.Execute("", 0), pg.Sync())
    assert not any(isinstance(each, pg.Bind) for each in play.to(Side.TARGET))


def test_a_bound_execute_does_not_run_what_its_name_stands_for_since() -> None:
    play, _ = masked()
    play.client(query("PREPARE a AS SELECT id FROM customers"))
    play.target(pg.CommandComplete("PREPARE"), READY)
    play.client(query("BEGIN"))
    play.target(pg.CommandComplete("BEGIN"), OPEN)
    play.client(pg.Parse("", b"EXECUTE a"), pg.Bind("p", ""), pg.Sync())
    play.target(*BOUND, OPEN)
    play.client(query("DEALLOCATE a"))
    play.target(pg.CommandComplete("DEALLOCATE"), OPEN)
    play.client(query("PREPARE a AS SELECT state FROM customers"))
    play.target(pg.CommandComplete("PREPARE"), OPEN)
    play.take()
    play.client(pg.Execute("p", 0), pg.Sync())
    play.target(failure("34000"), BROKEN)
    assert said(play) == ["ERROR 0A000", "Z E"]


# --- large texts ----------------------------------------------------------------------------------------------------


def test_a_large_text_is_read_outside_and_masked_like_a_small_one() -> None:
    text = PLAIN + " WHERE id IN (" + "1," * 20_000 + "1)"
    play, _ = masked()
    play.client(query(text))
    assert travelled(play) == [query(text)]
    assert "row 1,***6789" in answered(play, shape(ID, NUMBER), pg.DataRow((b"1", SSN)), DONE, READY)
    play.client(query(text.replace("id IN", "ssn IS NULL OR id IN").replace("id, ssn", "upper(ssn)")))
    assert said(play) == ["ERROR 42501", "Z I"]


# --- COPY -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "COPY customers TO STDOUT",
        "COPY customers (ssn) TO STDOUT (FORMAT csv)",
        "COPY (SELECT ssn FROM customers) TO STDOUT (FORMAT binary)",
    ],
)
def test_masked_columns_are_not_copied(text: str) -> None:
    play, _ = masked()
    play.client(query(text))
    assert said(play) == ["ERROR 42501", "Z I"]


def test_a_target_that_copies_where_rows_were_foretold_ends_the_session() -> None:
    play, _ = masked()
    play.client(query(PLAIN))
    play.target(pg.CopyOutResponse(0, (0, 0)), pg.CopyData(SSN), pg.CopyDone(), DONE, READY)
    assert is_closed_without(play, SSN)
