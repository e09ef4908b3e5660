import asyncio
from collections.abc import Sequence

import pytest
import structlog

from tests.support.doors import End, eventually
from tests.support.driving import MakeScene, data_of, on, open_scene, statement, target_of
from tests.support.scripted import ScriptedRelay, record
from vestibule.gate.permit import session_permit
from vestibule.model.effect import (
    Close,
    Effect,
    Pause,
    Persist,
    Resume,
    Send,
)
from vestibule.model.event import (
    Ended,
    Event,
    Received,
    Side,
    Told,
)
from vestibule.model.record import Kind
from vestibule.server import driver as driver_module

pytestmark = pytest.mark.asyncio


# --- reading and writing ---------------------------------------------------------------------------------------------


async def test_small_messages_of_one_handle_leave_as_one_write(
    make_scene: MakeScene, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = await open_scene(make_scene)
    writes: list[int] = []
    door = scene.driver._client
    assert door._transport is not None
    transport = door._transport

    class Counting:
        def __getattr__(self, name: str) -> object:
            return getattr(transport, name)

        def writelines(self, chunks: list[bytes]) -> None:
            writes.append(len(chunks))
            transport.writelines(chunks)

    monkeypatch.setattr(door, "_transport", Counting())
    scene.script.answer = on(b"Q", *(Send(Side.CLIENT, b"row") for _ in range(100)))
    await scene.client.send(b"Q")
    assert await scene.client.take(300) == b"row" * 100
    assert writes == [1]


async def test_a_paused_side_is_not_read_until_it_is_resumed(make_scene: MakeScene) -> None:
    scene = await open_scene(make_scene)

    def answer(event: Event) -> Sequence[Effect]:
        match event:
            case Received(data=b"stop"):
                return (Pause(Side.CLIENT),)
            case Told():
                return (Resume(Side.CLIENT),)
            case _:
                return ()

    scene.script.answer = answer
    await scene.client.send(b"stop")
    await eventually(lambda: scene.script.events)
    await scene.client.send(b"more")
    await asyncio.sleep(0.05)
    assert scene.script.events == [Received(Side.CLIENT, b"stop")]
    scene.driver.tell("policy")
    await eventually(lambda: len(scene.script.events) == 3)
    assert scene.script.events[-1] == Received(Side.CLIENT, b"more")


async def pump(sender: End, receiver: End, total: int) -> None:
    """Send and receive `total` bytes each way at the same time, over one end of each connection."""
    chunk = b"x" * 65_536

    async def push() -> None:
        for _ in range(total // len(chunk)):
            await asyncio.get_running_loop().sock_sendall(sender.sock, chunk)

    async def pull() -> None:
        left = total
        while left:
            left -= len(await asyncio.get_running_loop().sock_recv(receiver.sock, min(left, 1 << 18)))

    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        group.create_task(push())
        group.create_task(pull())


async def test_a_pipeline_that_fills_both_ways_at_once_never_stands_still(make_scene: MakeScene) -> None:
    scene = make_scene(copying=True, buffers=65_536)
    await scene.begin(b"!")
    end = await scene.accept()
    assert await end.take(1) == b"!"
    total = 64 << 20
    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        group.create_task(pump(scene.client, end, total))
        group.create_task(pump(end, scene.client, total))


async def test_a_target_that_answers_before_it_reads_on_never_stands_still(make_scene: MakeScene) -> None:
    """Reads one chunk, writes one: a real server, which does not read while its answer finds no room."""
    scene = make_scene(copying=True, buffers=65_536)
    await scene.begin(b"!")
    end = await scene.accept()
    await end.take(1)
    chunk, total = 1 << 16, 16 << 20

    async def serve() -> None:
        for _ in range(total // chunk):
            await end.send(await end.take(chunk))

    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        group.create_task(serve())
        group.create_task(pump(scene.client, scene.client, total))


async def stuffed(end: End) -> int:
    """Send until nothing is taken any more, and say how much that was."""
    sent, full_since = 0, 0.0
    loop = asyncio.get_running_loop()
    while not full_since or loop.time() - full_since < 0.2:
        try:
            sent += end.sock.send(b"x" * 65_536)
            full_since = 0.0
        except BlockingIOError:
            full_since = full_since or loop.time()
        await asyncio.sleep(0.001)
    return sent


@pytest.mark.parametrize("slow", [Side.CLIENT, Side.TARGET])
async def test_a_side_that_does_not_read_stops_the_other_and_costs_bounded_memory(
    make_scene: MakeScene, slow: Side
) -> None:
    scene = make_scene(copying=True, buffers=65_536)
    await scene.begin(b"!")
    end = await scene.accept()
    await end.take(1)
    sender, reader = (end, scene.client) if slow is Side.CLIENT else (scene.client, end)
    sent = await stuffed(sender)
    # Most of it is in the kernel's buffers, which size themselves.
    assert sent < 24 << 20
    door = scene.driver._door(slow)
    assert door._transport is not None
    assert door._queued + door._transport.get_write_buffer_size() < 1 << 20
    assert await reader.take(sent) == b"x" * sent
    await sender.send(b"goes on")
    assert await reader.take(7) == b"goes on"


async def test_a_client_that_reads_none_of_its_answers_is_not_read_either(make_scene: MakeScene) -> None:
    scene = make_scene(relay=ScriptedRelay(lambda event: (Send(Side.CLIENT, data_of(event)),)), buffers=65_536)
    await scene.begin()
    sent = await stuffed(scene.client)
    assert sent < 24 << 20
    assert await scene.client.take(sent) == b"x" * sent


# --- ends ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["leave", "reset"])
@pytest.mark.parametrize("side", list(Side))
async def test_a_lost_side_is_told_once(make_scene: MakeScene, side: Side, how: str) -> None:
    scene = await open_scene(make_scene)
    scene.script.answer = lambda event: (Close("over"),) if isinstance(event, Ended) else ()
    getattr(scene.client if side is Side.CLIENT else target_of(scene), how)()
    other = target_of(scene) if side is Side.CLIENT else scene.client
    assert await other.rest() == b""
    other.leave()
    assert await scene.ended() == "over"
    assert scene.script.events == [Ended(side)]


async def test_a_relay_that_does_nothing_about_two_lost_sides_is_closed_all_the_same(make_scene: MakeScene) -> None:
    scene = await open_scene(make_scene)
    scene.client.reset()
    target_of(scene).reset()
    assert await scene.ended() == "both connections ended"
    assert scene.journal.kinds() == [Kind.SESSION_CLOSED]


async def test_close_flushes_what_was_sent_and_lets_nothing_more_in(make_scene: MakeScene) -> None:
    scene = await open_scene(make_scene, "told")
    words = b"x" * (2 << 20)
    closing = (
        Persist(record("closed", Kind.SESSION_CLOSED)),
        Send(Side.CLIENT, words),
        Send(Side.CLIENT, b"57P01", after="closed"),
        Send(Side.TARGET, b"terminate", session_permit(scene.session)),
        Close("killed"),
        Send(Side.CLIENT, b"nothing follows Close"),
    )
    scene.script.answer = on(b"K", *closing)
    await scene.client.send(b"K")
    assert await target_of(scene).take(9) == b"terminate"
    await scene.client.send(b"more")
    scene.driver.tell("policy")
    assert await scene.client.take(len(words)) == words
    scene.journal.tickets[0].settle()
    assert await scene.client.rest() == b"57P01"
    scene.client.leave()
    target_of(scene).leave()
    assert await scene.ended() == "killed"
    assert scene.script.events == [Received(Side.CLIENT, b"K")]


async def test_a_peer_that_does_not_take_the_last_words_is_cut_off_in_time(
    make_scene: MakeScene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(driver_module, "DRAIN_SECONDS", 0.1)
    scene = await open_scene(make_scene)
    scene.script.answer = on(b"K", Send(Side.CLIENT, b"x" * (32 << 20)), Close("killed"))
    await scene.client.send(b"K")
    assert await scene.ended() == "killed"


async def test_a_record_that_never_becomes_durable_does_not_keep_a_closed_session(
    make_scene: MakeScene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(driver_module, "DRAIN_SECONDS", 0.1)
    scene = await open_scene(make_scene, "told")
    scene.script.answer = on(b"K", *statement(scene, "decided/1", b"never"), Close("killed"))
    await scene.client.send(b"K")
    assert await target_of(scene).rest() == b""
    assert await scene.ended() == "killed"


async def test_an_error_in_a_relay_ends_its_session_alone_and_is_recorded(make_scene: MakeScene) -> None:
    scene, other = await open_scene(make_scene, "told"), await open_scene(make_scene)

    def fail(event: Event) -> Sequence[Effect]:
        match data_of(event):
            case b"Q":
                return statement(scene, "decided/1", b"waits for its record")
            case b"secret":
                raise RuntimeError("secret")
            case _:
                return ()

    scene.script.answer = fail
    await scene.client.send(b"Q")
    await eventually(lambda: scene.journal.tickets)
    with structlog.testing.capture_logs() as logs:
        await scene.client.send(b"secret")
        assert await scene.client.rest() == b""
    scene.journal.tickets[0].settle()
    assert await target_of(scene).rest() == b""
    scene.client.leave()
    target_of(scene).leave()
    assert await scene.ended() == "protocol error"
    assert [entry["event"] for entry in logs] == ["relay_failed"]
    assert (logs[0]["during"], logs[0]["error"]) == ("Received", "RuntimeError")
    assert "secret" not in repr(logs).replace("secret_", "")
    closing = scene.journal.records[-1]
    assert (closing.kind, closing.members["cause"]) == (Kind.SESSION_CLOSED, "protocol_error")
    other.script.answer = on(b"Q", Send(Side.CLIENT, b"untouched"))
    await other.client.send(b"Q")
    assert await other.client.take(9) == b"untouched"


async def test_a_session_that_its_relay_closed_is_recorded_once(make_scene: MakeScene) -> None:
    scene = await open_scene(make_scene)
    scene.script.answer = on(b"K", Persist(record(kind=Kind.SESSION_CLOSED)), Close("client closed"))
    await scene.client.send(b"K")
    assert await scene.client.rest() == b""
    scene.client.leave()
    target_of(scene).leave()
    assert await scene.ended() == "client closed"
    assert scene.journal.kinds() == [Kind.SESSION_CLOSED]


async def test_an_aborted_conversation_is_gone_and_recorded(make_scene: MakeScene) -> None:
    scene = await open_scene(make_scene)
    scene.driver.end("the gateway is shutting down", "shutdown")
    scene.driver.abort()
    assert await scene.ended() == "the gateway is shutting down"
    assert scene.journal.records[-1].members["cause"] == "shutdown"


async def test_a_dead_peer_is_cut_off(make_scene: MakeScene, monkeypatch: pytest.MonkeyPatch) -> None:
    scene = await open_scene(make_scene)
    scene.script.answer = lambda event: (Close("client lost"),) if isinstance(event, Ended) else ()
    scene.driver.look_after()
    assert scene.script.events == []
    monkeypatch.setattr(scene.driver._client, "is_dead", lambda: True, raising=False)
    scene.driver.look_after()
    target_of(scene).leave()
    assert await scene.ended() == "client lost"
