"""The application as a whole."""

from __future__ import annotations

from typing import Any, cast

import httpx2
import pytest

from tests.support.identities import Clock
from vestibule.control.api.service import Service, application


def service(is_ready: bool) -> Service:
    nothing = cast(Any, None)
    return Service(nothing, nothing, nothing, nothing, lambda: is_ready, Clock())


async def ask(path: str, is_ready: bool = True) -> httpx2.Response:
    transport = httpx2.ASGITransport(application(service(is_ready)))
    async with httpx2.AsyncClient(transport=transport, base_url="https://v") as client:
        return await client.get(path)


@pytest.mark.asyncio
async def test_it_is_healthy_as_long_as_it_answers_and_ready_when_the_data_plane_serves() -> None:
    assert (await ask("/healthz", is_ready=False)).status_code == 200
    assert (await ask("/readyz")).status_code == 200
    assert (await ask("/readyz", is_ready=False)).status_code == 503


@pytest.mark.asyncio
async def test_every_route_of_the_interface_is_described() -> None:
    paths = (await ask("/api/v1/openapi.json")).json()["paths"]
    assert {"/api/v1/sessions", "/api/v1/sessions/{session}/kill", "/api/v1/targets", "/api/v1/me"} <= set(paths)


@pytest.mark.asyncio
async def test_no_route_of_the_interface_answers_a_stranger() -> None:
    app = application(service(True))
    app.state.sign_in = None
    described = app.openapi()["paths"]
    for path, methods in described.items():
        for method, details in methods.items():
            assert details.get("security"), f"{method} {path} asks nobody who they are"
