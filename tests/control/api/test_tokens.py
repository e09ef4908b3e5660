from uuid import uuid4

import pytest

from tests.support.control_plane import PUBLIC, House
from vestibule.model import wording

pytestmark = pytest.mark.asyncio


async def test_a_token_is_made_and_ended(house: House) -> None:
    token = await house.token()
    made = await house.ask("POST", "/api/v1/tokens", token, json={})
    assert made.status_code == 201
    new = made.json()
    assert new["token"] != token
    assert (await house.ask("GET", "/api/v1/me", new["token"])).status_code == 200

    assert (await house.ask("DELETE", f"/api/v1/tokens/{new['id']}", token)).status_code == 204
    assert (await house.ask("GET", "/api/v1/me", new["token"])).status_code == 401
    assert (await house.ask("GET", "/api/v1/me", token)).status_code == 200


async def test_a_token_may_be_short_and_for_some_targets(house: House) -> None:
    token = await house.token()
    made = (await house.ask("POST", "/api/v1/tokens", token, json={"targets": ["core"], "life": 60})).json()

    assert made["targets"] == ["core"]
    answer = await house.ask("GET", "/api/v1/me", made["token"])
    assert answer.status_code == 403
    assert "targets only" in answer.json()["detail"]


async def test_a_token_for_a_target_that_is_not_ones_own_is_refused_with_the_names(house: House) -> None:
    token = await house.token()
    answer = await house.ask("POST", "/api/v1/tokens", token, json={"targets": ["vault"]})

    assert (answer.status_code, answer.json()["detail"]) == (422, wording.choose_target(["core", "payments"]))


@pytest.mark.parametrize(
    "wrong", [{"life": 0}, {"life": "1h"}, {"targets": []}, {"targets": "core"}, {"scope": "all"}, {"life": 10**9}, []]
)
async def test_a_wish_for_a_token_that_is_none_is_refused(house: House, wrong: object) -> None:
    assert (await house.ask("POST", "/api/v1/tokens", await house.token(), json=wrong)).status_code == 422


async def test_a_token_that_is_not_ones_own_cannot_be_ended(house: House) -> None:
    token = await house.token()

    assert (await house.ask("DELETE", f"/api/v1/tokens/{uuid4()}", token)).status_code == 404
    assert (await house.ask("DELETE", "/api/v1/tokens/nonsense", token)).status_code == 422


async def test_logging_out_ends_everything_and_takes_the_cookie(house: House) -> None:
    await house.browser.get(await house.begin())
    answer = await house.browser.post("/api/v1/logout", headers={"Origin": PUBLIC})

    assert answer.status_code == 204
    assert 'vestibule="";' in answer.headers["set-cookie"]
    assert "Max-Age=0" in answer.headers["set-cookie"]
    assert (await house.browser.get("/api/v1/me")).status_code == 401


async def test_a_cookie_makes_tokens_for_its_own_site(house: House) -> None:
    await house.browser.get(await house.begin())

    assert (await house.browser.post("/api/v1/tokens", json={}, headers={"Origin": PUBLIC})).status_code == 201


async def test_the_openapi_document_describes_the_routes_and_their_problems(house: House) -> None:
    paths = house.app.openapi()["paths"]

    assert set(paths) == {
        "/api/v1/me",
        "/api/v1/tokens",
        "/api/v1/tokens/{token}",
        "/api/v1/certificates",
        "/api/v1/logout",
    }
    assert "application/problem+json" in paths["/api/v1/me"]["get"]["responses"]["401"]["content"]
    assert paths["/api/v1/me"]["get"]["security"] == [{"HTTPBearer": []}]
