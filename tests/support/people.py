"""The people who approve, and what is kept of what they were asked: for a relay that is played."""

from __future__ import annotations

from dataclasses import dataclass, field
from uuid import UUID

from vestibule.model.approval import ApprovalId, Candidate, Grant, Offer, Request, State, Written
from vestibule.model.effect import Spend, Withdraw
from vestibule.model.event import Sought, Spent


@dataclass(slots=True)
class Approvals:
    """What people would see and answer: keeps what was asked, and spends each grant once."""

    keys: dict[ApprovalId, bytes] = field(default_factory=dict)
    open: dict[ApprovalId, Request] = field(default_factory=dict)
    granted: set[ApprovalId] = field(default_factory=set)
    withdrawn: list[Withdraw] = field(default_factory=list)
    spent: list[Spend] = field(default_factory=list)
    #: Why nothing may be asked, if so.
    cause: str = ""

    def seek(self) -> Sought:
        """Offer a fresh one, and list those there are."""
        name = ApprovalId(f"AR-{len(self.keys):010d}")
        self.keys[name] = bytes([len(self.keys) + 1]) * 32
        offer = None if self.cause else Offer(name, str(UUID(int=len(self.keys))), self.keys[name], _url(name))
        return Sought(offer, tuple(map(self._candidate, self.open.values())), self.cause)

    def spend(self, effect: Spend) -> Spent:
        """Spend a grant, once."""
        if effect.approval not in self.granted:
            return Spent(effect.approval, None, "it is not granted")
        written = Written(UUID(int=7), "a" * 64)
        grant = Grant(UUID(int=8), written, (written,), 0)
        if effect.bytes_mac != self.open[effect.approval].bytes_mac:
            return Spent(effect.approval, None, "the statement is not the one that was approved", grant)
        self.granted.discard(effect.approval)
        del self.open[effect.approval]
        self.spent.append(effect)
        return Spent(effect.approval, grant)

    def _candidate(self, request: Request) -> Candidate:
        state: State = "granted" if request.approval in self.granted else "pending"
        return Candidate(
            request.approval,
            request.key_id,
            self.keys[request.approval],
            request.bytes_mac,
            request.fingerprint,
            state,
            request.rule.policy,
            request.expires_at,
            _url(request.approval),
        )


def _url(name: ApprovalId) -> str:
    return f"https://vestibule.bank.example/approvals/{name}"
