"""What a target says beside rows where columns are masked: errors, notices, notifications, and what cannot be."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.support.masked import BANK, row
from tests.support.pg_masked import (
    ID,
    NOWHERE,
    NUMBER,
    READY,
    SSN,
    Teller,
    answered,
    failure,
    is_closed_without,
    masked,
    query,
    shape,
)
from tests.support.playbook import Playbook
from tests.support.raw_client import extended
from vestibule.model.event import Side
from vestibule.protocols.postgres import frames, learning
from vestibule.protocols.postgres import messages as pg

DONE = pg.CommandComplete("SELECT 1")
BOUND = (pg.ParseComplete(), pg.BindComplete())
OPEN = pg.ReadyForQuery("T")
PLAIN = "SELECT id, ssn FROM customers"
WRITE = "INSERT INTO customers (id, ssn) VALUES (1, '5')"
WORDS = {letter: f"{letter} {SSN.decode()}" for letter in "MDHWsqtcdFR"}
LOUD = failure("23505", **WORDS, n="customers_ssn_key", P="7")
NOTICE = pg.NoticeResponse((("S", "NOTICE"), ("V", "NOTICE"), ("C", "P0001"), ("M", SSN.decode())))


def shown(play: Playbook) -> bool:
    """Whether the value has reached the client."""
    return SSN in play.bytes[Side.CLIENT]


def last_error(play: Playbook) -> pg.ErrorResponse:
    return [each for each in play.to(Side.CLIENT) if isinstance(each, pg.ErrorResponse)][-1]


BEFORE = {
    "Parse": (),
    "Bind": (pg.ParseComplete(),),
    "Describe": BOUND,
    "Execute": (*BOUND, pg.NoData()),
    "Sync": (*BOUND, pg.NoData(), pg.CommandComplete("INSERT 0 1")),
}


@pytest.mark.parametrize("place", BEFORE)
def test_an_error_about_a_write_tells_its_code_and_constraint_wherever_it_comes(place: str) -> None:
    play, _ = masked()
    play.client(pg.Parse("", WRITE.encode()), pg.Bind("", ""), pg.Describe("P", ""), pg.Execute("", 0), pg.Sync())
    play.target(*BEFORE[place], NOTICE, LOUD, READY)
    assert not shown(play)
    error = last_error(play)
    assert (error.text("C"), error.text("n"), error.text("P")) == ("23505", "customers_ssn_key", "7")


@pytest.mark.parametrize("text", [WRITE, PLAIN, "COMMIT", "PREPARE TRANSACTION 'x'", "SET CONSTRAINTS ALL IMMEDIATE"])
def test_so_is_one_about_a_query(text: str) -> None:
    play, _ = masked()
    play.client(query(text))
    play.target(NOTICE, LOUD, READY)
    assert not shown(play)
    assert last_error(play).text("C") == "23505"


def test_a_query_behind_unsynced_statements_ends_their_transaction_too() -> None:
    play, _ = masked()
    play.client(*extended(WRITE), query("SELECT 1"))
    wrote = (*BOUND, pg.NoData(), pg.CommandComplete("INSERT 0 1"))
    play.target(*wrote, shape(NOWHERE), DONE, NOTICE, LOUD, READY)
    assert not shown(play)


def test_the_words_about_a_clean_statement_pass() -> None:
    play, _ = masked()
    play.client(query("SELECT 1/0"))
    assert "ERROR 22012" in answered(play, failure("22012"), READY)
    assert b"the server's words" in play.bytes[Side.CLIENT]


@pytest.mark.parametrize("text", [PLAIN, WRITE])
def test_a_fatal_error_is_reduced_like_any_other(text: str) -> None:
    play, _ = masked()
    play.client(query(text))
    play.target(failure("57P01", "FATAL", **WORDS))
    assert not shown(play)
    assert last_error(play).text("C") == "57P01"


def test_a_notice_that_belongs_to_no_statement_is_reduced() -> None:
    play, _ = masked()
    play.target(NOTICE)
    assert not shown(play)


def test_what_others_notify_comes_without_their_words() -> None:
    play, _ = masked()
    play.target(pg.NotificationResponse(4712, "jobs", SSN.decode()))
    assert not shown(play)
    assert pg.NotificationResponse(4712, "jobs", "") in play.to(Side.CLIENT)


def test_an_unknown_code_is_not_repeated() -> None:
    play, _ = masked()
    play.client(query(PLAIN))
    play.target(failure("12345"), READY)
    assert last_error(play).text("C") == "XX000"


# --- what cannot be -------------------------------------------------------------------------------------------------

OTHER = {
    "fewer columns": ((ID,), (SSN,)),
    "more columns": ((ID, NUMBER, NOWHERE), (b"1", SSN, SSN)),
    "a sensitive column where none was foretold": ((NUMBER, NUMBER), (SSN, SSN)),
}


@pytest.mark.parametrize("name", OTHER)
@pytest.mark.parametrize("is_extended", [False, True])
def test_an_answer_that_was_not_foretold_ends_the_session(name: str, is_extended: bool) -> None:
    play, _ = masked()
    fields, values = OTHER[name]
    play.client(*([*extended(PLAIN), pg.Sync()] if is_extended else [query(PLAIN)]))
    play.target(*(BOUND if is_extended else ()), shape(*fields), pg.DataRow(values), DONE, READY)
    assert is_closed_without(play, SSN)


def test_so_does_a_sensitive_column_in_the_answer_to_a_clean_statement() -> None:
    play, _ = masked()
    play.client(query("SELECT state FROM customers"))
    play.target(shape(NUMBER), pg.DataRow((SSN,)), DONE, READY)
    assert is_closed_without(play, SSN)


@pytest.mark.parametrize("field", [replace(NUMBER, table=99_999), replace(NUMBER, column=99)])
def test_a_column_that_nobody_knows_is_hidden_and_the_catalog_is_asked_again(field: pg.Field) -> None:
    play, teller = masked()
    play.client(query("SELECT state FROM customers"))
    assert "row ***" in answered(play, shape(field), pg.DataRow((SSN,)), DONE, READY)
    assert teller.asked == ["question", "survey"]
    play.client(query("SELECT 1"))
    assert teller.asked == ["question", "survey"] * 2


def test_what_is_foretold_as_masked_is_masked_whatever_the_target_says_of_it() -> None:
    play, _ = masked()
    play.client(query(PLAIN))
    assert "row 1,***6789" in answered(play, shape(ID, NOWHERE), pg.DataRow((b"1", SSN)), DONE, READY)


@pytest.mark.parametrize(
    "answers",
    [
        (pg.DataRow((b"1", SSN)),),
        (shape(ID, NUMBER), pg.DataRow((b"1", SSN, SSN))),
        (shape(ID, NUMBER), DONE, pg.DataRow((b"1", SSN))),
        (shape(ID, NUMBER), DONE, shape(ID, NUMBER), pg.DataRow((b"1", SSN))),
        (shape(ID, NUMBER), LOUD, pg.DataRow((b"1", SSN))),
        (shape(ID, NUMBER), LOUD, shape(NOWHERE, NOWHERE), pg.DataRow((b"1", SSN))),
    ],
    ids=["undescribed", "of other columns", "behind the end", "second answer", "behind an error", "anew behind it"],
)
def test_rows_that_cannot_be_end_the_session_or_come_masked(answers: tuple[pg.BackendMessage, ...]) -> None:
    play, _ = masked()
    play.client(query(PLAIN))
    play.target(*answers, READY)
    play.client(pg.Terminate())
    assert not shown(play)


def test_a_portal_without_a_description_gives_no_row() -> None:
    play, _ = masked()
    play.client(*extended(PLAIN), pg.Sync())
    play.target(*BOUND, pg.NoData(), pg.DataRow((b"1", SSN)))
    assert is_closed_without(play, SSN)


def test_a_masked_row_above_the_limit_ends_the_session_before_a_byte_of_it_passes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(frames, "MASKED", 1 << 20)
    play, _ = masked()
    play.client(query(PLAIN))
    row_ = pg.DataRow((SSN * 100_000, SSN))
    play.target(shape(ID, NUMBER), play.wire.write(Side.TARGET, row_)[: 1 << 17])
    assert is_closed_without(play, SSN)
    assert "the limit is" in play.fault


# --- the gateway's own questions ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "rows",
    [
        [("relation", "1")],
        [row("relation", "x", "public", "a", "r", "", 1)],
        [*BANK, row("column", 20_000, 9, "ssn", 25, -1, "")],
        [row("references", 1, "y")],
    ],
)
def test_a_catalog_that_cannot_be_ends_the_session_before_a_statement_travels(rows: list[tuple[str, ...]]) -> None:
    teller = Teller()
    teller.rows = rows
    play, _ = masked(teller=teller)
    play.client(query(PLAIN))
    assert is_closed_without(play)
    assert query(PLAIN) not in play.to(Side.TARGET)


def test_so_does_one_that_is_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(learning, "SURVEY_BYTES", 1 << 10)
    play, _ = masked()
    play.client(query(PLAIN))
    assert is_closed_without(play)
    assert query(PLAIN) not in play.to(Side.TARGET)


def test_words_that_come_while_the_catalog_is_asked_are_reduced() -> None:
    play, teller = masked()
    teller.rest = lambda _: b""
    play.replies[Side.TARGET] = lambda _: b""
    play.client(query(PLAIN))
    play.target(NOTICE)
    assert not shown(play)


def test_a_failed_transaction_is_not_asked_for_anything() -> None:
    play, teller = masked()
    play.client(query("BEGIN"))
    play.target(pg.CommandComplete("BEGIN"), OPEN)
    play.client(query("SELECT 1/0"))
    play.target(failure("22012"), pg.ReadyForQuery("E"))
    teller.asked.clear()
    for text in ("SELECT x FROM fresh", "DELETE FROM branches", PLAIN):
        play.client(query(text))
        if play.to(Side.CLIENT) == []:
            play.target(failure("25P02"), pg.ReadyForQuery("E"))
    assert teller.asked == []
    assert not play.closed
