import asyncio
import hashlib
import json
import time
from base64 import b64decode
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
import pytest_asyncio

from tests.support.hostile_issuer import (
    ABSENT,
    CLIENT_ID,
    CLIENT_SECRET,
    NONCE,
    HostileIssuer,
    Reply,
    b64,
    ec_key,
    hmac_signed,
    jws,
    rsa_key,
    signature,
    signed,
    unsigned,
)
from tests.support.watching import watched
from vestibule.identity.claims import Subject
from vestibule.identity.failure import Failure, LoginRefused
from vestibule.identity.fetch import Fetcher
from vestibule.identity.oidc import RelyingParty, Tokens
from vestibule.identity.provider import Provider
from vestibule.model.names import Instant

pytestmark = pytest.mark.asyncio
REDIRECT = "https://vestibule.example/login/callback/corp"
VERIFIER = "v" * 43
USUAL = {"/.well-known/openid-configuration", "/token", "/jwks"}


class Bench:
    """A relying party in front of a hostile issuer, with a monotonic clock that tests move."""

    def __init__(self, issuer: HostileIssuer, pem: Path, **settings: object) -> None:
        self.issuer, self.pem = issuer, pem
        self.monotonic = 1000.0
        known = {"client_secret": CLIENT_SECRET, "insecure_loopback_http": True, **settings}
        provider = Provider("corp", issuer.issuer, CLIENT_ID, **known)  # type: ignore[arg-type]
        fetcher = Fetcher(str(pem), insecure_loopback_http=True)
        self.party = RelyingParty(provider, REDIRECT, fetcher, _now, lambda: self.monotonic)

    async def log_in(self, id_token: str | None = None, **claims: object) -> Subject:
        """Redeem a code for `id_token`, or for a well-signed one with these claims."""
        self.issuer.id_token = id_token if id_token is not None else signed(self.issuer.claims(**claims))
        return await self.party.redeem("code-1", NONCE, VERIFIER)

    async def failure(self, id_token: str | None = None, **claims: object) -> Failure:
        """Say why the log-in is refused, and hold that nothing unusual was asked for."""
        with pytest.raises(LoginRefused) as refused:
            await self.log_in(id_token, **claims)
        assert set(self.issuer.paths) <= USUAL
        return refused.value.failure


def _now() -> Instant:
    return Instant(int(time.time() * 1_000_000))


@pytest_asyncio.fixture
async def bench(loopback_pem: Path) -> AsyncIterator[Bench]:
    with HostileIssuer() as issuer:
        made = Bench(issuer, loopback_pem)
        yield made
        await made.party.close()


async def test_a_code_becomes_a_person(bench: Bench) -> None:
    person = await bench.log_in()

    assert (person.issuer, person.subject, person.name) == (bench.issuer.issuer, "u-dev1", "dev1")
    assert person.groups == {"engineering"}


async def test_the_browser_is_sent_with_pkce_state_and_nonce(bench: Bench) -> None:
    url = urlsplit(await bench.party.authorization_url("state-1", NONCE, VERIFIER))
    query = {name: values[0] for name, values in parse_qs(url.query).items()}

    assert f"{url.scheme}://{url.netloc}{url.path}" == f"{bench.issuer.issuer}/authorize"
    assert query == {
        "response_type": "code",
        "client_id": CLIENT_ID,
        "redirect_uri": REDIRECT,
        "scope": "openid profile",
        "state": "state-1",
        "nonce": NONCE,
        "code_challenge": b64(hashlib.sha256(VERIFIER.encode()).digest()),
        "code_challenge_method": "S256",
    }


async def test_an_authorization_address_keeps_its_own_query(bench: Bench) -> None:
    address = f"{bench.issuer.issuer}/authorize?policy=staff"
    bench.issuer.answers["/.well-known/openid-configuration"] = Reply(
        bench.issuer.metadata(authorization_endpoint=address)
    )

    assert (await bench.party.authorization_url("s", NONCE, VERIFIER)).startswith(f"{address}&response_type=code&")


async def test_code_verifier_and_secret_go_to_the_token_endpoint(bench: Bench) -> None:
    await bench.log_in()
    posted = next(asked for asked in bench.issuer.requests if asked.path == "/token")

    assert posted.form == {
        "grant_type": "authorization_code",
        "code": "code-1",
        "redirect_uri": REDIRECT,
        "code_verifier": VERIFIER,
    }
    assert b64decode(posted.headers["Authorization"].removeprefix("Basic ")) == b"vestibule:the+client%27s+secret"


async def test_a_public_client_names_itself_and_no_secret(bench: Bench) -> None:
    public = Bench(bench.issuer, bench.pem, client_secret=None)
    await public.log_in()
    posted = next(asked for asked in bench.issuer.requests if asked.path == "/token")

    assert posted.form["client_id"] == CLIENT_ID
    assert "Authorization" not in posted.headers
    await public.party.close()


async def test_a_provider_that_wants_the_secret_in_the_form_gets_it_there(bench: Bench) -> None:
    bench.issuer.answers["/.well-known/openid-configuration"] = Reply(
        bench.issuer.metadata(token_endpoint_auth_methods_supported=["client_secret_post"])
    )
    await bench.log_in()
    posted = next(asked for asked in bench.issuer.requests if asked.path == "/token")

    assert (posted.form["client_id"], posted.form["client_secret"]) == (CLIENT_ID, CLIENT_SECRET)


@pytest.mark.case("ID-01")
async def test_forged_tokens_are_refused_and_cause_no_fetch(bench: Bench) -> None:
    claims = bench.issuer.claims()
    attacker = rsa_key("key-1", 3072)
    trap = f"{bench.issuer.issuer}/trap"
    forged = {
        unsigned(claims): Failure.ALGORITHM,
        hmac_signed(claims, rsa_key().public_pem): Failure.ALGORITHM,
        signed(claims, kid="../../../../etc/passwd"): Failure.KEY,
        signed(claims, attacker, jwk=attacker.jwk()): Failure.SIGNATURE,
        signed(claims, attacker, jku=trap): Failure.SIGNATURE,
        signed(claims, attacker, x5u=trap): Failure.SIGNATURE,
        signed(claims, attacker, x5c=["MIIB"]): Failure.SIGNATURE,
        signed(claims, attacker, kid=trap): Failure.KEY,
        signed(claims, crit=["urn:example:x"], **{"urn:example:x": True}): Failure.CRITICAL,
    }

    await bench.log_in()
    with watched() as seen:
        assert {token: await bench.failure(token) for token in forged} == forged
    port = bench.issuer.issuer.rpartition(":")[2]
    assert {event for event, _ in seen} <= {"socket.connect"}
    assert all(port in address for _, address in seen)
    assert "/trap" not in bench.issuer.paths
    # The good token fetched the keys, the first unknown key id asked once more, nothing else did.
    assert bench.issuer.paths.count("/jwks") == 2


@pytest.mark.case("ID-02")
@pytest.mark.parametrize("skew", [-59, 59])
async def test_a_minute_of_skew_is_accepted(bench: Bench, skew: int) -> None:
    now = int(time.time()) + skew

    assert (await bench.log_in(iat=now, nbf=now, exp=now + 100)).name == "dev1"


@pytest.mark.case("ID-02")
async def test_an_end_that_is_less_than_a_minute_ago_is_accepted(bench: Bench) -> None:
    assert (await bench.log_in(exp=int(time.time()) - 58)).name == "dev1"


@pytest.mark.case("ID-02")
async def test_two_minutes_of_skew_no_end_and_a_future_beginning_are_refused(bench: Bench) -> None:
    now = int(time.time())

    assert await bench.failure(exp=now - 120) is Failure.EXPIRED
    assert await bench.failure(iat=now + 120, exp=now + 600) is Failure.NOT_YET_VALID
    assert await bench.failure(nbf=now + 120, exp=now + 600) is Failure.NOT_YET_VALID
    assert await bench.failure(exp=ABSENT) is Failure.SHAPE


@pytest.mark.case("ID-03")
async def test_another_log_ins_nonce_a_wrong_party_and_other_audiences_are_refused(bench: Bench) -> None:
    assert await bench.failure(nonce="another") is Failure.NONCE
    assert await bench.failure(nonce=ABSENT) is Failure.NONCE
    assert await bench.failure(azp="another-client") is Failure.AUTHORIZED_PARTY
    assert await bench.failure(aud=[CLIENT_ID, "another-client"]) is Failure.AUTHORIZED_PARTY
    assert await bench.failure(aud="another-client") is Failure.AUDIENCE
    assert await bench.failure(iss="https://another.example") is Failure.ISSUER


@pytest.mark.case("ID-03")
async def test_the_answer_names_the_provider_where_the_provider_says_it_does(bench: Bench) -> None:
    bench.issuer.answers["/.well-known/openid-configuration"] = Reply(
        bench.issuer.metadata(authorization_response_iss_parameter_supported=True)
    )

    await bench.party.check_issuer(bench.issuer.issuer)
    for other in (None, "https://evil.example", bench.issuer.issuer + "/", ""):
        with pytest.raises(LoginRefused) as refused:
            await bench.party.check_issuer(other)
        assert refused.value.failure is Failure.MIX_UP


@pytest.mark.case("ID-03")
async def test_an_issuer_in_the_answer_is_checked_even_if_it_was_not_announced(bench: Bench) -> None:
    await bench.party.check_issuer(None)
    await bench.party.check_issuer(bench.issuer.issuer)
    with pytest.raises(LoginRefused):
        await bench.party.check_issuer("https://evil.example")


async def test_a_member_twice_is_refused_wherever_it_stands(bench: Bench) -> None:
    text = json.dumps(bench.issuer.claims())
    twice = f'{text[:-1]}, "sub": "root"}}'.encode()
    header = b'{"alg":"RS256","kid":"other","kid":"key-1"}'

    assert await bench.failure(signed(twice)) is Failure.SHAPE
    twice_headed = jws(header, bench.issuer.claims(), lambda data: signature(rsa_key(), "RS256", data))
    assert await bench.failure(twice_headed) is Failure.SHAPE


async def test_too_many_groups_are_refused_and_their_address_is_not_fetched(bench: Bench) -> None:
    sources = {"src1": {"endpoint": f"{bench.issuer.issuer}/trap"}}

    failure = await bench.failure(groups=ABSENT, _claim_names={"groups": "src1"}, _claim_sources=sources)
    assert failure is Failure.TOO_MANY_GROUPS
    assert "/trap" not in bench.issuer.paths


async def test_an_id_token_beside_another_access_token_is_refused(bench: Bench) -> None:
    half = hashlib.sha256(b"an-access-token").digest()[:16]

    assert (await bench.log_in(at_hash=b64(half))).name == "dev1"
    bench.issuer.access_token = "another"
    assert await bench.failure(at_hash=b64(half)) is Failure.ACCESS_TOKEN_HASH


async def test_discovery_of_another_issuer_is_refused(bench: Bench) -> None:
    bench.issuer.answers["/.well-known/openid-configuration"] = Reply(
        bench.issuer.metadata(issuer="https://evil.example")
    )

    assert await bench.failure() is Failure.DISCOVERY


@pytest.mark.parametrize(
    "reply",
    [Reply(b"x" * 600_000), Reply(b"nonsense"), Reply(b"[]"), Reply(status=500), Reply({"keys": [1] * 101})],
    ids=["huge", "nonsense", "list", "error", "many"],
)
async def test_a_key_set_that_is_none_is_refused(bench: Bench, reply: Reply) -> None:
    bench.issuer.answers["/jwks"] = reply

    assert await bench.failure() in (Failure.PROVIDER, Failure.DISCOVERY, Failure.SHAPE)


async def test_a_key_set_that_redirects_elsewhere_is_refused(bench: Bench) -> None:
    with HostileIssuer() as elsewhere:
        bench.issuer.answers["/jwks"] = Reply(status=302, headers={"Location": f"{elsewhere.issuer}/jwks"})

        assert await bench.failure() is Failure.PROVIDER
        assert elsewhere.paths == []


async def test_a_weak_key_of_the_issuer_is_refused(bench: Bench) -> None:
    weak = rsa_key("key-1", 1024)
    bench.issuer.keys = [weak]

    assert await bench.failure(signed(bench.issuer.claims(), weak)) is Failure.KEY


async def test_a_new_key_is_found_when_the_issuer_rotates(bench: Bench) -> None:
    await bench.log_in()
    rotated = ec_key("key-2")
    bench.issuer.keys = [rotated]

    assert (await bench.log_in(signed(bench.issuer.claims(), rotated, "ES256"))).name == "dev1"
    assert bench.issuer.paths.count("/jwks") == 2


async def test_a_new_key_without_an_id_is_found_as_well(bench: Bench) -> None:
    bench.issuer.keys = [rsa_key(None)]
    await bench.log_in(signed(bench.issuer.claims(), rsa_key(None)))
    other = rsa_key(None, 3072)
    bench.issuer.keys = [other]

    assert (await bench.log_in(signed(bench.issuer.claims(), other))).name == "dev1"


async def test_unknown_keys_cause_at_most_one_fetch_a_minute(bench: Bench) -> None:
    await bench.log_in()
    for number in range(5):
        assert await bench.failure(signed(bench.issuer.claims(), kid=f"unknown-{number}")) is Failure.KEY
    assert bench.issuer.paths.count("/jwks") == 2

    bench.monotonic += 60
    await bench.failure(signed(bench.issuer.claims(), kid="unknown"))
    assert bench.issuer.paths.count("/jwks") == 3


async def test_unknown_keys_at_the_same_moment_cause_one_fetch(bench: Bench) -> None:
    await bench.log_in()
    forged = Tokens(signed(bench.issuer.claims(), kid="unknown").encode(), None)
    answers = await asyncio.gather(*(bench.party.prove(forged, NONCE) for _ in range(10)), return_exceptions=True)

    assert all(isinstance(answer, LoginRefused) for answer in answers)
    assert bench.issuer.paths.count("/jwks") == 2


async def test_old_keys_stay_until_new_ones_have_come(bench: Bench) -> None:
    await bench.log_in()
    bench.issuer.answers["/jwks"] = Reply(status=503)

    assert await bench.failure(signed(bench.issuer.claims(), kid="unknown")) is Failure.KEY
    assert (await bench.log_in()).name == "dev1"


async def test_keys_go_stale_for_the_configured_hours_and_then_nobody_gets_in(bench: Bench) -> None:
    stale = Bench(bench.issuer, bench.pem, stale_keys=4 * 3600)
    await stale.log_in()
    good = Tokens(signed(bench.issuer.claims()).encode(), None)
    for path in ("/jwks", "/.well-known/openid-configuration"):
        bench.issuer.answers[path] = Reply(status=503)

    stale.monotonic += 5 * 3600 - 1
    assert (await stale.party.prove(good, NONCE))["sub"] == "u-dev1"
    stale.monotonic += 1
    with pytest.raises(LoginRefused) as refused:
        await stale.party.prove(good, NONCE)
    assert refused.value.failure is Failure.PROVIDER
    await stale.party.close()


async def test_a_key_that_the_issuer_withdrew_is_good_no_longer(bench: Bench) -> None:
    await bench.log_in()
    bench.issuer.keys = [ec_key("key-2")]

    bench.monotonic += 3600
    assert await bench.failure() is Failure.KEY


@pytest.mark.parametrize(
    "answer",
    [
        Reply(status=400),
        Reply({"error": "invalid_grant"}),
        Reply({"id_token": 5}),
        Reply({"id_token": "ä"}),
        Reply(b""),
    ],
)
async def test_a_token_answer_without_an_id_token_is_refused(bench: Bench, answer: Reply) -> None:
    bench.issuer.answers["/token"] = answer

    assert await bench.failure() in (Failure.CODE, Failure.SHAPE)


async def test_an_access_token_that_would_break_a_header_is_refused(bench: Bench) -> None:
    bench.issuer.answers["/token"] = Reply({"id_token": "x.y.z", "access_token": "a\r\nX-Evil: 1"})

    assert await bench.failure() is Failure.SHAPE


@pytest.mark.parametrize("code", ["", "c" * 5000])
async def test_a_code_that_is_none_is_not_sent(bench: Bench, code: str) -> None:
    with pytest.raises(LoginRefused):
        await bench.party.redeem(code, NONCE, VERIFIER)
    assert bench.issuer.paths == []


class TestUserInfo:
    """What the ID token leaves out may come from the provider's user info."""

    @pytest.fixture(autouse=True)
    def _announce(self, bench: Bench) -> None:
        address = f"{bench.issuer.issuer}/userinfo"
        bench.issuer.answers["/.well-known/openid-configuration"] = Reply(
            bench.issuer.metadata(userinfo_endpoint=address)
        )
        bench.issuer.user_info = {"sub": "u-dev1", "preferred_username": "dev1", "groups": ["from-info"]}

    async def test_it_fills_in_name_and_groups(self, bench: Bench) -> None:
        person = await bench.log_in(groups=ABSENT, preferred_username=ABSENT)

        assert (person.name, person.groups) == ("dev1", {"from-info"})
        assert bench.issuer.requests[-1].headers["Authorization"] == "Bearer an-access-token"

    async def test_it_is_not_asked_when_nothing_is_missing(self, bench: Bench) -> None:
        assert (await bench.log_in()).groups == {"engineering"}
        assert "/userinfo" not in bench.issuer.paths

    async def test_it_replaces_nothing_that_the_id_token_says(self, bench: Bench) -> None:
        bench.issuer.user_info |= {"iss": "https://evil.example", "preferred_username": "root", "acr": "high"}
        person = await bench.log_in(groups=ABSENT)

        assert (person.issuer, person.name, person.acr) == (bench.issuer.issuer, "dev1", "")

    @pytest.mark.parametrize("subject", ["u-root", "", None, 1, ABSENT])
    async def test_about_somebody_else_it_is_refused(self, bench: Bench, subject: object) -> None:
        bench.issuer.user_info["sub"] = subject
        if subject is ABSENT:
            del bench.issuer.user_info["sub"]

        with pytest.raises(LoginRefused) as refused:
            await bench.log_in(groups=ABSENT)
        assert refused.value.failure is Failure.SHAPE

    async def test_an_error_there_is_a_refusal_and_not_no_groups(self, bench: Bench) -> None:
        bench.issuer.answers["/userinfo"] = Reply(status=500)

        with pytest.raises(LoginRefused):
            await bench.log_in(groups=ABSENT)

    async def test_too_many_groups_there_are_refused_as_well(self, bench: Bench) -> None:
        bench.issuer.user_info = {"sub": "u-dev1", "_claim_names": {"groups": "src1"}}

        with pytest.raises(LoginRefused) as refused:
            await bench.log_in(groups=ABSENT)
        assert refused.value.failure is Failure.TOO_MANY_GROUPS
