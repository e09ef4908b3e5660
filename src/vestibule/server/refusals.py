"""Log-ins and connections that were refused, as evidence that a scan cannot fill the journal with.

The first refusal of an address for a reason is recorded at once. Identical ones within a window are counted, and
become one record with `count` when it ends (`repeats`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from vestibule.evidence.literals import mask_secrets
from vestibule.model.identity import Peer
from vestibule.model.record import Json, Kind, Record
from vestibule.protocols.base import Refused
from vestibule.server.admission import source_of
from vestibule.server.repeats import WINDOW, Repeats

_ATTEMPTED: Final = 256


class Refusals:
    """Writes the records."""

    def __init__(self, protocol: str, append: Callable[[Record], None], window: float = WINDOW) -> None:
        """Hand each record to `append`."""
        self._protocol = protocol
        self._append = append
        self._repeats = Repeats(self._write, self._record(_MANY, _NOWHERE), window)

    def note(self, refused: Refused, client: Peer) -> None:
        """Record or count a connection that never came to a relay."""
        self.count(self._record(refused, client), client)

    def count(self, record: Record, client: Peer) -> None:
        """Record or count one refusal of `client`."""
        cause, attempted = str(record.members.get("cause", "")), str(record.members.get("attempted", ""))
        self._repeats.note((source_of(client.ip), cause, attempted), record)

    def close(self) -> None:
        """Record what was only counted."""
        self._repeats.close()

    def _write(self, record: Record, count: int) -> None:
        self._append(record if count == 1 else replace(record, members={**record.members, "count": count}))

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
