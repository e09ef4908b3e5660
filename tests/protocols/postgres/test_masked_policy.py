"""A policy that masks more, or less, takes effect while statements and portals are on their way."""

from __future__ import annotations

import pytest

from tests.support.pg_masked import (
    ID,
    MAILS,
    NUMBER,
    NUMBERS,
    READY,
    SSN,
    answered,
    engine,
    failure,
    masked,
    masked_gate,
    query,
    said,
    shape,
    travelled,
)
from tests.support.raw_client import extended
from vestibule.model.event import Side
from vestibule.protocols.postgres import messages as pg

DONE = pg.CommandComplete("SELECT 1")
BOUND = (pg.ParseComplete(), pg.BindComplete())
PLAIN = "SELECT id, ssn FROM customers"


def test_a_temporary_relation_that_was_made_when_less_was_masked_is_closed() -> None:
    play, teller = masked(at=(gate := masked_gate(MAILS)))
    play.client(query("CREATE TEMP TABLE w AS SELECT ssn FROM customers"))
    play.target(pg.CommandComplete("SELECT 1"), READY)
    teller.temporaries = {"w": 27_000}
    gate.apply(engine(MAILS, NUMBERS))
    play.take()
    for text in ("SELECT upper(ssn) FROM w", "TABLE pg_temp.w", "INSERT INTO branches(name) SELECT ssn FROM w"):
        play.client(query(text))
        assert said(play) == ["ERROR 42501", "Z I"]


def test_so_is_one_that_was_made_when_nothing_was_masked() -> None:
    gate = masked_gate()
    gate.apply(engine())
    play, teller = masked(at=gate)
    play.client(query("SELECT ssn INTO TEMP w FROM customers"))
    play.target(pg.CommandComplete("SELECT 1"), READY)
    teller.temporaries = {"w": 27_000}
    gate.apply(engine(NUMBERS))
    play.take()
    play.client(query("TABLE w"))
    assert said(play) == ["ERROR 42501", "Z I"]
    gate.apply(engine())
    play.client(query("TABLE w"))
    assert travelled(play) == [query("TABLE w")]


def test_a_mask_that_is_added_holds_from_the_next_statement_on() -> None:
    play, _ = masked(at=(gate := masked_gate(MAILS)))
    play.client(query(PLAIN))
    gate.apply(engine(MAILS, NUMBERS))
    # What travels was decided before.
    assert "row 1,123-45-6789" in answered(play, shape(ID, NUMBER), pg.DataRow((b"1", SSN)), DONE, READY)
    play.client(query(PLAIN))
    assert "row 1,***6789" in answered(play, shape(ID, NUMBER), pg.DataRow((b"1", SSN)), DONE, READY)


def test_so_does_the_first_mask_of_all() -> None:
    gate = masked_gate()
    gate.apply(engine())
    play, teller = masked(at=gate)
    play.client(query(PLAIN))
    gate.apply(engine(NUMBERS))
    assert "row 1,123-45-6789" in answered(play, shape(ID, NUMBER), pg.DataRow((b"1", SSN)), DONE, READY)
    play.client(query(PLAIN))
    assert teller.asked == ["question", "survey"]
    assert "row 1,***6789" in answered(play, shape(ID, NUMBER), pg.DataRow((b"1", SSN)), DONE, READY)


@pytest.mark.parametrize("before", [(), (MAILS,)])
def test_between_parse_and_bind_a_mask_that_is_added_is_known_to_the_bind(before: tuple[str, ...]) -> None:
    gate = masked_gate()
    gate.apply(engine(*before))
    play, _ = masked(at=gate)
    play.client(pg.Parse("s", PLAIN.encode()), pg.Describe("S", "s"), pg.Sync())
    play.target(pg.ParseComplete(), pg.ParameterDescription(()), shape(ID, NUMBER), READY)
    gate.apply(engine(NUMBERS))
    play.client(pg.Describe("S", "s"), pg.Sync())
    play.target(pg.ParameterDescription(()), shape(ID, NUMBER), READY)
    play.client(pg.Bind("", "s"), pg.Execute("", 0), pg.Sync())
    play.target(pg.BindComplete())
    assert "row 1,***6789" in answered(play, shape(ID, NUMBER), pg.DataRow((b"1", SSN)), DONE, READY)


@pytest.mark.parametrize("before", [(), (MAILS,), (NUMBERS, MAILS)])
def test_between_bind_and_execute_a_change_of_masks_asks_for_another_bind(before: tuple[str, ...]) -> None:
    gate = masked_gate()
    gate.apply(engine(*before))
    play, _ = masked(at=gate)
    play.client(pg.Parse("s", PLAIN.encode()), pg.Bind("p", "s"), pg.Describe("P", "p"), pg.Flush())
    play.target(*BOUND, shape(ID, NUMBER))
    gate.apply(engine(NUMBERS))
    play.take()
    play.client(pg.Execute("p", 0), pg.Sync())
    assert not any(isinstance(each, pg.Execute) and each.portal == "p" for each in play.to(Side.TARGET))
    assert answered(play, failure("34000"), READY) == ["ERROR 0A000", "Z I"]


def test_a_batch_that_is_asked_for_after_a_change_of_masks_does_not_come() -> None:
    play, _ = masked(at=(gate := masked_gate(MAILS)))
    play.client(*extended(PLAIN, portal="p", max_rows=1), pg.Flush())
    play.target(*BOUND, shape(ID, NUMBER), pg.DataRow((b"1", SSN)), pg.PortalSuspended())
    gate.apply(engine(MAILS, NUMBERS))
    play.client(pg.Describe("P", "p"), pg.Execute("p", 1), pg.Sync())
    assert answered(play, shape(ID, NUMBER), failure("34000"), READY)[-2:] == ["ERROR 0A000", "Z I"]


@pytest.mark.parametrize("fetch", [[query("FETCH c")], [*extended("FETCH c"), pg.Sync()], [pg.Execute("c", 1)]])
def test_a_cursor_of_before_a_change_of_masks_gives_nothing(fetch: list[pg.FrontendMessage]) -> None:
    play, _ = masked(at=(gate := masked_gate(MAILS)))
    play.client(query("DECLARE c CURSOR WITH HOLD FOR SELECT upper(ssn) FROM customers"))
    play.target(pg.CommandComplete("DECLARE CURSOR"), READY)
    gate.apply(engine(MAILS, NUMBERS))
    play.take()
    play.client(*fetch)
    kept = [each for each in play.to(Side.TARGET) if isinstance(each, pg.Query | pg.Bind | pg.Execute)]
    assert all(isinstance(each, pg.Execute) and each.portal.startswith("vestibule_") for each in kept)


def test_a_mask_that_is_removed_still_holds_for_what_was_decided_by_it() -> None:
    play, _ = masked(at=(gate := masked_gate(NUMBERS)))
    play.client(query(PLAIN))
    gate.apply(engine())
    assert "row 1,***6789" in answered(play, shape(ID, NUMBER), pg.DataRow((b"1", SSN)), DONE, READY)
    play.client(query(PLAIN))
    assert "row 1,123-45-6789" in answered(play, shape(ID, NUMBER), pg.DataRow((b"1", SSN)), DONE, READY)


def test_a_policy_with_other_rules_and_the_same_masks_changes_nothing_of_this() -> None:
    play, _ = masked(at=(gate := masked_gate(NUMBERS)))
    play.client(*extended(PLAIN, portal="p", max_rows=1), pg.Flush())
    play.target(*BOUND, shape(ID, NUMBER), pg.DataRow((b"1", SSN)), pg.PortalSuspended())
    gate.apply(engine(NUMBERS + "\n# reviewed\n"))
    play.client(pg.Execute("p", 1), pg.Sync())
    assert "row 1,***6789" in answered(play, pg.DataRow((b"1", SSN)), pg.PortalSuspended(), READY)


def test_a_person_in_a_group_for_whom_it_is_clear_sees_it() -> None:
    play, teller = masked("engineering", "fraud")
    play.client(query(PLAIN))
    assert teller.asked == ["question", "survey"], "what is stored is masked all the same"
    assert "row 1,123-45-6789" in answered(play, shape(ID, NUMBER), pg.DataRow((b"1", SSN)), DONE, READY)


# --- what a mask and the policy both refuse


@pytest.mark.parametrize("is_extended", [False, True])
@pytest.mark.parametrize(
    ("groups", "text", "rule", "words"),
    [
        (("engineering",), "DROP TABLE customers", "default", 'needs "schema" on core-banking; you may: read, write'),
        (("engineering", "migrators"), "DROP TABLE customers", "no dropping", "dropped by migration only"),
        (("engineering",), "ALTER TABLE customers RENAME ssn TO x", "default", 'needs "schema"'),
        (
            ("engineering", "migrators"),
            "ALTER TABLE customers RENAME ssn TO x",
            "unsupported",
            "where columns are masked",
        ),
        (("engineering", "migrators"), "CREATE VIEW v AS SELECT ssn FROM customers", "unsupported", "masked"),
    ],
)
def test_the_policy_s_denial_is_told_before_a_mask_s_refusal_which_holds_whatever_it_allows(
    groups: tuple[str, ...], text: str, rule: str, words: str, is_extended: bool
) -> None:
    play, _ = masked(*groups)
    play.take()
    play.client(*((pg.Parse("", text.encode()), pg.Sync()) if is_extended else (query(text),)))
    if is_extended:
        play.target(failure("34000"), READY)
    (refused, *_) = [each for each in play.to(Side.CLIENT) if isinstance(each, pg.ErrorResponse)]
    assert refused.text("C") == "42501"
    assert words in refused.text("M")
    (decided,) = [record.members for record in play.records if record.kind == "StatementDecided"]
    assert (decided["decision"], decided["rule"]["name"]) == ("deny", rule)
    assert travelled(play, pg.Query, pg.Parse) == []


def test_one_denied_statement_speaks_for_the_whole_message() -> None:
    play, _ = masked("engineering")
    play.take()
    play.client(query("SELECT id FROM customers; DROP TABLE customers"))
    told = play.to(Side.CLIENT)
    assert 'needs "schema"' in str(told[0])
    assert told[1:] == [READY]
    assert travelled(play) == []
