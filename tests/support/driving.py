"""A driver whose relay the test plays, with its target dialled and its session open."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.support.doors import End, Scene, eventually
from tests.support.scripted import permit_for, record
from vestibule.gate.permit import OPENED, access_permit
from vestibule.model.effect import Dial, Effect, Opened, Persist, Send
from vestibule.model.event import Dialed, Event, Received, Side
from vestibule.model.record import Kind

MakeScene = Callable[..., Scene]


def data_of(event: Event) -> bytes:
    return event.data if isinstance(event, Received) else b""


def on(word: bytes, *effects: Effect) -> Callable[[Event], Sequence[Effect]]:
    return lambda event: effects if data_of(event) == word else ()


async def open_scene(make_scene: MakeScene, journal: str = "soon", record_at: Path | None = None) -> Scene:
    """Make a scene whose target is dialled and whose session is open."""
    scene = make_scene(journal="soon", record=record_at)

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
