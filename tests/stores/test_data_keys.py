import asyncio
import os
import stat
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import pytest
import pytest_asyncio
from sqlalchemy import event, select, text, update
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.support.identities import bytes_in, fresh_database
from vestibule.model.errors import ConfigurationError
from vestibule.model.login import StateUnavailable
from vestibule.stores.data_keys import DATA_KEY, DataKeys, Kek, make_kek, open_data_keys, read_kek


@pytest_asyncio.fixture
async def engine(tmp_path: Path) -> AsyncIterator[AsyncEngine]:
    made = await fresh_database(tmp_path)
    yield made
    await made.dispose()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys" / "kek"


def lose(path: Path) -> None:
    path.unlink()


@pytest_asyncio.fixture
async def keys(engine: AsyncEngine, path: Path) -> DataKeys:
    return await open_data_keys(engine, path)


@pytest.mark.asyncio
async def test_every_data_key_is_its_own(keys: DataKeys) -> None:
    made = [await keys.new_data_key("session") for _ in range(5)]

    assert len({key_id for key_id, _ in made}) == len({key for _, key in made}) == 5
    assert {len(key) for _, key in made} == {32}


@pytest.mark.asyncio
async def test_a_crowd_shares_transactions_and_no_key(keys: DataKeys, engine: AsyncEngine) -> None:
    begun: list[object] = []
    event.listen(engine.sync_engine, "commit", begun.append)

    made = await asyncio.gather(*(keys.new_data_key(f"class {number}") for number in range(100)))

    assert len({key_id for key_id, _ in made}) == len({key for _, key in made}) == 100
    assert len(begun) < 10
    for number, (key_id, key) in enumerate(made):
        assert await keys.data_key(key_id) == key
        async with engine.connect() as connection:
            kept = await connection.scalar(select(DATA_KEY.c["class"]).where(DATA_KEY.c.key_id == key_id.bytes))
        assert kept == f"class {number}"


@pytest.mark.asyncio
async def test_a_transaction_that_fails_costs_whoever_made_it_and_the_others_try_again(
    keys: DataKeys, engine: AsyncEngine
) -> None:
    failures = [OperationalError("INSERT", {}, Exception("disk"))]

    def fail_once(*_: object) -> None:
        if failures:
            raise failures.pop()

    event.listen(engine.sync_engine, "before_cursor_execute", fail_once)
    made = await asyncio.gather(*(keys.new_data_key("session") for _ in range(5)), return_exceptions=True)

    assert [isinstance(each, StateUnavailable) for each in made] == [True, False, False, False, False]
    assert len({each[0] for each in made if isinstance(each, tuple)}) == 4


@pytest.mark.asyncio
async def test_whoever_stops_waiting_costs_nobody_else_their_key(keys: DataKeys) -> None:
    asked = [asyncio.create_task(keys.new_data_key("session")) for _ in range(5)]
    await asyncio.sleep(0)
    for task in asked[:2]:
        task.cancel()
    done = await asyncio.gather(*asked, return_exceptions=True)

    assert [isinstance(each, asyncio.CancelledError) for each in done] == [True, True, False, False, False]


@pytest.mark.asyncio
async def test_a_data_key_opens_again_after_a_restart(keys: DataKeys, engine: AsyncEngine, path: Path) -> None:
    key_id, key = await keys.new_data_key("session")
    restarted = await open_data_keys(engine, path)

    assert await restarted.data_key(key_id) == key
    assert await restarted.data_key(uuid4()) is None


@pytest.mark.asyncio
async def test_no_key_is_kept_in_clear(keys: DataKeys, tmp_path: Path) -> None:
    secrets = [(await keys.new_data_key("session"))[1], (await keys.token_key())[1], (await keys.bind_key())[1]]
    stored = bytes_in(tmp_path, "state.db*")

    assert not any(secret in stored for secret in secrets)


@pytest.mark.asyncio
async def test_a_row_moved_to_another_class_or_id_does_not_open(keys: DataKeys, engine: AsyncEngine) -> None:
    key_id, _ = await keys.new_data_key("session")
    other_id, _ = await keys.new_data_key("session")
    async with engine.begin() as connection:
        wrapped = await connection.scalar(select(DATA_KEY.c.wrapped).where(DATA_KEY.c.key_id == key_id.bytes))
        await connection.execute(update(DATA_KEY).where(DATA_KEY.c.key_id == other_id.bytes).values(wrapped=wrapped))
        await connection.execute(
            update(DATA_KEY).where(DATA_KEY.c.key_id == key_id.bytes).values({"class": "approval"})
        )

    for moved in (key_id, other_id):
        with pytest.raises(StateUnavailable):
            await keys.data_key(moved)


@pytest.mark.asyncio
async def test_the_token_key_and_the_bind_key_are_made_once(keys: DataKeys, engine: AsyncEngine, path: Path) -> None:
    name, token_key = await keys.token_key()
    bind = await keys.bind_key()
    restarted = await open_data_keys(engine, path)

    assert (name, len(token_key)) == ("k1", 32)
    assert token_key != bind[1]
    assert await restarted.token_key() == (name, token_key)
    assert await restarted.bind_key() == bind


@pytest.mark.asyncio
async def test_many_who_ask_first_get_the_same_token_key(keys: DataKeys) -> None:
    answers = await asyncio.gather(*(keys.token_key() for _ in range(10)))

    assert len(set(answers)) == 1


@pytest.mark.asyncio
async def test_a_lost_kek_is_not_replaced_by_a_new_one(keys: DataKeys, engine: AsyncEngine, path: Path) -> None:
    await keys.new_data_key("session")
    lose(path)

    with pytest.raises(ConfigurationError, match="restore"):
        await open_data_keys(engine, path)
    assert not os.listdir(path.parent)


@pytest.mark.asyncio
async def test_a_foreign_kek_is_refused(keys: DataKeys, engine: AsyncEngine, path: Path) -> None:
    await keys.new_data_key("session")
    lose(path)
    make_kek(path)

    with pytest.raises(ConfigurationError, match="right file"):
        await open_data_keys(engine, path)


@pytest.mark.asyncio
async def test_a_database_that_fails_is_an_answer(keys: DataKeys, engine: AsyncEngine) -> None:
    async with engine.begin() as connection:
        await connection.execute(text("DROP TABLE data_key"))

    with pytest.raises(StateUnavailable):
        await keys.new_data_key("session")


def test_the_keks_file_is_its_owners_alone_and_made_once(path: Path) -> None:
    made = make_kek(path)

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert make_kek(path) == made == read_kek(path)
    assert os.listdir(path.parent) == ["kek"]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o666])
def test_a_kek_that_others_may_read_is_refused(path: Path, mode: int) -> None:
    make_kek(path)
    path.chmod(mode)

    with pytest.raises(ConfigurationError, match="chmod 600"):
        read_kek(path)


@pytest.mark.parametrize("content", [b"", b"x" * 31, b"x" * 33])
def test_a_file_that_holds_no_key_is_refused(path: Path, content: bytes) -> None:
    make_kek(path)
    path.write_bytes(content)

    with pytest.raises(ConfigurationError, match="32 bytes"):
        read_kek(path)


def test_a_kek_is_named_without_being_shown() -> None:
    kek = Kek(b"s" * 32)

    assert len(kek.id) == 16
    assert "ssss" not in repr(kek)
    assert kek.id != Kek(b"t" * 32).id


@pytest.mark.parametrize("spoil", [lambda w: w[:-1], lambda w: w[:12], lambda w: b"", lambda w: b"\0" + w[1:]])
def test_a_wrapped_key_that_was_touched_does_not_open(spoil: object) -> None:
    kek, key_id = Kek(b"s" * 32), uuid4()
    wrapped = kek.wrap(key_id, "session", b"k" * 32)

    assert kek.unwrap(key_id, "session", wrapped) == b"k" * 32
    with pytest.raises(StateUnavailable):
        kek.unwrap(key_id, "session", spoil(wrapped))  # type: ignore[operator]
