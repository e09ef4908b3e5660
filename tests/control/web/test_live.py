import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.support.approvals import BEA
from vestibule.control.approvals import Watch
from vestibule.control.web.live import CHANGED, ENDED, STILL, Live
from vestibule.model.approval import ApprovalId

pytestmark = pytest.mark.asyncio
ONE = ApprovalId("AR-0000000001")


class Reader:
    """A page that reads a stream; `is_in` says whether its visitor is signed in."""

    def __init__(self, beat: float = 60) -> None:
        self.is_in = True
        self.left: list[Watch] = []
        self.watch = Watch(BEA, self.left.append)
        self.response = Live(self.watch, self.is_signed_in, beat)
        self.sent: asyncio.Queue[bytes] = asyncio.Queue()
        self.gone = asyncio.Event()

    async def is_signed_in(self) -> bool:
        return self.is_in

    async def _receive(self) -> dict[str, str]:
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: dict[str, object]) -> None:
        if body := message.get("body"):
            assert isinstance(body, bytes)
            self.sent.put_nowait(body)

    async def read(self) -> bytes:
        async with asyncio.timeout(5):
            return await self.sent.get()

    @asynccontextmanager
    async def reading(self) -> AsyncIterator["asyncio.Task[None]"]:
        scope = {"type": "http", "asgi": {"spec_version": "2.3"}}
        task = asyncio.ensure_future(self.response(scope, self._receive, self._send))  # type: ignore[arg-type]
        try:
            assert await self.read() == CHANGED
            yield task
        finally:
            self.gone.set()
            async with asyncio.timeout(5):
                await task


async def test_a_change_is_told_at_once_and_carries_nothing() -> None:
    reader = Reader()
    async with reader.reading():
        reader.watch.tell(ONE)
        assert await reader.read() == CHANGED
        reader.watch.tell(ONE)
        assert await reader.read() == CHANGED
    assert b"AR-" not in CHANGED


async def test_a_silent_stream_shows_that_it_is_there_and_still_hears() -> None:
    reader = Reader(beat=0.01)
    async with reader.reading():
        assert await reader.read() == STILL
        assert await reader.read() == STILL
        reader.watch.tell(ONE)
        while (said := await reader.read()) == STILL:
            pass
        assert said == CHANGED


async def test_nothing_is_told_to_somebody_whose_session_has_ended() -> None:
    reader = Reader()
    async with reader.reading() as task:
        reader.is_in = False
        reader.watch.tell(ONE)
        assert await reader.read() == ENDED
        await task
    assert reader.sent.empty()


async def test_the_end_of_a_session_is_noticed_without_a_change() -> None:
    reader = Reader(beat=0.01)
    async with reader.reading():
        reader.is_in = False
        while (said := await reader.read()) == STILL:
            pass
        assert said == ENDED


async def test_a_watch_that_ends_with_the_log_in_says_so_and_one_that_ends_with_the_process_does_not() -> None:
    for is_in, said in ((False, [ENDED]), (True, [])):
        reader = Reader()
        async with reader.reading() as task:
            reader.is_in = is_in
            reader.watch.close()
            await task
        assert [reader.sent.get_nowait() for _ in range(reader.sent.qsize())] == said


async def test_a_reader_who_goes_leaves_no_watch_behind() -> None:
    reader = Reader()
    async with reader.reading():
        pass
    assert reader.left


async def test_a_reader_who_is_gone_before_the_first_byte_leaves_no_watch_behind() -> None:
    reader = Reader()

    async def send(message: object) -> None:
        raise OSError("gone")

    scope = {"type": "http", "asgi": {"spec_version": "2.4"}}
    with pytest.raises(Exception):  # noqa: B017 - the server's own way to end a request
        await reader.response(scope, reader._receive, send)  # type: ignore[arg-type]
    assert reader.left
