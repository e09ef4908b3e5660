"""What the tests of this folder share."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.support.control_plane import House, open_house
from tests.support.hostile_issuer import self_signed


@pytest.fixture(scope="session")
def pem(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The smallest trust store; loading the system's takes time."""
    return self_signed(tmp_path_factory.mktemp("issuer"))


@pytest_asyncio.fixture
async def house(tmp_path: Path, pem: Path) -> AsyncIterator[House]:
    """A control plane with a hostile provider."""
    async with open_house(tmp_path, pem) as made:
        yield made
