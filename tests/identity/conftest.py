"""What the tests of this folder share."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.hostile_issuer import self_signed


@pytest.fixture(scope="session")
def loopback_pem(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for 127.0.0.1 with its key; loading it alone is quicker than the whole system store."""
    return self_signed(tmp_path_factory.mktemp("issuer"))
