"""Log-ins and connections that were refused, as evidence that a scan cannot fill the journal with.

The first refusal of an address for a reason is recorded at once. Identical ones within `WINDOW` are counted, and
become one record with `count` when the window ends.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from vestibule.evidence.literals import mask_secrets
from vestibule.model.identity import Peer
from vestibule.model.record import Json, Kind, Record
from vestibule.protocols.base import Refused
from vestibule.server.admission import source_of

WINDOW: Final = 60.0
#: Windows that may be open; beyond that, refusals are counted together, whoever they come from.
OPEN: Final = 1_000
_ATTEMPTED: Final = 256

_Key = tuple[str, str, str]
_ANYBODY: Final[_Key] = ("", "", "")


@dataclass(slots=True)
class _Window:
    record: Record
    repeats: int = 0


class Refusals:
    """Writes the records."""

    def __init__(self, protocol: str, append: Callable[[Record], None], window: float = WINDOW) -> None:
        """Hand each record to `append`."""
        self._protocol = protocol
        self._append = append
        self._window = window
        self._windows: dict[_Key, _Window] = {}
        self._timers: dict[_Key, asyncio.TimerHandle] = {}

    def note(self, refused: Refused, client: Peer) -> None:
        """Record or count a connection that never came to a relay."""
        self.count(self._record(refused, client), client)

    def count(self, record: Record, client: Peer) -> None:
        """Record or count one refusal of `client`."""
        cause, attempted = str(record.members.get("cause", "")), str(record.members.get("attempted", ""))
        key = (source_of(client.ip), cause, attempted)
        if key not in self._windows and len(self._windows) >= OPEN:
            key, record = _ANYBODY, self._record(_MANY, _NOWHERE)
        window = self._windows.get(key)
        if window is not None:
            window.repeats += 1
            return
        self._windows[key] = _Window(record)
        self._timers[key] = asyncio.get_running_loop().call_later(self._window, self._end, key)
        self._append(record)

    def close(self) -> None:
        """Record what was only counted."""
        for key in list(self._windows):
            self._timers[key].cancel()
            self._end(key)

    def _end(self, key: _Key) -> None:
        window = self._windows.pop(key)
        del self._timers[key]
        if window.repeats:
            counted = {"count": window.repeats} if window.repeats > 1 else {}
            self._append(replace(window.record, members={**window.record.members, **counted}))

    def _record(self, refused: Refused, client: Peer) -> Record:
        members: dict[str, Json] = {
            "client": {"ip": client.ip, "port": client.port},
            "protocol": self._protocol,
            "decision": "deny",
            "cause": refused.cause[:1_024],
        }
        if refused.attempted:
            # A token that was typed as a user name, and that outside TLS, is a secret all the same.
            members = {"attempted": mask_secrets(refused.attempted)[:_ATTEMPTED], **members}
        return Record(Kind.ACCESS_DECIDED, members)


_NOWHERE: Final = Peer("", 0)
_MANY: Final = Refused("too many different refusals to list")
