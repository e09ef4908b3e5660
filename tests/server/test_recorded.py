import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.support.doors import Scene, eventually
from tests.support.driving import MakeScene, data_of, open_scene, target_of
from tests.support.recordings import KEY, KEY_ID
from tests.support.scripted import SOMEBODY
from vestibule.gate.permit import OPENED
from vestibule.model.effect import Close, Effect, Keep, Persist, Send
from vestibule.model.event import Admission, Event, Side, Told
from vestibule.model.record import Kind, Record, Reference
from vestibule.server import driver, recording

pytestmark = pytest.mark.asyncio


@pytest.fixture(autouse=True)
def _short_farewell(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients of these tests do not hang up."""
    monkeypatch.setattr(driver, "DRAIN_SECONDS", 0.3)


def closed(scene: Scene) -> Record:
    members = {"opened": Reference(OPENED, last=True), "cause": "client_closed", "recording_complete": True}
    return Record(Kind.SESSION_CLOSED, members, session=scene.session)


def shown(data: bytes) -> tuple[Effect, ...]:
    return Keep(1, data), Send(Side.CLIENT, data)


async def recorded_scene(make_scene: MakeScene, folder: Path) -> Scene:
    """A session whose target's words are shown and recorded; `bye` of either side ends it."""
    scene = await open_scene(make_scene, record_at=folder)
    scene.driver._recorded.admission = Admission(SOMEBODY, str(KEY_ID), KEY)

    def answer(event: Event) -> Sequence[Effect]:
        data = data_of(event)
        ending = (Persist(closed(scene)), Close("bye")) if b"bye" in data or isinstance(event, Told) else ()
        return (*(shown(data) if data else ()), *ending)

    scene.script.answer = answer
    return scene


def ends(scene: Scene) -> list[Record]:
    return [record for record in scene.journal.records if record.kind is Kind.SESSION_CLOSED]


async def test_the_last_record_follows_the_chunks_and_counts_them(make_scene: MakeScene, tmp_path: Path) -> None:
    scene = await recorded_scene(make_scene, tmp_path)
    await target_of(scene).send(b"rows")
    assert await scene.client.take(4) == b"rows"
    await target_of(scene).send(b"bye")
    assert await scene.ended() == "bye"

    assert scene.journal.kinds() == [Kind.CHUNK_SEALED, Kind.SESSION_CLOSED]
    assert ends(scene)[0].members["chunks"] == {"results": 1}
    assert ends(scene)[0].members["recording_complete"] is True


async def test_what_is_shown_first_and_last_in_one_event_is_counted_too(make_scene: MakeScene, tmp_path: Path) -> None:
    scene = await recorded_scene(make_scene, tmp_path)
    await target_of(scene).send(b"rows and bye")
    await scene.ended()

    assert scene.journal.kinds() == [Kind.CHUNK_SEALED, Kind.SESSION_CLOSED]
    assert ends(scene)[0].members["chunks"] == {"results": 1}


async def test_a_conversation_that_shows_nothing_ends_as_it_always_did(make_scene: MakeScene, tmp_path: Path) -> None:
    scene = await open_scene(make_scene, record_at=tmp_path)
    scene.script.answer = lambda _: (Persist(closed(scene)), Close("bye"))
    await scene.client.send(b"x")
    await scene.ended()

    assert [record.members for record in scene.journal.records] == [closed(scene).members]


async def test_the_session_is_listed_until_its_end_is_recorded(make_scene: MakeScene, tmp_path: Path) -> None:
    scene = await recorded_scene(make_scene, tmp_path)
    await target_of(scene).send(b"rows")
    await scene.client.take(4)
    scene.journal.mode = "told"
    scene.client.sock.close()
    target_of(scene).sock.close()
    scene.driver.end("the gateway is shutting down", "shutdown")
    await eventually(lambda: Kind.CHUNK_SEALED in scene.journal.kinds())
    assert scene.desk.closed_reasons == []
    scene.journal.tickets[-1].settle()
    await scene.ended()

    [end] = ends(scene)
    assert (end.members["cause"], end.members["chunks"]) == ("shutdown", {"results": 1})


async def test_the_end_of_a_relay_that_fails_counts_its_chunks(make_scene: MakeScene, tmp_path: Path) -> None:
    scene = await recorded_scene(make_scene, tmp_path)
    await target_of(scene).send(b"rows")
    await scene.client.take(4)

    def fail(_: Event) -> Sequence[Effect]:
        raise ValueError("a defect")

    scene.script.answer = fail
    await scene.client.send(b"x")
    await scene.ended()

    [end] = ends(scene)
    assert (end.members["cause"], end.members["chunks"]) == ("protocol_error", {"results": 1})
    assert end.members["recording_complete"] is False


@pytest.mark.parametrize("missing", ["recorder", "key"])
async def test_what_cannot_be_recorded_is_not_shown(make_scene: MakeScene, tmp_path: Path, missing: str) -> None:
    scene = await open_scene(make_scene, record_at=None if missing == "recorder" else tmp_path)
    scene.script.answer = lambda event: shown(data_of(event))
    await target_of(scene).send(b"rows")
    await scene.ended()

    assert ends(scene)[0].members["cause"] == "protocol_error"
    assert await scene.client.take(4) == b""


async def test_while_nothing_can_be_recorded_the_target_is_not_read(
    make_scene: MakeScene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = await recorded_scene(make_scene, tmp_path)
    spool = tmp_path / "spool"
    spool.rmdir()
    await target_of(scene).send(b"first")
    await scene.client.take(5)
    await asyncio.sleep(0.2)
    await target_of(scene).send(b"second")
    assert await scene.client.nothing()
    spool.mkdir()
    assert await scene.client.take(6) == b"second"
    await target_of(scene).send(b"bye")
    await scene.ended()

    assert ends(scene)[0].members["recording_complete"] is True


async def test_a_session_that_cannot_be_recorded_for_long_is_told_to_end(
    make_scene: MakeScene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recording, "FAULT_SECONDS", 0.3)
    scene = await recorded_scene(make_scene, tmp_path)
    (tmp_path / "spool").rmdir()
    await target_of(scene).send(b"first")
    await scene.ended()

    assert scene.script.of(Told) == [Told("evidence")]
    [end] = ends(scene)
    assert end.members["recording_complete"] is False
    assert end.members["gaps"][0]["cause"] == "evidence_fault"  # type: ignore[index,call-overload]
