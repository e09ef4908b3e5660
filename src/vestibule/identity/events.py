"""`IdentityEvent` records: what is said of log-ins and tokens, and how it gets into the journal.

1. What gives access (a log-in, a token) waits until its record is durable; no record, no access.
2. What ends access never waits for a record.
3. Identical failures of one network within a minute are two records: the first at once, then a count of the rest.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final, Literal

import structlog

from vestibule.identity.failure import Failure
from vestibule.identity.ports import Journal, Ticket
from vestibule.identity.throttle import network
from vestibule.model.errors import EvidenceUnavailable
from vestibule.model.identity import Peer, Proof, Who
from vestibule.model.login import Login, Token, method_of
from vestibule.model.names import SECOND, Instant, stamp
from vestibule.model.record import Json, Kind, Record

Event = Literal["login_ok", "login_failed", "logout", "token_issued", "token_revoked", "revocation_received"]
Source = Literal["oidc", "admin"]

COMMIT_TIMEOUT: Final = 10.0
REPEAT_WINDOW: Final = 60 * SECOND
MAX_REPEATS: Final = 2048

_log = structlog.get_logger()


class Recorder:
    """Writes identity events to a journal."""

    def __init__(self, journal: Journal) -> None:
        """Write to `journal`."""
        self._journal = journal
        self._repeats: OrderedDict[tuple[str, Failure], _Repeat] = OrderedDict()

    async def durable(self, *records: Record) -> None:
        """Append and wait; raise `EvidenceUnavailable` if the records cannot be made durable in time."""
        loop = asyncio.get_running_loop()
        decided = asyncio.Event()
        tickets: list[Ticket] = []

        def done(ticket: Ticket) -> None:
            tickets.append(ticket)
            # The writer may be a thread of its own.
            loop.call_soon_threadsafe(decided.set)

        self._journal.append(records, done)
        try:
            async with asyncio.timeout(COMMIT_TIMEOUT):
                await decided.wait()
        except TimeoutError as error:
            raise EvidenceUnavailable("the journal did not answer in time") from error
        if (failed := tickets[0].error) is not None:
            raise EvidenceUnavailable("the journal could not keep the record") from failed

    def note(self, *records: Record) -> None:
        """Append without waiting; a failure is the operator's to see, and stops nothing."""
        self._journal.append(records, _report)

    def failed(self, failure: Failure, client: Peer, now: Instant) -> None:
        """Note a log-in that failed; a repetition is counted and written by `flush`."""
        self.flush(now)
        key = (network(client.ip), failure)
        repeat = self._repeats.get(key)
        if repeat is not None:
            repeat.count += 1
        elif len(self._repeats) < MAX_REPEATS:
            self._repeats[key] = _Repeat(client, Instant(now + REPEAT_WINDOW))
            self.note(login_failed(failure, client))
        else:
            # More sources than can be told apart: they are counted together rather than not at all.
            next(reversed(self._repeats.values())).count += 1

    def flush(self, now: Instant) -> None:
        """Write the counts of failures whose minute is over."""
        while self._repeats:
            (_, failure), repeat = next(iter(self._repeats.items()))
            if repeat.until > now:
                return
            self._repeats.popitem(last=False)
            if repeat.count:
                self.note(login_failed(failure, repeat.client, repeat.count))


@dataclass(slots=True)
class _Repeat:
    client: Peer
    until: Instant
    count: int = 0


def login_ok(login: Login, client: Peer) -> Record:
    """Say that somebody was proven."""
    proof = Proof("oidc", login.provider, login.amr, login.acr, login.auth_time)
    return _record("login_ok", "oidc", who=_who(login.who), proof=_proof(proof), client=_peer(client))


def login_failed(failure: Failure, client: Peer, count: int = 1) -> Record:
    """Say that somebody was not proven; nothing that was claimed is repeated."""
    times: dict[str, Json] = {"count": count} if count > 1 else {}
    return _record("login_failed", "oidc", client=_peer(client), failure=str(failure), **times)


def token_issued(login: Login, token: Token, client: Peer) -> Record:
    """Say that a credential was given out."""
    return _record("token_issued", "oidc", who=_who(login.who), proof=_pointing(token), client=_peer(client))


def token_revoked(login: Login, token: Token, client: Peer | None, source: Source) -> Record:
    """Say that one credential ended."""
    return _record("token_revoked", source, who=_who(login.who), proof=_pointing(token), **_maybe(client))


def logged_out(login: Login, client: Peer | None) -> Record:
    """Say that somebody ended their own log-in."""
    return _record("logout", "oidc", who=_who(login.who), **_maybe(client))


def revocation_received(login: Login, client: Peer | None) -> Record:
    """Say that somebody else ended a log-in."""
    return _record("revocation_received", "admin", who=_who(login.who), **_maybe(client))


def _record(event: Event, source: Source, **members: Json) -> Record:
    return Record(Kind.IDENTITY_EVENT, {"event": event, "source": source, **members})


def _who(who: Who) -> Json:
    return {"iss": who.issuer, "sub": who.subject, "name": who.name, "type": who.type, "login": str(who.login)}


def _proof(proof: Proof) -> Json:
    members: dict[str, Json] = {"method": proof.method, "credential": proof.credential}
    if proof.amr:
        members["amr"] = proof.amr
    if proof.acr:
        members["acr"] = proof.acr
    if proof.auth_time is not None:
        members["auth_time"] = stamp(proof.auth_time)
    return members


def _pointing(token: Token) -> Json:
    return {"method": method_of(token), "credential": str(token.id)}


def _peer(client: Peer) -> Json:
    return {"ip": client.ip, "port": client.port}


def _maybe(client: Peer | None) -> dict[str, Json]:
    return {} if client is None else {"client": _peer(client)}


def _report(ticket: Ticket) -> None:
    if ticket.error is not None:
        _log.error("identity_event_not_recorded", cause=str(ticket.error))
