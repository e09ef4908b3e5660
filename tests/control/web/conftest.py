"""What the tests of this folder share."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.support.hostile_issuer import self_signed
from tests.support.pages import Rooms, open_rooms


@pytest.fixture(scope="session")
def pem(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The smallest trust store; loading the system's takes time."""
    return self_signed(tmp_path_factory.mktemp("issuer"))


@pytest_asyncio.fixture
async def rooms(tmp_path: Path, pem: Path) -> AsyncIterator[Rooms]:
    """The pages, with a provider that says what a test wants."""
    async with open_rooms(tmp_path, pem) as made:
        yield made
