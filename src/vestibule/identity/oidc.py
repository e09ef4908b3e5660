"""The relying party: sends a browser to a provider, and turns what comes back into a person.

1. Authorization code with PKCE S256, `state` and `nonce`; one redirect address per issuer.
2. `iss` of the answer is checked when it is there, and must be there when the provider says so (RFC 9207).
3. Nothing is believed before the ID token is: its signature first, then every claim.
4. User info may add what the ID token leaves out (name, groups), for the same subject, and nothing else.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import quote_plus, urlencode

from vestibule.identity import claims as check
from vestibule.identity.cached import Cached, Held
from vestibule.identity.failure import Failure, LoginRefused
from vestibule.identity.fetch import Fetcher
from vestibule.identity.handover import challenge
from vestibule.identity.jose import Unverified, read_object, take_apart, verify
from vestibule.identity.keys import KeySet, read_key_set, usable
from vestibule.identity.provider import Metadata, Provider, discovery_url, read_metadata
from vestibule.model.names import SECOND, Instant

MAX_CODE = 4096
#: More keys than this under one key id, or without one, are not tried.
MAX_CANDIDATES = 4

#: What user info may add when the ID token has no member of that name.
_ADDED: Final = frozenset({"email_verified", "_claim_names", "hasgroups"})


@dataclass(frozen=True, slots=True)
class Tokens:
    """What a provider gives for a code."""

    id_token: bytes = field(repr=False)
    access_token: str | None = field(repr=False)


class RelyingParty:
    """Vestibule as a client of one provider. `now` is the wall clock, `clock` a monotonic one in seconds."""

    def __init__(
        self,
        provider: Provider,
        redirect_uri: str,
        fetcher: Fetcher,
        now: Callable[[], Instant],
        clock: Callable[[], float],
    ) -> None:
        """Know the provider; nothing is fetched before the first log-in."""
        self.provider = provider
        self._redirect_uri = redirect_uri
        self._fetcher = fetcher
        self._now = now
        self._metadata: Cached[Metadata] = Cached(self._discover, clock, provider.stale_keys)
        self._keys: Cached[KeySet] = Cached(self._fetch_keys, clock, provider.stale_keys)

    async def authorization_url(self, state: str, nonce: str, verifier: str) -> str:
        """Say where to send the browser."""
        endpoint = (await self._metadata.get()).value.authorization_endpoint
        query = {
            "response_type": "code",
            "client_id": self.provider.client_id,
            "redirect_uri": self._redirect_uri,
            "scope": " ".join(self.provider.scopes),
            "state": state,
            "nonce": nonce,
            "code_challenge": challenge(verifier),
            "code_challenge_method": "S256",
        }
        return f"{endpoint}{'&' if '?' in endpoint else '?'}{urlencode(query)}"

    async def check_issuer(self, issuer: str | None) -> None:
        """Refuse an authorization answer that another issuer gave (mix-up)."""
        metadata = (await self._metadata.get()).value
        if issuer != self.provider.issuer and (issuer is not None or metadata.names_issuer):
            raise LoginRefused(Failure.MIX_UP, "the answer does not name the provider that was asked")

    async def redeem(self, code: str, nonce: str, verifier: str) -> check.Subject:
        """Swap the code at the provider and prove who it is for."""
        if not 0 < len(code) <= MAX_CODE:
            raise LoginRefused(Failure.CODE, "the provider's code is empty or too long")
        tokens = await self._swap(code, verifier)
        claims = await self.prove(tokens, nonce)
        provider = self.provider
        if check.lacks(claims, provider.name_claim, provider.groups_claim):
            claims = await self._with_user_info(claims, tokens.access_token)
        return check.subject_of(claims, provider.name_claim, provider.groups_claim)

    async def prove(self, tokens: Tokens, nonce: str) -> Mapping[str, Any]:
        """Verify an ID token and check its claims."""
        provider = self.provider
        unverified = take_apart(tokens.id_token, provider.algorithms)
        claims = await self._verified(unverified)
        now = self._now() / SECOND
        expected = check.Expected(
            provider.issuer, provider.client_id, nonce, provider.leeway, provider.max_token_age, now
        )
        check.check(claims, expected)
        check.check_access_token(claims, unverified.algorithm, tokens.access_token)
        return claims

    async def close(self) -> None:
        """Close the connections to the provider."""
        await self._fetcher.close()

    async def _verified(self, unverified: Unverified) -> Mapping[str, Any]:
        held = await self._keys.get()
        try:
            return _verify_with(held, unverified)
        except LoginRefused as error:
            # An unknown key, or a key without a name that no longer fits: the issuer may have changed its keys.
            unnamed = unverified.kid is None and error.failure is Failure.SIGNATURE
            if error.failure is not Failure.KEY and not unnamed:
                raise
            newer = await self._keys.newer_than(held)
            if newer is held:
                raise
            return _verify_with(newer, unverified)

    async def _discover(self) -> tuple[Metadata, float]:
        answer = await self._fetcher.get(discovery_url(self.provider.issuer))
        if answer.status != 200:
            raise LoginRefused(Failure.PROVIDER, f"the provider's discovery document answers {answer.status}")
        return read_metadata(answer.body, self.provider), answer.life

    async def _fetch_keys(self) -> tuple[KeySet, float]:
        metadata = (await self._metadata.get()).value
        answer = await self._fetcher.get(metadata.jwks_uri)
        if answer.status != 200:
            raise LoginRefused(Failure.PROVIDER, f"the provider's key set answers {answer.status}")
        return read_key_set(answer.body), answer.life

    async def _swap(self, code: str, verifier: str) -> Tokens:
        metadata = (await self._metadata.get()).value
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self._redirect_uri,
            "code_verifier": verifier,
        }
        credentials, headers = _client(self.provider, metadata)
        answer = await self._fetcher.post(metadata.token_endpoint, form | credentials, headers)
        if answer.status != 200:
            raise LoginRefused(Failure.CODE, f"the provider did not take its code back ({answer.status})")
        return _tokens(read_object(answer.body))

    async def _with_user_info(self, claims: Mapping[str, Any], access_token: str | None) -> Mapping[str, Any]:
        endpoint = (await self._metadata.get()).value.userinfo_endpoint
        if endpoint is None or access_token is None:
            return claims
        answer = await self._fetcher.get(endpoint, bearer=access_token)
        if answer.status != 200:
            raise LoginRefused(Failure.PROVIDER, f"the provider's user info answers {answer.status}")
        info = read_object(answer.body)
        # Token substitution: user info speaks for whoever the access token belongs to (OpenID Connect Core, 5.3.2).
        if check.subject(info) != check.subject(claims):
            raise LoginRefused(Failure.SHAPE, "the provider's user info is about somebody else")
        wanted = _ADDED | {self.provider.name_claim, self.provider.groups_claim}
        return {**{name: info[name] for name in wanted & info.keys()}, **claims}


def _verify_with(held: Held[KeySet], unverified: Unverified) -> Mapping[str, Any]:
    candidates = held.value.candidates(unverified)
    if not 0 < len(candidates) <= MAX_CANDIDATES:
        raise LoginRefused(Failure.KEY, "the token's key is none of the issuer's, or cannot be told from its others")
    *others, last = candidates
    for key in others:
        try:
            return verify(unverified, usable(key))
        except LoginRefused:
            continue
    return verify(unverified, usable(last))


def _client(provider: Provider, metadata: Metadata) -> tuple[dict[str, str], dict[str, str]]:
    secret = provider.client_secret or ""
    match metadata.client_authentication:
        case "client_secret_basic":
            pair = f"{quote_plus(provider.client_id)}:{quote_plus(secret)}"
            return {}, {"Authorization": f"Basic {b64encode(pair.encode()).decode()}"}
        case "client_secret_post":
            return {"client_id": provider.client_id, "client_secret": secret}, {}
        case "none":
            return {"client_id": provider.client_id}, {}


def _tokens(answer: Mapping[str, Any]) -> Tokens:
    id_token, access_token = answer.get("id_token"), answer.get("access_token")
    if not isinstance(id_token, str) or not id_token.isascii():
        raise LoginRefused(Failure.SHAPE, "the provider gave no ID token; is openid among the scopes?")
    if access_token is not None and not (isinstance(access_token, str) and _is_header_safe(access_token)):
        raise LoginRefused(Failure.SHAPE, "the provider's access token is not a text")
    return Tokens(id_token.encode(), access_token)


def _is_header_safe(text: str) -> bool:
    return text.isascii() and text.isprintable() and " " not in text
