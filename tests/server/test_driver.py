import asyncio
import threading
from collections.abc import Callable, Sequence
from functools import partial

import pytest
import structlog

from tests.support.approvals import REQUEST
from tests.support.doors import End, Scene, eventually
from tests.support.driving import MakeScene, data_of, on, open_scene, statement, target_of
from tests.support.scripted import FakeApprovals, conversation, permit_for, record
from vestibule.gate.permit import OPENED, access_permit, session_permit
from vestibule.model.effect import (
    Analyse,
    Ask,
    Cancel,
    Close,
    Compute,
    Dial,
    Effect,
    Pause,
    Persist,
    Prove,
    Send,
    Wake,
    Withdraw,
)
from vestibule.model.errors import EvidenceUnavailable
from vestibule.model.event import (
    Analysed,
    Answered,
    Asked,
    Computed,
    Dialed,
    DialFailed,
    Ended,
    Event,
    Proven,
    Received,
    Side,
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


async def test_a_refused_log_in_goes_to_who_counts_them_and_nothing_waits_for_it(make_scene: MakeScene) -> None:
    scene = make_scene(journal="told")
    refused = record(kind=Kind.ACCESS_DECIDED, decision="deny")
    scene.script.answer = on(b"hello", Persist(refused), Send(Side.CLIENT, b"28P01"), Close("refused"))
    await scene.begin(b"hello")
    assert await scene.client.rest() == b"28P01"
    assert scene.desk.refused_records == [refused]
    assert scene.journal.records == []


async def test_what_the_target_did_wrong_is_in_the_operators_log(make_scene: MakeScene) -> None:
    scene = await open_scene(make_scene, "soon")
    scene.script.answer = on(b"hello", Close("protocol_error", "it lies"))
    with structlog.testing.capture_logs() as logs:
        await scene.client.send(b"hello")
        assert await scene.client.rest() == b""
    (line,) = [line for line in logs if line["event"] == "target_failed"]
    assert (line["session"], line["target"], line["cause"]) == (str(scene.session), "core", "it lies")


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


async def test_work_is_done_beside_the_pump_and_what_fails_is_no_answer(make_scene: MakeScene) -> None:
    scene = make_scene()
    here = threading.get_ident()
    scene.script.answer = on(b"hello", Compute(threading.get_ident), Compute(partial(int, "x")))
    await scene.begin(b"hello")
    await eventually(lambda: len(scene.script.of(Computed)) == 2)
    first, second = (event.result for event in scene.script.of(Computed) if isinstance(event, Computed))
    assert isinstance(first, int)
    assert first != here
    assert second is None


async def test_while_work_is_done_others_have_their_turn(make_scene: MakeScene) -> None:
    scene = make_scene()
    gate = threading.Event()
    scene.script.answer = on(b"hello", Compute(partial(gate.wait, 20)))
    await scene.begin(b"hello")
    await asyncio.sleep(0)
    gate.set()
    await eventually(lambda: scene.script.of(Computed) == [Computed(True)])


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


async def test_a_side_that_is_paused_and_watched_is_noticed_when_it_goes(
    make_scene: MakeScene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(driver_module, "WATCH_SECONDS", 0.05)
    scene = make_scene()
    scene.script.answer = lambda event: (
        (Pause(Side.CLIENT, is_watched=True),) if isinstance(event, Received) else (Close("seen"),)
    )
    await scene.begin(b"hello")
    await eventually(lambda: scene.script.of(Received))
    await scene.client.send(b"more")
    scene.client.leave()
    await eventually(lambda: scene.script.of(Ended))


async def test_people_are_asked_once_the_record_of_the_request_is_durable_and_it_is_named(
    make_scene: MakeScene,
) -> None:
    scene = make_scene(journal="told")
    ask = Ask(REQUEST, "requested")
    scene.script.answer = lambda event: (
        (Persist(record("requested", Kind.APPROVAL_REQUESTED)), ask) if isinstance(event, Received) else ()
    )
    await scene.begin(b"hello")
    await eventually(lambda: scene.journal.tickets)
    approvals = scene.services.approvals
    assert isinstance(approvals, FakeApprovals)
    assert approvals.asked == []
    scene.journal.tickets[0].settle()
    await eventually(lambda: scene.script.of(Asked))
    assert approvals.asked == [(REQUEST, scene.journal.tickets[0].written[0])]


async def test_nobody_is_asked_when_the_request_cannot_be_recorded(make_scene: MakeScene) -> None:
    scene = make_scene(journal="refused")
    ask = Ask(REQUEST, "requested")
    scene.script.answer = lambda event: (
        (Persist(record("requested", Kind.APPROVAL_REQUESTED)), ask) if isinstance(event, Received) else ()
    )
    await scene.begin(b"hello")
    await eventually(lambda: scene.script.of(Unrecorded))
    approvals = scene.services.approvals
    assert isinstance(approvals, FakeApprovals)
    assert approvals.asked == []


async def test_a_withdrawal_is_passed_on_and_an_answer_reaches_the_relay(make_scene: MakeScene) -> None:
    scene = make_scene()
    scene.script.answer = lambda event: (
        (Withdraw(REQUEST.approval, "cancelled"),) if isinstance(event, Received) else ()
    )
    await scene.begin(b"hello")
    await eventually(lambda: scene.script.of(Received))
    approvals = scene.services.approvals
    assert isinstance(approvals, FakeApprovals)
    assert approvals.withdrawn == [(REQUEST.approval, "cancelled")]
    scene.driver.answered(Answered(REQUEST.approval, "granted", "mia"))
    assert scene.script.of(Answered) == [Answered(REQUEST.approval, "granted", "mia")]
