import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest
import pytest_asyncio
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.support.identities import HOUR, ISSUER, START, bytes_in, fresh_database, login, token
from vestibule.model.login import Found, NameTaken, StateUnavailable, TooManyTokens
from vestibule.model.names import Instant
from vestibule.stores import logins
from vestibule.stores.logins import LoginStore

pytestmark = pytest.mark.asyncio


@pytest_asyncio.fixture
async def engine(tmp_path: Path) -> AsyncIterator[AsyncEngine]:
    made = await fresh_database(tmp_path)
    yield made
    await made.dispose()


@pytest.fixture
def store(engine: AsyncEngine) -> LoginStore:
    return LoginStore(engine)


def at(offset: int) -> Instant:
    return Instant(START + offset)


async def test_a_login_comes_back_as_it_was_kept(store: LoginStore) -> None:
    kept = replace(login("Ärger dev", groups=("b", "a")), auth_time=Instant(START - 5))
    await store.add_login(kept)

    assert await store.login(kept.who.login) == kept
    assert await store.login(uuid4()) is None


async def test_a_token_comes_back_with_its_login(store: LoginStore) -> None:
    kept = login()
    scoped = token(kept.who.login, targets=("payments", "core"))
    await store.add_login(kept)
    await store.add_token(scoped, b"d" * 32)

    assert await store.find(b"d" * 32) == Found(scoped, kept, b"d" * 32)
    assert await store.token(scoped.id) == scoped
    assert await store.find(b"e" * 32) is None
    assert await store.token(uuid4()) is None


async def test_a_token_of_no_target_is_not_one_of_every_target(store: LoginStore) -> None:
    kept = login()
    await store.add_login(kept)
    nothing, everything = token(kept.who.login, targets=()), token(kept.who.login)
    await store.add_token(nothing, b"1" * 32)
    await store.add_token(everything, b"2" * 32)

    assert (await store.token(nothing.id)) == nothing
    assert (await store.token(everything.id)) == everything


async def test_a_name_belongs_to_one_person_of_an_issuer_while_they_are_signed_in(store: LoginStore) -> None:
    first = login("Dev1", sub="u-1")
    await store.add_login(first)

    with pytest.raises(NameTaken):
        await store.add_login(login("dEV1", sub="u-2"))
    await store.add_login(login("dev1", sub="u-1"))
    await store.add_login(login("dev1", sub="u-2", issuer="https://other.example"))


async def test_a_name_is_free_when_its_holder_has_left(store: LoginStore) -> None:
    revoked, expired = login("gone", sub="u-1"), login("late", sub="u-1", life=HOUR)
    await store.add_login(revoked)
    await store.add_login(expired)
    await store.revoke_login(revoked.who.login, at(1))

    await store.add_login(login("gone", sub="u-2"))
    await store.add_login(login("late", sub="u-2", created=START + HOUR))


async def test_two_people_who_race_for_a_name_do_not_both_get_it(store: LoginStore) -> None:
    answers = await asyncio.gather(
        *(store.add_login(login("dev1", sub=f"u-{number}")) for number in range(8)), return_exceptions=True
    )

    assert sum(answer is None for answer in answers) == 1
    assert all(answer is None or isinstance(answer, NameTaken) for answer in answers)


async def test_a_login_holds_a_bounded_number_of_live_tokens(
    store: LoginStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logins, "MAX_TOKENS", 3)
    kept = login()
    await store.add_login(kept)
    held = [token(kept.who.login) for _ in range(3)]
    for number, one in enumerate(held):
        await store.add_token(one, bytes([number]) * 32)

    with pytest.raises(TooManyTokens):
        await store.add_token(token(kept.who.login), b"x" * 32)
    await store.revoke_token(held[0].id, at(1))
    await store.add_token(token(kept.who.login), b"x" * 32)
    await store.add_token(token(kept.who.login, created=START + HOUR), b"y" * 32)


async def test_revocation_is_set_once_and_keeps_its_time(store: LoginStore) -> None:
    kept = login()
    one = token(kept.who.login)
    await store.add_login(kept)
    await store.add_token(one, b"d" * 32)

    assert await store.revoke_token(one.id, at(5))
    assert not await store.revoke_token(one.id, at(9))
    assert await store.revoke_login(kept.who.login, at(6))
    assert not await store.revoke_login(kept.who.login, at(9))
    found = await store.find(b"d" * 32)
    assert found is not None
    assert (found.token.revoked_at, found.login.revoked_at) == (at(5), at(6))


async def test_what_is_not_there_cannot_be_revoked(store: LoginStore) -> None:
    assert not await store.revoke_login(uuid4(), at(0))
    assert not await store.revoke_token(uuid4(), at(0))


async def test_the_last_use_is_noted(store: LoginStore) -> None:
    kept = login()
    one = token(kept.who.login, kind="browser")
    await store.add_login(kept)
    await store.add_token(one, b"d" * 32)
    await store.touch(one.id, at(60))

    assert await store.token(one.id) == replace(one, used_at=at(60))


async def test_expired_logins_are_listed_once_and_revoked_ones_not_at_all(store: LoginStore) -> None:
    first, second, revoked = login("a", life=10), login("b", life=20), login("c", life=10)
    for one in (first, second, revoked):
        await store.add_login(one)
    await store.revoke_login(revoked.who.login, at(1))

    assert await store.expired(at(0), at(10)) == [first.who.login]
    assert await store.expired(at(10), at(20)) == [second.who.login]
    assert await store.expired(at(20), at(30)) == []


async def test_what_expired_long_ago_is_forgotten_with_its_tokens(store: LoginStore) -> None:
    old, young = login("a", life=10), login("b", life=20)
    for one in (old, young):
        await store.add_login(one)
        await store.add_token(token(one.who.login), one.who.name[:1].encode() * 32)
    await store.purge(at(15))

    assert await store.login(old.who.login) is None
    assert await store.find(b"a" * 32) is None
    assert await store.find(b"b" * 32) is not None


async def test_the_same_digest_is_never_kept_twice(store: LoginStore) -> None:
    kept = login()
    await store.add_login(kept)
    await store.add_token(token(kept.who.login), b"d" * 32)

    with pytest.raises(StateUnavailable):
        await store.add_token(token(kept.who.login), b"d" * 32)


async def test_a_database_that_fails_is_told_without_what_was_asked(store: LoginStore, engine: AsyncEngine) -> None:
    async with engine.begin() as connection:
        await connection.execute(text("DROP TABLE token"))

    with pytest.raises(StateUnavailable) as unavailable:
        await store.find(b"d" * 32)
    assert "dddd" not in str(unavailable.value)
    with pytest.raises(StateUnavailable):
        await store.touch(uuid4(), at(0))


async def test_the_database_holds_no_token(store: LoginStore, tmp_path: Path) -> None:
    secret, digest = b"vst_" + b"s" * 43, b"\x07" * 32
    kept = login(issuer=ISSUER)
    await store.add_login(kept)
    await store.add_token(token(kept.who.login), digest)

    stored = bytes_in(tmp_path)
    assert digest in stored
    assert secret not in stored
