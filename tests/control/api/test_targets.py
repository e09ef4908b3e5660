"""The targets that somebody may use."""

from __future__ import annotations

import httpx2
import pytest
from fastapi import FastAPI

from tests.support.policies import identity, sample
from vestibule.control.api import targets as routes
from vestibule.control.api.sign_in import current_identity
from vestibule.control.api.targets import Targets
from vestibule.policy.engine import Engine


@pytest.mark.asyncio
async def test_only_granted_targets_are_listed_and_their_addresses_are_not_told() -> None:
    app = FastAPI()
    app.state.targets = Targets(Engine(sample()).targets_of, 15432)
    app.include_router(routes.router)
    app.dependency_overrides[current_identity] = lambda: identity("engineering")
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="https://v") as client:
        answer = await client.get("/api/v1/targets")
    listed = answer.json()
    assert [target["name"] for target in listed["targets"]] == ["core-banking", "sandbox"]
    assert listed["targets"][0]["user"] == "alice+core-banking"
    assert listed["port"] == 15432
    assert "db1.internal" not in answer.text
    assert "vestibule_rw" not in answer.text
