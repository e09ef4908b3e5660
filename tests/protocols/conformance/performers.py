"""How the suite drives each protocol: add one here, and every promise is tried on it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

from tests.support import pg_play
from tests.support.pg_play import written
from tests.support.playbook import Playbook
from vestibule.model.event import Side
from vestibule.model.identity import Refusal
from vestibule.protocols.postgres import messages as pg


class Performer(Protocol):
    """One protocol: how its conversation begins, and what may be said in it."""

    #: A statement that policy allows, words of it that a target would see, and a target's answer.
    allowed: bytes
    allowed_words: bytes
    answer: bytes
    #: A statement that policy denies, and words of it that no target may see.
    denied: bytes
    denied_words: bytes
    #: An allowed statement whose text is analysed outside the pump.
    large: bytes
    #: A message that the protocol does not know, from either side.
    nonsense: dict[Side, bytes]
    #: What nobody else may ever see: the client's token, the target's password.
    secrets: tuple[bytes, ...]
    #: A whole session, in the pieces in which it is said.
    transcript: Sequence[tuple[Side, bytes]]

    def before_login(self, refused: Refusal | None = None) -> Playbook:
        """A relay that has received nothing; its proof is accepted, or `refused`."""
        ...

    def log_in(self, play: Playbook) -> None:
        """Say what a client says until its session is open; the target lets it in by itself."""
        ...

    def session(self) -> Playbook:
        """An open session, with nothing seen yet."""
        ...

    def is_refusal(self, messages: Sequence[object]) -> bool:
        """Tell whether the client was told that a statement is refused, and that it may go on."""
        ...

    def is_end(self, messages: Sequence[object]) -> bool:
        """Tell whether the last message to the client says why the session ends."""
        ...

    def is_answer(self, messages: Sequence[object]) -> bool:
        """Tell whether the client was told `answer`."""
        ...


class Postgres:
    """PostgreSQL."""

    allowed = written(pg.Query(b"SELECT 1 AS allowed"))
    allowed_words = b"SELECT 1 AS allowed"
    _answer = (
        pg.RowDescription((pg.Field("allowed", 0, 0, 23, 4, -1, 0),)),
        pg.DataRow((b"1",)),
        pg.CommandComplete("SELECT 1"),
        pg.ReadyForQuery("I"),
    )
    answer = written(*_answer)
    denied = written(pg.Query(b"SELECT 1; DROP TABLE denied_table"))
    denied_words = b"denied_table"
    large = written(pg.Query(b"SELECT 1 AS large /*" + b"x" * 40_000 + b"*/"))
    nonsense = {Side.CLIENT: b"y\0\0\0\x04", Side.TARGET: b"y\0\0\0\x04"}  # noqa: RUF012 - a constant of the suite
    secrets = (pg_play.TOKEN, pg_play.TARGET_PASSWORD)
    transcript = (
        (Side.CLIENT, allowed + denied),
        (Side.TARGET, answer),
        (Side.TARGET, written(pg.ErrorResponse((("S", "ERROR"), ("C", "34000"), ("M", "no portal"))))),
        (Side.TARGET, written(pg.ReadyForQuery("I"))),
        (Side.CLIENT, written(pg.Parse("s", b"SELECT $1::int", (23,)), pg.Bind("", "s", (1,), (b"\0\0\0\7",)))),
        (Side.CLIENT, written(pg.Execute(""), pg.Parse("", b"DROP TABLE denied_table"), pg.Sync())),
        (Side.TARGET, written(pg.ParseComplete(), pg.BindComplete(), pg.RowDescription(_answer[0].fields))),
        (Side.TARGET, written(pg.DataRow((b"7",)), pg.DataRow((None,)), pg.CommandComplete("SELECT 2"))),
        (Side.TARGET, written(pg.ErrorResponse((("S", "ERROR"), ("C", "34000"), ("M", "no portal"))))),
        (Side.TARGET, written(pg.ReadyForQuery("I"))),
        (Side.CLIENT, written(pg.Query(b"COPY loans FROM STDIN"))),
        (Side.TARGET, written(pg.CopyInResponse(0, (0,)))),
        (Side.CLIENT, written(pg.CopyData(b"1\n2\n"), pg.CopyDone())),
        (Side.TARGET, written(pg.CommandComplete("COPY 2"), pg.ReadyForQuery("I"))),
        (Side.CLIENT, written(pg.Terminate())),
    )

    def before_login(self, refused: Refusal | None = None) -> Playbook:
        """A relay that has received nothing."""
        return pg_play.before_login(proof=refused)

    def log_in(self, play: Playbook) -> None:
        """Say the startup packet and the token."""
        pg_play.log_in(play)

    def session(self) -> Playbook:
        """An open session."""
        return pg_play.session()

    def is_refusal(self, messages: Sequence[object]) -> bool:
        """An error that is not fatal, then ReadyForQuery."""
        kinds = [type(message) for message in messages]
        errors = [message for message in messages if isinstance(message, pg.ErrorResponse)]
        return kinds == [pg.ErrorResponse, pg.ReadyForQuery] and errors[0].text("V") == "ERROR"

    def is_end(self, messages: Sequence[object]) -> bool:
        """A fatal error."""
        last = messages[-1] if messages else None
        return isinstance(last, pg.ErrorResponse) and last.text("V") == "FATAL"

    def is_answer(self, messages: Sequence[object]) -> bool:
        """Exactly the answer."""
        return tuple(messages) == self._answer


PERFORMERS: Final[dict[str, Performer]] = {"postgres": Postgres()}
