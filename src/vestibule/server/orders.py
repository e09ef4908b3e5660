"""What the control process tells and asks a data process, by the methods of the bus."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final
from uuid import UUID

from vestibule.bus import Peer
from vestibule.evidence.heartbeat import sessions_digest
from vestibule.model.approval import Answer
from vestibule.model.errors import VestibuleError
from vestibule.model.event import Answered
from vestibule.server.clock import Clock
from vestibule.server.driver import Driver, What
from vestibule.server.sessions import Sessions, alone
from vestibule.wire.approval import approval_id
from vestibule.wire.jsonrpc import Json, Params

#: Conversations that are told something before the loop looks at its sockets again.
_AT_ONCE: Final = 32
#: Sessions that a report names; beyond that it counts them.
_NAMED: Final = 20_000
_ANSWERS: Final[tuple[Answer, ...]] = ("granted", "refused", "expired", "withdrawn")


class Orders:
    """Carries out the control process's calls."""

    def __init__(
        self,
        sessions: Sessions,
        clock: Clock,
        state: Callable[[], Mapping[str, Json]],
        apply_policy: Callable[[Params], None],
        drain: Callable[[float], Awaitable[None]],
    ) -> None:
        """Act on `sessions`; `state` says how the process is doing besides."""
        self._sessions = sessions
        self._clock = clock
        self._state = state
        self._apply_policy = apply_policy
        self._drain = drain

    def serve(self, peer: Peer) -> None:
        """Answer on `peer`."""
        peer.on("policy", self.policy)
        peer.on("revoked", self.revoked)
        peer.on("kill", self.kill)
        peer.on("cancel", self.cancel)
        peer.on("answered", self.answered)
        peer.on("drain", self.drain)
        peer.on("report", self.report)
        peer.on("state", lambda _: self._state())

    async def policy(self, params: Params) -> Json:
        """Let a policy take effect, then have every session look at it."""
        try:
            self._apply_policy(params)
        except VestibuleError as error:
            raise ValueError(str(error)) from error
        await self.tell(self._sessions.all(), "policy")
        return {}

    async def revoked(self, params: Params) -> Json:
        """End the sessions of a login, or those of one token where it is named."""
        token = None if params.get("token") is None else _text(params, "token")
        drivers = self._sessions.of_login(_uuid(params, "login"), token)
        await self.tell(drivers, "revoke", _text(params, "cause"))
        return {"sessions": [str(driver.conversation.session) for driver in drivers]}

    def kill(self, params: Params) -> Json:
        """End one session."""
        driver = self._sessions.find(_uuid(params, "session"))
        if driver is not None:
            driver.tell("kill", _text(params, "by"))
        return {"killed": driver is not None}

    def cancel(self, params: Params) -> Json:
        """Stop the running statement of the session with this key."""
        driver = self._sessions.by_key(bytes.fromhex(_text(params, "key")))
        if driver is not None:
            driver.tell("cancel")
        return {"cancelled": driver is not None}

    def answered(self, params: Params) -> Json:
        """Tell a session what people answered."""
        answer = _text(params, "answer")
        if answer not in _ANSWERS:
            raise ValueError("answer is none of those there are")
        approval = approval_id(_text(params, "approval"))
        driver = self._sessions.find(_uuid(params, "session"))
        if driver is not None:
            driver.answered(Answered(approval, answer, _text(params, "by"), _text(params, "comment")))
        return {}

    async def drain(self, params: Params) -> Json:
        """Accept nobody more, end all sessions, and answer when they have ended or time is over."""
        seconds = params.get("deadline")
        if isinstance(seconds, bool) or not isinstance(seconds, int | float) or seconds < 0:
            raise ValueError("deadline is not a number of seconds")
        await self._drain(float(seconds))
        return {}

    def report(self, _: Params) -> Json:
        """Say which sessions are open, and how the process is doing."""
        ids = self._sessions.open_ids
        return {
            "sessions": [str(session) for session in ids[:_NAMED]],
            "sessions_open": len(ids),
            "sessions_digest": sessions_digest(ids),
            **self._state(),
            "mono_us": self._clock.elapsed_us(),
        }

    async def tell(self, drivers: Sequence[Driver], what: What, by: str = "") -> None:
        """Tell many conversations, and let the others go on meanwhile."""
        for number, driver in enumerate(drivers, 1):
            alone(driver, "Told", lambda told: told.tell(what, by))
            if number % _AT_ONCE == 0:
                await asyncio.sleep(0)


def _text(params: Params, name: str) -> str:
    value = params.get(name)
    if not isinstance(value, str):
        raise ValueError(f"{name} is not a string")
    return value


def _uuid(params: Params, name: str) -> UUID:
    try:
        return UUID(_text(params, name))
    except ValueError:
        raise ValueError(f"{name} is not a UUID") from None
