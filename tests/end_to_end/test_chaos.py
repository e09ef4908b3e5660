"""kill -9 under load, a few times; `make chaos N=200 SEED=1` does it longer."""

from __future__ import annotations

import pytest

from tests import chaos


@pytest.mark.server
@pytest.mark.timeout(300)
@pytest.mark.parametrize("workers", [1, 2])
def test_nothing_is_executed_that_is_not_recorded_whatever_is_killed(workers: int) -> None:
    executed, recorded, unrecorded = chaos.run(4, seed=7, show=False, workers=workers)
    assert executed
    assert recorded >= executed
    assert unrecorded == 0
