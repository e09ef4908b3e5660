"""The application as a whole."""

from __future__ import annotations

from typing import Any, cast

import httpx2
import pytest

from tests.support.identities import Clock
from vestibule.control.api.service import Service, application


def service(*problems: str) -> Service:
    nothing = cast(Any, None)

    async def say() -> tuple[str, ...]:
        return problems

    return Service(nothing, nothing, nothing, nothing, say, Clock())


async def ask(path: str, *problems: str) -> httpx2.Response:
    transport = httpx2.ASGITransport(application(service(*problems)))
    async with httpx2.AsyncClient(transport=transport, base_url="https://v") as client:
        return await client.get(path)


@pytest.mark.asyncio
async def test_it_is_healthy_as_long_as_it_answers_and_ready_when_nothing_stands_in_the_way() -> None:
    assert (await ask("/healthz", "the journal is full")).status_code == 200
    ready = await ask("/readyz")
    assert (ready.status_code, ready.json()) == (200, {"ready": True, "problems": []})


@pytest.mark.asyncio
async def test_what_stands_in_the_way_of_new_sessions_is_said_in_words() -> None:
    answer = await ask("/readyz", "the journal is full", "the log is stopped")
    assert answer.status_code == 503
    assert answer.json() == {"ready": False, "problems": ["the journal is full", "the log is stopped"]}
    assert answer.headers["cache-control"] == "no-store", "yesterday's answer is none"


@pytest.mark.asyncio
async def test_every_route_of_the_interface_is_described() -> None:
    paths = (await ask("/api/v1/openapi.json")).json()["paths"]
    assert {"/api/v1/sessions", "/api/v1/sessions/{session}/kill", "/api/v1/targets", "/api/v1/me"} <= set(paths)


@pytest.mark.asyncio
async def test_no_route_of_the_interface_answers_a_stranger() -> None:
    app = application(service())
    app.state.sign_in = None
    described = app.openapi()["paths"]
    for path, methods in described.items():
        for method, details in methods.items():
            assert details.get("security"), f"{method} {path} asks nobody who they are"
