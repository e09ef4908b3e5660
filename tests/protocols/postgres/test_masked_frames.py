"""Every message that a target could send, in every state, with a sensitive value wherever one could stand.

What passes as it is says nothing that the target's code or data could choose: names of columns come from the text and
the catalog, channels and settings from the client.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.support.pg_masked import ID, NUMBER, SSN, failure, masked, query, shape
from tests.support.playbook import Playbook
from tests.support.raw_client import extended
from vestibule.model.event import Side
from vestibule.protocols.postgres import messages as pg
from vestibule.protocols.postgres.codec import encode
from vestibule.protocols.postgres.frames import TARGET
from vestibule.protocols.postgres.learning import QUESTION

WORD = SSN.decode()
PLAIN = "SELECT id, ssn FROM customers"
BOUND = (pg.ParseComplete(), pg.BindComplete())
DONE, READY = pg.CommandComplete("SELECT 1"), pg.ReadyForQuery("I")
LETTERS = dict.fromkeys("MDHPpqWstcdnFLR", WORD)
#: One of each kind that there is, with the value in each member that has room for it.
MESSAGES: tuple[pg.BackendMessage, ...] = (
    pg.AuthenticationSASL((WORD,)),
    pg.AuthenticationSASLContinue(SSN),
    pg.AuthenticationSASLFinal(SSN),
    pg.AuthenticationOther(13, SSN),
    pg.NegotiateProtocolVersion(196_608, (WORD,)),
    pg.BackendKeyData(1, SSN),
    pg.ParameterStatus("secret", WORD),
    pg.ParameterStatus(WORD, "on"),
    pg.ErrorResponse((("S", WORD), ("V", "ERROR"), ("C", WORD), *LETTERS.items())),
    failure("23505", **LETTERS),
    failure("57P01", "FATAL", **LETTERS),
    pg.NoticeResponse((("S", "NOTICE"), ("V", WORD), ("C", WORD), *LETTERS.items())),
    pg.NotificationResponse(1, "channel", WORD),
    pg.ParameterDescription((0,)),
    shape(ID, NUMBER),
    shape(NUMBER),
    pg.NoData(),
    pg.DataRow((b"1", SSN)),
    pg.DataRow((SSN,)),
    pg.DataRow((SSN, SSN, SSN)),
    pg.CommandComplete(WORD),
    pg.CommandComplete(f"SELECT {WORD}"),
    pg.EmptyQueryResponse(),
    pg.ParseComplete(),
    pg.BindComplete(),
    pg.CloseComplete(),
    pg.PortalSuspended(),
    pg.ReadyForQuery("T"),
    pg.CopyInResponse(0, (0,)),
    pg.CopyOutResponse(0, (0,)),
    pg.CopyBothResponse(0, (0,)),
    pg.CopyData(SSN),
    pg.CopyDone(),
    pg.FunctionCallResponse(SSN),
)

State = Callable[[], Playbook]


def _asked(*messages: pg.FrontendMessage, answers: tuple[pg.BackendMessage, ...] = ()) -> State:
    def make() -> Playbook:
        play, _ = masked()
        play.client(*messages)
        play.target(*answers)
        return play

    return make


def _learning(*answered: bytes) -> State:
    """A statement waits for what the target says of its catalog."""

    def make() -> Playbook:
        play, teller = masked()
        play.replies[Side.TARGET] = lambda said: teller(said) if encode(said) in answered else b""  # type: ignore[arg-type]
        play.client(query(PLAIN))
        return play

    return make


WRITE = "INSERT INTO customers (id, ssn) VALUES (1, '5')"
STATES: dict[str, State] = {
    "nothing is owed": lambda: masked()[0],
    "the catalog is asked": _learning(),
    "all relations are asked": _learning(QUESTION),
    "a query": _asked(query(PLAIN)),
    "its rows": _asked(query(PLAIN), answers=(shape(ID, NUMBER),)),
    "its end": _asked(query(PLAIN), answers=(shape(ID, NUMBER), DONE)),
    "a write": _asked(query(WRITE)),
    "a parse": _asked(*extended(PLAIN), pg.Sync()),
    "a bind": _asked(*extended(PLAIN), pg.Sync(), answers=BOUND[:1]),
    "a description": _asked(*extended(PLAIN), pg.Sync(), answers=BOUND),
    "an execute": _asked(*extended(PLAIN), pg.Sync(), answers=(*BOUND, shape(ID, NUMBER))),
    "a sync": _asked(*extended(PLAIN), pg.Sync(), answers=(*BOUND, shape(ID, NUMBER), DONE)),
    "a close": _asked(pg.Close("S", "s"), pg.Sync()),
    "a sync behind an error": _asked(*extended(PLAIN), pg.Sync(), answers=(failure("42601"),)),
    "an error without a sync": _asked(*extended(PLAIN), pg.Flush(), answers=(failure("42601"),)),
    "a refusal": _asked(pg.Parse("", b"SELECT upper(ssn) FROM customers"), pg.Sync()),
    "a copy in": _asked(query("COPY customers FROM STDIN"), answers=(pg.CopyInResponse(0, (0,)),)),
}


@pytest.mark.parametrize("state", STATES)
def test_no_message_brings_a_value(state: str) -> None:
    for message in MESSAGES:
        play = STATES[state]()
        play.target(message, READY)
        assert SSN not in play.bytes[Side.CLIENT], message


@pytest.mark.parametrize("state", STATES)
def test_no_frame_of_any_type_brings_a_value(state: str) -> None:
    place = list(STATES).index(state)
    for kind in range(256):
        # The reader refuses a type that is not in its table whatever the state is: each of them is tried in one.
        if kind not in TARGET and kind % len(STATES) != place:
            continue
        for body in (SSN, b"\0\1" + len(SSN).to_bytes(4) + SSN, SSN + b"\0"):
            play = STATES[state]()
            play.target(bytes([kind]) + (4 + len(body)).to_bytes(4) + body)
            assert SSN not in play.bytes[Side.CLIENT], (chr(kind), body)


def test_every_kind_of_message_is_among_them() -> None:
    tags = {encode(message)[:1] for message in MESSAGES}
    assert tags == {bytes([tag]) for tag in b"RvKSEN" + b"AtTnDCI123sZGHWdcV"}
