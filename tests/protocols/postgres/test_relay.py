"""The relay as a whole: whatever comes in whatever order, it answers or ends, and never breaks."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests.support.pg_play import before_login, log_in, session
from vestibule.model.effect import Close, Persist, Send, Wake
from vestibule.model.event import (
    Analysed,
    Computed,
    Dialed,
    DialFailed,
    Ended,
    Event,
    Received,
    Side,
    Told,
    Unrecorded,
    Woken,
)
from vestibule.model.identity import Peer
from vestibule.model.statement import Parsed
from vestibule.protocols.postgres import messages as pg
from vestibule.protocols.postgres.codec import encode

SIDES = st.sampled_from(list(Side))
BYTES = st.one_of(st.binary(max_size=80), st.sampled_from([b"Q\0\0\0\x0dSELECT 1\0", b"S\0\0\0\x04", b"Z\0\0\0\x05I"]))
IN_SESSION: st.SearchStrategy[Event] = st.one_of(
    st.builds(Received, SIDES, BYTES),
    st.builds(Ended, SIDES),
    st.just(Woken()),
    st.just(Analysed(Parsed(()))),
    st.just(Computed(None)),
    st.just(Unrecorded(("decided/1",))),
    st.builds(Told, st.sampled_from(["cancel", "kill", "revoke", "policy", "finish", "drain", "evidence"])),
)


@given(st.lists(IN_SESSION, max_size=12))
def test_no_order_of_events_breaks_an_open_session(events: list[Event]) -> None:
    play = session()
    for event in events:
        play.deliver(event)


@given(st.lists(st.one_of(IN_SESSION, st.just(DialFailed("x"))), max_size=8))
def test_no_order_of_events_breaks_a_log_in(events: list[Event]) -> None:
    play = before_login()
    for event in events:
        # What answers an effect comes only after it.
        if not isinstance(event, DialFailed | Unrecorded) and not (
            isinstance(event, Received | Ended) and event.side is Side.TARGET
        ):
            play.deliver(event)


@given(st.binary(max_size=200))
def test_whatever_a_client_begins_with_is_answered_or_ended(data: bytes) -> None:
    play = before_login()
    play.client((len(data) + 4).to_bytes(4, "big") + data)


def test_nothing_is_said_after_the_end() -> None:
    play = session()
    play.client(pg.Terminate())
    play.take()
    for event in (Received(Side.CLIENT, b"x"), Woken(), Told("kill"), Dialed(Peer("", 0), 0, None, b"")):
        assert play.relay.handle(event, play.now) == ()


def test_what_a_target_did_wrong_is_for_the_operator_and_the_record_alone() -> None:
    play = session()
    play.client(pg.Query(b"SELECT 1"))
    play.target(pg.CopyInResponse(0, (0,)))

    (error,) = [message for message in play.to(Side.CLIENT) if isinstance(message, pg.ErrorResponse)]
    assert (error.text("C"), error.text("M")) == ("08006", "vestibule: target core-banking is not available")
    assert play.fault == "the target asks for a COPY that nobody asked for"
    (finished,) = [record for record in play.records if record.kind == "StatementFinished"]
    assert finished.members["error"] == {"code": "08006", "text": play.fault}


def test_a_target_that_hangs_up_is_the_operators_to_know() -> None:
    play = session()
    play.end(Side.TARGET)

    assert (play.closed, play.fault) == ("target_closed", "the target closed the connection")


def test_a_client_that_hangs_up_is_nobodys_fault() -> None:
    play = session()
    play.end(Side.CLIENT)

    assert (play.closed, play.fault) == ("client_closed", "")


def test_a_target_that_fails_in_log_in_is_the_operators_to_know() -> None:
    play = before_login()
    play.replies[Side.TARGET] = lambda _: encode(pg.AuthenticationOk())
    log_in(play)

    assert play.fault == "the target let us in without proving that it knows the password"


def test_a_target_that_cannot_be_dialled_is_told_by_who_dialled() -> None:
    play = before_login(dialed=DialFailed("10.0.0.5:5432: Connection refused"))
    log_in(play)

    assert (play.closed, play.fault) == ("10.0.0.5:5432: Connection refused", "")


def test_one_event_takes_a_slice_of_what_has_arrived_and_the_alarm_brings_the_next():
    play = session()
    said = encode(pg.Query(b"SELECT 1")) * 200
    effects = play.relay.handle(Received(Side.CLIENT, said), play.now)
    sent = [effect for effect in effects if isinstance(effect, Send) and effect.side is Side.TARGET]
    assert 0 < len(sent) < 200
    assert effects[-1] == Wake(play.now)
    more = play.relay.handle(Woken(), play.now)
    assert [effect for effect in more if isinstance(effect, Send) and effect.side is Side.TARGET]


def test_a_large_text_is_a_slice_by_itself():
    play = session()
    said = encode(pg.Query(b"SELECT 1 /* " + b"x" * 30_000 + b" */")) * 8
    effects = play.relay.handle(Received(Side.CLIENT, said), play.now)
    assert len([effect for effect in effects if isinstance(effect, Persist)]) < 4


def test_what_a_client_said_before_it_left_is_asked_all_the_same():
    play = session()
    said = encode(pg.Query(b"SELECT 1")) * 200 + encode(pg.Terminate())
    relay, now = play.relay, play.now
    effects = [*relay.handle(Received(Side.CLIENT, said), now), *relay.handle(Ended(Side.CLIENT), now)]
    for _ in range(200):
        effects += relay.handle(Woken(), now)
    sent = [effect.data for effect in effects if isinstance(effect, Send) and effect.side is Side.TARGET]
    assert len(sent) == 201
    assert sent[-1] == encode(pg.Terminate())


def test_a_client_that_left_without_a_farewell_ends_its_session_behind_what_it_said():
    play = session()
    relay, now = play.relay, play.now
    effects = [*relay.handle(Received(Side.CLIENT, encode(pg.Query(b"SELECT 1")) * 200), now)]
    effects += relay.handle(Ended(Side.CLIENT), now)
    for _ in range(200):
        effects += relay.handle(Woken(), now)
    assert isinstance(effects[-1], Close)
    assert len([effect for effect in effects if isinstance(effect, Persist)]) == 401
