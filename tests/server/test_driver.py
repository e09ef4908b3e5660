import asyncio
from collections.abc import Callable, Sequence

import pytest
import structlog

from tests.support.doors import End, Scene, eventually
from tests.support.scripted import ScriptedRelay, conversation, permit_for, record
from vestibule.gate.permit import OPENED, access_permit, session_permit
from vestibule.model.effect import (
    Analyse,
    Cancel,
    Close,
    Dial,
    Effect,
    Opened,
    Pause,
    Persist,
    Prove,
    Resume,
    Send,
    Wake,
)
from vestibule.model.errors import EvidenceUnavailable
from vestibule.model.event import (
    Analysed,
    Dialed,
    DialFailed,
    Ended,
    Event,
    Proven,
    Received,
    Side,
    Told,
    Unrecorded,
    Woken,
)
from vestibule.model.identity import Refusal
from vestibule.model.names import Instant
from vestibule.model.record import Kind, Reference
from vestibule.model.statement import Parsed, Unsupported
from vestibule.server import driver as driver_module

pytestmark = pytest.mark.asyncio

FAILED = EvidenceUnavailable("told to")
MakeScene = Callable[..., Scene]


def data_of(event: Event) -> bytes:
    return event.data if isinstance(event, Received) else b""


def on(word: bytes, *effects: Effect) -> Callable[[Event], Sequence[Effect]]:
    return lambda event: effects if data_of(event) == word else ()


async def open_scene(make_scene: MakeScene, journal: str = "soon") -> Scene:
    """Make a scene whose target is dialled and whose session is open."""
    scene = make_scene(journal="soon")

    def opening(event: Event) -> Sequence[Effect]:
        match event:
            case Received():
                return Persist(record("access")), Dial(scene.to, access_permit(scene.session))
            case Dialed():
                return Persist(record(OPENED, Kind.SESSION_OPENED, scene.session)), Opened(b"12345678")
            case _:
                return ()

    scene.script.answer = opening
    await scene.begin(b"hello")
    await scene.accept()
    await eventually(lambda: scene.desk.opened_keys)
    await asyncio.sleep(0.01)
    scene.journal.mode = journal
    scene.journal.tickets.clear()
    scene.script.events.clear()
    scene.script.answer = lambda _: ()
    return scene


def target_of(scene: Scene) -> End:
    assert scene.target is not None
    return scene.target


def statement(scene: Scene, name: str, data: bytes) -> tuple[Effect, ...]:
    return Persist(record(name)), Send(Side.TARGET, data, permit_for(name, scene.session))


# --- evidence first --------------------------------------------------------------------------------------------------


async def test_a_send_to_the_target_never_leaves_before_its_record_is_durable(make_scene: MakeScene) -> None:
    scene = await open_scene(make_scene, "told")
    scene.script.answer = on(b"Q", *statement(scene, "decided/1", b"SELECT 1"))
    await scene.client.send(b"Q")
    await eventually(lambda: scene.journal.tickets)
    assert await target_of(scene).nothing()
    scene.journal.tickets[0].settle()
    assert await target_of(scene).take(8) == b"SELECT 1"


async def test_an_answer_to_the_client_never_leaves_before_the_record_it_names(make_scene: MakeScene) -> None:
    scene = await open_scene(make_scene, "told")
    scene.script.answer = on(b"Q", Persist(record("decided/1")), Send(Side.CLIENT, b"denied", after="decided/1"))
    await scene.client.send(b"Q")
    await eventually(lambda: scene.journal.tickets)
    assert await scene.client.nothing()
    scene.journal.tickets[0].settle()
    assert await scene.client.take(6) == b"denied"


async def test_all_records_of_one_handle_are_one_batch_and_nothing_overtakes_it(make_scene: MakeScene) -> None:
    scene = await open_scene(make_scene, "told")
    effects = (
        *statement(scene, "decided/1", b"1"),
        *statement(scene, "decided/2", b"2"),
        Send(Side.TARGET, b"sync", session_permit(scene.session)),
    )
    scene.script.answer = on(b"Q", *effects)
    await scene.client.send(b"Q")
    await eventually(lambda: scene.journal.tickets)
    assert [len(ticket.records) for ticket in scene.journal.tickets] == [2]
    assert await target_of(scene).nothing()
    scene.journal.tickets[0].settle()
    assert await target_of(scene).take(6) == b"12sync"


async def test_the_other_side_is_not_held_up_by_a_record(make_scene: MakeScene) -> None:
    scene = await open_scene(make_scene, "told")
    scene.script.answer = on(b"Q", *statement(scene, "decided/1", b"1"), Send(Side.CLIENT, b"notice"))
    await scene.client.send(b"Q")
    assert await scene.client.take(6) == b"notice"
    assert await target_of(scene).nothing()


async def test_the_target_is_dialled_only_once_the_decision_on_access_is_durable(make_scene: MakeScene) -> None:
    scene = make_scene(journal="told")
    scene.script.answer = on(b"hello", Persist(record("access")), Dial(scene.to, access_permit(scene.session)))
    await scene.begin(b"hello")
    loop = asyncio.get_running_loop()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await loop.sock_accept(scene.listening)
    scene.journal.tickets[0].settle()
    await scene.accept()
    await eventually(lambda: scene.script.of(Dialed))


@pytest.mark.parametrize("journal", ["told", "refused", "raising"])
async def test_a_target_is_never_dialled_when_access_cannot_be_recorded(make_scene: MakeScene, journal: str) -> None:
    scene = make_scene(journal=journal)
    scene.script.answer = on(b"hello", Persist(record("access")), Dial(scene.to, access_permit(scene.session)))
    await scene.begin(b"hello")
    if journal == "told":
        scene.journal.tickets[0].settle(FAILED)
    assert scene.script.of(Unrecorded) == [Unrecorded(("access",))]
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await asyncio.get_running_loop().sock_accept(scene.listening)


@pytest.mark.parametrize(
    "effects",
    [
        lambda scene: (Send(Side.TARGET, b"x", permit_for("decided/9", scene.session)),),
        lambda scene: (Send(Side.CLIENT, b"x", after="decided/9"),),
        lambda scene: (Send(Side.TARGET, b"x", session_permit(conversation().session)),),
        lambda scene: (Cancel(b"x", permit_for("decided/9", scene.session)),),
        lambda scene: (Dial(scene.to, permit_for("decided/9", scene.session)),),
    ],
    ids=["target", "client", "another session's permit", "cancel", "dial"],
)
async def test_an_effect_that_names_no_record_of_this_conversation_closes_the_session(
    make_scene: MakeScene, effects: Callable[[Scene], Sequence[Effect]]
) -> None:
    scene = await open_scene(make_scene)
    scene.script.answer = on(b"Q", *effects(scene))
    await scene.client.send(b"Q")
    assert await target_of(scene).rest() == b""
    assert await scene.client.rest() == b""
    target_of(scene).leave()
    scene.client.leave()
    assert await scene.ended() == "protocol error"


async def test_bytes_for_a_target_that_nobody_dialled_close_the_session(make_scene: MakeScene) -> None:
    scene = make_scene()
    scene.script.answer = on(b"hello", *statement(scene, "decided/1", b"x"))
    await scene.begin(b"hello")
    scene.client.leave()
    assert await scene.ended() == "protocol error"


async def test_a_name_is_good_within_the_handle_that_refers_to_it_for_the_last_time_and_not_after(
    make_scene: MakeScene,
) -> None:
    scene = await open_scene(make_scene)
    finished = record(kind=Kind.STATEMENT_FINISHED, decided=Reference("decided/1", last=True))

    def answer(event: Event) -> Sequence[Effect]:
        match data_of(event):
            case b"1":
                return statement(scene, "decided/1", b"one")
            case b"2":
                return Persist(finished), Send(Side.TARGET, b"two", permit_for("decided/1", scene.session))
            case b"3":
                return (Send(Side.TARGET, b"three", permit_for("decided/1", scene.session)),)
            case _:
                return ()

    scene.script.answer = answer
    for word, seen in ((b"1", b"one"), (b"2", b"two")):
        await scene.client.send(word)
        assert await target_of(scene).take(3) == seen
    await scene.client.send(b"3")
    assert await target_of(scene).rest() == b""


# --- when evidence fails ---------------------------------------------------------------------------------------------


async def test_a_failed_batch_drops_what_waited_and_everything_behind_it_on_that_side_alone(
    make_scene: MakeScene,
) -> None:
    scene = await open_scene(make_scene, "told")
    number = 0

    def answer(event: Event) -> Sequence[Effect]:
        nonlocal number
        if isinstance(event, Received):
            number += 1
            return (
                *statement(scene, f"decided/{number}", b"<%d>" % number),
                Send(Side.CLIENT, b"(%d)" % number, after=OPENED),
            )
        return ()

    scene.script.answer = answer
    for word in (b"a", b"b", b"c"):
        await scene.client.send(word)
        await scene.client.take(3)
    first, second, third = scene.journal.tickets
    first.settle()
    second.settle(FAILED)
    third.settle()
    assert scene.script.of(Unrecorded) == [Unrecorded(("decided/2",))]
    await scene.client.send(b"d")
    await scene.client.take(3)
    scene.journal.tickets[3].settle()
    assert await target_of(scene).take(6) == b"<1><4>"


async def test_the_relay_hears_of_a_failure_before_anything_else(make_scene: MakeScene) -> None:
    scene = await open_scene(make_scene, "refused")

    def answer(event: Event) -> Sequence[Effect]:
        match event:
            case Received(side=Side.CLIENT):
                return (
                    *statement(scene, "decided/1", b"dropped"),
                    Persist(record("decided/2")),
                    Send(Side.TARGET, b"dropped too", session_permit(scene.session)),
                )
            case Unrecorded():
                return (
                    Send(Side.CLIENT, b"58030"),
                    Send(Side.TARGET, b"sync", session_permit(scene.session)),
                )
            case _:
                return ()

    scene.script.answer = answer
    await scene.client.send(b"Q")
    assert await scene.client.take(5) == b"58030"
    assert await target_of(scene).take(4) == b"sync"
    assert scene.script.events == [Received(Side.CLIENT, b"Q"), Unrecorded(("decided/1", "decided/2"))]


async def test_the_session_is_usable_again_when_the_journal_is(make_scene: MakeScene) -> None:
    scene = await open_scene(make_scene, "refused")
    number = 0

    def answer(event: Event) -> Sequence[Effect]:
        nonlocal number
        if isinstance(event, Received):
            number += 1
            return statement(scene, f"decided/{number}", b"<%d>" % number)
        return (Send(Side.CLIENT, b"refused"),) if isinstance(event, Unrecorded) else ()

    scene.script.answer = answer
    await scene.client.send(b"a")
    assert await scene.client.take(7) == b"refused"
    scene.journal.mode = "soon"
    await scene.client.send(b"b")
    assert await target_of(scene).take(3) == b"<2>"


async def test_a_failed_output_record_without_a_name_disturbs_nothing(make_scene: MakeScene) -> None:
    scene = await open_scene(make_scene, "told")
    scene.script.answer = on(b"Q", Persist(record(kind=Kind.STATEMENT_FINISHED)), Send(Side.CLIENT, b"done"))
    await scene.client.send(b"Q")
    assert await scene.client.take(4) == b"done"
    scene.journal.tickets[0].settle(FAILED)
    assert scene.script.of(Unrecorded) == []


# --- what takes time -------------------------------------------------------------------------------------------------


async def test_a_proof_is_answered_and_shows_that_the_client_is_not_idle(make_scene: MakeScene) -> None:
    scene = make_scene()
    scene.script.answer = on(b"hello", Prove("token", b"vst_x", "dev1+core"))
    await scene.begin(b"hello")
    await eventually(lambda: scene.script.of(Proven))
    assert scene.desk.admitted_drivers == [scene.driver]
    assert scene.driver.identity is not None


async def test_a_proof_that_cannot_be_answered_is_refused(
    make_scene: MakeScene, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = make_scene()

    async def fail(*_: object) -> None:
        raise RuntimeError("vst_x")

    monkeypatch.setattr(scene.services.prover, "prove", fail)
    scene.script.answer = on(b"hello", Prove("token", b"vst_x", "dev1+core"))
    with structlog.testing.capture_logs() as logs:
        await scene.begin(b"hello")
        await eventually(lambda: scene.script.of(Proven))
    assert scene.script.of(Proven) == [Proven(Refusal.UNAVAILABLE)]
    assert "vst_x" not in repr(logs)


async def test_large_texts_are_analysed_in_order(make_scene: MakeScene) -> None:
    scene = make_scene()
    scene.script.answer = on(b"hello", Analyse(b"first"), Analyse(b"second"), Analyse(b"third"))
    await scene.begin(b"hello")
    await eventually(lambda: len(scene.script.of(Analysed)) == 3)
    results = [event.result for event in scene.script.of(Analysed) if isinstance(event, Analysed)]
    assert [result.message for result in results if isinstance(result, Unsupported)] == ["first", "second", "third"]


async def test_a_text_asked_about_in_answer_to_another_is_analysed_too(make_scene: MakeScene) -> None:
    scene = make_scene()

    def answer(event: Event) -> Sequence[Effect]:
        is_first = isinstance(event, Received) or len(scene.script.of(Analysed)) == 1
        return (Analyse(b"again"),) if is_first else ()

    scene.script.answer = answer
    await scene.begin(b"hello")
    await eventually(lambda: len(scene.script.of(Analysed)) == 2)


async def test_a_text_that_cannot_be_analysed_never_counts_as_understood(
    make_scene: MakeScene, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = make_scene()
    monkeypatch.setattr(scene.services.analyst, "error", RuntimeError("the parser died"))
    scene.script.answer = on(b"hello", Analyse(b"text"))
    await scene.begin(b"hello")
    await eventually(lambda: scene.script.of(Analysed))
    assert not any(isinstance(event.result, Parsed) for event in scene.script.events if isinstance(event, Analysed))


async def test_a_target_that_cannot_be_reached_is_an_event(make_scene: MakeScene) -> None:
    scene = make_scene()
    scene.listening.close()
    scene.script.answer = on(b"hello", Persist(record("access")), Dial(scene.to, access_permit(scene.session)))
    await scene.begin(b"hello")
    await eventually(lambda: scene.script.of(DialFailed))


async def test_what_is_known_of_the_target_comes_before_its_first_byte(make_scene: MakeScene) -> None:
    scene = make_scene()
    scene.script.answer = on(b"hello", Persist(record("access")), Dial(scene.to, access_permit(scene.session)))
    await scene.begin(b"hello")
    end = await scene.accept()
    await end.send(b"greeting")
    await eventually(lambda: len(scene.script.events) == 3)
    dialed, greeting = scene.script.events[1:]
    assert isinstance(dialed, Dialed)
    assert dialed.password == b"target password"
    assert dialed.peer.port == scene.to.hosts[0].port
    assert dialed.local_port == end.sock.getpeername()[1]
    assert greeting == Received(Side.TARGET, b"greeting")


async def test_a_client_that_leaves_while_the_target_is_dialled_leaves_no_connection(make_scene: MakeScene) -> None:
    scene = make_scene()
    scene.script.answer = lambda event: (
        (Persist(record("access")), Dial(scene.to, access_permit(scene.session)))
        if isinstance(event, Received)
        else (Close("client left"),)
    )
    await scene.begin(b"hello")
    scene.client.leave()
    assert await scene.ended() == "client left"
    end = await scene.accept()
    assert await end.rest() == b""


async def test_a_cancel_goes_to_the_same_address_over_a_connection_of_its_own(make_scene: MakeScene) -> None:
    scene = await open_scene(make_scene)
    scene.script.answer = on(b"C", Cancel(b"cancel request", session_permit(scene.session)), Close("killed"))
    await scene.client.send(b"C")
    sock, _ = await asyncio.wait_for(asyncio.get_running_loop().sock_accept(scene.listening), 5)
    assert await End(sock).take(14) == b"cancel request"
    sock.close()


async def test_a_deadline_wakes_the_relay(make_scene: MakeScene) -> None:
    scene = make_scene()
    scene.script.answer = lambda event: (
        (Wake(Instant(scene.services.clock.now() + 20_000)),) if isinstance(event, Received) else ()
    )
    await scene.begin(b"hello")
    await eventually(lambda: scene.script.of(Woken))


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
