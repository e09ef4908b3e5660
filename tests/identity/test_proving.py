import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import pytest_asyncio

from tests.support.forged import Pair, forge
from tests.support.identities import CLIENT, HOUR, START, Clock, fresh_database, login, token
from vestibule.identity import proving
from vestibule.identity.certificates import new_authority
from vestibule.identity.ports import Logins
from vestibule.identity.proving import Limits, Prover, judge
from vestibule.identity.tokens import digest, new_token
from vestibule.model.identity import Identity, Peer, Refusal
from vestibule.model.login import Found, Login, StateUnavailable, Token, TokenKind
from vestibule.model.names import Instant
from vestibule.stores.logins import LoginStore

AUTHORITY = new_authority("vestibule.example")


@dataclass
class Door:
    """A prover over a real store, and the tokens that are in it."""

    store: LoginStore
    clock: Clock
    prover: Prover

    async def let_in(
        self, of: Login | None = None, kind: TokenKind = "gateway", **members: object
    ) -> tuple[str, Token]:
        """Keep a login with a token and give the token."""
        kept = of or login()
        if await self.store.login(kept.who.login) is None:
            await self.store.add_login(kept)
        secret, one = new_token(kind), token(kept.who.login, kind=kind, **members)  # type: ignore[arg-type]
        await self.store.add_token(one, digest(secret.encode()))
        return secret, one

    async def show(self, secret: str, attempted: str = "dev1+core", client: Peer = CLIENT) -> Identity | Refusal:
        """Show a token at the door."""
        return await self.prover.prove(secret.encode(), attempted, client)

    async def certify(
        self, of: Login | None = None, kind: TokenKind = "certificate", life: int = HOUR, **wrong: Any
    ) -> tuple[Pair, Token]:
        """Keep a login with a certificate, as the authority makes it unless something is `wrong`; give both."""
        kept = of or login()
        if await self.store.login(kept.who.login) is None:
            await self.store.add_login(kept)
        one = token(kept.who.login, kind=kind, life=life)
        pair = forge(AUTHORITY, wrong.pop("login", kept.who.login), wrong.pop("credential", one.id), **wrong)
        await self.store.add_token(one, digest(pair.der))
        return pair, one

    async def present(self, shown: Pair, attempted: str = "dev1+core", client: Peer = CLIENT) -> Identity | Refusal:
        """Show a certificate at the door."""
        return await self.prover.prove_certificate(shown.der, attempted, client)


@pytest_asyncio.fixture
async def door(tmp_path: Path) -> AsyncIterator[Door]:
    engine = await fresh_database(tmp_path)
    store, clock = LoginStore(engine), Clock()
    yield Door(store, clock, Prover(store, clock, authority=AUTHORITY))
    await engine.dispose()


@pytest.mark.asyncio
async def test_a_live_token_proves_its_login(door: Door) -> None:
    of = login(groups=("dba", "sre"))
    secret, one = await door.let_in(of)

    identity = await door.show(secret)
    assert isinstance(identity, Identity)
    assert identity.who == of.who
    assert identity.groups == {"dba", "sre"}
    assert identity.expires_at == of.expires_at
    assert identity.proof.credential == str(one.id)


@pytest.mark.asyncio
async def test_the_attempted_name_is_not_believed_and_not_judged_here(door: Door) -> None:
    secret, _ = await door.let_in()

    assert isinstance(await door.show(secret, "somebody-else+core"), Identity)


@pytest.mark.asyncio
async def test_unknown_expired_revoked_and_cut_tokens_are_refused(door: Door) -> None:
    unknown = new_token("gateway")
    expired, _ = await door.let_in(life=1)
    revoked, one = await door.let_in()
    of = login("dev2")
    dead, _ = await door.let_in(of)
    await door.store.revoke_token(one.id, door.clock())
    await door.store.revoke_login(of.who.login, door.clock())
    door.clock.pass_seconds(1)

    assert await door.show(unknown) is Refusal.UNKNOWN
    assert await door.show(expired) is Refusal.EXPIRED
    assert await door.show(revoked) is Refusal.REVOKED
    assert await door.show(dead) is Refusal.REVOKED
    assert await door.show(revoked[:-1]) is Refusal.TRUNCATED
    assert await door.show("eyJ" + "x" * 4092) is Refusal.TRUNCATED
    assert await door.show("password") is Refusal.UNKNOWN


@pytest.mark.asyncio
async def test_a_token_ends_with_its_login_and_not_a_moment_later(door: Door) -> None:
    secret, _ = await door.let_in(login(life=HOUR), life=9 * HOUR)

    door.clock.now = START + HOUR - 1
    assert isinstance(await door.show(secret), Identity)
    door.clock.now += 1
    assert await door.show(secret) is Refusal.EXPIRED


@pytest.mark.asyncio
async def test_a_browsers_cookie_opens_no_protocol_and_a_token_is_no_cookie(door: Door) -> None:
    cookie, _ = await door.let_in(kind="browser")
    secret, _ = await door.let_in(login("dev2"))

    assert await door.show(cookie) is Refusal.UNKNOWN
    assert await door.prover.prove_browser(secret.encode(), CLIENT) is Refusal.UNKNOWN
    assert isinstance(await door.prover.prove_browser(cookie.encode(), CLIENT), Identity)


@pytest.mark.asyncio
async def test_a_browser_that_rests_for_half_an_hour_is_signed_out(door: Door) -> None:
    cookie, _ = await door.let_in(kind="browser", life=8 * HOUR)
    for _ in range(3):
        door.clock.pass_seconds(29 * 60)
        assert isinstance(await door.prover.prove_browser(cookie.encode(), CLIENT), Identity)

    door.clock.pass_seconds(30 * 60)
    assert await door.prover.prove_browser(cookie.encode(), CLIENT) is Refusal.EXPIRED


@pytest.mark.asyncio
async def test_a_browsers_use_is_written_once_a_minute_at_most(door: Door) -> None:
    cookie, one = await door.let_in(kind="browser", life=8 * HOUR)
    door.clock.pass_seconds(59)
    await door.prover.prove_browser(cookie.encode(), CLIENT)
    assert (await door.store.token(one.id)) == one

    door.clock.pass_seconds(1)
    await door.prover.prove_browser(cookie.encode(), CLIENT)
    assert (await door.store.token(one.id)) == replace(one, used_at=door.clock())


@pytest.mark.asyncio
async def test_a_login_name_from_one_network_may_fail_ten_times(door: Door) -> None:
    secret, _ = await door.let_in()
    for _ in range(10):
        assert await door.show(new_token("gateway")) is Refusal.UNKNOWN

    assert await door.show(new_token("gateway")) is Refusal.TOO_MANY
    assert await door.show(secret, "DEV1+payments") is Refusal.TOO_MANY
    door.clock.pass_seconds(7)
    assert isinstance(await door.show(secret), Identity)


@pytest.mark.asyncio
@pytest.mark.parametrize("names", [("dev1", "dev2"), ("dev1+core", "dev2+core"), ("dev1", "dev2+core")])
async def test_names_are_limited_each_for_itself_with_a_target_or_without(door: Door, names: tuple[str, str]) -> None:
    secret, _ = await door.let_in()
    for _ in range(11):
        await door.show(new_token("gateway"), names[0])

    assert await door.show(secret, names[0]) is Refusal.TOO_MANY
    assert isinstance(await door.show(secret, names[1]), Identity)


@pytest.mark.asyncio
async def test_a_stranger_elsewhere_cannot_lock_a_person_out(door: Door) -> None:
    secret, _ = await door.let_in()
    for _ in range(50):
        await door.show(new_token("gateway"), client=Peer("198.51.100.66", 1))

    assert isinstance(await door.show(secret), Identity)


@pytest.mark.asyncio
async def test_one_network_may_fail_a_hundred_times_whatever_the_names(door: Door) -> None:
    for number in range(100):
        assert await door.show(new_token("gateway"), f"name-{number}+core") is Refusal.UNKNOWN

    assert await door.show(new_token("gateway"), "another+core") is Refusal.TOO_MANY


@pytest.mark.asyncio
async def test_what_goes_right_is_never_limited(door: Door) -> None:
    secret, _ = await door.let_in()

    assert all([isinstance(await door.show(secret), Identity) for _ in range(150)])


class Broken:
    """A store that cannot answer."""

    async def find(self, digest: bytes) -> Found | None:
        raise StateUnavailable("disk")


@pytest.mark.asyncio
async def test_a_store_that_fails_refuses_and_is_nobodys_failure() -> None:
    prover = Prover(Broken(), Clock())  # type: ignore[arg-type]

    answers = [await prover.prove(new_token("gateway").encode(), "dev1+core", CLIENT) for _ in range(20)]
    assert set(answers) == {Refusal.UNAVAILABLE}


class Counting:
    """A store that counts its look-ups."""

    def __init__(self, found: Found | None) -> None:
        self.found, self.calls = found, 0

    async def find(self, digest: bytes) -> Found | None:
        self.calls += 1
        return None if self.found is None else replace(self.found, digest=digest)


def states() -> dict[str, Found | None]:
    of = login()
    one = token(of.who.login)
    ended = Instant(START - 1)
    return {
        "unknown": None,
        "expired": Found(replace(one, expires_at=ended), of, b""),
        "revoked": Found(replace(one, revoked_at=ended), of, b""),
        "login expired": Found(one, replace(of, expires_at=ended), b""),
        "login revoked": Found(one, replace(of, revoked_at=ended), b""),
        "live": Found(one, of, b""),
    }


@pytest.mark.asyncio
@pytest.mark.parametrize("state", states())
async def test_every_token_of_the_right_form_costs_one_look_up(state: str) -> None:
    store = Counting(states()[state])
    logins: Logins = store  # type: ignore[assignment]

    await Prover(logins, Clock()).prove(new_token("gateway").encode(), "dev1+core", CLIENT)
    assert store.calls == 1


def test_every_check_is_made_whatever_the_others_say(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []
    monkeypatch.setattr(proving, "identity_of", lambda _: made.append("identity"))
    monkeypatch.setattr(proving, "_idle_end", lambda token: made.append("idle") or token.expires_at)
    for state in states().values():
        judge(state, b"", "gateway", START)

    assert made == ["idle", "identity"] * len(states())


def test_a_digest_that_is_not_the_one_looked_up_is_unknown() -> None:
    live = states()["live"]
    assert live is not None

    assert judge(replace(live, digest=b"a" * 32), b"b" * 32, "gateway", START) is Refusal.UNKNOWN


@pytest.mark.parametrize("now", [-1, 0, START])
def test_nobody_is_never_proven_whatever_the_clock_says(now: int) -> None:
    assert isinstance(judge(None, bytes(32), "gateway", Instant(now)), Refusal)


@pytest.mark.asyncio
async def test_refusals_say_nothing_of_the_token(door: Door, capsys: pytest.CaptureFixture[str]) -> None:
    secret = new_token("gateway")
    answer = await door.show(secret)

    assert secret not in repr(answer) + "".join(capsys.readouterr())


def test_a_name_of_any_length_is_limited_in_bounded_space() -> None:
    limits = Limits()
    for number in range(100):
        limits.fail(Peer("x" * 10_000, 1), f"{'n' * 10_000}{number}+core", START)

    assert not limits.is_open(Peer("x" * 10_000, 1), f"{'n' * 10_000}+core", START)


@pytest.mark.asyncio
async def test_many_doors_open_at_once(door: Door) -> None:
    secret, _ = await door.let_in()
    answers = await asyncio.gather(*(door.show(secret) for _ in range(30)))

    assert all(isinstance(answer, Identity) for answer in answers)


# --- certificates


@pytest.mark.asyncio
async def test_a_live_certificate_proves_its_login_and_says_what_it_is(door: Door) -> None:
    of = login(groups=("dba",))
    shown, one = await door.certify(of)

    identity = await door.present(shown)
    assert isinstance(identity, Identity)
    assert (identity.who, identity.groups, identity.expires_at) == (of.who, {"dba"}, of.expires_at)
    assert (identity.proof.method, identity.proof.credential) == ("certificate", str(one.id))


@pytest.mark.asyncio
async def test_a_certificate_that_is_not_kept_proves_nothing_whoever_signed_it(door: Door) -> None:
    of = login()
    await door.certify(of)

    assert await door.present(forge(AUTHORITY, of.who.login, uuid4())) is Refusal.UNKNOWN
    assert await door.present(forge(new_authority("vestibule.example"), of.who.login, uuid4())) is Refusal.UNKNOWN


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "wrong",
    [{"name": "dev2"}, {"login": uuid4()}, {"credential": uuid4()}, {"is_ca": True}],
    ids=lambda wrong: next(iter(wrong)),
)
async def test_a_certificate_that_says_something_else_than_what_is_kept_of_it_proves_nothing(
    door: Door, wrong: dict[str, Any]
) -> None:
    shown, _ = await door.certify(**wrong)

    assert await door.present(shown) is Refusal.UNKNOWN


@pytest.mark.asyncio
async def test_expired_and_revoked_certificates_and_those_of_dead_logins_are_refused(door: Door) -> None:
    expired, _ = await door.certify(life=1)
    revoked, one = await door.certify()
    of = login("dev2")
    dead, _ = await door.certify(of, name="dev2")
    await door.store.revoke_token(one.id, door.clock())
    await door.store.revoke_login(of.who.login, door.clock())
    door.clock.pass_seconds(1)

    assert await door.present(expired) is Refusal.EXPIRED
    assert await door.present(revoked) is Refusal.REVOKED
    assert await door.present(dead) is Refusal.REVOKED


@pytest.mark.asyncio
async def test_a_certificate_is_no_token_and_a_token_no_certificate(door: Door) -> None:
    shown, _ = await door.certify(kind="gateway")
    other, _ = await door.certify()

    assert await door.present(shown) is Refusal.UNKNOWN
    assert await door.prover.prove(other.der, "dev1+core", CLIENT) is Refusal.UNKNOWN
    assert await door.prover.prove_browser(other.der, CLIENT) is Refusal.UNKNOWN


@pytest.mark.asyncio
async def test_wrong_certificates_and_wrong_tokens_are_limited_together(door: Door) -> None:
    shown, _ = await door.certify()
    for _ in range(5):
        assert await door.present(forge(AUTHORITY, uuid4(), uuid4())) is Refusal.UNKNOWN
        assert await door.show(new_token("gateway")) is Refusal.UNKNOWN

    assert await door.present(shown) is Refusal.TOO_MANY
    assert isinstance(await door.present(shown, "dev2+core"), Identity)


@pytest.mark.asyncio
async def test_without_an_authority_no_certificate_counts(door: Door) -> None:
    shown, _ = await door.certify()

    assert await Prover(door.store, door.clock).prove_certificate(shown.der, "dev1+core", CLIENT) is Refusal.UNKNOWN


@pytest.mark.asyncio
@pytest.mark.parametrize("state", states())
async def test_every_certificate_costs_one_look_up(state: str) -> None:
    store = Counting(states()[state])
    logins: Logins = store  # type: ignore[assignment]

    await Prover(logins, Clock(), authority=AUTHORITY).prove_certificate(b"no certificate", "dev1+core", CLIENT)
    assert store.calls == 1
