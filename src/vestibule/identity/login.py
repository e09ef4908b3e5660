"""The log-in service: from a browser's first request to a token, and from a token to its end.

1. A log-in belongs to the browser that began it, to one provider, and to one answer: `state` opens it once.
2. A command line gets no token through a browser: it gets a code, for 60 seconds and one use, that is worth
   nothing without the verifier it kept (PKCE S256). A code used twice ends the log-in that it gave.
3. What gives access waits for its record. What ends access does not.
4. Revoking a login revokes every token of it; whoever asked to hear of revocations hears it before the caller does.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final
from urllib.parse import urlencode
from uuid import UUID, uuid4

from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import Certificate

from vestibule.identity import events
from vestibule.identity.claims import Subject
from vestibule.identity.events import Recorder
from vestibule.identity.failure import Failure, LoginRefused
from vestibule.identity.handover import challenge
from vestibule.identity.oidc import RelyingParty
from vestibule.identity.one_time import OneTime
from vestibule.identity.ports import Journal, Logins, Revoked
from vestibule.identity.tokens import SecretKind, digest, new_token
from vestibule.model.errors import VestibuleError
from vestibule.model.identity import Identity, Peer, Who
from vestibule.model.login import Login, NameTaken, Token, TokenKind
from vestibule.model.names import SECOND, Instant, TargetName
from vestibule.model.record import Record

LOGIN_WAITS: Final = 10 * 60 * SECOND
CODE_WAITS: Final = 60 * SECOND
BROWSER_LIFE: Final = 8 * 60 * 60 * SECOND
#: A login is kept this long after its end, so that its tokens are told "expired" and not "unknown".
KEPT: Final = 7 * 24 * 60 * 60 * SECOND
MAX_SPENT: Final = 10_000


@dataclass(frozen=True, slots=True)
class Loopback:
    """A command line that waits on this machine's loopback; the address was checked by whoever read it."""

    redirect_uri: str
    state: str
    challenge: str

    def answered(self, **parameters: str) -> str:
        """Write the address that brings the answer to the command line."""
        return f"{self.redirect_uri}?{urlencode({**parameters, 'state': self.state})}"


@dataclass(frozen=True, slots=True)
class Begun:
    """Where to send the browser, and the secret that binds the log-in to it."""

    url: str
    binding: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Answer:
    """What the provider sent back through the browser (RFC 6749, 4.1.2; RFC 9207)."""

    state: str
    code: str = field(default="", repr=False)
    issuer: str | None = None
    error: str = ""


@dataclass(frozen=True, slots=True)
class Issued:
    """A token with the login it points to; `secret` is shown once, a browser is sent on to the page `after`."""

    secret: str = field(repr=False)
    token: Token
    login: Login
    after: str = "/"


@dataclass(frozen=True, slots=True)
class Certified:
    """A certificate with the credential that is kept of it."""

    pem: str
    token: Token
    login: Login


@dataclass(frozen=True, slots=True)
class Return:
    """Send the browser on to the command line."""

    url: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class _Pending:
    provider: str
    nonce: str
    verifier: str
    binding: bytes
    loopback: Loopback | None
    after: str


@dataclass(frozen=True, slots=True)
class _Proven:
    subject: Subject
    provider: str
    loopback: Loopback


class LoginService:
    """Log-ins, tokens and their revocation, in the control process."""

    def __init__(
        self,
        parties: Mapping[str, RelyingParty],
        logins: Logins,
        journal: Journal,
        now: Callable[[], Instant],
        issuer: str,
    ) -> None:
        """Serve the providers in `parties`, by name; `issuer` is this service's own public URL."""
        self._parties = dict(parties)
        self._retired: list[RelyingParty] = []
        self._logins = logins
        self._recorder = Recorder(journal)
        self._now = now
        self._issuer = issuer
        self._pending: OneTime[_Pending] = OneTime(LOGIN_WAITS)
        self._codes: OneTime[_Proven] = OneTime(CODE_WAITS)
        self._spent: OrderedDict[bytes, UUID] = OrderedDict()
        self._listeners: list[Revoked] = []
        self._swept_until = now()

    @property
    def providers(self) -> tuple[str, ...]:
        """Name the providers, in the order of the policy."""
        return tuple(self._parties)

    def serve(self, parties: Mapping[str, RelyingParty]) -> None:
        """Serve other providers from now on; one that did not change keeps its keys and its limits.

        A log-in that is under way at a provider that is gone fails.
        """
        held = self._parties
        self._parties = {
            name: held[name] if name in held and held[name].provider == party.provider else party
            for name, party in parties.items()
        }
        served = set(self._parties.values())
        self._retired += [party for party in (*held.values(), *parties.values()) if party not in served]

    def on_revoked(self, listener: Revoked) -> None:
        """Tell `listener` of every revocation, before the caller of it hears that it is done."""
        self._listeners.append(listener)

    # Logging in

    async def begin(
        self, provider: str, loopback: Loopback | None, client: Peer, binding: str = "", after: str = "/"
    ) -> Begun:
        """Begin a log-in at `provider`, for a command line or for the browser itself, which then goes to `after`.

        `binding` is the secret of the browser's earlier log-in, so that two windows do not undo each other.
        """
        party = self._party(provider)
        nonce, verifier, fresh = (secrets.token_urlsafe(32) for _ in range(3))
        binding = binding if len(binding) == len(fresh) else fresh
        pending = _Pending(provider, nonce, verifier, digest(binding.encode()), loopback, after)
        try:
            state = self._pending.put(pending, client.ip, self._now())
            return Begun(await party.authorization_url(state, nonce, verifier), binding)
        except LoginRefused as refused:
            self._recorder.failed(refused.failure, client, self._now())
            raise

    async def finish(self, provider: str, answer: Answer, binding: str, client: Peer) -> Return | Issued:
        """Take the provider's answer; what goes wrong once the browser is known goes back to its command line."""
        try:
            pending = self._take(provider, answer, binding)
        except LoginRefused as refused:
            self._recorder.failed(refused.failure, client, self._now())
            raise
        try:
            subject = await self._prove(pending, answer)
            if pending.loopback is None:
                return replace(await self._sign_in(subject, provider, "browser", client), after=pending.after)
            return self._hand_over(_Proven(subject, provider, pending.loopback), client)
        except LoginRefused as refused:
            self._recorder.failed(refused.failure, client, self._now())
            if pending.loopback is None:
                raise
            return Return(pending.loopback.answered(error="access_denied", error_description=str(refused)))

    async def swap(self, code: str, verifier: str, redirect_uri: str, client: Peer) -> Issued:
        """Swap a code and its verifier for a login and a token."""
        try:
            proven = await self._redeem(code, verifier, redirect_uri)
            issued = await self._sign_in(proven.subject, proven.provider, "gateway", client)
        except LoginRefused as refused:
            self._recorder.failed(refused.failure, client, self._now())
            raise
        self._remember_spent(code, issued.login.who.login)
        return issued

    # Tokens

    async def issue(
        self, identity: Identity, targets: frozenset[TargetName] | None, life: int | None, client: Peer
    ) -> Issued:
        """Give one more token to somebody who is signed in, never good for longer or for more than what they showed."""
        login, token = await self._more(identity, "gateway", targets, life)
        return await self._give(login, token, "gateway", client)

    async def certify(
        self,
        identity: Identity,
        sign: Callable[[Login, Token], Certificate],
        targets: frozenset[TargetName] | None,
        life: int | None,
        client: Peer,
    ) -> Certified:
        """Give a certificate that `sign` makes, under the rules of a token."""
        login, token = await self._more(identity, "certificate", targets, life)
        certificate = sign(login, token)
        await self._keep(login, token, digest(certificate.public_bytes(Encoding.DER)), client)
        return Certified(certificate.public_bytes(Encoding.PEM).decode(), token, login)

    async def revoke_token(self, token: UUID, owner: Identity | None, client: Peer | None) -> bool:
        """End one token; `owner` None is an administrator. False if there is none, or it is somebody else's."""
        known = await self._logins.token(token)
        login = await self._logins.login(known.login) if known is not None else None
        if known is None or login is None or (owner is not None and not _same_person(owner.who, login.who)):
            return False
        try:
            await self._logins.revoke_token(token, self._now())
        finally:
            self._tell(known.login, "revoked", token)
        self._recorder.note(events.token_revoked(login, known, client, "oidc" if owner else "admin"))
        return True

    async def logout(self, identity: Identity, client: Peer) -> None:
        """End the log-in of somebody who asks for it, with all its tokens and sessions."""
        await self._end(identity.who.login, "logout", events.logged_out, client)

    async def revoke_login(self, login: UUID, client: Peer | None = None) -> bool:
        """End a login on an administrator's word; False if there is none."""
        return await self._end(login, "revoked", events.revocation_received, client)

    def refused(self, client: Peer) -> None:
        """Note that a token which somebody showed to the API was not accepted."""
        self._recorder.failed(Failure.TOKEN, client, self._now())

    async def sweep(self) -> None:
        """Tell of logins that have expired since the last time, and forget what is over."""
        now = self._now()
        self._pending.expire(now)
        self._codes.expire(now)
        self._recorder.flush(now)
        for login in await self._logins.expired(self._swept_until, now):
            self._tell(login, "login_expired", None)
        self._swept_until = now
        await self._logins.purge(Instant(now - KEPT))
        await self._close_retired()

    async def close(self) -> None:
        """Close the connections to the providers."""
        self.serve({})
        await self._close_retired()

    # What the above is made of

    async def _close_retired(self) -> None:
        while self._retired:
            await self._retired.pop().close()

    def _party(self, provider: str) -> RelyingParty:
        party = self._parties.get(provider)
        if party is None:
            raise LoginRefused(Failure.PROVIDER, "there is no identity provider of this name")
        return party

    def _take(self, provider: str, answer: Answer, binding: str) -> _Pending:
        pending = self._pending.take(answer.state, self._now())
        if pending is None:
            raise LoginRefused(Failure.STATE, "this log-in is unknown, finished or too old; start again")
        if pending.provider != provider:
            raise LoginRefused(Failure.MIX_UP, "the answer came to another provider's address")
        if not hmac.compare_digest(pending.binding, digest(binding.encode(errors="replace"))):
            raise LoginRefused(Failure.STATE, "this log-in was begun in another browser; start again here")
        return pending

    async def _prove(self, pending: _Pending, answer: Answer) -> Subject:
        party = self._party(pending.provider)
        await party.check_issuer(answer.issuer)
        if answer.error:
            raise LoginRefused(Failure.DENIED_BY_PROVIDER, "the identity provider refused the log-in")
        return await party.redeem(answer.code, pending.nonce, pending.verifier)

    def _hand_over(self, proven: _Proven, client: Peer) -> Return:
        code = self._codes.put(proven, client.ip, self._now())
        return Return(proven.loopback.answered(code=code, iss=self._issuer))

    async def _redeem(self, code: str, verifier: str, redirect_uri: str) -> _Proven:
        proven = self._codes.take(code, self._now())
        if proven is None:
            await self._end_spent(code)
            raise LoginRefused(Failure.CODE, "the code is unknown, used or older than a minute; log in again")
        loopback = proven.loopback
        fits = hmac.compare_digest(challenge(verifier).encode(), loopback.challenge.encode())
        if not fits or redirect_uri != loopback.redirect_uri:
            raise LoginRefused(Failure.CODE, "the code was given to another program; log in again")
        return proven

    async def _sign_in(self, subject: Subject, provider: str, kind: SecretKind, client: Peer) -> Issued:
        now = self._now()
        life = self._party(provider).provider.login_life * SECOND
        who = Who(subject.issuer, subject.subject, subject.name, "human", uuid4())
        login = Login(
            who,
            provider,
            subject.groups,
            subject.amr,
            subject.acr,
            subject.auth_time,
            client.ip,
            now,
            Instant(now + life),
        )
        try:
            await self._logins.add_login(login)
        except NameTaken as error:
            raise LoginRefused(Failure.NAME_TAKEN, f"{error}; ask your administrator") from error
        ends = min(login.expires_at, now + BROWSER_LIFE) if kind == "browser" else login.expires_at
        token = Token(uuid4(), who.login, kind, now, Instant(ends))
        try:
            return await self._give(login, token, kind, client, events.login_ok(login, client))
        except VestibuleError:
            await self._logins.revoke_login(who.login, self._now())
            raise

    async def _more(
        self, identity: Identity, kind: TokenKind, targets: frozenset[TargetName] | None, life: int | None
    ) -> tuple[Login, Token]:
        login = await self._logins.login(identity.who.login)
        now = self._now()
        if login is None or login.revoked_at is not None or login.expires_at <= now:
            raise LoginRefused(Failure.EXPIRED, "the log-in has ended")
        ends = login.expires_at if life is None else min(login.expires_at, now + life)
        within = _narrower(identity.targets, targets)
        return login, Token(uuid4(), identity.who.login, kind, now, Instant(ends), within)

    async def _give(self, login: Login, token: Token, kind: SecretKind, client: Peer, *before: Record) -> Issued:
        secret = new_token(kind)
        await self._keep(login, token, digest(secret.encode()), client, *before)
        return Issued(secret, token, login)

    async def _keep(self, login: Login, token: Token, key: bytes, client: Peer, *before: Record) -> None:
        await self._logins.add_token(token, key)
        try:
            await self._recorder.durable(*before, events.token_issued(login, token, client))
        except VestibuleError:
            # Nobody has it yet: what was not recorded was never given. If the record comes late, so does this.
            await self._logins.revoke_token(token.id, self._now())
            self._recorder.note(events.token_revoked(login, token, client, "oidc"))
            raise

    async def _end(
        self, login: UUID, cause: str, record: Callable[[Login, Peer | None], Record], client: Peer | None
    ) -> bool:
        try:
            known = await self._logins.login(login)
            changed = await self._logins.revoke_login(login, self._now())
        finally:
            self._tell(login, cause, None)
        if known is not None and changed:
            self._recorder.note(record(known, client))
        return known is not None

    async def _end_spent(self, code: str) -> None:
        login = self._spent.get(_key(code))
        if login is not None:
            await self.revoke_login(login)

    def _remember_spent(self, code: str, login: UUID) -> None:
        self._spent[_key(code)] = login
        if len(self._spent) > MAX_SPENT:
            self._spent.popitem(last=False)

    def _tell(self, login: UUID, cause: str, token: UUID | None) -> None:
        for listener in self._listeners:
            listener(login, cause, token)


def _narrower(
    shown: frozenset[TargetName] | None, wanted: frozenset[TargetName] | None
) -> frozenset[TargetName] | None:
    if shown is None or wanted is None:
        return wanted if shown is None else shown
    return shown & wanted


def _same_person(one: Who, other: Who) -> bool:
    return (one.issuer, one.subject) == (other.issuer, other.subject)


def _key(code: str) -> bytes:
    return hashlib.sha256(code.encode(errors="replace")).digest()
