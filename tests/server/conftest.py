"""The data process runs on uvloop, and so do its tests."""

from __future__ import annotations

from asyncio import AbstractEventLoop
from collections.abc import AsyncIterator, Callable, Mapping

import pytest
import pytest_asyncio
import uvloop

from tests.support.doors import Scene
from tests.support.little_authority import LittleAuthority


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], AbstractEventLoop]]:
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture(scope="session")
def little_authority(tmp_path_factory: pytest.TempPathFactory) -> LittleAuthority:
    return LittleAuthority(tmp_path_factory.mktemp("certificates"))


@pytest_asyncio.fixture
async def make_scene() -> AsyncIterator[Callable[..., Scene]]:
    scenes: list[Scene] = []

    def make(**options: object) -> Scene:
        scene = Scene(**options)  # type: ignore[arg-type] # whatever a test wants
        scenes.append(scene)
        return scene

    yield make
    for scene in scenes:
        await scene.close()
