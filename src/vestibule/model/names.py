"""Names that must not mix, and the one unit of time."""

from __future__ import annotations

import time
from typing import NewType

TargetName = NewType("TargetName", str)
RuleName = NewType("RuleName", str)
GroupName = NewType("GroupName", str)
LoginName = NewType("LoginName", str)

#: Microseconds since 1970-01-01 UTC.
Instant = NewType("Instant", int)

#: SHA-256 as 64 lower-case hexadecimal digits.
Digest = NewType("Digest", str)

SECOND = 1_000_000


def stamp(instant: Instant) -> str:
    """Write `instant` as `YYYY-MM-DDThh:mm:ss.ffffffZ`, always with six decimals."""
    seconds, micros = divmod(instant, SECOND)
    parts = time.gmtime(seconds)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', parts)}.{micros:06d}Z"
