"""The approvals pages: what waits, one request with everything that a person decides on, and their answer.

1. An answer carries the hash of what was shown; the service takes it for nothing else.
2. What refreshes itself is the standing alone: the statement and the form stay as they were opened, and the form goes
   once it would be refused.
3. A request that somebody may not see is one that is not there.

Set `app.state.pages` and include `router`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated, Final

from fastapi import APIRouter, Path, Request
from fastapi.responses import RedirectResponse, Response

from vestibule.control.api.guarded import Problem
from vestibule.control.approvals import ApprovalRefused, Approvals, NoSuchApproval, TooManyWatches
from vestibule.control.web.card import Card
from vestibule.control.web.live import Live
from vestibule.control.web.rendering import page
from vestibule.control.web.visitor import PageRoute, SignInNeeded, Visitor, form_of, visitor
from vestibule.model.approval import ApprovalId
from vestibule.model.identity import Identity
from vestibule.model.names import Instant
from vestibule.stores.approvals import Kept

#: Characters of a reason.
LONGEST: Final = 500
#: Requests that a list shows at most, and answers of the past among them.
MOST: Final = 100
RECENT: Final = 20

Id = Annotated[str, Path(pattern=r"^AR-[A-Z0-9]{10}$")]


@dataclass(frozen=True, slots=True)
class Pages:
    """What the pages stand on."""

    approvals: Approvals
    now: Callable[[], Instant]

    def card(self, viewer: Identity, kept: Kept) -> Card:
        """Make what `viewer` is shown."""
        return Card(kept, viewer, self.approvals.may_answer(viewer, kept))


router = APIRouter(prefix="/approvals", route_class=PageRoute, include_in_schema=False)


@router.get("")
async def everything(request: Request) -> Response:
    """Show what waits, the visitor's own to answer first, and what was answered."""
    who = await visitor(request)
    return page("approvals.html", {"title": "Approvals", "visitor": who, **await _listed(request, who)})


@router.get("/list")
async def listed(request: Request) -> Response:
    """Give the list alone, for a page that is open."""
    who = await visitor(request, is_use=False)
    return page("approvals_list.html", await _listed(request, who))


@router.get("/live")
async def live(request: Request) -> Response:
    """Tell a page that is open of changes."""
    who = await visitor(request, is_use=False)

    async def is_signed_in() -> bool:
        try:
            await visitor(request, is_use=False)
        except SignInNeeded:
            return False
        except Problem:
            # It cannot be said now. What is told carries nothing, and the page is not shown more than that.
            return True
        return True

    try:
        watch = _pages(request).approvals.watch(who.identity)
    except TooManyWatches as refused:
        raise Problem(HTTPStatus.SERVICE_UNAVAILABLE, str(refused), {"Retry-After": "30"}) from None
    return Live(watch, is_signed_in)


@router.get("/{approval}")
async def one(request: Request, approval: Id) -> Response:
    """Show one request."""
    who = await visitor(request)
    return _page(request, who, await _card(request, who, approval))


@router.get("/{approval}/standing")
async def standing(request: Request, approval: Id, shown: str = "") -> Response:
    """Give how a request stands, for a page that is open and shows what hashes to `shown`."""
    who = await visitor(request, is_use=False)
    card = await _card(request, who, approval)
    changed = card.hash != shown
    stale = changed or not card.may_answer
    facts = {"card": card, "visitor": who, "now": _pages(request).now(), "longest": LONGEST}
    return page("approval_standing.html", {**facts, "stale": stale, "changed": changed and card.may_answer})


@router.post("/{approval}")
async def answer(request: Request, approval: Id) -> Response:
    """Take an answer."""
    who = await visitor(request)
    form = await form_of(request, who)
    word, reason = form.get("answer", ""), form.get("reason", "").strip()
    if word not in ("approve", "deny"):
        raise Problem(HTTPStatus.BAD_REQUEST, "an answer is approve or deny")
    if word == "deny" and not reason:
        return await _again(request, who, approval, "Say why, so that whoever asked knows what to change.", reason)
    if len(reason) > LONGEST:
        return await _again(request, who, approval, f"A reason has at most {LONGEST} characters.", reason[:LONGEST])
    try:
        await _pages(request).approvals.answer(
            who.identity, ApprovalId(approval), word == "approve", reason, "web", form.get("shown", "")
        )
    except NoSuchApproval:
        raise _nothing() from None
    except ApprovalRefused as refused:
        return await _again(request, who, approval, str(refused), reason, HTTPStatus.CONFLICT)
    return RedirectResponse(request.url.path, HTTPStatus.SEE_OTHER)


async def _again(
    request: Request,
    who: Visitor,
    approval: str,
    fault: str,
    reason: str,
    status: int = HTTPStatus.UNPROCESSABLE_ENTITY,
) -> Response:
    return _page(request, who, await _card(request, who, approval), status, fault=fault, reason=reason)


def _page(request: Request, who: Visitor, card: Card, status: int = HTTPStatus.OK, **more: str) -> Response:
    facts = {"visitor": who, "now": _pages(request).now(), "longest": LONGEST, "here": card.address}
    return page("approval.html", {"title": card.request.approval, "card": card, **facts, **more}, status)


async def _card(request: Request, who: Visitor, approval: str) -> Card:
    pages = _pages(request)
    try:
        return pages.card(who.identity, await pages.approvals.show(who.identity, ApprovalId(approval)))
    except NoSuchApproval:
        raise _nothing() from None


def _nothing() -> Problem:
    return Problem(HTTPStatus.NOT_FOUND, "there is no request of this name, or it is not for you")


async def _listed(request: Request, who: Visitor) -> dict[str, object]:
    pages = _pages(request)
    waiting = [
        pages.card(who.identity, kept) for kept in await pages.approvals.list(who.identity, "pending", limit=MOST)
    ]
    latest = [pages.card(who.identity, kept) for kept in await pages.approvals.list(who.identity, limit=MOST)]
    pending = sorted(waiting, key=lambda card: card.request.expires_at)
    return {
        "mine": [card for card in pending if card.may_answer],
        "others": [card for card in pending if not card.may_answer],
        "recent": [card for card in latest if card.state != "pending"][:RECENT],
        "now": pages.now(),
    }


def _pages(request: Request) -> Pages:
    found: Pages = request.app.state.pages
    return found
