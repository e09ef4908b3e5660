"""The conversations of this process: who is in it, and which one a cancel request means.

1. A cancel key is 8 bytes: the process's number (which routes a request that came to another process), 3 random bytes,
   and 4 more that are compared in constant time. The first 4 are unique among the living.
2. A conversation is a session from its opening to its end; before that it can be ended, but not cancelled.
3. What is done with all of them is done with each alone: where it fails, that conversation ends, and no other.
"""

from __future__ import annotations

import hmac
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from vestibule.server.driver import Driver

#: The first byte of a key is the first of a signed number: a process's number stays below its sign.
WORKERS: Final = 128
_ROUTE: Final = 4
_NOBODY: Final = bytes(4)


@dataclass(slots=True)
class _Entry:
    driver: Driver
    is_open: bool = False


class Sessions:
    """All conversations of one process."""

    def __init__(self, worker: int, random: Callable[[int], bytes] = os.urandom) -> None:
        """Make keys that lead to the process number `worker`."""
        if not 0 <= worker < WORKERS:
            raise ValueError(f"a data process has a number from 0 to {WORKERS - 1}")
        self._worker = worker
        self._random = random
        self._entries: dict[UUID, _Entry] = {}
        self._keys: dict[bytes, tuple[bytes, UUID]] = {}

    def new_key(self) -> bytes:
        """Make a cancel key whose route nobody has."""
        while True:
            key = bytes([self._worker]) + self._random(7)
            if key[:_ROUTE] not in self._keys and key[:_ROUTE] != _NOBODY:
                return key

    def add(self, driver: Driver) -> None:
        """Keep a conversation."""
        self._entries[driver.conversation.session] = _Entry(driver)

    def open(self, driver: Driver, key: bytes) -> None:
        """Make it a session that `key` cancels."""
        session = driver.conversation.session
        self._entries[session].is_open = True
        self._keys[key[:_ROUTE]] = (key[_ROUTE:], session)

    def remove(self, driver: Driver) -> bool:
        """Forget a conversation; tell whether it was a session."""
        session = driver.conversation.session
        entry = self._entries.pop(session, None)
        route = driver.conversation.cancel_key[:_ROUTE]
        if self._keys.get(route, (b"", None))[1] == session:
            del self._keys[route]
        return entry is not None and entry.is_open

    def all(self) -> list[Driver]:
        """List all conversations."""
        return [entry.driver for entry in self._entries.values()]

    def each(self, doing: str, act: Callable[[Driver], object]) -> None:
        """Do something with every conversation; `doing` names it in the log, should it fail."""
        for driver in self.all():
            alone(driver, doing, act)

    def find(self, session: UUID) -> Driver | None:
        """Find a conversation."""
        entry = self._entries.get(session)
        return None if entry is None else entry.driver

    def of_login(self, login: UUID, token: str | None = None) -> list[Driver]:
        """List the conversations that this login opened, or that one of its tokens did (by its id)."""
        return [
            driver
            for driver in self.all()
            if driver.identity is not None
            and driver.identity.who.login == login
            and token in (None, driver.identity.proof.credential)
        ]

    def by_key(self, key: bytes) -> Driver | None:
        """Find the session that a cancel request means; right and wrong keys take the same time."""
        secret, session = self._keys.get(key[:_ROUTE], (_NOBODY, None))
        is_right = hmac.compare_digest(secret, key[_ROUTE:])
        return self.find(session) if is_right and session is not None else None

    def leads_here(self, key: bytes) -> bool:
        """Tell whether a key was made by this process."""
        return key[:1] == bytes([self._worker])

    @property
    def open_ids(self) -> list[UUID]:
        """List the sessions."""
        return [session for session, entry in self._entries.items() if entry.is_open]


def alone(driver: Driver, doing: str, act: Callable[[Driver], object]) -> None:
    """Do something with one conversation, which ends if that fails."""
    try:
        act(driver)
    except Exception as error:  # noqa: BLE001 - whatever fails here fails this session alone
        # What is broken may break its own farewell too; the time limit of that cuts it then.
        with suppress(Exception):
            driver.fail(doing, error)
