"""Approvals as data processes ask for them over the bus: sought, opened, spent, withdrawn.

1. An id is offered to one session of one data process, and opened once, by that session alone.
2. What is open is bounded, for one person and in total, and so is what is offered.
3. A permit is spent once, by the person who asked, at the target and for the bytes that were approved, in time.
4. A statement that waits live has nobody to tell once its session ends: then its request is withdrawn.
"""

from __future__ import annotations

import asyncio
import hmac
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Protocol
from uuid import UUID

import structlog

from vestibule.bus import Handler
from vestibule.control.approvals import Approvals
from vestibule.control.desk import Live
from vestibule.model.approval import Answer, ApprovalId, Candidate, Grant, Offer, Request
from vestibule.model.login import StateUnavailable
from vestibule.model.names import Instant, TargetName
from vestibule.stores.approvals import ApprovalStore, Kept
from vestibule.wire.approval import (
    ALPHABET,
    ID_LENGTH,
    approval_id,
    candidate_to_json,
    grant_to_json,
    offer_to_json,
    request_from_json,
    written_from_json,
)
from vestibule.wire.jsonrpc import Json, Params
from vestibule.wire.reading import integer, read, text

log = structlog.get_logger(__name__)

MAX_OPEN_OF_ONE: Final = 32
MAX_OPEN: Final = 4_096
#: What is offered and not opened; the oldest of a session goes first.
MAX_OFFERS_OF_SESSION: Final = 8
MAX_OFFERS: Final = 8_192
KEY_CLASS: Final = "approval"

_OWN_FULL: Final = (
    f"{MAX_OPEN_OF_ONE} of your requests are open already; "
    "wait until some are answered, run what was approved, or withdraw some"
)
_FULL: Final = "too many requests for approval are open in the gateway; try again later"
_NO_STATE: Final = "approvals cannot be asked for now; try again"


class Keys(Protocol):
    """Who makes and keeps the approvals' keys."""

    async def new_data_key(self, key_class: str) -> tuple[UUID, bytes]:
        """Make a key and keep it wrapped."""
        ...

    async def data_key(self, key_id: UUID) -> bytes | None:
        """Open a key."""
        ...


@dataclass(frozen=True, slots=True)
class Gateway:
    """What the desk needs of the gateway: its address, its clock, who is in, and how to tell a data process."""

    public_url: str
    clock: Callable[[], Instant]
    find: Callable[[UUID], Live | None]
    inform: Callable[[int, str, Params], None]


@dataclass(frozen=True, slots=True)
class _Offered:
    worker: int
    session: UUID
    issuer: str
    subject: str
    target: TargetName
    key_id: str


@dataclass(frozen=True, slots=True)
class _Waiting:
    worker: int
    session: UUID


class ApprovalDesk:
    """Answers what data processes ask about approvals, and tells them of the answers that they wait for."""

    def __init__(self, approvals: Approvals, store: ApprovalStore, keys: Keys, gateway: Gateway) -> None:
        """Keep requests in `store`; what people answer comes from `approvals`."""
        self._approvals, self._store, self._keys, self._gateway = approvals, store, keys, gateway
        self._offers: dict[ApprovalId, _Offered] = {}
        self._waiting: dict[ApprovalId, _Waiting] = {}
        self._opening = asyncio.Lock()
        approvals.on_ended(self._ended)

    def handlers(self, worker: int) -> Mapping[str, Handler]:
        """Serve one data process."""
        return {
            "approval_seek": lambda params: self._seek(worker, params),
            "approval_open": lambda params: self._open(worker, params),
            "approval_spend": self._spend,
            "approval_withdraw": lambda params: self._withdraw(worker, params),
        }

    async def session_closed(self, session: UUID) -> None:
        """Withdraw what waited in a session that has ended."""
        async with self._opening:
            self._forget(lambda place: place.session == session, "the session ended")

    async def lost(self, worker: int) -> None:
        """Withdraw what waited in a data process that has died."""
        async with self._opening:
            self._forget(lambda place: place.worker == worker, "the session was lost")

    def _forget(self, is_over: Callable[[_Offered | _Waiting], bool], why: str) -> None:
        self._offers = {key: offered for key, offered in self._offers.items() if not is_over(offered)}
        for approval in [key for key, waiting in self._waiting.items() if is_over(waiting)]:
            del self._waiting[approval]
            self._approvals.retract(approval, why)

    # --- seek --------------------------------------------------------------------------------------------------------

    async def _seek(self, worker: int, params: Params) -> Json:
        offered = _Offered(
            worker=worker,
            session=read(params, "session", UUID),
            issuer=text(params, "iss"),
            subject=text(params, "sub"),
            target=TargetName(text(params, "target")),
            key_id="",
        )
        try:
            candidates = await self._candidates(offered)
            offer = await self._offer(offered)
        except StateUnavailable as error:
            log.error("approval_not_offered", error=str(error))
            candidates, offer = [], _NO_STATE
        return {
            "offer": offer_to_json(offer) if isinstance(offer, Offer) else None,
            "candidates": [candidate_to_json(candidate) for candidate in candidates],
            "cause": "" if isinstance(offer, Offer) else offer,
        }

    async def _candidates(self, asked: _Offered) -> list[Candidate]:
        now = self._gateway.clock()
        found = await self._store.open_of(asked.issuer, asked.subject, asked.target, now)
        return [await self._candidate(kept) for kept in found]

    async def _candidate(self, kept: Kept) -> Candidate:
        request = kept.request
        key = await self._keys.data_key(UUID(request.key_id))
        if key is None:
            raise StateUnavailable("the key of an approval is gone")
        return Candidate(
            approval=request.approval,
            key_id=request.key_id,
            key=key,
            bytes_mac=request.bytes_mac,
            fingerprint=request.fingerprint,
            state=kept.state,
            policy=request.rule.policy,
            expires_at=request.expires_at,
            url=self._url(request.approval),
        )

    async def _offer(self, asked: _Offered) -> Offer | str:
        if (cause := await self._is_full(asked.issuer, asked.subject)) != "":
            return cause
        if len(self._offers) >= MAX_OFFERS:
            return _FULL
        key_id, key = await self._keys.new_data_key(KEY_CLASS)
        approval = new_id()
        own = [known for known, offered in self._offers.items() if offered.session == asked.session]
        for known in own[: max(0, len(own) + 1 - MAX_OFFERS_OF_SESSION)]:
            del self._offers[known]
        self._offers[approval] = _Offered(
            asked.worker, asked.session, asked.issuer, asked.subject, asked.target, str(key_id)
        )
        return Offer(approval, str(key_id), key, self._url(approval))

    async def _is_full(self, issuer: str, subject: str) -> str:
        own, everybody = await self._store.count_open(issuer, subject, self._gateway.clock())
        return _OWN_FULL if own >= MAX_OPEN_OF_ONE else _FULL if everybody >= MAX_OPEN else ""

    def _url(self, approval: ApprovalId) -> str:
        return f"{self._gateway.public_url}/approvals/{approval}"

    # --- open --------------------------------------------------------------------------------------------------------

    async def _open(self, worker: int, params: Params) -> Json:
        request = request_from_json(params.get("request"))
        record = written_from_json(params.get("record"))
        if request.expires_at <= self._gateway.clock():
            raise ValueError("the request has expired before it was opened")
        async with self._opening:
            offered = self._offers.get(request.approval)
            if offered is None or offered != _asked(worker, request):
                raise ValueError("this approval was not offered to this session, or it is open already")
            if (cause := await self._is_full(request.requester.issuer, request.requester.subject)) != "":
                raise ValueError(cause)
            if not await self._store.add(request, record):
                raise ValueError("this approval is open already")
            del self._offers[request.approval]
            if request.live:
                self._waiting[request.approval] = _Waiting(worker, request.session)
        self._approvals.opened(request.approval)
        return {}

    # --- spend -------------------------------------------------------------------------------------------------------

    async def _spend(self, params: Params) -> Json:
        approval = read(params, "approval", approval_id)
        who = (text(params, "iss"), text(params, "sub"), text(params, "target"))
        mac = text(params, "bytes_mac").encode(errors="replace")
        session, number = read(params, "session", UUID), integer(params, "number")
        kept = await self._store.find(approval)
        if kept is None or (kept.request.requester.issuer, kept.request.requester.subject) != who[:2]:
            return _refused("there is no such approval of yours")
        if kept.request.target != who[2]:
            return _refused("it is for another target", kept)
        if not hmac.compare_digest(kept.request.bytes_mac.encode(), mac):
            return _refused("the statement is not the one that was approved", kept)
        now = self._gateway.clock()
        if not await self._store.spend(approval, now):
            kept = await self._store.find(approval) or kept
            return _refused(_why_not(kept, now), kept)
        kept = await self._store.find(approval) or kept
        log.info("approval_spent", approval=approval, session=str(session), number=number)
        self._approvals.spent(approval)
        return {"grant": grant_to_json(_grant(kept, 0))}

    # --- end ---------------------------------------------------------------------------------------------------------

    async def _withdraw(self, worker: int, params: Params) -> Json:
        approval, session = read(params, "approval", approval_id), read(params, "session", UUID)
        why = text(params, "why")
        if self._waiting.get(approval) == _Waiting(worker, session):
            # Whoever withdraws what it holds need not be told.
            del self._waiting[approval]
        else:
            kept, live = await self._store.find(approval), self._gateway.find(session)
            if kept is None or live is None or live.worker != worker or not _is_of(live, kept.request):
                raise ValueError("only the session that holds a request, or its requester, can withdraw it")
        self._approvals.retract(approval, why)
        return None

    def _ended(self, kept: Kept, answer: Answer, by: str, why: str) -> None:
        waiting = self._waiting.pop(kept.request.approval, None)
        if waiting is not None:
            told: dict[str, Json] = {"session": str(waiting.session), "approval": kept.request.approval}
            self._gateway.inform(waiting.worker, "answered", {**told, "answer": answer, "by": by, "comment": why})


def new_id() -> ApprovalId:
    """Make an id that nobody guesses and people can read to each other."""
    return ApprovalId("AR-" + "".join(secrets.choice(ALPHABET) for _ in range(ID_LENGTH)))


def _asked(worker: int, request: Request) -> _Offered:
    who = request.requester
    return _Offered(worker, request.session, who.issuer, who.subject, request.target, request.key_id)


def _is_of(live: Live, request: Request) -> bool:
    return (live.issuer, live.subject) == (request.requester.issuer, request.requester.subject)


def _why_not(kept: Kept, now: Instant) -> str:
    match kept.state:
        case "spent":
            return "it has been used already"
        case "refused" | "withdrawn":
            return f"it was {kept.state}"
        case "pending" if kept.request.expires_at > now:
            return "it is not answered yet"
        case _:
            return "it has expired"


def _grant(kept: Kept, uses_left: int) -> Grant:
    if kept.permit is None:
        raise AssertionError("an approval that was granted has a permit")
    return Grant(kept.permit, kept.record, tuple(given.record for given in kept.answers if given.granted), uses_left)


def _refused(cause: str, kept: Kept | None = None) -> Json:
    """Say why a permit is not spent; where there is one, what the record of its refusal refers to."""
    permit = None if kept is None or kept.permit is None else grant_to_json(_grant(kept, int(kept.state == "granted")))
    return {"refused": cause, "permit": permit}
