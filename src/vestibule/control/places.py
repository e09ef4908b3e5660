"""How many sessions there may be of one person, from one address and at one target: exact over this node.

1. A place is taken before a log-in is let in and given back when its conversation ends, whether it became a session or
   not. Between the two nothing is awaited, so no two log-ins can take the last place.
2. A conversation that ends while its proof is looked up has no place when the answer comes, and gets none.
3. What a data process that has died held is given back with it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final
from uuid import UUID

from vestibule.identity.throttle import network
from vestibule.model.identity import Identity, Refusal


@dataclass(frozen=True, slots=True)
class PlaceLimits:
    """Bounds over all data processes of this node; None bounds nothing."""

    per_person: int | None = None
    per_address: int | None = None
    per_target: Mapping[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class _Place:
    worker: int
    #: Issuer and subject, network, target: what the place counts with, once that is known.
    person: tuple[str, str] | None = None
    origin: str = ""
    target: str = ""


#: Names the target that an identity is led to, by the user name and by what it asks for; empty where there is none.
Lead = Callable[[Identity, str, str], str]
NOWHERE: Final[Lead] = lambda _identity, _attempted, _wanted: ""  # noqa: E731 - a constant


class Places:
    """Who has a place."""

    def __init__(self, limits: PlaceLimits | None = None, lead: Lead = NOWHERE) -> None:
        """Start with nobody in."""
        self._limits, self._lead = limits or PlaceLimits(), lead
        self._places: dict[UUID, _Place] = {}

    def __len__(self) -> int:
        return len(self._places)

    def begin(self, session: UUID, worker: int) -> None:
        """Note that a proof is looked up for a conversation."""
        self._places[session] = _Place(worker)

    def take(self, session: UUID, identity: Identity, ip: str, attempted: str, wanted: str) -> Refusal | None:
        """Count a conversation with its person, address and target, or say which of these is full."""
        place = self._places.get(session)
        if place is None:
            return Refusal.UNAVAILABLE
        limits, others = self._limits, self._places.values()
        person, origin = (identity.who.issuer, identity.who.subject), network(ip)
        target = self._lead(identity, attempted, wanted)
        at_target = limits.per_target.get(target)
        if limits.per_person is not None and sum(each.person == person for each in others) >= limits.per_person:
            return Refusal.PERSON_FULL
        if limits.per_address is not None and sum(each.origin == origin for each in others) >= limits.per_address:
            return Refusal.ADDRESS_FULL
        if at_target is not None and sum(each.target == target for each in others) >= at_target:
            return Refusal.TARGET_FULL
        place.person, place.origin, place.target = person, origin, target
        return None

    def leave(self, session: UUID) -> None:
        """Give a place back; twice is no error."""
        self._places.pop(session, None)

    def forget(self, worker: int) -> None:
        """Give back what a data process held."""
        self._places = {session: place for session, place in self._places.items() if place.worker != worker}
