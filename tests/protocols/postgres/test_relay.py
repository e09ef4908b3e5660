"""The relay as a whole: whatever comes in whatever order, it answers or ends, and never breaks."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests.support.pg_play import before_login, session
from vestibule.model.event import (
    Analysed,
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

SIDES = st.sampled_from(list(Side))
BYTES = st.one_of(st.binary(max_size=80), st.sampled_from([b"Q\0\0\0\x0dSELECT 1\0", b"S\0\0\0\x04", b"Z\0\0\0\x05I"]))
IN_SESSION: st.SearchStrategy[Event] = st.one_of(
    st.builds(Received, SIDES, BYTES),
    st.builds(Ended, SIDES),
    st.just(Woken()),
    st.just(Analysed(Parsed(()))),
    st.just(Unrecorded(("decided/1",))),
    st.builds(Told, st.sampled_from(["cancel", "kill", "revoke", "policy", "drain", "evidence"])),
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
