"""What data processes ask of the control process, and the list of sessions that are open.

1. A proof is answered with the identity and a fresh data key; without a key that is kept there is no session.
2. A limit that is reached refuses as well (`places`).
3. Whatever cannot be answered is a refusal: no state database, no journal, no key.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

import structlog

from vestibule.bus import Handler
from vestibule.control.places import Places
from vestibule.model.event import Admission
from vestibule.model.identity import Identity, Peer, Refusal
from vestibule.model.login import StateUnavailable
from vestibule.wire.identity import answer_to_json
from vestibule.wire.jsonrpc import Json, Params

log = structlog.get_logger(__name__)


class Proofs(Protocol):
    """Who answers proofs."""

    async def prove(self, token: bytes, attempted: str, client: Peer) -> Identity | Refusal:
        """Say whose token this is."""
        ...

    async def prove_certificate(self, certificate: bytes, attempted: str, client: Peer) -> Identity | Refusal:
        """Say whose certificate this is."""
        ...


class Keys(Protocol):
    """Who makes data keys."""

    async def new_data_key(self, key_class: str) -> tuple[UUID, bytes]:
        """Make a key and keep it wrapped."""
        ...


@dataclass(frozen=True, slots=True)
class Live:
    """A session that is open now."""

    session: UUID
    worker: int
    login: UUID
    issuer: str
    subject: str
    name: str
    target: str
    ip: str
    started_at: int


class Desk:
    """Answers data processes, and knows who is in."""

    def __init__(
        self,
        proofs: Proofs,
        keys: Keys,
        policy: Callable[[], Json],
        may_open: Callable[[], bool],
        cancel: Callable[[str], Awaitable[object]],
        places: Places | None = None,
        authority: str = "",
    ) -> None:
        """Answer from `proofs` and `keys`; `policy` is what data processes decide by, `may_open` the journal's word.

        Clients are asked for certificates of `authority` (PEM), if there is one.
        """
        self._proofs, self._keys, self._policy = proofs, keys, policy
        self._may_open, self._cancel = may_open, cancel
        self._places = Places() if places is None else places
        self._authority = authority
        self._live: dict[UUID, Live] = {}
        self._on_closed: list[Callable[[UUID], Awaitable[None]]] = []

    def on_closed(self, told: Callable[[UUID], Awaitable[None]]) -> None:
        """Tell of each session that has ended."""
        self._on_closed.append(told)

    def handlers(self, worker: int) -> Mapping[str, Handler]:
        """Serve one data process."""
        return {
            "hello": lambda _: {"policy": self._policy(), "authority": self._authority},
            "prove": lambda params: self._prove(worker, params),
            "session_opened": lambda params: self._opened(worker, params),
            "session_closed": self._closed,
            "cancel": self._pass_cancel,
        }

    @property
    def live(self) -> tuple[Live, ...]:
        """The sessions that are open now."""
        return tuple(self._live.values())

    def find(self, session: UUID) -> Live | None:
        """Find an open session."""
        return self._live.get(session)

    def forget(self, worker: int) -> None:
        """Forget the sessions of a data process that has died."""
        self._places.forget(worker)
        self._live = {key: live for key, live in self._live.items() if live.worker != worker}

    async def _prove(self, worker: int, params: Params) -> Json:
        session = UUID(_text(params, "session"))
        self._places.begin(session, worker)
        answer = await self._answer(session, params)
        if isinstance(answer, Refusal):
            self._places.leave(session)
        return answer_to_json(answer)

    async def _answer(self, session: UUID, params: Params) -> Admission | Refusal:
        client = Peer(_text(params, "ip"), _number(params, "port"))
        attempted = _text(params, "attempted")
        answer = await self._proven(params, attempted, client)
        if isinstance(answer, Refusal):
            return answer
        if not self._may_open():
            return Refusal.UNAVAILABLE
        full = self._places.take(session, answer, client.ip, attempted, _text(params, "wanted"))
        if full is not None:
            return full
        try:
            key_id, key = await self._keys.new_data_key("session")
        except StateUnavailable as error:
            log.error("no_data_key", error=str(error))
            return Refusal.UNAVAILABLE
        return Admission(answer, str(key_id), key)

    async def _proven(self, params: Params, attempted: str, client: Peer) -> Identity | Refusal:
        match params.get("method"):
            case "token":
                return await self._proofs.prove(_text(params, "token").encode(), attempted, client)
            case "certificate":
                certificate = bytes.fromhex(_text(params, "certificate"))
                return await self._proofs.prove_certificate(certificate, attempted, client)
            case _:
                raise ValueError("method is none that is known")

    def _opened(self, worker: int, params: Params) -> Json:
        live = Live(
            session=UUID(_text(params, "session")),
            worker=worker,
            login=UUID(_text(params, "login")),
            issuer=_text(params, "iss"),
            subject=_text(params, "sub"),
            name=_text(params, "name"),
            target=_text(params, "target"),
            ip=_text(params, "ip"),
            started_at=_number(params, "started_at"),
        )
        self._live[live.session] = live
        return None

    async def _closed(self, params: Params) -> Json:
        session = UUID(_text(params, "session"))
        self._places.leave(session)
        self._live.pop(session, None)
        for told in self._on_closed:
            await told(session)
        return None

    async def _pass_cancel(self, params: Params) -> Json:
        # The key leads to another data process; the one that it leads to compares it.
        await self._cancel(_text(params, "key"))
        return None


def _text(params: Params, name: str) -> str:
    value = params.get(name)
    if not isinstance(value, str):
        raise ValueError(f"{name} is not a string")
    return value


def _number(params: Params, name: str) -> int:
    value = params.get(name)
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError(f"{name} is not a number")
    return value
