"""Where a data process asks people: the control process, by the methods of the bus.

Whatever goes wrong on the way is a refusal: a statement is never carried out because nobody could be asked.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import structlog

from vestibule.bus import BusError, Peer
from vestibule.model.approval import ApprovalId, Request
from vestibule.model.approval import Written as Reference
from vestibule.model.effect import Ask, Seek, Spend
from vestibule.model.event import Asked, Sought, Spent
from vestibule.model.identity import Identity
from vestibule.model.names import TargetName
from vestibule.model.record import Written
from vestibule.model.target import Target
from vestibule.protocols.base import Conversation
from vestibule.server.services import Approvals
from vestibule.wire.approval import (
    candidate_from_json,
    grant_from_json,
    offer_from_json,
    request_to_json,
    written_to_json,
)
from vestibule.wire.jsonrpc import Json, Params
from vestibule.wire.reading import items, mapping, text

log = structlog.get_logger(__name__)


_UNAVAILABLE: Final = "approvals are not available now"


@dataclass(frozen=True, slots=True)
class Asker:
    """The conversation that asks, and who it is once that is known."""

    conversation: Conversation
    identity: Identity | None
    target: Target | None


async def answer(
    approvals: Approvals, asker: Asker, effect: Seek | Ask | Spend, written: Written | None
) -> Sought | Asked | Spent:
    """Carry out what a relay asks of approvals; `written` is the record of what is asked."""
    cause = _UNAVAILABLE
    try:
        match effect:
            case Seek() if asker.identity is not None and asker.target is not None:
                return await approvals.seek(asker.conversation, asker.identity, asker.target.name)
            case Ask(request=request) if written is not None:
                await approvals.ask(request, written)
                cause = ""
            case Spend() if asker.identity is not None and asker.target is not None:
                return await approvals.spend(asker.conversation, asker.identity, asker.target.name, effect)
            case _:
                pass
    except Exception as error:  # noqa: BLE001 - no answer is a refusal
        log.error("approval_failed", session=str(asker.conversation.session), error=type(error).__name__)
    match effect:
        case Seek():
            return Sought(None, cause=cause)
        case Ask(request=request):
            return Asked(request.approval, cause)
        case Spend(approval=approval):
            return Spent(approval, None, cause)


class BusApprovals:
    """Asks over the bus; a call that fails or an answer that is malformed raises."""

    def __init__(self, bus: Peer) -> None:
        """Ask on `bus`."""
        self._bus = bus

    async def seek(self, conversation: Conversation, identity: Identity, target: TargetName) -> Sought:
        """Give a fresh approval, and those that the identity has for the target."""
        asked: Params = {
            "session": str(conversation.session),
            "iss": identity.who.issuer,
            "sub": identity.who.subject,
            "name": identity.who.name,
            "target": target,
        }
        answer = mapping(await self._bus.call("approval_seek", asked))
        offer = answer.get("offer")
        return Sought(
            None if offer is None else offer_from_json(offer),
            tuple(candidate_from_json(item) for item in items(answer, "candidates")),
            text(answer, "cause"),
        )

    async def ask(self, request: Request, record: Written) -> None:
        """Put a request, recorded as `record`, before people."""
        reference = Reference(record.id, record.leaf.hex())
        await self._bus.call(
            "approval_open", {"request": request_to_json(request), "record": written_to_json(reference)}
        )

    async def spend(self, conversation: Conversation, identity: Identity, target: TargetName, spend: Spend) -> Spent:
        """Use up a granted approval."""
        asked: Params = {
            "approval": spend.approval,
            "session": str(conversation.session),
            "number": spend.number,
            "iss": identity.who.issuer,
            "sub": identity.who.subject,
            "target": target,
            "bytes_mac": spend.bytes_mac,
        }
        answer = await self._bus.call("approval_spend", asked)
        grant: Json = answer.get("grant") if isinstance(answer, Mapping) else None
        if grant is None:
            refused = mapping(answer)
            permit = refused.get("permit")
            unused = None if permit is None else grant_from_json(permit)
            return Spent(spend.approval, None, text(refused, "refused"), unused)
        return Spent(spend.approval, grant_from_json(grant))

    def withdraw(self, conversation: Conversation, approval: ApprovalId, why: str) -> None:
        """Say that nobody waits for it any more."""
        try:
            self._bus.notify(
                "approval_withdraw", {"approval": approval, "session": str(conversation.session), "why": why}
            )
        except BusError:
            log.warning("control_process_not_told", method="approval_withdraw")
