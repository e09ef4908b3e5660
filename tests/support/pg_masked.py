"""Sessions where columns are masked, for the playbook: the bank's catalog by hand, and a target that tells it."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from tests.support.masked import BANK, CUSTOMERS, Row
from tests.support.pg_play import before_login, log_in, written
from tests.support.playbook import Playbook
from tests.support.policies import HEAD, RULES
from tests.support.raw_client import codes
from vestibule.gate.gate import Gate, StorageKey
from vestibule.model.event import Side
from vestibule.policy.document import load
from vestibule.policy.engine import Engine
from vestibule.protocols.postgres import messages as pg
from vestibule.protocols.postgres.codec import encode
from vestibule.protocols.postgres.learning import QUESTION, SURVEY, SURVEY_IN_TRANSACTION

NUMBERS = '  - {name: numbers, columns: ["*.customers.ssn"], transform: {keep_last: 4}, clear_for: {groups: [fraud]}}\n'
MAILS = '  - {name: mails, columns: ["*.customers.email"], clear_for: {groups: [fraud]}}\n'

SSN, SHOWN = b"123-45-6789", b"***6789"
READY = pg.ReadyForQuery("I")
ID = pg.Field("id", CUSTOMERS, 1, 23, 4, -1, 0)
NUMBER = pg.Field("ssn", CUSTOMERS, 2, 25, -1, -1, 0)
EMAIL = pg.Field("email", CUSTOMERS, 3, 25, -1, -1, 0)
NOWHERE = pg.Field("made", 0, 0, 25, -1, -1, 0)


def engine(*masks: str) -> Engine:
    """Decide by the sample policy, in which what is not dropped may be done, and these masks."""
    listed = "masks:\n" + "".join(masks) if masks else ""
    return Engine(load((HEAD + RULES + listed).encode(), "policy.yaml"))


def masked_gate(*masks: str) -> Gate:
    """A gate that masks the numbers of customers, or what `masks` say."""
    return Gate(engine(*(masks or (NUMBERS,))), StorageKey("k1", bytes(32)))


class Teller:
    """A target that answers the gateway's own questions, and leaves all others to the test or to `rest`."""

    def __init__(self, rest: Callable[[object], bytes] = lambda _: b"") -> None:
        self.path = "public"
        self.temporaries: dict[str, int] = {}
        self.rows: Iterable[Row] = BANK
        self.status: pg.TransactionStatus = "I"
        #: What was asked, in order.
        self.asked: list[str] = []
        self.rest = rest

    def __call__(self, message: object) -> bytes:
        """Answer a message of the gateway's."""
        said = encode(message) if isinstance(message, pg.Query) else b""
        if said == QUESTION:
            self.asked.append("question")
            own = [("session", "temporary", name, str(oid), "", "") for name, oid in self.temporaries.items()]
            rows = [("session", "search_path", self.path, "", "", ""), *own]
            return written(*_table(6, rows), pg.ReadyForQuery(self.status))
        if said == SURVEY:
            self.asked.append("survey")
            return written(*_table(7, self.rows), pg.ReadyForQuery(self.status))
        if said == SURVEY_IN_TRANSACTION:
            self.asked.append("survey in a transaction")
            around = pg.CommandComplete("SAVEPOINT"), pg.CommandComplete("ROLLBACK"), pg.CommandComplete("RELEASE")
            return written(around[0], *_table(7, self.rows), *around[1:], pg.ReadyForQuery(self.status))
        return self.rest(message)


def _table(columns: int, rows: Iterable[Iterable[str]]) -> list[pg.Message]:
    shape = pg.RowDescription((pg.Field("x", 0, 0, 25, -1, -1, 0),) * columns)
    data = [pg.DataRow(tuple(cell.encode() for cell in row)) for row in rows]
    return [shape, *data, pg.CommandComplete(f"SELECT {len(data)}")]


def masked(*groups: str, at: Gate | None = None, teller: Teller | None = None) -> tuple[Playbook, Teller]:
    """An open session where numbers of customers are masked, with nothing seen yet; the test answers statements."""
    play, teller = before_login(*groups, at=at or masked_gate()), teller or Teller()
    greeter = play.replies[Side.TARGET]
    play.replies[Side.TARGET] = lambda message: teller(message) if _is_question(message) else greeter(message)
    log_in(play)
    assert READY in play.to(Side.CLIENT), "the session is open"
    teller.asked.clear()
    play.replies[Side.TARGET] = teller
    return play, teller


def _is_question(message: object) -> bool:
    return isinstance(message, pg.Query) and encode(message) == QUESTION


def query(text: str) -> pg.Query:
    """A Query."""
    return pg.Query(text.encode())


def shape(*fields: pg.Field) -> pg.RowDescription:
    """A RowDescription."""
    return pg.RowDescription(fields)


def failure(code: str, severity: str = "ERROR", **fields: str) -> pg.ErrorResponse:
    """An error of the target's, with more fields by their letters."""
    listed = {"S": severity, "V": severity, "C": code, "M": "the server's words", **fields}
    return pg.ErrorResponse(tuple(listed.items()))


def said(play: Playbook) -> list[str]:
    """What the client was told."""
    return codes(play.to(Side.CLIENT))  # type: ignore[arg-type]  # all that reaches it are messages


def travelled(play: Playbook, *kinds: type) -> list[object]:
    """What reached the target of these kinds, without the gateway's own questions."""
    return [each for each in play.to(Side.TARGET) if isinstance(each, kinds or (pg.Query, pg.Bind))][-1:]


def answered(play: Playbook, *answers: pg.BackendMessage) -> list[str]:
    """Let the target answer; what the client is told."""
    play.take()
    play.target(*answers)
    return said(play)


def is_closed_without(play: Playbook, *values: bytes) -> bool:
    """Whether the session ended with 08006, the operator knows why, and none of the values has passed."""
    shown = bytes(play.bytes[Side.CLIENT])
    return b"08006" in shown and bool(play.fault) and not any(value in shown for value in values)
