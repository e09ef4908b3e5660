"""A client sees behind the gateway what it would see of the server, were a denied text one that does not parse."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tests.support.pg_model import ModelServer
from tests.support.pg_play import session, written
from tests.support.pg_talk import DENIED, conversations
from tests.support.playbook import Playbook
from vestibule.model.event import Side
from vestibule.protocols.postgres import messages as pg
from vestibule.protocols.postgres.codec import encode


def direct(said: list[pg.FrontendMessage]) -> tuple[list[object], ModelServer]:
    """What the server itself answers."""
    server = ModelServer(keeps_unnamed=True)
    return [plain(answer) for message in said for answer in server.receive(message)], server


def plain(message: object) -> object:
    """A message without an error's words: those are ours where the server's would stand."""
    return "error" if isinstance(message, pg.ErrorResponse) else message


class Delayed:
    """A server whose answers, cut at random, wait until the test lets them go."""

    def __init__(self) -> None:
        self.server = ModelServer()
        self.answers = b""

    def __call__(self, message: object) -> bytes:
        """Take a message; answer later."""
        self.answers += written(*self.server.receive(message))  # type: ignore[arg-type]
        return b""


def converse(play: Playbook, target: Delayed, said: list[Any], data: st.DataObject) -> None:
    """Let both sides speak in pieces, in any interleaving."""
    asked = b"".join(map(encode, said))
    while asked or target.answers:
        side = data.draw(st.booleans()) if asked and target.answers else bool(asked)
        size = data.draw(st.sampled_from([1, 7, 40, 1000]))
        if side:
            piece, asked = asked[:size], asked[size:]
            play.client(piece)
        else:
            piece, target.answers = target.answers[:size], target.answers[size:]
            play.target(piece)


@given(conversations)
def test_the_client_sees_and_commits_what_it_would_at_the_server_itself(said):
    expected, alone = direct(said)
    server = ModelServer()
    play = session(target=lambda message: written(*server.receive(message)))
    play.client(*said)
    assert [plain(message) for message in play.to(Side.CLIENT)] == expected
    assert server.committed == alone.committed
    assert not play.closed


@given(conversations, st.data())
def test_no_interleaving_of_pieces_changes_what_is_seen(said, data):
    expected, alone = direct(said)
    target = Delayed()
    play = session(target=target)
    converse(play, target, said, data)
    assert [plain(message) for message in play.to(Side.CLIENT)] == expected
    assert target.server.committed == alone.committed


@given(conversations, st.data())
def test_every_statement_that_runs_was_allowed_and_every_decision_ends_once(said, data):
    target = Delayed()
    play = session(target=target)
    converse(play, target, said, data)
    play.client(pg.Terminate())
    decided = [record for record in play.records if record.kind == "StatementDecided"]
    ended = [record.members["decided"].name for record in play.records if record.kind == "StatementFinished"]
    assert sorted(ended) == sorted(record.name for record in decided)
    assert DENIED not in play.bytes[Side.TARGET]
    assert len(target.server.executed) <= sum(record.members["decision"] == "allow" for record in decided) * 3
