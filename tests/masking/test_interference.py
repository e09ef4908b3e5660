"""What passes tells nothing: two banks that differ in their protected values alone answer alike, masked columns aside.

Statements by chance, decided over each bank and carried out by a real server. It says, too, where each column of an
answer comes from, which must be what the plan says.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import psycopg
import pytest

from tests.support.masked import TAIL
from tests.support.postgres import PostgresServer
from tests.support.queries import LABELS, SCHEMA, Statements
from vestibule.analysis.sql.parser import parse
from vestibule.masking.catalog import QUERY, snapshot
from vestibule.masking.decide import decide
from vestibule.masking.layout import Field, Layout, layout
from vestibule.masking.scene import Scene
from vestibule.masking.sensitive import close
from vestibule.model.names import RuleName
from vestibule.model.plan import Label, Plan
from vestibule.model.statement import Unsupported

STATEMENTS = 1_500
#: With these the server would have answered, so a refusal must not hide an answer.
SERVERS_OWN = frozenset({"42703", "42P01", "42601"})


@dataclass(slots=True)
class Answer:
    """What a server said to a statement."""

    kind: str
    code: str = ""
    message: str = ""
    fields: tuple[Field, ...] = ()
    rows: tuple[tuple[bytes | None, ...], ...] = ()
    count: int = 0


@dataclass(slots=True)
class Bank:
    """One bank on a server, with its catalog."""

    connection: psycopg.Connection
    scene: Scene

    def answer(self, text: str) -> Answer:
        """Carry a statement out, and undo it."""
        try:
            with self.connection.transaction(force_rollback=True):
                cursor = self.connection.execute(text.encode())
                result = cursor.pgresult
                if result is None or not result.nfields:
                    return Answer("done", count=cursor.rowcount)
                fields = tuple(
                    Field((result.fname(i) or b"").decode(), result.ftable(i), result.ftablecol(i), result.ftype(i), 0)
                    for i in range(result.nfields)
                )
                rows = (tuple(result.get_value(r, i) for i in range(result.nfields)) for r in range(result.ntuples))
                return Answer("rows", fields=fields, rows=tuple(rows))
        except psycopg.Error as error:
            return Answer("error", error.sqlstate or "", str(error))

    def decided(self, text: str) -> Plan | Unsupported:
        """Decide a statement over this bank."""
        trees = parse(text.encode())
        if isinstance(trees, Unsupported):
            return trees
        decision = decide(trees[0], text.encode(), self.scene)
        assert isinstance(decision, Plan | Unsupported)
        return decision


@pytest.fixture(scope="module", params=["postgres15", "postgres18"])
def banks(request: pytest.FixtureRequest) -> Iterator[tuple[Bank, Bank]]:
    """Two banks that differ in their protected values alone."""
    server: PostgresServer = request.getfixturevalue(request.param)
    names = [server.create_database(f"bank_{salt}", template="template0") for salt in ("one", "two")]
    made = [_bank(server, name) for name in names]
    yield made[0], made[1]
    for bank, name in zip(made, names, strict=True):
        bank.connection.close()
        server.drop_database(name)


def _bank(server: PostgresServer, name: str) -> Bank:
    connection = server.connect(database=name)
    connection.execute(SCHEMA.replace("{salt}", name).encode())
    # The order of rows, and which of several a statement takes, is the server's choice: make it the same one.
    for setting in ("hashjoin", "mergejoin", "hashagg"):
        connection.execute(f"SET enable_{setting} = off".encode())
    connection.execute("SET statement_timeout = '5s'")
    rows = connection.execute(QUERY).fetchall()
    closed = close(snapshot(rows), [Label(RuleName("all"), LABELS, TAIL)], parse)
    return Bank(connection, Scene(closed, is_fresh=True))


def shown(answer: Answer, found: Layout) -> list[tuple[bytes | None, ...]]:
    """Give what is seen of the rows."""
    return sorted(
        (tuple(None if mask else cell for cell, mask in zip(row, found.columns, strict=True)) for row in answer.rows),
        key=repr,
    )


def origins(plan: Plan, answer: Answer) -> None:
    """Compare where columns come from, as far as the server says."""
    for column, field in zip(plan.columns or (), answer.fields, strict=bool(plan.columns)):
        if column.origin is not None and field.relation:
            assert column.origin == (field.relation, field.number), column
        assert column.mask is None or (column.name == field.name), (column, field)


@pytest.mark.server
@pytest.mark.parametrize("seed", [1, 2])
def test_what_passes_tells_nothing_of_protected_values(banks: tuple[Bank, Bank], seed: int) -> None:
    one, other = banks
    counts: Counter[str] = Counter()
    statements = Statements(seed)
    for _ in range(STATEMENTS):
        text = statements.statement()
        counts[_compared(one, other, text)] += 1

    # The statements are of use only if many pass and many do not.
    assert counts["rows"] > STATEMENTS / 20, counts
    assert counts["masked"] > STATEMENTS / 40, counts
    assert counts["refused"] > STATEMENTS / 10, counts


def _compared(one: Bank, other: Bank, text: str) -> str:
    plan, again = one.decided(text), other.decided(text)
    if isinstance(plan, Unsupported) or isinstance(again, Unsupported):
        assert type(plan) is type(again), text
        if isinstance(plan, Unsupported) and plan.code in SERVERS_OWN:
            assert one.answer(text).kind == "error", (text, plan)
            return "server's"
        return "refused"
    first, second = one.answer(text), other.answer(text)
    assert (first.kind, first.code, first.count) == (second.kind, second.code, second.count), text
    if first.kind == "error":
        assert plan.is_reduced or first.message == second.message, text
    if first.kind != "rows":
        return first.kind
    origins(plan, first)
    layouts = [layout(plan, first.fields, one.scene.sensitive), layout(again, second.fields, other.scene.sensitive)]
    for found in layouts:
        assert isinstance(found, Layout), (text, found)
        assert not found.is_stale, text
    if " LIMIT " in text or "UPDATE " in text:
        assert len(first.rows) == len(second.rows), text
    else:
        assert shown(first, layouts[0]) == shown(second, layouts[1]), text  # type: ignore[arg-type]
    return "masked" if plan.columns else "rows"
