"""What each side may say when; a message that is not in the table ends the session, both sides.

1. READY: the client speaks freely. 2. SKIP: after an error in the extended protocol everything up to Sync is dropped,
as the server drops it. 3. COPY_IN: only the copy itself; Sync and Flush are ignored there, as the server ignores them.
4. Messages of a COPY that has failed meanwhile are dropped in every state but COPY_IN.
"""

from __future__ import annotations

from enum import Enum
from typing import Final

from vestibule.protocols.postgres import messages as pg


class State(Enum):
    """Where the client's half of the session stands."""

    READY = "ready"
    SKIP = "skip"
    COPY_IN = "copy in"


class Act(Enum):
    """What becomes of a client's message."""

    HANDLE = "handle"
    DROP = "drop"


_COPY: Final = (pg.CopyData, pg.CopyDone, pg.CopyFail)
_EXTENDED: Final = (pg.Parse, pg.Bind, pg.Describe, pg.Execute, pg.Close, pg.Flush)

CLIENT: Final[dict[State, dict[type, Act]]] = {
    State.READY: {
        **dict.fromkeys((pg.Query, pg.FunctionCall, pg.Sync, pg.Terminate, *_EXTENDED), Act.HANDLE),
        **dict.fromkeys(_COPY, Act.DROP),
    },
    State.SKIP: {
        **dict.fromkeys((pg.Sync, pg.Terminate), Act.HANDLE),
        **dict.fromkeys((pg.Query, pg.FunctionCall, *_EXTENDED, *_COPY), Act.DROP),
    },
    State.COPY_IN: {
        **dict.fromkeys((*_COPY, pg.Terminate), Act.HANDLE),
        **dict.fromkeys((pg.Sync, pg.Flush), Act.DROP),
    },
}
