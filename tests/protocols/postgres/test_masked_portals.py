"""A row is masked as the portal was decided that produced it, whatever was said before, between and at once."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from tests.support.masked import CUSTOMERS
from tests.support.pg_masked import Teller, masked
from tests.support.pg_play import written
from tests.support.playbook import Playbook
from vestibule.model.event import Side
from vestibule.protocols.postgres import messages as pg
from vestibule.protocols.postgres.codec import encode

COLUMNS = {"id": 1, "ssn": 2, "email": 3, "state": 4}
LISTS = ("id, ssn", "ssn, id", "ssn", "state", "state, ssn, id", "id", "ssn, ssn", "state, id")
TEXTS = tuple(f"SELECT {columns} FROM customers" for columns in LISTS)
SECRET = b"SECRET-"
NAMES = ("", "a", "b")


@dataclass
class Bound:
    """A portal of the reference: its columns, and how many rows it has given."""

    columns: tuple[str, ...]
    given: int = 0


@dataclass
class Reference:
    """A server whose every row says which portal it is of; `expected` is what a client may see of them, in order."""

    prepared: dict[str, tuple[str, ...]] = field(default_factory=dict)
    portals: dict[str, Bound] = field(default_factory=dict)
    expected: list[tuple[bytes, ...]] = field(default_factory=list)
    answers: bytes = b""
    is_skipping: bool = False
    made: int = 0

    def __call__(self, message: object) -> bytes:
        """Take a message; its answers wait until they are let go."""
        self.answers += written(*self._answers(message))
        return b""

    def _answers(self, message: object) -> list[pg.BackendMessage]:
        match message:
            case pg.Sync():
                self.is_skipping = False
                self.portals.clear()
                return [pg.ReadyForQuery("I")]
            case _ if self.is_skipping:
                return []
            case pg.Query(text=text):
                self.prepared.pop("", None)
                self.portals.clear()
                return [*self._simple(text.decode()), pg.ReadyForQuery("I")]
            case pg.Parse(name=name, text=text):
                if name and name in self.prepared:
                    return self._fail("42P05")
                self.prepared[name] = _columns(text.decode())
                return [pg.ParseComplete()]
            case pg.Bind(portal=portal, statement=statement):
                if statement not in self.prepared or (portal and portal in self.portals):
                    return self._fail("42P03")
                self.portals[portal] = Bound(self.prepared[statement])
                return [pg.BindComplete()]
            case pg.Describe(kind="S", name=name) if name in self.prepared:
                return [pg.ParameterDescription(()), _shape(self.prepared[name])]
            case pg.Describe(kind="P", name=name) if name in self.portals:
                return [_shape(self.portals[name].columns)]
            case pg.Execute(portal=portal, max_rows=most) if portal in self.portals:
                return self._execute(self.portals[portal], most)
            case pg.Close(kind=kind, name=name):
                (self.prepared if kind == "S" else self.portals).pop(name, None)
                return [pg.CloseComplete()]
            case pg.Describe() | pg.Execute():
                return self._fail("34000")
            case _:
                return []

    def _simple(self, text: str) -> list[pg.BackendMessage]:
        answers: list[pg.BackendMessage] = []
        for part in text.split("; "):
            columns = _columns(part)
            answers += [_shape(columns), self._row(columns), pg.CommandComplete("SELECT 1")]
        return answers

    def _execute(self, portal: Bound, most: int) -> list[pg.BackendMessage]:
        count = min(most or 3, 3 - portal.given)
        portal.given += count
        is_over = portal.given >= 3 and not (most and count == most)
        end = pg.CommandComplete(f"SELECT {count}") if is_over else pg.PortalSuspended()
        return [*(self._row(portal.columns) for _ in range(count)), end]

    def _row(self, columns: tuple[str, ...]) -> pg.DataRow:
        self.made += 1
        tag = b"%04d" % self.made
        self.expected.append(tuple(b"***" + tag if name == "ssn" else tag for name in columns))
        return pg.DataRow(tuple(SECRET + tag if name == "ssn" else tag for name in columns))

    def _fail(self, code: str) -> list[pg.BackendMessage]:
        self.is_skipping = True
        self.portals.clear()
        return [pg.ErrorResponse((("S", "ERROR"), ("V", "ERROR"), ("C", code), ("M", code)))]


def _columns(text: str) -> tuple[str, ...]:
    return tuple(text.removeprefix("SELECT ").removesuffix(" FROM customers").split(", "))


def _shape(columns: tuple[str, ...]) -> pg.RowDescription:
    return pg.RowDescription(tuple(pg.Field(name, CUSTOMERS, COLUMNS[name], 25, -1, -1, 0) for name in columns))


_names, _texts = st.sampled_from(NAMES), st.sampled_from(TEXTS)
_messages = st.one_of(
    st.builds(lambda name, text: pg.Parse(name, text.encode()), _names, _texts),
    st.builds(pg.Bind, _names, _names),
    st.builds(pg.Describe, st.sampled_from(["S", "P"]), _names),
    st.builds(pg.Execute, _names, st.sampled_from([0, 1, 2])),
    st.builds(pg.Execute, _names, st.sampled_from([0, 1, 2])),
    st.builds(pg.Close, st.sampled_from(["S", "P"]), _names),
    st.just(pg.Sync()),
    st.just(pg.Flush()),
    st.builds(lambda texts: pg.Query("; ".join(texts).encode()), st.lists(_texts, min_size=1, max_size=3)),
)
#: Whole statements, so that rows come; and anything between them.
_statements = st.builds(
    lambda name, portal, text, most: [pg.Parse(name, text.encode()), pg.Bind(portal, name), pg.Execute(portal, most)],
    st.just("") | _names,
    _names,
    _texts,
    st.sampled_from([0, 1, 2]),
)
conversations = st.lists(_statements | _messages.map(lambda one: [one]), min_size=1, max_size=20).map(
    lambda parts: [message for part in parts for message in part] + [pg.Sync()]
)


def _converse(play: Playbook, server: Reference, said: list[pg.FrontendMessage], data: st.DataObject) -> None:
    asked = b"".join(map(encode, said))
    while asked or server.answers:
        is_client = data.draw(st.booleans()) if asked and server.answers else bool(asked)
        size = data.draw(st.sampled_from([3, 40, 200, 5_000]))
        if is_client:
            piece, asked = asked[:size], asked[size:]
            play.client(piece)
        else:
            piece, server.answers = server.answers[:size], server.answers[size:]
            play.target(piece)


@given(conversations, st.data())
def test_every_row_comes_as_its_own_portal_was_decided(said: list[pg.FrontendMessage], data: st.DataObject) -> None:
    server = Reference()
    play, _ = masked(teller=Teller(server))
    _converse(play, server, said, data)
    rows = [each.values for each in play.to(Side.CLIENT) if isinstance(each, pg.DataRow)]
    assert SECRET not in play.bytes[Side.CLIENT]
    assert rows == server.expected
    assert not play.closed, play.fault


def test_the_reference_makes_rows_of_several_portals_at_once() -> None:
    server = Reference()
    play, _ = masked(teller=Teller(server))
    parts = [[pg.Parse(name, text.encode()), pg.Bind(name, name)] for name, text in zip(NAMES, TEXTS, strict=False)]
    play.client(
        *(message for part in parts for message in part), *(pg.Execute(name, 1) for name in (*NAMES, *NAMES)), pg.Sync()
    )
    play.target(server.answers)
    rows = [each.values for each in play.to(Side.CLIENT) if isinstance(each, pg.DataRow)]
    assert rows == server.expected
    assert len(rows) == 6
    assert len({len(values) for values in rows}) == 2
