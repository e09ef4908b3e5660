"""What is kept of a session whose person sees through masks: what passes the storage mask, whatever is shown."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest

from tests.protocols.postgres.test_keeping import keeps, tables
from tests.support.masked import BANK, CUSTOMERS
from tests.support.pg_play import is_question, knowledge, session, written
from tests.support.playbook import Playbook, ToClient
from tests.support.policies import HEAD, RULES
from vestibule.evidence.results import Row
from vestibule.gate.gate import Gate, StorageKey
from vestibule.gate.kept import Recording
from vestibule.masking.steps import RowMask
from vestibule.model.event import Side
from vestibule.model.record import Kind
from vestibule.policy.document import load
from vestibule.policy.engine import Engine
from vestibule.protocols.postgres import frames
from vestibule.protocols.postgres import messages as pg
from vestibule.protocols.postgres.codec import encode
from vestibule.protocols.postgres.learning import SURVEY, SURVEY_IN_TRANSACTION

MASKS = """
masks:
  - {name: ssn, columns: ["*.customers.ssn"], transform: {keep_last: 4}, clear_for: {groups: [fraud-desk]}}
  - {name: mail, columns: ["*.customers.email"], clear_for: {groups: [fraud-desk]}}
"""
SECRET = b"078-05-1120"
SSN = pg.Field("ssn", CUSTOMERS, 2, 25, -1, -1, 0)
MADE = pg.Field("made", 0, 0, 25, -1, -1, 0)
ROW = pg.DataRow((SECRET,))
ONE = pg.CommandComplete("SELECT 1")
IDLE = pg.ReadyForQuery("I")


def target(message: object) -> bytes:
    """A target that answers the gateway's own questions."""
    if is_question(message):
        return knowledge((b"session", b"search_path", b"public", b"", b"", b""))
    if isinstance(message, pg.Query) and encode(message) in (SURVEY, SURVEY_IN_TRANSACTION):
        shape = pg.RowDescription((pg.Field("x", 0, 0, 25, -1, -1, 0),) * 7)
        rows = [pg.DataRow(tuple(cell.encode() for cell in row)) for row in BANK]
        return written(shape, *rows, pg.CommandComplete("SELECT 9"), IDLE)
    return b""


def masking() -> Gate:
    at = Gate(Engine(load((HEAD + RULES + MASKS).encode(), "policy.yaml")), StorageKey("k1", bytes(32)))
    at.recording = Recording(at.is_masked)
    return at


def cleared(at: Gate | None = None) -> Playbook:
    """A recorded session of somebody for whom nothing is masked."""
    return session("engineering", "fraud-desk", at=at or masking(), target=target)


def ask(play: Playbook, text: bytes, *answer: pg.Message) -> Playbook:
    play.client(pg.Query(text))
    play.target(*answer, IDLE)
    return play


def cells(play: Playbook) -> list[Sequence[object]]:
    return [item.cells for item in tables(play) if isinstance(item, Row)]


def kept(play: Playbook) -> bytes:
    return b"".join(keep.data for keep in keeps(play))


def members(play: Playbook, kind: Kind) -> dict[str, object]:
    return dict([record for record in play.records if record.kind is kind][-1].members)


def results(play: Playbook) -> list[str]:
    found = json.loads(json.dumps(members(play, Kind.STATEMENT_FINISHED).get("results", []), default=str))
    return [each["recorded"] for each in found]


@pytest.mark.case("E-40")
def test_a_value_that_is_shown_in_clear_is_kept_as_its_mask_says() -> None:
    play = ask(cleared(), b"SELECT ssn FROM customers", pg.RowDescription((SSN,)), ROW, ONE)

    assert ToClient(ROW) in play.seen
    assert cells(play) == [("***1120",)]
    assert members(play, Kind.STATEMENT_DECIDED)["clear_by"] == ["ssn"]
    assert results(play) == ["full"]


@pytest.mark.case("E-40")
def test_a_binary_value_of_a_bound_statement_is_kept_as_its_mask_says() -> None:
    play = cleared()
    play.client(pg.Parse("s", b"SELECT ssn FROM customers", ()), pg.Describe("S", "s"), pg.Sync())
    play.target(pg.ParseComplete(), pg.ParameterDescription(()), pg.RowDescription((SSN,)), IDLE)
    play.client(pg.Bind("", "s", (), (), (1,)), pg.Execute("", 0), pg.Sync())
    binary = pg.Field("ssn", CUSTOMERS, 2, 25, -1, -1, 1)
    play.target(pg.BindComplete(), pg.RowDescription((binary,)), ROW, ONE, IDLE)

    assert ToClient(ROW) in play.seen
    assert cells(play) == [("***1120",)]


def test_of_what_is_computed_every_column_is_hidden_where_it_is_kept() -> None:
    shape = pg.RowDescription((MADE, pg.Field("n", 0, 0, 23, 4, -1, 0)))
    play = ask(cleared(), b"SELECT reverse(ssn), 1 FROM customers", shape, pg.DataRow((SECRET[::-1], b"1")), ONE)

    assert cells(play) == [("***", None)]
    assert members(play, Kind.STATEMENT_DECIDED)["clear_by"] == ["mail", "ssn"]


def test_what_touches_nothing_sensitive_is_kept_as_it_is_shown() -> None:
    city = pg.Field("city", 20_040, 3, 25, -1, -1, 0)
    play = ask(cleared(), b"SELECT city FROM branches", pg.RowDescription((city,)), pg.DataRow((b"Ithaca",)), ONE)

    assert cells(play) == [("Ithaca",)]
    assert "clear_by" not in members(play, Kind.STATEMENT_DECIDED)


def test_an_answer_that_is_not_what_was_foretold_is_hidden_where_it_is_kept() -> None:
    play = ask(cleared(), b"SELECT city FROM branches", pg.RowDescription((SSN,)), ROW, ONE)

    assert cells(play) == [("***",)]


def test_copy_data_of_what_is_sensitive_is_not_kept_at_all() -> None:
    data = pg.CopyData(SECRET + b"\n")
    play = cleared()
    ask(
        play,
        b"COPY customers TO STDOUT",
        pg.CopyOutResponse(0, (0,)),
        data,
        pg.CopyDone(),
        pg.CommandComplete("COPY 1"),
    )

    assert ToClient(data) in play.seen
    assert SECRET not in kept(play)
    assert results(play) == ["none"]


def test_copy_data_of_what_is_not_sensitive_is_kept() -> None:
    data = pg.CopyData(b"Ithaca\n")
    play = cleared()
    ask(
        play, b"COPY branches TO STDOUT", pg.CopyOutResponse(0, (0,)), data, pg.CopyDone(), pg.CommandComplete("COPY 1")
    )

    assert cells(play) == [("Ithaca",)]
    assert results(play) == ["full"]


def test_of_an_error_that_may_quote_a_value_only_its_code_is_kept_and_recorded() -> None:
    error = pg.ErrorResponse((("S", "ERROR"), ("C", "22P02"), ("M", "invalid: Ada Brookfield"), ("D", "Ada")))
    play = ask(cleared(), b"SELECT ssn::int FROM customers", error)

    assert ToClient(error) in play.seen
    assert b"Ada" not in kept(play)
    assert b"22P02" in kept(play)
    assert "Ada" not in json.dumps(members(play, Kind.STATEMENT_FINISHED), default=str)


@pytest.mark.parametrize(
    "before",
    [
        b"SET search_path = other",
        b"CREATE TEMP TABLE branches AS SELECT ssn AS city FROM customers",
    ],
)
def test_behind_what_changes_names_in_one_text_nothing_is_kept_in_clear(before: bytes) -> None:
    text = before + b"; SELECT city || '' FROM branches"
    tag = pg.CommandComplete("SET" if before.startswith(b"SET") else "SELECT 1")
    play = ask(cleared(), text, tag, pg.RowDescription((MADE,)), ROW, ONE)

    assert ToClient(ROW) in play.seen
    assert cells(play) == [("***",)]


def test_behind_what_changes_names_in_one_pipeline_nothing_is_kept_in_clear() -> None:
    play = cleared()
    play.client(pg.Parse("", b"SET search_path = other", ()), pg.Bind("", ""), pg.Execute("", 0))
    play.client(pg.Parse("", b"SELECT city || '' FROM branches", ()), pg.Bind("", ""), pg.Execute("", 0), pg.Sync())
    play.target(pg.ParseComplete(), pg.BindComplete(), pg.NoData(), pg.CommandComplete("SET"))
    play.target(pg.ParseComplete(), pg.BindComplete(), pg.RowDescription((MADE,)), ROW, ONE, IDLE)

    assert ToClient(ROW) in play.seen
    assert cells(play) == [("***",)]


def test_what_somebody_is_shown_masked_is_kept_byte_for_byte() -> None:
    play = session("engineering", at=masking(), target=target)
    ask(play, b"SELECT ssn FROM customers", pg.RowDescription((SSN,)), ROW, ONE)
    shown = written(pg.DataRow((b"***1120",)))

    assert ToClient(pg.DataRow((b"***1120",))) in play.seen
    assert keeps(play)[0].data == shown
    assert "clear_by" not in members(play, Kind.STATEMENT_DECIDED)


def test_where_the_policy_masks_nothing_any_more_nothing_more_is_kept() -> None:
    at = masking()
    play = cleared(at)
    at.apply(Engine(load((HEAD + RULES).encode(), "policy.yaml")))
    ask(play, b"SELECT ssn FROM customers", pg.RowDescription((SSN,)), ROW, ONE)

    assert keeps(play) == []
    assert results(play) == ["digest"]


@pytest.mark.case("E-44")
def test_where_the_storage_mask_fails_nothing_is_kept_an_alarm_is_given_and_nothing_more_runs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(buffer: bytes, offset: int, end: int, layout: RowMask) -> None:
        raise RuntimeError("broken")

    play = cleared()
    play.client(pg.Query(b"SELECT ssn FROM customers"))
    play.target(pg.RowDescription((SSN,)))
    monkeypatch.setattr(frames, "mask", fail)
    play.target(ROW)
    play.target(ROW, ONE, IDLE)

    assert play.to(Side.CLIENT).count(ROW) == 2
    assert SECRET not in kept(play)
    assert results(play) == ["none"]
    faults = [record.members for record in play.records if record.kind is Kind.AUDIT_FAULT]
    assert [(fault["fault"], fault["phase"]) for fault in faults] == [("storage_mask_leak", "started")]
    play.client(pg.Query(b"SELECT city FROM branches"))
    refused = [each for each in play.to(Side.CLIENT) if isinstance(each, pg.ErrorResponse)]
    assert [each.text("C") for each in refused] == ["58030"]
    play.client(pg.Terminate())
    assert [record.members["phase"] for record in play.records if record.kind is Kind.AUDIT_FAULT] == [
        "started",
        "ended",
    ]


def surveys(play: Playbook) -> int:
    return sum(
        encode(message) in (SURVEY, SURVEY_IN_TRANSACTION)
        for message in play.to(Side.TARGET)
        if isinstance(message, pg.Query)
    )


def test_what_the_session_may_have_changed_is_asked_again_before_the_next_statement() -> None:
    play = ask(cleared(), b"SELECT 1", pg.RowDescription((MADE,)), pg.DataRow((b"1",)), ONE)
    assert surveys(play) == 1
    ask(play, b"CREATE TEMP TABLE t AS SELECT ssn FROM customers", ONE)
    assert surveys(play) == 0
    ask(play, b"SELECT 1", pg.RowDescription((MADE,)), pg.DataRow((b"1",)), ONE)
    assert surveys(play) == 1
    ask(play, b"SELECT 2", pg.RowDescription((MADE,)), pg.DataRow((b"2",)), ONE)
    assert surveys(play) == 0


def test_a_name_that_storing_lacks_is_looked_for_and_does_not_stop_the_statement() -> None:
    play = ask(cleared(), b"SELECT 1", pg.RowDescription((MADE,)), pg.DataRow((b"1",)), ONE)
    assert surveys(play) == 1
    ask(play, b"SELECT x FROM fresh", pg.RowDescription((MADE,)), ROW, ONE)

    assert ToClient(ROW) in play.seen
    assert SECRET not in kept(play)
    assert surveys(play) == 1


def with_temporary(message: object) -> bytes:
    """The target once the session has made `branches` of its own."""
    if is_question(message):
        return knowledge(
            (b"session", b"search_path", b"public", b"", b"", b""),
            (b"session", b"temporary", b"branches", b"30000", b"", b""),
        )
    return target(message)


def test_nothing_is_kept_of_what_the_session_has_made_while_it_saw_more() -> None:
    play = cleared()
    ask(play, b"CREATE TEMP TABLE branches AS SELECT ssn AS city FROM customers", ONE)
    play.replies[Side.TARGET] = with_temporary
    own = pg.Field("city", 30_000, 1, 25, -1, -1, 0)
    ask(play, b"SELECT city FROM branches", pg.RowDescription((own,)), ROW, ONE)
    ask(play, b"SELECT city || '' FROM branches", pg.RowDescription((MADE,)), ROW, ONE)

    assert cells(play) == [("***",), ("***",)]


def test_a_portal_of_another_policy_gives_nothing_more_that_is_kept() -> None:
    at = masking()
    play = cleared(at)
    city = pg.Field("city", 20_040, 3, 25, -1, -1, 0)
    play.client(pg.Query(b"BEGIN"))
    play.target(pg.CommandComplete("BEGIN"), pg.ReadyForQuery("T"))
    play.client(pg.Parse("", b"SELECT city FROM branches", ()), pg.Bind("p", ""), pg.Execute("p", 1), pg.Sync())
    play.target(pg.ParseComplete(), pg.BindComplete(), pg.RowDescription((city,)), pg.DataRow((b"Ithaca",)))
    play.target(pg.PortalSuspended(), pg.ReadyForQuery("T"))
    more = MASKS.replace('"*.customers.email"', '"*.customers.email", "*.branches.city"')
    at.apply(Engine(load((HEAD + RULES + more).encode(), "policy.yaml")))
    play.client(pg.Execute("p", 1), pg.Sync())
    play.target(pg.RowDescription((city,)), ROW, ONE, pg.ReadyForQuery("T"))

    assert ToClient(ROW) in play.seen
    assert cells(play) == [("Ithaca",), ("***",)]


def test_what_a_cursor_holds_is_kept_as_it_was_decided_and_not_under_another_policy() -> None:
    at = masking()
    play = cleared(at)
    city = pg.Field("city", 20_040, 3, 25, -1, -1, 0)
    shape = pg.RowDescription((city,))
    ask(play, b"DECLARE c CURSOR WITH HOLD FOR SELECT city FROM branches", pg.CommandComplete("DECLARE CURSOR"))
    fetched = pg.CommandComplete("FETCH 1")
    ask(play, b"FETCH 1 FROM c", shape, pg.DataRow((b"Ithaca",)), fetched)
    at.apply(Engine(load((HEAD + RULES + MASKS + "# reviewed\n").encode(), "policy.yaml")))
    ask(play, b"FETCH 1 FROM c", shape, pg.DataRow((b"Utica",)), fetched)

    assert cells(play) == [("Ithaca",), ("***",)]
