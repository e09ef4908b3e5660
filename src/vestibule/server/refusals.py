"""Connections that never came to a relay, as evidence that a scan cannot fill the journal with.

The first refusal of an address for a reason is recorded at once. Identical ones within `WINDOW` are counted, and
become one record with `count` when the window ends.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from vestibule.model.identity import Peer
from vestibule.model.record import Json, Kind, Record
from vestibule.protocols.base import Refused
from vestibule.server.admission import source_of

WINDOW: Final = 60.0
#: Windows that may be open; beyond that, refusals are counted together, whoever they come from.
OPEN: Final = 1_000
_ATTEMPTED: Final = 256


@dataclass(slots=True)
class _Window:
    refused: Refused
    client: Peer
    repeats: int = 0


class Refusals:
    """Writes the records."""

    def __init__(self, protocol: str, append: Callable[[Record], None], window: float = WINDOW) -> None:
        """Hand each record to `append`."""
        self._protocol = protocol
        self._append = append
        self._window = window
        self._windows: dict[tuple[str, str, str], _Window] = {}
        self._timers: dict[tuple[str, str, str], asyncio.TimerHandle] = {}

    def note(self, refused: Refused, client: Peer) -> None:
        """Record or count one refusal."""
        key = (source_of(client.ip), refused.cause, refused.attempted[:_ATTEMPTED])
        if key not in self._windows and len(self._windows) >= OPEN:
            key, client, refused = _ANYBODY, _NOWHERE, _MANY
        window = self._windows.get(key)
        if window is not None:
            window.repeats += 1
            return
        self._windows[key] = _Window(refused, client)
        self._timers[key] = asyncio.get_running_loop().call_later(self._window, self._end, key)
        self._append(self._record(refused, client, 1))

    def close(self) -> None:
        """Record what was only counted."""
        for key in list(self._windows):
            self._timers[key].cancel()
            self._end(key)

    def _end(self, key: tuple[str, str, str]) -> None:
        window = self._windows.pop(key)
        del self._timers[key]
        if window.repeats:
            self._append(self._record(window.refused, window.client, window.repeats))

    def _record(self, refused: Refused, client: Peer, count: int) -> Record:
        members: dict[str, Json] = {
            "client": {"ip": client.ip, "port": client.port},
            "protocol": self._protocol,
            "decision": "deny",
            "cause": refused.cause[:1_024],
        }
        if refused.attempted:
            members = {"attempted": refused.attempted[:_ATTEMPTED], **members}
        if count > 1:
            members["count"] = count
        return Record(Kind.ACCESS_DECIDED, members)


_ANYBODY: Final = ("", "", "")
_NOWHERE: Final = Peer("", 0)
_MANY: Final = Refused("too many different refusals to list")
