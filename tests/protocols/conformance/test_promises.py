"""What every protocol must keep, whatever its bytes look like."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import vestibule.protocols
from tests.protocols.conformance.performers import PERFORMERS, Performer
from tests.support.playbook import Did, Playbook, Recorded, ToTarget
from vestibule.model.effect import Analyse, Cancel, Dial, Pause
from vestibule.model.event import Side
from vestibule.model.identity import Refusal
from vestibule.model.names import SECOND, Instant

MIB = 1 << 20
DAY = 86_400 * SECOND

every = pytest.mark.parametrize("performer", PERFORMERS.values(), ids=PERFORMERS.keys())
protocols = st.sampled_from(sorted(PERFORMERS)).map(PERFORMERS.__getitem__)


def kinds(play: Playbook) -> list[str]:
    return [record.kind.value for record in play.attempted]


def outcome(play: Playbook) -> object:
    """What a conversation came to: bytes to both sides, and what was recorded of it."""
    told = ("decision", "outcome", "cause", "rows", "error", "operations", "text")
    records = [(record.kind, [record.members.get(name) for name in told]) for record in play.attempted]
    return bytes(play.bytes[Side.CLIENT]), bytes(play.bytes[Side.TARGET]), records, play.closed


def say(play: Playbook, side: Side, data: bytes) -> None:
    play.client(data) if side is Side.CLIENT else play.target(data)


def assert_usable(performer: Performer, play: Playbook) -> None:
    """The session answers an allowed statement."""
    play.take()
    play.client(performer.allowed)
    play.target(performer.answer)
    assert performer.is_answer(play.to(Side.CLIENT))


def test_every_protocol_is_in_the_suite():
    folders = {path.parent.name for path in Path(vestibule.protocols.__path__[0]).glob("*/__init__.py")}
    assert set(PERFORMERS) == folders


# --- the same events, the same effects -------------------------------------------------------------------------------


@every
def test_the_same_events_give_the_same_effects(performer):
    one, other = performer.session(), performer.session()
    for side, data in performer.transcript:
        say(one, side, data)
        say(other, side, data)
        assert list(map(repr, one.seen)) == list(map(repr, other.seen))
    assert outcome(one) == outcome(other)


@every
def test_bytes_cut_at_every_position_give_the_same_effects(performer):
    whole = performer.session()
    for side, data in performer.transcript:
        say(whole, side, data)
    for cut in range(1, max(len(data) for _, data in performer.transcript)):
        play = performer.session()
        for side, data in performer.transcript:
            say(play, side, data[:cut])
            say(play, side, data[cut:])
        assert outcome(play) == outcome(whole)


@every
def test_single_bytes_give_the_same_effects(performer):
    whole, play = performer.session(), performer.session()
    for side, data in performer.transcript:
        say(whole, side, data)
        for byte in data:
            say(play, side, bytes([byte]))
    assert outcome(play) == outcome(whole)


# --- evidence first, and no way round --------------------------------------------------------------------------------


@every
def test_nothing_is_dialled_before_a_proof(performer):
    play = performer.before_login(Refusal.UNKNOWN)
    performer.log_in(play)
    assert performer.is_end(play.to(Side.CLIENT))
    assert play.closed
    assert not play.bytes[Side.TARGET]
    assert kinds(play) == ["AccessDecided"]
    assert play.attempted[0].members["decision"] == "deny"


@every
def test_the_target_is_dialled_and_the_client_let_in_only_behind_durable_records(performer):
    play = performer.before_login()
    play.journal = "stalled"
    performer.log_in(play)
    assert kinds(play) == ["AccessDecided"]
    assert not [item for item in play.take() if isinstance(item, Did) and isinstance(item.effect, Dial)]
    play.commit()
    assert [item for item in play.take() if isinstance(item, Did) and isinstance(item.effect, Dial)]
    before = len(play.bytes[Side.CLIENT])
    assert kinds(play) == ["AccessDecided", "SessionOpened"]
    assert len(play.bytes[Side.CLIENT]) == before
    play.commit_all()
    assert len(play.bytes[Side.CLIENT]) > before
    assert not play.closed


@every
def test_nobody_is_let_in_while_evidence_cannot_be_written(performer):
    for good in range(2):
        play = performer.before_login()
        play.journal = "stalled"
        performer.log_in(play)
        for _ in range(good):
            play.commit()
        play.commit(durable=False)
        assert play.closed
        assert performer.is_end(play.to(Side.CLIENT))


@every
def test_a_statement_travels_only_once_its_record_is_durable(performer):
    play = performer.session()
    play.journal = "stalled"
    play.client(performer.allowed)
    assert kinds(play)[-1] == "StatementDecided"
    assert performer.allowed_words not in play.bytes[Side.TARGET]
    play.commit_all()
    assert performer.allowed_words in play.bytes[Side.TARGET]


@every
@pytest.mark.parametrize("journal", ["failing", "stalled"])
def test_a_statement_that_cannot_be_recorded_is_refused_and_the_session_goes_on(performer, journal):
    play = performer.session()
    play.journal = journal
    play.client(performer.allowed)
    if journal == "stalled":
        play.commit(durable=False)
    assert performer.is_refusal(play.to(Side.CLIENT))
    assert performer.allowed_words not in play.bytes[Side.TARGET]
    play.journal = "prompt"
    assert_usable(performer, play)


@every
def test_order_is_kept_while_the_journal_stalls(performer):
    play = performer.session()
    play.journal = "stalled"
    play.client(performer.allowed + performer.large)
    play.commit_all()
    sent = bytes(play.bytes[Side.TARGET])
    assert sent.endswith(performer.allowed + performer.large)


# --- decided, held, expired ------------------------------------------------------------------------------------------


@every
def test_a_denied_statement_never_reaches_the_target_and_the_session_goes_on(performer):
    play = performer.session()
    play.client(performer.denied)
    assert performer.is_refusal(play.to(Side.CLIENT))
    assert performer.denied_words not in play.bytes[Side.TARGET]
    decided, finished = play.attempted[-2:]
    assert decided.members["decision"] == "deny"
    assert (finished.members["outcome"], finished.members["forwarded"]) == ("refused", False)
    assert_usable(performer, play)


@every
def test_a_statement_that_waits_holds_what_is_behind_it(performer):
    play = performer.session()
    play.holds.add(Analyse)
    play.client(performer.large + performer.allowed)
    assert not [item for item in play.take() if isinstance(item, ToTarget | Recorded)]
    play.answer()
    assert bytes(play.bytes[Side.TARGET]).endswith(performer.large + performer.allowed)


@pytest.mark.slow
@every
def test_what_waits_behind_a_statement_is_bounded(performer):
    play = performer.session()
    play.holds.add(Analyse)
    play.client(performer.large)
    sent = 0
    while Side.CLIENT not in play.paused and not play.closed:
        play.client(performer.allowed * 1000)
        sent += len(performer.allowed) * 1000
        assert sent < MIB, "the client is still read"
    assert [item for item in play.seen if isinstance(item, Did) and isinstance(item.effect, Pause)]
    play.answer()
    assert Side.CLIENT not in play.paused
    assert bytes(play.bytes[Side.TARGET]).count(performer.allowed_words) == sent // len(performer.allowed)


@every
def test_a_session_ends_with_its_login(performer):
    play = performer.session()
    play.client(performer.allowed)
    play.take()
    play.pass_time(DAY)
    assert performer.is_end(play.to(Side.CLIENT))
    assert play.closed
    assert kinds(play)[-2:] == ["StatementFinished", "SessionClosed"]


@every
def test_a_statement_that_comes_before_the_alarm_rings_but_after_the_end_is_not_run(performer):
    play = performer.session()
    play.now = Instant(play.now + DAY)
    play.client(performer.allowed)
    assert performer.allowed_words not in play.bytes[Side.TARGET]
    assert play.closed


@every
@pytest.mark.parametrize("what", ["kill", "revoke", "drain", "evidence"])
def test_a_session_that_is_ended_from_outside_stops_what_runs_and_says_why(performer, what):
    play = performer.session()
    play.client(performer.allowed)
    play.take()
    play.tell(what)
    effects = [item.effect for item in play.seen if isinstance(item, Did)]
    assert any(isinstance(effect, Cancel) for effect in effects)
    assert performer.is_end(play.to(Side.CLIENT))
    assert play.closed
    assert kinds(play)[-1] == "SessionClosed"


@every
def test_a_session_that_nobody_grants_any_more_ends_before_it_is_open_too(performer):
    for what in ("kill", "revoke", "drain", "evidence"):
        play = performer.before_login()
        play.holds.add(Dial)
        performer.log_in(play)
        play.tell(what)
        assert play.closed
        assert performer.is_end(play.to(Side.CLIENT))


# --- doubt refuses ---------------------------------------------------------------------------------------------------


@every
@pytest.mark.parametrize("side", list(Side))
def test_an_unknown_message_ends_the_session_on_both_sides(performer, side):
    play = performer.session()
    play.client(performer.allowed)
    play.take()
    say(play, side, performer.nonsense[side] + performer.allowed)
    assert performer.is_end(play.to(Side.CLIENT))
    assert play.closed
    assert play.attempted[-1].members["cause"] == "protocol_error"
    assert bytes(play.bytes[Side.TARGET]).count(performer.allowed_words) == 1


@every
@pytest.mark.parametrize("side", list(Side))
def test_a_side_that_leaves_ends_the_session_and_its_record(performer, side):
    play = performer.session()
    play.client(performer.allowed)
    play.end(side)
    assert play.closed
    assert kinds(play)[-2:] == ["StatementFinished", "SessionClosed"]


@given(protocols, st.data())
def test_arbitrary_bytes_from_either_side_in_any_state_end_in_a_defined_way(performer, data):
    play = performer.session()
    for side, said in performer.transcript[: data.draw(st.integers(0, len(performer.transcript)))]:
        say(play, side, said)
    for _ in range(data.draw(st.integers(1, 3))):
        side, said = data.draw(st.sampled_from(performer.transcript))
        at = data.draw(st.integers(0, len(said)))
        say(play, side, said[:at] + data.draw(st.binary(max_size=12)) + said[at:])
    assert performer.denied_words not in play.bytes[Side.TARGET]
    play.end(Side.CLIENT)
    play.end(Side.TARGET)
    assert play.closed
    assert kinds(play).count("SessionClosed") == 1
    assert kinds(play)[-1] == "SessionClosed"


@given(protocols, st.lists(st.tuples(st.sampled_from(list(Side)), st.binary(max_size=30)), max_size=4))
def test_arbitrary_bytes_before_a_session_never_reach_a_target(performer, said):
    play = performer.before_login(Refusal.UNKNOWN)
    for _, data in said:
        play.client(data)
    assert not play.bytes[Side.TARGET]
    assert "SessionOpened" not in kinds(play)


# --- secrets ---------------------------------------------------------------------------------------------------------


@every
def test_no_secret_is_told_recorded_or_shown(performer):
    play = performer.before_login()
    performer.log_in(play)
    for side, data in performer.transcript:
        say(play, side, data)
    for secret in performer.secrets:
        assert secret not in play.bytes[Side.CLIENT]
        assert secret not in play.bytes[Side.TARGET]
        assert secret.decode() not in repr(play.attempted)
        assert secret.decode() not in repr(play.seen)
