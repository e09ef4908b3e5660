"""Requests for approval: who sees them, who may answer, and what an answer does.

1. Approvers see what waits for one of their groups, requesters their own, auditors all. For anybody else there is none.
2. Nobody answers their own request, whatever their groups; nobody answers twice; agents do not answer.
3. One refusal refuses. A quorum is made of different people, by issuer and subject.
4. An answer counts only for what was shown: it carries the hash of that, and is recorded with a keyed commitment to it.
5. An answer is durable evidence before it has an effect. Answers are taken one after the other.
6. No answer in time is a refusal.
"""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Literal, Protocol, Self
from uuid import UUID, uuid4
from weakref import WeakSet

import structlog

from vestibule.control.approval_view import shown_bytes, shown_hash, view
from vestibule.evidence.commitment import bind_key, shown_mac
from vestibule.gate.records import compact, cut, proof_json, who_json
from vestibule.model.approval import Answer, ApprovalId, State, Written
from vestibule.model.errors import VestibuleError
from vestibule.model.identity import Identity
from vestibule.model.login import StateUnavailable
from vestibule.model.names import SECOND, GroupName, Instant, stamp
from vestibule.model.record import Json, Kind, Record
from vestibule.model.record import Written as Durable
from vestibule.stores.approvals import ApprovalStore, Channel, Cursor, Given, Kept, Sight

log = structlog.get_logger(__name__)

COMMENT_CHARACTERS: Final = 1_024
MAX_WATCHES: Final = 128
MAX_WATCHES_OF_ONE: Final = 8
#: A watch that leaves more changes than this unread ends; whoever watched looks again.
UNREAD: Final = 1_024
#: Seconds until the clock is looked at again, however far the next deadline is: clocks are set.
LONGEST_SLEEP: Final = 60.0
#: Seconds until what could not be recorded is tried again.
PAUSE: Final = 2.0
#: How long what is over stays in the lists; the evidence stays in the log.
KEPT_FOR: Final = 90 * 24 * 3600 * SECOND
PURGE_EVERY: Final = 3600 * SECOND


class ApprovalRefused(VestibuleError):
    """What was asked of an approval is not done; the message says why."""


class NoSuchApproval(ApprovalRefused):
    """There is none of this id that this person may see."""


class MayNotAnswer(ApprovalRefused):
    """This person may not answer it."""


class AnsweredOtherwise(ApprovalRefused):
    """It is not as whoever answers believes: answered, over, or changed."""


class TooManyWatches(ApprovalRefused):
    """As many look at what is live as may."""


class Keys(Protocol):
    """Who keeps the approvals' keys."""

    async def data_key(self, key_id: UUID) -> bytes | None:
        """Open a key."""
        ...


@dataclass(frozen=True, slots=True)
class Port:
    """What approvals stand on: durable records, the storage mask, the clock, and who is an auditor."""

    persist: Callable[[Record], Awaitable[Durable]]
    mask: Callable[[str], str]
    clock: Callable[[], Instant]
    is_auditor: Callable[[Identity], bool]


#: Told of each final answer: the request as it was, what became of it, by whom (a name, maybe empty), and why.
Told = Callable[[Kept, Answer, str, str], None]


class Watch:
    """Changes as they happen: each turn gives the approvals that have changed since the last one."""

    def __init__(self, viewer: Identity, leave: Callable[[Watch], None]) -> None:
        """Start with nothing changed; `leave` is called at the end."""
        self.viewer = viewer
        self._leave = leave
        self._changed: set[ApprovalId] = set()
        self._news = asyncio.Event()
        self._is_over = False

    def tell(self, approval: ApprovalId) -> None:
        """Note a change."""
        self._changed.add(approval)
        if len(self._changed) > UNREAD:
            self.close()
        self._news.set()

    def close(self) -> None:
        """End it; whoever waits learns so."""
        self._is_over = True
        self._news.set()
        self._leave(self)

    async def next(self, patience: float | None = None) -> frozenset[ApprovalId] | None:
        """Give what has changed, nothing if that takes longer than `patience` seconds, None at the end."""
        try:
            async with asyncio.timeout(patience):
                await self._news.wait()
        except TimeoutError:
            return frozenset()
        if self._is_over:
            return None
        self._news.clear()
        changed, self._changed = frozenset(self._changed), set()
        return changed

    async def __aiter__(self) -> AsyncIterator[frozenset[ApprovalId]]:
        """Give changes until the watch ends."""
        while (changed := await self.next()) is not None:
            yield changed

    def __enter__(self) -> Self:
        """Use it."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End it."""
        self.close()


class Approvals:
    """The requests of one gateway; `run` lets them expire."""

    def __init__(self, store: ApprovalStore, keys: Keys, port: Port) -> None:
        """Use the tables of `store`; call `start` before anybody asks."""
        self._store, self._keys, self._port = store, keys, port
        self._deciding = asyncio.Lock()
        self._told: list[Told] = []
        # Weak: a stream that is dropped before its first byte leaves nothing behind.
        self._watches: WeakSet[Watch] = WeakSet()
        self._unwritten: dict[ApprovalId, str] = {}
        self._news = asyncio.Event()
        self._purged = Instant(0)

    def on_ended(self, told: Told) -> None:
        """Tell of every final answer."""
        self._told.append(told)

    # --- looking -----------------------------------------------------------------------------------------------------

    async def list(
        self, viewer: Identity, state: State | None = None, before: Cursor | None = None, limit: int = 50
    ) -> Sequence[Kept]:
        """List what `viewer` may see, the newest first."""
        return await self._store.search(self._sight(viewer), state, before, limit)

    async def show(self, viewer: Identity, approval: ApprovalId) -> Kept:
        """Show one; raise `NoSuchApproval` also for one that `viewer` may not see."""
        kept = await self._store.find(approval)
        if kept is None or not self._sees(viewer, kept):
            raise NoSuchApproval(f"there is no approval {approval} that you may see")
        return kept

    def may_answer(self, viewer: Identity, kept: Kept) -> bool:
        """Tell whether `viewer` could answer now; for pages that offer it."""
        try:
            self._check(viewer, kept)
        except ApprovalRefused:
            return False
        return True

    def watch(self, viewer: Identity) -> Watch:
        """Watch for changes of any approval; use it in a `with` statement. What may be seen is `show`'s to say."""
        own = sum(watch.viewer.who.login == viewer.who.login for watch in self._watches)
        if len(self._watches) >= MAX_WATCHES or own >= MAX_WATCHES_OF_ONE:
            raise TooManyWatches("too many look at approvals live; close some, or ask again from time to time")
        watch = Watch(viewer, self._watches.discard)
        self._watches.add(watch)
        return watch

    def end_watches(self, login: UUID) -> None:
        """End what somebody watches whose log-in is over."""
        for watch in list(self._watches):
            if watch.viewer.who.login == login:
                watch.close()

    def close(self) -> None:
        """End all watches."""
        for watch in list(self._watches):
            watch.close()

    # --- answering ---------------------------------------------------------------------------------------------------

    async def answer(
        self,
        viewer: Identity,
        approval: ApprovalId,
        granted: bool,
        comment: str,
        channel: Channel,
        shown: str,
        repeat_key: str = "",
    ) -> Kept:
        """Take an answer and give the request as it is then; the same answer with the same `repeat_key` counts once."""
        async with self._deciding:
            kept = await self.show(viewer, approval)
            if _is_repeated(kept, viewer, granted, repeat_key):
                return kept
            group = self._check(viewer, kept)
            if not hmac.compare_digest(shown_hash(kept.request).encode(), shown.encode(errors="replace")):
                raise AnsweredOtherwise(f"what {approval} shows is not what you saw; look at it again")
            words = cut(self._port.mask(comment), COMMENT_CHARACTERS)
            return await self._take(viewer, kept, granted, words, channel, group, repeat_key)

    async def withdraw(self, viewer: Identity, approval: ApprovalId, why: str = "") -> Kept:
        """Take one's own request back."""
        kept = await self.show(viewer, approval)
        if not _is_requester(viewer, kept):
            raise MayNotAnswer(f"only {kept.request.requester.name} can withdraw {approval}")
        if not await self.end(approval, "withdrawn", why):
            raise AnsweredOtherwise(f"{approval} does not wait for an answer any more")
        return await self.show(viewer, approval)

    async def end(self, approval: ApprovalId, answer: Literal["expired", "withdrawn"], why: str = "") -> bool:
        """End a request that nobody answers any more; False if it was not pending."""
        async with self._deciding:
            kept = await self._store.find(approval)
            if kept is None or kept.state != "pending":
                return False
            now = self._port.clock()
            words = cut(self._port.mask(why), COMMENT_CHARACTERS)
            members: dict[str, Json] = {"answer": answer, "granted_so_far": kept.granted, "comment": words}
            await self._persist(kept, members, now)
            done = await self._store.end(approval, answer, now)
        self._tell(kept, answer, "", words)
        return done

    async def _take(
        self,
        viewer: Identity,
        kept: Kept,
        granted: bool,
        comment: str,
        channel: Channel,
        group: GroupName,
        repeat_key: str,
    ) -> Kept:
        request, now = kept.request, self._port.clock()
        so_far = kept.granted + granted
        state: State = "refused" if not granted else "granted" if so_far >= request.quorum else "pending"
        permit = uuid4() if state == "granted" else None
        members: dict[str, Json] = {
            "answer": "granted" if granted else "refused",
            "approver": who_json(viewer.who),
            "proof": proof_json(viewer.proof),
            # Only people ask and answer so far: nobody stands behind them as a sponsor or an agent's owner.
            "four_eyes": {"not_requester": True, "not_sponsor": True, "not_agent_owner": True, "group": cut(group)},
            "granted_so_far": so_far,
            "channel": channel,
            "shown_mac": shown_mac(bind_key(await self._key(kept)), shown_bytes(view(request))),
            "comment": comment,
            "permit": None if permit is None else _permit(permit, request.expires_at),
        }
        record = await self._persist(kept, members, now)
        given = Given(viewer.who, granted, comment, channel, now, record, repeat_key)
        if not await self._store.answer(request.approval, given, state, permit):
            raise AnsweredOtherwise(f"{request.approval} was answered by somebody else at the same moment")
        if state == "pending":
            self._changed(request.approval)
        else:
            self._tell(kept, "granted" if granted else "refused", viewer.who.name, comment)
        return await self.show(viewer, request.approval)

    async def _persist(self, kept: Kept, members: dict[str, Json], now: Instant) -> Written:
        about: dict[str, Json] = {
            "request": {"id": str(kept.record.id), "leaf": kept.record.leaf},
            "latency_ms": max(0, now - kept.request.requested_at) // 1_000,
        }
        record = Record(
            Kind.APPROVAL_ANSWERED,
            compact({**about, **members}),
            kept.request.session,
            kept.request.target,
            sequenced=False,
        )
        written = await self._port.persist(record)
        return Written(written.id, written.leaf.hex())

    async def _key(self, kept: Kept) -> bytes:
        key = await self._keys.data_key(UUID(kept.request.key_id))
        if key is None:
            raise StateUnavailable("the key of this approval is gone")
        return key

    # --- who may -----------------------------------------------------------------------------------------------------

    def _sight(self, viewer: Identity) -> Sight:
        return Sight(viewer.who.issuer, viewer.who.subject, viewer.groups, self._port.is_auditor(viewer))

    def _sees(self, viewer: Identity, kept: Kept) -> bool:
        is_asked = not kept.request.approvers.isdisjoint(viewer.groups)
        return is_asked or _is_requester(viewer, kept) or self._port.is_auditor(viewer)

    def _check(self, viewer: Identity, kept: Kept) -> GroupName:
        """Give the group by which `viewer` may answer now, or raise what stands against it."""
        request, now = kept.request, self._port.clock()
        groups = sorted(request.approvers & viewer.groups)
        if _is_requester(viewer, kept):
            raise MayNotAnswer(f"{request.approval} is your own request; somebody else has to answer it")
        if not groups:
            raise MayNotAnswer(f"{request.approval} is answered by the groups {', '.join(sorted(request.approvers))}")
        if viewer.who.type == "agent":
            raise MayNotAnswer("an agent does not answer requests for approval")
        if viewer.expires_at <= now:
            raise MayNotAnswer("your log-in has expired; log in again")
        if _answer_of(kept, viewer) is not None:
            raise AnsweredOtherwise(f"you have answered {request.approval} already")
        if request.approval in self._unwritten:
            raise AnsweredOtherwise(f"{request.approval} was withdrawn")
        if kept.state == "pending" and request.expires_at <= now:
            raise AnsweredOtherwise(f"{request.approval} has expired")
        if kept.state != "pending":
            raise AnsweredOtherwise(f"{request.approval} {_ended(kept)}")
        return groups[0]

    # --- time --------------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """End what an earlier run left: nobody waits live for it any more."""
        for kept in await self._store.pending_live():
            self.retract(kept.request.approval, "the gateway was started again")
        await self.sweep()

    def opened(self, approval: ApprovalId) -> None:
        """Note that a request has just been opened."""
        self._changed(approval)
        self._news.set()

    def retract(self, approval: ApprovalId, why: str) -> None:
        """Withdraw a request as soon as that can be recorded."""
        self._unwritten[approval] = why
        self._news.set()

    async def run(self) -> None:
        """Let requests expire at their deadlines, until cancelled."""
        while True:
            self._news.clear()
            try:
                await self.sweep()
                pause = await self._pause()
            except Exception as error:  # noqa: BLE001 - the next sweep tries again
                log.error("approvals_not_swept", error=type(error).__name__)
                pause = PAUSE
            try:
                async with asyncio.timeout(pause):
                    await self._news.wait()
            except TimeoutError:
                continue

    async def sweep(self) -> None:
        """End what is over by now; what cannot be recorded stays for the next time."""
        for approval, why in list(self._unwritten.items()):
            await self.end(approval, "withdrawn", why)
            self._unwritten.pop(approval, None)
        now = self._port.clock()
        for kept in await self._store.due(now):
            await self.end(kept.request.approval, "expired")
        for approval in await self._store.lapse(now):
            self._changed(approval)
        if now - self._purged >= PURGE_EVERY:
            await self._store.purge(Instant(now - KEPT_FOR))
            self._purged = now

    async def _pause(self) -> float | None:
        due = await self._store.next_due()
        return None if due is None else min(LONGEST_SLEEP, max(0.001, (due - self._port.clock()) / SECOND))

    # --- telling -----------------------------------------------------------------------------------------------------

    def spent(self, approval: ApprovalId) -> None:
        """Note that a permit has just been spent."""
        self._changed(approval)

    def _tell(self, kept: Kept, answer: Answer, by: str, why: str) -> None:
        for told in self._told:
            told(kept, answer, by, why)
        self._changed(kept.request.approval)

    def _changed(self, approval: ApprovalId) -> None:
        for watch in list(self._watches):
            watch.tell(approval)


def _permit(permit: UUID, expires_at: Instant) -> dict[str, Json]:
    return {"id": str(permit), "uses": 1, "expires_at": stamp(expires_at)}


def _is_requester(viewer: Identity, kept: Kept) -> bool:
    who = kept.request.requester
    return (viewer.who.issuer, viewer.who.subject) == (who.issuer, who.subject)


def _answer_of(kept: Kept, viewer: Identity) -> Given | None:
    key = (viewer.who.issuer, viewer.who.subject)
    return next((given for given in kept.answers if (given.approver.issuer, given.approver.subject) == key), None)


def _is_repeated(kept: Kept, viewer: Identity, granted: bool, repeat_key: str) -> bool:
    given = _answer_of(kept, viewer)
    return given is not None and repeat_key != "" and (given.repeat_key, given.granted) == (repeat_key, granted)


def _ended(kept: Kept) -> str:
    """Say what became of a request, after its name."""
    by = f" by {kept.answers[-1].approver.name}" if kept.answers else ""
    match kept.state:
        case "granted" | "spent":
            return f"was approved already{by}"
        case "refused":
            return f"was refused already{by}"
        case "expired":
            return "has expired"
        case _:
            return "was withdrawn"
