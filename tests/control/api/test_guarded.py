from collections.abc import AsyncIterator

import httpx2
import pytest
import pytest_asyncio
from fastapi import APIRouter, FastAPI, Request
from pydantic import BaseModel

from vestibule.control.api.guarded import MAX_BODY, GuardedRoute, Problem, problem_of, problems
from vestibule.identity.failure import Failure, LoginRefused
from vestibule.model.errors import ConfigurationError, EvidenceUnavailable, VestibuleError
from vestibule.model.login import StateUnavailable, TooManyTokens

pytestmark = pytest.mark.asyncio
router = APIRouter(route_class=GuardedRoute)

ERRORS: dict[str, tuple[Exception, int]] = {
    "problem": (Problem(409, "it is so", {"X-More": "1"}), 409),
    "login": (LoginRefused(Failure.NONCE, "no"), 403),
    "many-logins": (LoginRefused(Failure.TOO_MANY, "wait"), 429),
    "many-tokens": (TooManyTokens("wait"), 429),
    "evidence": (EvidenceUnavailable("disk"), 503),
    "state": (StateUnavailable("database"), 503),
    "other": (ConfigurationError("secret detail"), 500),
}


class Body(BaseModel):
    number: int


@router.get("/fine")
async def fine() -> dict[str, str]:
    return {"it": "works"}


@router.get("/fails/{how}", responses=problems(409))
async def fails(how: str) -> None:
    raise ERRORS[how][0]


@router.post("/json")
async def take_json(body: Body) -> int:
    return body.number


@router.post("/raw")
async def take_raw(request: Request) -> int:
    return len(await request.body())


@pytest_asyncio.fixture
async def client() -> AsyncIterator[httpx2.AsyncClient]:
    app = FastAPI()
    app.include_router(router)
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="https://vestibule.example") as made:
        yield made


async def test_every_answer_has_the_usual_headers(client: httpx2.AsyncClient) -> None:
    for path in ("/fine", "/fails/problem"):
        headers = (await client.get(path)).headers
        assert headers["cache-control"] == "no-store"
        assert headers["x-content-type-options"] == "nosniff"
        assert "default-src 'none'" in headers["content-security-policy"]


@pytest.mark.parametrize("how", ERRORS)
async def test_an_error_is_a_problem_with_what_to_do(client: httpx2.AsyncClient, how: str) -> None:
    answer = await client.get(f"/fails/{how}")

    assert answer.status_code == ERRORS[how][1]
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json().keys() == {"type", "title", "status", "detail"}
    assert answer.json()["status"] == answer.status_code
    assert "secret detail" not in answer.text


async def test_a_problem_may_bring_headers(client: httpx2.AsyncClient) -> None:
    assert (await client.get("/fails/problem")).headers["x-more"] == "1"
    assert (await client.get("/fails/many-logins")).headers["retry-after"] == "60"


async def test_a_wrong_body_is_named_by_place_and_not_repeated(client: httpx2.AsyncClient) -> None:
    answer = await client.post("/json", json={"number": "a secret in the wrong place"})

    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["detail"].startswith("body.number: ")
    assert "a secret" not in answer.text


@pytest.mark.parametrize("body", [b"{", b"[" * 60_000, b"\xff\xfe", b"null", b'{"number": 1e999}'])
async def test_what_is_no_body_is_a_problem(client: httpx2.AsyncClient, body: bytes) -> None:
    answer = await client.post("/json", content=body, headers={"Content-Type": "application/json"})

    assert answer.status_code in (400, 422)
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("path", ["/raw", "/json"])
async def test_a_body_that_is_too_long_is_refused_while_it_comes(client: httpx2.AsyncClient, path: str) -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while sent < 50 * MAX_BODY:
            sent += 8192
            yield b" " * 8192

    answer = await client.post(path, content=endless(), headers={"Content-Type": "application/json"})
    assert answer.status_code == 413
    assert sent <= 2 * MAX_BODY


async def test_a_body_of_the_longest_length_is_taken(client: httpx2.AsyncClient) -> None:
    assert (await client.post("/raw", content=b"x" * MAX_BODY)).json() == MAX_BODY


async def test_an_error_that_nobody_expected_tells_nothing() -> None:
    assert "secret" not in str(problem_of(VestibuleError("secret")).detail)
