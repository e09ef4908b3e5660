"""Logging in with real OpenID providers, a light one and a strict one, by the real command line and by a browser."""

from __future__ import annotations

import json
import stat
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tests.support.browser import Browser
from tests.support.certificates import Authority
from tests.support.gateway import CALLBACK, TARGET, Gateway
from tests.support.identities import bytes_in
from tests.support.ports import free_port
from tests.support.postgres import GATEWAY, PostgresServer
from tests.support.providers import LightProvider, Provider, StrictProvider
from tests.support.sandbox import Sandbox
from vestibule.model import wording

PEOPLE = {"dev1": ["engineering"], "dev2": ["engineering", "payments"], "eve": []}


@pytest.fixture(scope="module", params=["light", "strict"])
def house(request: pytest.FixtureRequest, sandbox: Sandbox, authority: Authority) -> Iterator[Gateway]:
    """A gateway whose provider is this test's own; its target is never dialled."""
    port = free_port()
    provider: Provider = LightProvider(sandbox, authority)
    if request.param == "strict":
        provider = StrictProvider(sandbox, authority, redirect_uris=(f"https://localhost:{port}{CALLBACK}",))
    target = SimpleNamespace(address="127.0.0.1:9", ca=authority.ca, passwords={GATEWAY: "never-used"})
    made = Gateway(sandbox, authority, provider, {TARGET: cast(PostgresServer, target)}, control_port=port)
    provider.start()
    try:
        made.start()
        yield made
    finally:
        made.stop()
        provider.stop()


def me(house: Gateway, token: str) -> dict[str, Any]:
    status, body = house.get("/api/v1/me", token)
    return {"status": status, **json.loads(body)}


@pytest.mark.parametrize("person", PEOPLE)
def test_somebody_logs_in_as_who_the_provider_says_they_are(house: Gateway, person: str) -> None:
    found = me(house, house.login(person))

    assert (found["issuer"], found["subject"]) == (house.provider.issuer, f"u-{person}")
    assert (found["name"], found["groups"]) == (person, PEOPLE[person])


def test_the_browser_is_told_that_the_command_line_goes_on(house: Gateway) -> None:
    output, page = house.walk_login("dev1")

    assert "The command line goes on with your log-in." in page
    assert "Logged in as dev1" in output


def test_a_browser_signs_in_for_itself_and_out(house: Gateway) -> None:
    with Browser(house.ca) as browser:
        page = browser.log_in(f"{house.public_url}/login", *house.provider.types("dev2"))
        assert str(page.url) == f"{house.public_url}/approvals"
        assert "dev2" in page.text
        assert "Nothing waits for your answer." in page.text
        assert browser.client.get(f"{house.public_url}/api/v1/me").json()["name"] == "dev2"

        foreign = browser.client.post(f"{house.public_url}/api/v1/logout", headers={"Origin": "https://evil.example"})
        assert foreign.status_code == 403
        own = browser.client.post(f"{house.public_url}/api/v1/logout", headers={"Origin": house.public_url})
        assert own.status_code == 204
        assert browser.client.get(f"{house.public_url}/api/v1/me").status_code == 401


def test_tokens_of_a_log_in_end_with_it_or_before(house: Gateway) -> None:
    token = house.login("dev1")
    more = house.cli("dev1", "token").output.strip()
    short = house.cli("dev1", "token", "--life", "1s").output.strip()
    assert [me(house, one)["status"] for one in (token, more)] == [200, 200]

    time.sleep(1.1)
    assert me(house, short)["detail"] == wording.TOKEN_EXPIRED
    assert house.cli("dev1", "logout").status == 0
    assert [me(house, one)["detail"] for one in (token, more)] == [wording.TOKEN_REFUSED] * 2
    assert house.cli("dev1", "token").status == 2


def test_a_token_for_a_target_opens_no_api_and_one_for_a_strangers_target_is_not_made(house: Gateway) -> None:
    house.login("dev1")
    scoped = house.cli("dev1", "token", "--target", TARGET)
    refused = house.cli("dev1", "token", "--target", "vault")

    assert me(house, scoped.output.strip())["status"] == 403
    assert (refused.status, f"you may use: {TARGET}" in refused.errors) == (1, True)


def test_what_is_kept_at_home_is_its_owners_alone(house: Gateway) -> None:
    house.login("dev1")
    kept = house.home("dev1") / ".config" / "vestibule" / "credentials.json"

    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert stat.S_IMODE(kept.parent.stat().st_mode) == 0o700


def test_the_gateway_keeps_no_token_and_no_clear_key(house: Gateway) -> None:
    tokens = [house.login("dev1"), house.cli("dev1", "token").output.strip()]
    kek = house.data / "keys" / "kek"
    stored = bytes_in(house.data) + b"".join(bytes_in(folder) for folder in house.data.rglob("*") if folder.is_dir())

    assert not any(token.encode() in stored for token in tokens)
    assert stat.S_IMODE(kek.stat().st_mode) == 0o600
    assert stored.count(kek.read_bytes()) == 1


def test_logins_outlive_a_restart_of_the_gateway(house: Gateway) -> None:
    token = house.login("dev1")
    house.restart()

    assert me(house, token)["status"] == 200


def test_a_provider_with_a_new_signing_key_is_believed_at_once(house: Gateway) -> None:
    house.login("dev1")
    before = house.provider.jwks()
    house.provider.restart()

    assert house.provider.jwks() != before
    assert me(house, house.login("dev1"))["name"] == "dev1"


def test_while_the_provider_is_down_who_is_in_stays_in_and_nobody_new_comes(house: Gateway) -> None:
    token = house.login("dev1")
    house.provider.stop()
    try:
        assert me(house, token)["status"] == 200
        house.restart()
        assert house.get("/login")[0] == 502
        output, _ = house.walk_login("dev1")
        assert "the identity provider cannot be reached" in output
    finally:
        house.provider.start()
