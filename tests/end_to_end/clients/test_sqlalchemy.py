"""SQLAlchemy through the gateway: its pool over the end of a token, reflection, and three dialects."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from tests.support.at_target import backend_is_gone, backend_of, is_running
from tests.support.evidence import Journal
from tests.support.gateway import TARGET, Gateway, GatewayFactory
from tests.support.postgres import DATABASE, PostgresServer
from tests.support.signing_in import SignedIn, sign_in
from tests.support.waiting import wait_for

BANK = {"accounts", "cards", "customers", "loans", "transactions"}


def url_of(clients: Gateway, person: SignedIn, target: str, name: str, driver: str = "psycopg") -> sa.URL:
    """Write SQLAlchemy's address of a target."""
    return sa.URL.create(
        f"postgresql+{driver}",
        username=f"{person.person}+{target}",
        password=person.token,
        host="localhost",
        port=clients.port,
        database=DATABASE,
        query={"sslmode": "verify-full", "sslrootcert": str(clients.ca), "application_name": name},
    )


@pytest.fixture(params=["psycopg", "psycopg2"])
def engine(
    request: pytest.FixtureRequest, clients: Gateway, dev: SignedIn, target: str, name: str
) -> Iterator[sa.Engine]:
    """An engine with a pool, by either driver."""
    url = url_of(clients, dev, target, name, request.param)
    made = sa.create_engine(url, pool_size=3, max_overflow=0, pool_pre_ping=True)
    yield made
    made.dispose()


@pytest.fixture
def asynchronous(clients: Gateway, dev: SignedIn, target: str, name: str, trust: ssl.SSLContext) -> AsyncEngine:
    """An engine over asyncpg."""
    url = url_of(clients, dev, target, name, "asyncpg").set(query={})
    settings = {"ssl": trust, "server_settings": {"application_name": name}}
    return create_async_engine(url, connect_args=settings, pool_size=2, pool_pre_ping=True)


def test_sqlalchemy_reflects_the_whole_bank(engine: sa.Engine) -> None:
    inspector = sa.inspect(engine)

    assert {"accounts", "cards", "customers", "loans", "transactions"} <= set(inspector.get_table_names())
    assert [column["name"] for column in inspector.get_columns("customers")] == [
        "id", "name", "ssn", "email", "born", "state",
    ]  # fmt: skip
    assert inspector.get_pk_constraint("cards")["constrained_columns"] == ["id"]
    assert inspector.get_foreign_keys("accounts")[0]["referred_table"] == "customers"
    assert inspector.get_unique_constraints("cards")[0]["column_names"] == ["pan"]
    assert inspector.get_check_constraints("loans")
    assert inspector.get_indexes("transactions")[0]["column_names"] == ["account_id"]
    assert inspector.get_view_names() == []
    assert inspector.get_schema_names()
    assert inspector.get_sequence_names() is not None
    assert inspector.get_table_comment("loans") == {"text": None}
    metadata = sa.MetaData()
    metadata.reflect(engine, only=["customers", "accounts", "cards", "loans", "transactions"])
    assert len(metadata.tables) == 5


def test_sqlalchemy_works_with_its_pool(engine: sa.Engine, items: str, server: PostgresServer) -> None:
    table = sa.Table(items, sa.MetaData(), autoload_with=engine)

    connections = [engine.connect() for _ in range(3)]
    for number, connection in enumerate(connections):
        connection.execute(sa.insert(table), [{"label": f"c{number}", "ratio": n} for n in range(100)])
        connection.commit()
        connection.close()
    with engine.begin() as connection:
        ids = connection.execute(sa.insert(table).returning(table.c.id), [{"label": "more"}] * 50).scalars().all()
        connection.execute(sa.update(table).where(table.c.id.in_(ids)).values(flag=True))
        with connection.begin_nested() as savepoint:
            connection.execute(sa.delete(table))
            savepoint.rollback()
    with engine.connect() as connection:
        streamed = connection.execution_options(yield_per=40).execute(sa.select(table.c.id))
        assert len(list(streamed)) == 350
        assert connection.scalar(sa.select(sa.func.count()).where(table.c.flag)) == 50

    assert server.execute(f"SELECT count(*) FROM {items}") == [(350,)]


def test_sqlalchemys_first_words_are_never_refused(engine: sa.Engine, clients: Gateway, name: str) -> None:
    with engine.connect() as connection:
        assert connection.scalar(sa.text("SELECT 41 + 1")) == 42
        assert connection.get_isolation_level() == "READ COMMITTED"
    with engine.connect().execution_options(isolation_level="SERIALIZABLE") as connection:
        assert connection.scalar(sa.text("SHOW transaction_isolation")) == "serializable"
    engine.dispose()

    session = Journal(clients.data).closed_session(name)
    assert {decision for decision, _ in session.decisions} == {"allow"}


def test_sqlalchemy_reflects_what_somebody_has_just_made(engine: sa.Engine, name: str) -> None:
    made = sa.MetaData()
    mood = sa.Enum("sad", "glad", name=f"{name}_mood")
    parent = sa.Table(
        f"{name}_parent",
        made,
        sa.Column("id", sa.Integer, sa.Identity(), primary_key=True, comment="the key"),
        sa.Column("mood", mood, nullable=False, server_default="sad"),
        sa.Column("price", sa.Numeric(12, 2), sa.CheckConstraint("price > 0", name=f"{name}_positive")),
        sa.Column("twice", sa.Numeric, sa.Computed("price * 2", persisted=True)),
        sa.Column("labels", sa.ARRAY(sa.Text)),
        sa.Index(f"{name}_cheap", "price", postgresql_where=sa.text("price < 10")),
        sa.UniqueConstraint("mood", "price", name=f"{name}_once"),
        comment="made by a test",
    )
    sa.Table(
        f"{name}_child",
        made,
        sa.Column("id", sa.BigInteger, primary_key=True),
        sa.Column("parent", sa.ForeignKey(parent.c.id, ondelete="CASCADE"), index=True),
    )
    made.create_all(engine)
    try:
        with engine.begin() as connection:
            connection.execute(sa.text(f"CREATE VIEW {name}_view AS SELECT id, price FROM {name}_parent"))
        found = sa.MetaData()
        found.reflect(engine, views=True, only=lambda table, _: table.startswith(name))
        assert set(found.tables) == {f"{name}_parent", f"{name}_child", f"{name}_view"}
        again = found.tables[f"{name}_parent"]
        assert again.comment == "made by a test"
        assert again.c.id.identity is not None
        assert again.c.twice.computed is not None
        assert again.c.mood.type.enums == ["sad", "glad"]
        assert isinstance(again.c.labels.type, sa.ARRAY)
        [key] = found.tables[f"{name}_child"].foreign_key_constraints
        assert (key.referred_table.name, key.ondelete) == (f"{name}_parent", "CASCADE")
        inspector = sa.inspect(engine)
        assert [each["name"] for each in inspector.get_enums()] == [f"{name}_mood"]
        assert {each["name"] for each in inspector.get_indexes(f"{name}_parent")} == {f"{name}_cheap", f"{name}_once"}
        assert "price" in inspector.get_view_definition(f"{name}_view")
        assert inspector.get_multi_columns(kind=sa.engine.reflection.ObjectKind.ANY)
        assert inspector.get_sorted_table_and_fkc_names()
        assert inspector.has_table(f"{name}_child")
    finally:
        with engine.begin() as connection:
            connection.execute(sa.text(f"DROP VIEW IF EXISTS {name}_view"))
        made.drop_all(engine)


def test_sqlalchemy_writes_many_rows_and_upserts(engine: sa.Engine, items: str) -> None:
    table = sa.Table(items, sa.MetaData(), autoload_with=engine)
    rows = [{"label": f"n{number}", "amount": number} for number in range(2_500)]
    with engine.begin() as connection:
        keys = connection.execute(sa.insert(table).returning(table.c.id, sort_by_parameter_order=True), rows).scalars()
        assert list(keys) == list(range(1, 2_501))
        connection.execute(sa.text(f"CREATE UNIQUE INDEX {items}_label ON {items} (label)"))
        upsert = insert(table).values(label="n7", amount=-1)
        upsert = upsert.on_conflict_do_update(index_elements=["label"], set_={"amount": upsert.excluded.amount})
        connection.execute(upsert)
        assert connection.scalar(sa.select(table.c.amount).where(table.c.label == "n7")) == -1
        with pytest.raises(sa.exc.IntegrityError), connection.begin_nested():
            connection.execute(sa.insert(table), {"label": "n8"})


def test_a_pool_lives_on_with_a_new_token_when_the_old_one_is_revoked(
    engine: sa.Engine, clients: Gateway, dev: SignedIn, name: str
) -> None:
    tokens = [dev.another_token()]
    give_tokens(engine, tokens)
    with engine.connect() as connection:
        assert connection.scalar(sa.text("SELECT 41 + 1")) == 42
    tokens[0].revoke()
    wait_for(lambda: Journal(clients.data).session(name).is_closed, "the end of the session")
    # The pre-ping finds the old session ended; the old token opens no new one.
    with pytest.raises(sa.exc.OperationalError, match="token not accepted"):
        engine.connect()
    tokens.append(dev.another_token())
    with engine.connect() as connection:
        assert connection.scalar(sa.text("SELECT 41 + 1")) == 42


def give_tokens(engine: sa.Engine, tokens: Sequence[SignedIn]) -> None:
    """Let every new session of `engine` come in with the last of `tokens` of that moment."""

    @sa.event.listens_for(engine, "do_connect")
    def give(dialect: object, record: object, arguments: object, settings: dict[str, object]) -> None:
        settings["password"] = tokens[-1].token


def test_a_session_in_use_is_ended_with_its_token_and_the_pool_forgets_it(
    engine: sa.Engine, clients: Gateway, dev: SignedIn, server: PostgresServer, name: str
) -> None:
    other = dev.another_token()
    own = sa.create_engine(engine.url.set(password=other.token), pool_size=1, max_overflow=0)
    with own.connect() as connection:
        assert connection.scalar(sa.text("SELECT 41 + 1")) == 42
        backend = backend_of(server, name)
        with ThreadPoolExecutor() as threads:
            asleep = threads.submit(connection.scalar, sa.text("SELECT pg_sleep(60)"))
            wait_for(lambda: is_running(server, backend, "pg_sleep"), "pg_sleep at the target")
            other.revoke()
            failed = asleep.exception(timeout=50)
    assert isinstance(failed, sa.exc.OperationalError)
    assert failed.connection_invalidated
    # psycopg 2 tells of a session that was ended only that it was closed, as it does without a gateway.
    words = "session ended: revoked" if engine.driver == "psycopg" else "connection has been closed"
    assert words in str(failed.orig)
    assert backend_is_gone(server, backend, 60)
    own.dispose()


def test_a_pool_lives_on_with_a_new_log_in_when_the_old_one_expires(
    gateways: GatewayFactory, postgres15: PostgresServer, name: str
) -> None:
    def policy(document: dict[str, Any]) -> None:
        document["identity"][0]["login"] = {"max": "20s"}

    house = gateways.make({TARGET: postgres15}, policy=policy)
    tokens = [sign_in(house, "dev1")]
    ended: list[BaseException | None] = []
    engines = {}
    for driver in ("psycopg", "psycopg2"):
        url = url_of(house, tokens[0], TARGET, f"{name} {driver}", driver)
        engines[driver] = sa.create_engine(url, pool_size=1, pool_pre_ping=True)
        give_tokens(engines[driver], tokens)
        with engines[driver].connect() as connection:
            assert connection.scalar(sa.text("SELECT 41 + 1")) == 42
    sa.event.listen(engines["psycopg"], "handle_error", lambda context: ended.append(context.original_exception))
    sessions = [Journal(house.data).closed_session(f"{name} {driver}", timeout=80) for driver in engines]
    tokens.append(sign_in(house, "dev1"))
    for engine in engines.values():
        with engine.connect() as connection:
            assert connection.scalar(sa.text("SELECT 41 + 1")) == 42
        engine.dispose()

    assert [session.one("SessionClosed")["cause"] for session in sessions] == ["login_expired"] * 2
    [told] = ended
    assert isinstance(told, psycopg.errors.AdminShutdown)
    assert "session ended: login expired" in str(told)


def test_sqlalchemy_reads_masked_columns_as_the_types_that_they_are(
    engine: sa.Engine, dev: SignedIn, masked: str
) -> None:
    behind = sa.create_engine(engine.url.set(username=f"{dev.person}+{masked}"))
    customers = sa.Table("customers", sa.MetaData(), autoload_with=behind)
    with behind.connect() as connection:
        row = connection.execute(sa.select(customers).where(customers.c.id == 1)).one()
        assert (row.ssn, row.email, row.born, row.state) == ("***1120", "***", None, "CA")
        assert isinstance(customers.c.born.type, sa.Date)
        with pytest.raises(sa.exc.ProgrammingError, match="masked for you"):
            connection.execute(sa.select(customers.c.id).where(customers.c.ssn == "078-05-1120"))
        connection.rollback()
        assert len(connection.execute(sa.select(customers.c.ssn)).all()) == 40
    behind.dispose()


@pytest.mark.asyncio
async def test_sqlalchemy_works_over_asyncpg(asynchronous: AsyncEngine, items: str) -> None:
    async with asynchronous.begin() as connection:
        table = await connection.run_sync(lambda sync: sa.Table(items, sa.MetaData(), autoload_with=sync))
        everything = sa.MetaData()
        await connection.run_sync(lambda sync: everything.reflect(sync, only=BANK))
        await connection.execute(sa.insert(table), [{"label": f"n{n}", "about": {"n": n}} for n in range(300)])
        assert await connection.scalar(sa.select(table.c.about).where(table.c.label == "n7")) == {"n": 7}
    assert set(everything.tables) == BANK
    async with asynchronous.connect() as connection:
        streamed = await connection.stream(sa.select(table.c.id).order_by(table.c.id))
        assert [row.id async for row in streamed] == list(range(1, 301))

    async def add(number: int) -> int:
        async with asynchronous.connect() as connection:
            return await connection.scalar(sa.select(sa.cast(number, sa.Integer) + 1))

    assert await asyncio.gather(*(add(number) for number in range(20))) == list(range(1, 21))
    await asynchronous.dispose()
