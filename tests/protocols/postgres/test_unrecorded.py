"""While evidence cannot be written statements are refused; afterwards the session goes on as if nothing had been."""

from __future__ import annotations

from random import Random
from typing import Any, Final, Literal

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tests.protocols.postgres.test_in_step import Delayed
from tests.support.pg_model import ModelServer
from tests.support.pg_play import session
from tests.support.pg_talk import DENIED, conversations
from tests.support.playbook import Playbook
from vestibule.model.event import Side
from vestibule.protocols.postgres import messages as pg
from vestibule.protocols.postgres.codec import encode

JOURNALS: Final[tuple[Literal["prompt", "stalled", "failing"], ...]] = ("prompt", "stalled", "failing")
AGAIN = pg.Query(b"VALUES ('1')")
#: Ends a COPY that runs, where one does: inside it nobody may ask `AGAIN`.
END = [pg.CopyFail("enough"), pg.Sync()]


def converse(play: Playbook, target: Delayed, said: list[Any], random: Random) -> None:
    """Let both sides speak in pieces while the journal does what it likes; then let it recover."""
    asked = b"".join(map(encode, [*said, *END]))
    while asked or target.answers or play.waits:
        act = random.choice(("client", "client", "target", "target", "journal", "decide"))
        size = random.choice((7, 40, 1000))
        if act == "client":
            piece, asked = asked[:size], asked[size:]
            play.client(piece)
        elif act == "target":
            piece, target.answers = target.answers[:size], target.answers[size:]
            play.target(piece)
        elif act == "journal":
            play.journal = random.choice(JOURNALS)
        elif play.open_batches:
            play.commit(random.random() < 0.5)
        if not asked and play.journal != "prompt":
            play.journal = "prompt"
    assert not play.waits


def breaks_into_a_copy(play: Playbook) -> bool:
    """Tell whether the client asked something while it was to send rows, which ends a session."""
    said = [message for message in play.to(Side.CLIENT) if isinstance(message, pg.ErrorResponse)]
    return any("in the state copy in" in message.text("M") for message in said)


@given(conversations, st.integers(0, 2**32))
def test_a_session_is_in_step_after_its_journal_failed_and_recovered(said, seed):
    target = Delayed()
    play = session(target=target)
    converse(play, target, said, Random(seed))
    assume(not breaks_into_a_copy(play))
    play.take()
    play.client(AGAIN)
    play.target(target.answers)
    seen = play.to(Side.CLIENT)
    status = target.server.status
    assert not play.closed
    assert seen[-1] == pg.ReadyForQuery(status)
    if status != "E":
        assert seen[1:-1] == [pg.DataRow((b"1",)), pg.CommandComplete("SELECT 1")]


@given(conversations, st.integers(0, 2**32))
def test_every_decision_that_was_recorded_and_no_other_has_one_outcome(said, seed):
    target = Delayed()
    play = session(target=target)
    converse(play, target, said, Random(seed))
    play.client(AGAIN)
    play.target(target.answers)
    play.client(pg.Terminate())
    assert play.closed
    decided = [record.name for record in play.records if record.kind == "StatementDecided"]
    ended = [record.members["decided"].name for record in play.attempted if record.kind == "StatementFinished"]
    assert len(ended) == len(set(ended))
    assert {name for name in ended if name in decided} == set(decided)


INSERT = b"INSERT INTO played VALUES ('a')"
PIPELINE = [pg.Parse("", INSERT), pg.Bind("", ""), pg.Execute(""), pg.Bind("", ""), pg.Execute("")]


def in_a_failed_block() -> Playbook:
    """A session whose block has failed at the target."""
    server = ModelServer()
    play = session("engineering", target=lambda message: b"".join(map(encode, server.receive(message))))
    play.client(pg.Query(b"BEGIN"), pg.Query(b"INSERT INTO played VALUES (NULL)"))
    play.take()
    return play


@pytest.mark.parametrize("behind", [[], [pg.Query(b"ROLLBACK")], [*PIPELINE, pg.Sync()]])
def test_a_sync_that_was_dropped_behind_what_the_target_had_already_skipped_is_sent_again(behind):
    play = in_a_failed_block()
    play.journal = "stalled"

    # The Parse needs no record and fails at once; the Binds wait for theirs, and the Sync behind them.
    play.client(*PIPELINE, pg.Sync(), *behind)
    assert [type(message) for message in play.to(Side.CLIENT)] == [pg.ErrorResponse]
    play.journal = "prompt"
    while play.open_batches:
        play.commit(False)

    assert not play.waits
    assert play.to(Side.CLIENT)[-1] == pg.ReadyForQuery("E")
    play.client(pg.Query(b"ROLLBACK"))
    assert play.to(Side.CLIENT) == [pg.CommandComplete("ROLLBACK"), pg.ReadyForQuery("I")]


def test_a_flush_instead_of_a_sync_leaves_the_session_waiting_for_the_sync():
    play = in_a_failed_block()
    play.journal = "stalled"
    play.client(*PIPELINE, pg.Flush())
    play.journal = "prompt"
    while play.open_batches:
        play.commit(False)

    play.client(pg.Query(b"ROLLBACK"))
    assert pg.CommandComplete("ROLLBACK") not in play.to(Side.CLIENT)
    play.client(pg.Sync())
    assert play.to(Side.CLIENT) == [pg.ReadyForQuery("E")]


def test_no_outcome_is_recorded_of_what_was_skipped_and_never_recorded():
    play = in_a_failed_block()
    play.journal = "stalled"
    play.client(*PIPELINE, pg.Sync())
    while play.open_batches:
        play.commit(False)
    play.journal = "prompt"
    play.client(pg.Query(b"ROLLBACK"))

    decided = [record.name for record in play.records if record.kind == "StatementDecided"]
    finished = [record.members["decided"].name for record in play.attempted if record.kind == "StatementFinished"]
    assert sorted(finished) == sorted(decided)


def test_a_refused_query_among_what_was_skipped_and_dropped_is_answered_as_the_server_does():
    play = in_a_failed_block()
    play.journal = "stalled"
    play.client(*PIPELINE, pg.Query(DENIED))
    while play.open_batches:
        play.commit(False)
    play.journal = "prompt"
    assert [type(message) for message in play.to(Side.CLIENT)] == [pg.ErrorResponse]

    play.client(pg.Sync())
    assert play.to(Side.CLIENT) == [pg.ReadyForQuery("E")]
    play.client(pg.Query(b"ROLLBACK"))
    assert play.to(Side.CLIENT) == [pg.CommandComplete("ROLLBACK"), pg.ReadyForQuery("I")]


# --- what is refused -------------------------------------------------------------------------------------------------

EXTENDED = [pg.Parse("", DENIED), pg.Bind("", ""), pg.Execute(""), pg.Sync()]
UNREAD = [pg.Query(b"SELEC")]


def with_a_server() -> Playbook:
    server = ModelServer()
    play = session(target=lambda message: b"".join(map(encode, server.receive(message))))
    play.take()
    return play


def codes(seen: list[Any]) -> list[str]:
    return [message.text("C") for message in seen if isinstance(message, pg.ErrorResponse)]


@pytest.mark.parametrize("before", [[], [pg.Query(b"BEGIN")]])
@pytest.mark.parametrize("said", [[pg.Query(DENIED)], EXTENDED, UNREAD])
def test_a_refusal_waits_until_it_is_recorded(said, before):
    play = with_a_server()
    play.client(*before)
    play.take()
    play.journal = "stalled"

    play.client(*said)
    assert play.to(Side.CLIENT) == []
    assert not play.bytes[Side.TARGET].endswith(encode(pg.Sync()))
    play.journal = "prompt"
    while play.open_batches:
        play.commit(True)

    seen = play.to(Side.CLIENT)
    assert codes(seen) == ["42601" if said is UNREAD else "42501"]
    assert seen[-1] == pg.ReadyForQuery("E" if before else "I")


@pytest.mark.parametrize("before", [[], [pg.Query(b"BEGIN")]])
@pytest.mark.parametrize("said", [[pg.Query(DENIED)], EXTENDED, UNREAD])
@pytest.mark.parametrize("journal", ["stalled", "failing"])
def test_a_refusal_that_cannot_be_recorded_says_that_instead(said, before, journal):
    play = with_a_server()
    play.client(*before)
    play.take()
    play.journal = journal

    play.client(*said)
    play.journal = "prompt"
    while play.open_batches:
        play.commit(False)

    seen = play.to(Side.CLIENT)
    assert codes(seen) == ["58030"]
    assert seen[-1] == pg.ReadyForQuery("E" if before else "I")
    assert not play.waits
    play.client(pg.Query(b"ROLLBACK") if before else AGAIN)
    assert play.to(Side.CLIENT)[-1] == pg.ReadyForQuery("I")


def test_of_two_refusals_in_a_row_only_the_one_that_was_not_recorded_changes():
    play = with_a_server()
    play.journal = "stalled"
    play.client(pg.Query(DENIED))
    play.client(pg.Query(DENIED))
    play.client(AGAIN)
    play.journal = "prompt"
    play.commit(False)
    while play.open_batches:
        play.commit(True)

    seen = play.to(Side.CLIENT)
    assert codes(seen) == ["58030", "42501"]
    assert [type(message) for message in seen[-3:]] == [pg.DataRow, pg.CommandComplete, pg.ReadyForQuery]
