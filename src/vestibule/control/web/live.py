"""Pages that are open hear at once that something has changed (server-sent events).

1. An event carries nothing but that it happened: the page fetches what its visitor may see.
2. A stream ends when its watch does, and within seconds of the end of its visitor's session.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import Final

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from vestibule.control.approvals import Watch

#: Seconds between two looks at whether the visitor is still signed in; the stream is written to each time.
BEAT: Final = 5.0

CHANGED: Final = b"event: changed\ndata: \n\n"
ENDED: Final = b"event: ended\ndata: \n\n"
STILL: Final = b": still here\n\n"


class Live(StreamingResponse):
    """A stream of one page's; its watch ends with it, however it ends."""

    def __init__(self, watch: Watch, is_signed_in: Callable[[], Awaitable[bool]], beat: float = BEAT) -> None:
        super().__init__(_events(watch, is_signed_in, beat), media_type="text/event-stream")
        self._watch = watch

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        with self._watch:
            await super().__call__(scope, receive, send)


async def _events(watch: Watch, is_signed_in: Callable[[], Awaitable[bool]], beat: float) -> AsyncIterator[bytes]:
    # What changed between the page and its stream would be missed otherwise.
    yield CHANGED
    async for has_changed in _turns(watch, beat):
        if not await is_signed_in():
            break
        yield CHANGED if has_changed else STILL
    # A log-in that ends ends its watches too.
    if not await is_signed_in():
        yield ENDED


async def _turns(watch: Watch, beat: float) -> AsyncIterator[bool]:
    """Give True for each change, and False when none has come for a beat."""
    changes = aiter(watch)
    coming: asyncio.Task[object] | None = None
    try:
        while True:
            # Not `timeout`: it would end the watch's own wait, and with it the watch.
            coming = coming or asyncio.ensure_future(anext(changes, None))
            await asyncio.wait((coming,), timeout=beat)
            if not coming.done():
                yield False
                continue
            if coming.result() is None:
                return
            coming = None
            yield True
    finally:
        if coming is not None:
            coming.cancel()
            with suppress(asyncio.CancelledError):
                await coming
