import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qs, urlsplit
from uuid import UUID, uuid4

import pytest
import pytest_asyncio
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.support.hostile_issuer import CLIENT_ID, CLIENT_SECRET, HostileIssuer, Reply, signed
from tests.support.identities import CLIENT, HOUR, Clock, MemoryJournal, bytes_in, fresh_database
from vestibule.identity.failure import Failure, LoginRefused
from vestibule.identity.fetch import Fetcher
from vestibule.identity.handover import challenge
from vestibule.identity.login import Answer, Begun, Issued, LoginService, Loopback, Return
from vestibule.identity.oidc import RelyingParty
from vestibule.identity.provider import Provider
from vestibule.identity.proving import Prover
from vestibule.model.errors import EvidenceUnavailable
from vestibule.model.identity import Identity, Peer, Refusal
from vestibule.model.login import StateUnavailable
from vestibule.model.names import SECOND, TargetName
from vestibule.stores.logins import LoginStore

pytestmark = pytest.mark.asyncio
PUBLIC = "https://vestibule.example"
VERIFIER = "cli-verifier-" + "x" * 40
HOME = "http://127.0.0.1:40123/callback"


@dataclass
class House:
    """A log-in service with its provider, store and journal, and what its listener heard."""

    issuer: HostileIssuer
    service: LoginService
    prover: Prover
    journal: MemoryJournal
    clock: Clock
    engine: AsyncEngine
    heard: list[tuple[UUID, str, UUID | None]] = field(default_factory=list)

    async def begin(self, *, for_cli: bool = True, provider: str = "corp", client: Peer = CLIENT) -> tuple[Begun, str]:
        """Begin a log-in and prepare the provider's answer; give the `state` as well."""
        loopback = Loopback(HOME, "cli-state", challenge(VERIFIER)) if for_cli else None
        begun = await self.service.begin(provider, loopback, client)
        query = parse_qs(urlsplit(begun.url).query)
        self.issuer.id_token = signed(self.issuer.claims(nonce=query["nonce"][0]))
        return begun, query["state"][0]

    async def code(self, client: Peer = CLIENT) -> str:
        """Log in as far as the code that the command line gets."""
        begun, state = await self.begin(client=client)
        answer = await self.service.finish("corp", Answer(state, "idp-code"), begun.binding, client)
        assert isinstance(answer, Return)
        return parse_qs(urlsplit(answer.url).query)["code"][0]

    async def log_in(self) -> Issued:
        """Log a command line in."""
        return await self.service.swap(await self.code(), VERIFIER, HOME, CLIENT)

    async def prove(self, issued: Issued) -> Identity | Refusal:
        """Show a token at the door."""
        return await self.prover.prove(issued.secret.encode(), "dev1+core", CLIENT)

    def hear(self, login: UUID, cause: str, token: UUID | None = None) -> None:
        """Listen to revocations."""
        self.heard.append((login, cause, token))


@pytest_asyncio.fixture
async def house(tmp_path: Path, loopback_pem: Path) -> AsyncIterator[House]:
    with HostileIssuer() as issuer:
        clock = Clock(int(time.time()) * SECOND)
        engine = await fresh_database(tmp_path)
        store, journal = LoginStore(engine), MemoryJournal()
        service = LoginService({}, store, journal, clock, PUBLIC)
        service.serve({name: party(issuer, name, loopback_pem, clock) for name in ("corp", "other")})
        made = House(issuer, service, Prover(store, clock), journal, clock, engine)
        service.on_revoked(made.hear)
        yield made
        await service.close()
        await engine.dispose()


def party(issuer: HostileIssuer, name: str, pem: Path, clock: Clock) -> RelyingParty:
    provider = Provider(name, issuer.issuer, CLIENT_ID, CLIENT_SECRET, insecure_loopback_http=True)
    fetcher = Fetcher(str(pem), insecure_loopback_http=True)
    return RelyingParty(provider, f"{PUBLIC}/login/callback/{name}", fetcher, clock, time.monotonic)


async def failure_of(coroutine: object) -> Failure:
    with pytest.raises(LoginRefused) as refused:
        await coroutine  # type: ignore[misc]
    return refused.value.failure


async def test_a_command_line_logs_in(house: House) -> None:
    issued = await house.log_in()
    identity = await house.prove(issued)

    assert isinstance(identity, Identity)
    assert (identity.who.name, identity.who.subject) == ("dev1", "u-dev1")
    assert identity.expires_at == issued.login.expires_at == house.clock.now + 8 * HOUR
    assert house.journal.events == ["login_ok", "token_issued"]


async def test_a_browser_logs_in_with_a_cookie_that_opens_no_protocol(house: House) -> None:
    begun, state = await house.begin(for_cli=False)
    issued = await house.service.finish("corp", Answer(state, "idp-code"), begun.binding, CLIENT)

    assert isinstance(issued, Issued)
    assert issued.token.kind == "browser"
    assert await house.prove(issued) is Refusal.UNKNOWN
    assert isinstance(await house.prover.prove_browser(issued.secret.encode(), CLIENT), Identity)


async def test_the_command_line_hears_code_state_and_issuer_on_its_own_address(house: House) -> None:
    begun, state = await house.begin()
    answer = await house.service.finish("corp", Answer(state, "idp-code"), begun.binding, CLIENT)

    assert isinstance(answer, Return)
    url = urlsplit(answer.url)
    assert f"{url.scheme}://{url.netloc}{url.path}" == HOME
    assert set(parse_qs(url.query)) == {"code", "state", "iss"}
    assert parse_qs(url.query)["iss"] == [PUBLIC]
    assert parse_qs(url.query)["state"] == ["cli-state"]


@pytest.mark.case("ID-03")
async def test_a_code_is_good_once_and_used_twice_it_ends_what_it_gave(house: House) -> None:
    code = await house.code()
    issued = await house.service.swap(code, VERIFIER, HOME, CLIENT)

    assert await failure_of(house.service.swap(code, VERIFIER, HOME, CLIENT)) is Failure.CODE
    assert await house.prove(issued) is Refusal.REVOKED
    assert house.heard == [(issued.login.who.login, "revoked", None)]


@pytest.mark.case("ID-03")
@pytest.mark.parametrize("verifier", ["", "another-verifier-" + "y" * 40, challenge(VERIFIER), "\udcff"])
async def test_a_code_without_its_verifier_is_worth_nothing_and_gone(house: House, verifier: str) -> None:
    code = await house.code()

    assert await failure_of(house.service.swap(code, verifier, HOME, CLIENT)) is Failure.CODE
    assert await failure_of(house.service.swap(code, VERIFIER, HOME, CLIENT)) is Failure.CODE


async def test_a_code_belongs_to_its_redirect_address(house: House) -> None:
    code = await house.code()

    assert (
        await failure_of(house.service.swap(code, VERIFIER, "http://127.0.0.1:40124/callback", CLIENT)) is Failure.CODE
    )


async def test_a_code_lives_for_a_minute(house: House) -> None:
    in_time, too_late = await house.code(), await house.code()

    house.clock.pass_seconds(59)
    assert await house.service.swap(in_time, VERIFIER, HOME, CLIENT)
    house.clock.pass_seconds(1)
    assert await failure_of(house.service.swap(too_late, VERIFIER, HOME, CLIENT)) is Failure.CODE


@pytest.mark.case("ID-03")
async def test_a_state_is_good_once_for_ten_minutes_and_only_if_it_was_given(house: House) -> None:
    begun, state = await house.begin()
    late, late_state = await house.begin()

    async def finish(of: str, binding: str) -> Return | Issued:
        return await house.service.finish("corp", Answer(of, "idp-code"), binding, CLIENT)

    assert await failure_of(finish("guessed", begun.binding)) is Failure.STATE
    await finish(state, begun.binding)
    assert await failure_of(finish(state, begun.binding)) is Failure.STATE
    house.clock.pass_seconds(600)
    assert await failure_of(finish(late_state, late.binding)) is Failure.STATE


@pytest.mark.case("ID-03")
async def test_an_answer_in_another_browser_is_refused_before_the_provider_is_asked(house: House) -> None:
    begun, state = await house.begin()
    asked = list(house.issuer.paths)

    for binding in ("", "another-browsers", begun.binding[:-1]):
        assert await failure_of(house.service.finish("corp", Answer(state, "c"), binding, CLIENT)) is Failure.STATE
    assert house.issuer.paths == asked


@pytest.mark.case("ID-03")
async def test_an_answer_at_another_providers_address_is_a_mix_up(house: House) -> None:
    begun, state = await house.begin()

    answer = Answer(state, "idp-code")
    assert await failure_of(house.service.finish("other", answer, begun.binding, CLIENT)) is Failure.MIX_UP


@pytest.mark.case("ID-03")
async def test_an_answer_that_names_another_issuer_is_a_mix_up_and_no_code_is_sent(house: House) -> None:
    begun, state = await house.begin(for_cli=False)
    answer = Answer(state, "idp-code", issuer="https://evil.example")

    assert await failure_of(house.service.finish("corp", answer, begun.binding, CLIENT)) is Failure.MIX_UP
    assert "/token" not in house.issuer.paths


async def test_what_the_provider_refuses_reaches_the_command_line_in_our_words(house: House) -> None:
    begun, state = await house.begin()
    answer = Answer(state, error="<script>alert(1)</script>")
    back = await house.service.finish("corp", answer, begun.binding, CLIENT)

    assert isinstance(back, Return)
    query = parse_qs(urlsplit(back.url).query)
    assert query["error"] == ["access_denied"]
    assert query["state"] == ["cli-state"]
    assert "alert" not in back.url
    assert house.journal.records[-1].members["failure"] == "denied_by_provider"


async def test_a_bad_token_reaches_nobody(house: House) -> None:
    begun, state = await house.begin(for_cli=False)
    house.issuer.id_token = signed(house.issuer.claims(nonce="another"))

    assert await failure_of(house.service.finish("corp", Answer(state, "c"), begun.binding, CLIENT)) is Failure.NONCE
    assert house.journal.events == ["login_failed"]


async def test_a_provider_that_is_unknown_or_down_is_a_refusal(house: House) -> None:
    assert await failure_of(house.service.begin("nobody", None, CLIENT)) is Failure.PROVIDER
    house.issuer.answers["/.well-known/openid-configuration"] = Reply(status=503)
    assert await failure_of(house.service.begin("corp", None, CLIENT)) is Failure.PROVIDER


async def test_a_provider_that_did_not_change_keeps_its_keys_when_the_policy_does(
    house: House, loopback_pem: Path
) -> None:
    await house.log_in()
    for _ in range(3):
        house.service.serve({"corp": party(house.issuer, "corp", loopback_pem, house.clock)})
        await house.log_in()
        await house.service.sweep()

    assert house.service.providers == ("corp",)
    assert house.issuer.paths.count("/jwks") == 1
    assert await failure_of(house.service.begin("other", None, CLIENT)) is Failure.PROVIDER


async def test_one_network_begins_a_bounded_number_of_log_ins(house: House) -> None:
    for _ in range(200):
        await house.service.begin("corp", None, CLIENT)

    assert await failure_of(house.service.begin("corp", None, CLIENT)) is Failure.TOO_MANY
    await house.service.begin("corp", None, Peer("198.51.100.1", 1))


async def test_no_record_no_access(house: House) -> None:
    code = await house.code()
    house.journal.is_down = True
    with pytest.raises(EvidenceUnavailable):
        await house.service.swap(code, VERIFIER, HOME, CLIENT)

    house.journal.is_down = False
    assert (await house.log_in()).login.who.name == "dev1"
    async with house.engine.connect() as connection:
        live = await connection.scalar(text("SELECT count(*) FROM login WHERE revoked_at IS NULL"))
    assert live == 1


async def test_a_name_that_somebody_else_is_signed_in_under_is_refused(house: House) -> None:
    await house.log_in()
    begun, state = await house.begin(for_cli=False)
    nonce = parse_qs(urlsplit(begun.url).query)["nonce"][0]
    house.issuer.id_token = signed(house.issuer.claims(nonce=nonce, sub="u-other", preferred_username="DEV1"))

    failure = await failure_of(house.service.finish("corp", Answer(state, "c"), begun.binding, CLIENT))
    assert failure is Failure.NAME_TAKEN


async def identity_of(house: House, issued: Issued) -> Identity:
    identity = await house.prove(issued)
    assert isinstance(identity, Identity)
    return identity


async def test_somebody_signed_in_gets_more_tokens_of_their_own_login(house: House) -> None:
    issued = await house.log_in()
    more = await house.service.issue(await identity_of(house, issued), None, None, CLIENT)

    assert more.secret != issued.secret
    assert (await identity_of(house, more)).who == issued.login.who
    assert more.token.expires_at == issued.login.expires_at
    assert house.journal.events[-1] == "token_issued"


async def test_a_token_for_targets_names_them_and_gives_no_wider_one(house: House) -> None:
    identity = await identity_of(house, await house.log_in())
    payments, core = TargetName("payments"), TargetName("core")
    scoped = await house.service.issue(identity, frozenset({payments}), None, CLIENT)
    narrow = await identity_of(house, scoped)

    assert narrow.targets == {payments}
    for wanted, given in ((None, {payments}), (frozenset({payments, core}), {payments}), (frozenset({core}), set())):
        assert (await house.service.issue(narrow, wanted, None, CLIENT)).token.targets == given


async def test_a_tokens_life_never_exceeds_its_logins(house: House) -> None:
    identity = await identity_of(house, await house.log_in())

    assert (await house.service.issue(identity, None, HOUR, CLIENT)).token.expires_at == house.clock.now + HOUR
    assert (await house.service.issue(identity, None, 99 * HOUR, CLIENT)).token.expires_at == identity.expires_at


async def test_a_login_that_has_ended_gives_no_token(house: House) -> None:
    identity = await identity_of(house, await house.log_in())
    house.clock.now = identity.expires_at

    assert await failure_of(house.service.issue(identity, None, None, CLIENT)) is Failure.EXPIRED


async def test_logging_out_ends_every_token_and_tells_who_listens(house: House) -> None:
    issued = await house.log_in()
    identity = await identity_of(house, issued)
    more = await house.service.issue(identity, None, None, CLIENT)
    await house.service.logout(identity, CLIENT)

    assert [await house.prove(one) for one in (issued, more)] == [Refusal.REVOKED] * 2
    assert house.heard == [(issued.login.who.login, "logout", None)]
    assert house.journal.events[-1] == "logout"


async def test_an_administrator_ends_a_login(house: House) -> None:
    issued = await house.log_in()

    assert await house.service.revoke_login(issued.login.who.login)
    assert not await house.service.revoke_login(uuid4())
    assert await house.prove(issued) is Refusal.REVOKED
    assert house.journal.events[-1] == "revocation_received"


async def test_one_token_ends_alone(house: House) -> None:
    issued = await house.log_in()
    identity = await identity_of(house, issued)
    more = await house.service.issue(identity, None, None, CLIENT)

    assert await house.service.revoke_token(more.token.id, identity, CLIENT)
    assert await house.prove(more) is Refusal.REVOKED
    assert isinstance(await house.prove(issued), Identity)
    assert house.heard == [(issued.login.who.login, "revoked", more.token.id)]


async def test_nobody_ends_the_token_of_somebody_else(house: House) -> None:
    issued = await house.log_in()
    begun, state = await house.begin(for_cli=False)
    nonce = parse_qs(urlsplit(begun.url).query)["nonce"][0]
    house.issuer.id_token = signed(house.issuer.claims(nonce=nonce, sub="u-2", preferred_username="dev2"))
    other = await house.service.finish("corp", Answer(state, "c"), begun.binding, CLIENT)
    assert isinstance(other, Issued)
    somebody = await house.prover.prove_browser(other.secret.encode(), CLIENT)
    assert isinstance(somebody, Identity)

    assert not await house.service.revoke_token(issued.token.id, somebody, CLIENT)
    assert not await house.service.revoke_token(uuid4(), somebody, CLIENT)
    assert isinstance(await house.prove(issued), Identity)
    assert await house.service.revoke_token(issued.token.id, None, None)


async def test_what_ends_access_waits_for_no_record(house: House) -> None:
    issued = await house.log_in()
    house.journal.is_down = True

    await house.service.revoke_login(issued.login.who.login)
    assert await house.prove(issued) is Refusal.REVOKED


async def test_sessions_are_cut_even_if_the_database_cannot_keep_the_revocation(house: House) -> None:
    issued = await house.log_in()
    async with house.engine.begin() as connection:
        await connection.execute(text("DROP TABLE token"))
        await connection.execute(text("DROP TABLE login"))

    with pytest.raises(StateUnavailable):
        await house.service.revoke_login(issued.login.who.login)
    assert house.heard == [(issued.login.who.login, "revoked", None)]


async def test_a_login_that_expires_is_told_once(house: House) -> None:
    issued = await house.log_in()
    await house.service.sweep()
    house.clock.now = issued.login.expires_at
    await house.service.sweep()
    house.clock.pass_seconds(30)
    await house.service.sweep()

    assert house.heard == [(issued.login.who.login, "login_expired", None)]
    assert await house.prove(issued) is Refusal.EXPIRED


async def test_an_old_login_is_forgotten_after_a_week(house: House) -> None:
    issued = await house.log_in()
    house.clock.now = issued.login.expires_at + 7 * 24 * HOUR + 1
    await house.service.sweep()

    assert await house.prove(issued) is Refusal.UNKNOWN


async def test_many_log_in_at_once_and_each_gets_their_own(house: House) -> None:
    codes = [await house.code() for _ in range(5)]
    issued = await asyncio.gather(*(house.service.swap(code, VERIFIER, HOME, CLIENT) for code in codes))

    assert len({one.secret for one in issued}) == len({one.login.who.login for one in issued}) == 5


async def test_secrets_are_in_no_repr_no_record_and_no_file(house: House, tmp_path: Path) -> None:
    begun, state = await house.begin()
    back = await house.service.finish("corp", Answer(state, "idp-code-0815"), begun.binding, CLIENT)
    assert isinstance(back, Return)
    code = parse_qs(urlsplit(back.url).query)["code"][0]
    issued = await house.service.swap(code, VERIFIER, HOME, CLIENT)
    shown = repr((begun, back, issued, Answer(state, "idp-code-0815"), house.journal.records)) + str(
        house.journal.records
    )
    kept = bytes_in(tmp_path).decode("latin-1")

    for secret in (issued.secret, code, begun.binding, "idp-code-0815", house.issuer.id_token, CLIENT_SECRET):
        assert secret not in shown
        assert secret not in kept
