"""The targets that somebody may use, and how to connect to them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field

from vestibule.control.api.guarded import GuardedRoute, problems
from vestibule.control.api.sign_in import Me
from vestibule.model.identity import Identity
from vestibule.model.target import Target

router = APIRouter(prefix="/api/v1/targets", route_class=GuardedRoute, tags=["targets"])


class TargetEntry(BaseModel):
    """One target; where it stands is not told."""

    name: str
    protocol: str
    databases: list[str] = Field(description="The first is the default.")
    labels: dict[str, str]
    user: str = Field(description="The user name to log in with.")


class TargetList(BaseModel):
    """The targets that whoever asks may use."""

    targets: list[TargetEntry]
    port: int = Field(description="Where PostgreSQL's clients connect.")


class Targets:
    """What the route stands on."""

    def __init__(self, of: Callable[[Identity], Sequence[Target]], port: int) -> None:
        self.of, self.port = of, port


@router.get("", responses=problems(401, 403, 429, 503))
async def targets(request: Request, identity: Me) -> TargetList:
    """List the targets that whoever asks may use."""
    known: Targets = request.app.state.targets
    entries = [
        TargetEntry(
            name=target.name,
            protocol=target.protocol,
            databases=list(target.databases),
            labels=dict(target.labels),
            user=f"{identity.who.name}+{target.name}",
        )
        for target in known.of(identity)
    ]
    return TargetList(targets=entries, port=known.port)
