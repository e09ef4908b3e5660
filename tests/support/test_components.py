"""The real components are what the tests take them for."""

from __future__ import annotations

from collections.abc import Callable

import psycopg
import pytest

from tests.support import bank
from tests.support.browser import Browser
from tests.support.postgres import CLEARTEXT, GATEWAY, MD5, PostgresFactory, PostgresServer
from tests.support.providers import CLIENT_ID, LightProvider, StrictProvider

pytestmark = pytest.mark.server


@pytest.fixture(params=[15, 18])
def server(request: pytest.FixtureRequest) -> PostgresServer:
    found: PostgresServer = request.getfixturevalue(f"postgres{request.param}")
    return found


def test_a_server_has_tls_scram_and_the_bank(server: PostgresServer) -> None:
    with psycopg.connect(server.conninfo(channel_binding="require", require_auth="scram-sha-256")) as connection:
        encrypted = connection.execute("SELECT version FROM pg_stat_ssl WHERE pid = pg_backend_pid()").fetchone()
        first = connection.execute("SELECT name FROM customers WHERE id = 1").fetchone()

        assert connection.info.server_version // 10_000 == server.major
        assert encrypted == ("TLSv1.3",)
        assert first == (bank.FIRST_CUSTOMER,)


def test_a_server_refuses_plain_connections(server: PostgresServer) -> None:
    with pytest.raises(psycopg.OperationalError, match="no encryption"):
        psycopg.connect(server.conninfo(sslmode="disable"))


@pytest.mark.parametrize(("role", "method"), [(MD5, "md5"), (CLEARTEXT, "password")])
def test_two_roles_prove_themselves_by_older_methods(server: PostgresServer, role: str, method: str) -> None:
    with psycopg.connect(server.conninfo(role, require_auth=method)) as connection:
        assert connection.execute("SELECT current_user").fetchone() == (role,)


def test_the_gateways_role_could_drop_a_table(server: PostgresServer) -> None:
    name = server.create_database("droppable")

    with psycopg.connect(server.conninfo(GATEWAY, name), autocommit=True) as connection:
        connection.execute("DROP TABLE loans")

    server.drop_database(name)


def test_what_reached_a_server_can_be_told(server: PostgresServer) -> None:
    mark = server.mark()

    with server.connect(GATEWAY) as connection:
        connection.execute("SELECT 41 + 1")
        connection.execute("SELECT name FROM customers WHERE id = %s", [1])

    assert server.statements(mark) == ["SELECT 41 + 1", "SELECT name FROM customers WHERE id = $1"]
    assert f"{GATEWAY}@core" in server.log_text()


def test_a_server_can_crash_and_come_back(postgres_factory: PostgresFactory) -> None:
    server = postgres_factory.make(15, settings="work_mem = 3MB\n")

    server.kill()
    server.start()

    assert server.execute("SHOW work_mem") == [("3MB",)]
    server.stop()


def authorization(provider: StrictProvider | LightProvider, **more: str) -> str:
    query = {
        "client_id": CLIENT_ID,
        "redirect_uri": "https://localhost:1/callback",
        "response_type": "code",
        "scope": "openid profile",
        "state": "s",
        "nonce": "n",
        **more,
    }
    endpoint = str(provider.discovery()["authorization_endpoint"])
    return endpoint + "?" + "&".join(f"{name}={value}" for name, value in query.items())


S256 = {"code_challenge_method": "S256", "code_challenge": "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"}


def test_the_strict_provider_checks_passwords(make_strict_provider: Callable[[str], StrictProvider]) -> None:
    provider = make_strict_provider("https://localhost:1/callback")

    with Browser(provider.ca) as browser:
        answer = browser.log_in(authorization(provider, **S256), "dev1", "not-the-password")

    assert answer.status_code == 403


def test_the_strict_provider_wants_pkce(make_strict_provider: Callable[[str], StrictProvider]) -> None:
    provider = make_strict_provider("https://localhost:1/callback")

    with Browser(provider.ca) as browser:
        answer = browser.client.get(authorization(provider))

    assert "error=invalid_request" in answer.headers["location"]


@pytest.mark.parametrize("kind", ["strict", "light"])
def test_a_log_in_ends_at_the_redirect_uri_with_a_code(
    kind: str, light_provider: LightProvider, make_strict_provider: Callable[[str], StrictProvider]
) -> None:
    provider = make_strict_provider("https://localhost:1/callback") if kind == "strict" else light_provider
    browser = Browser(provider.ca)

    landed = browser.log_in_until(
        authorization(provider, **S256), *provider.types("dev1"), until="https://localhost:1/"
    )

    assert "code=" in landed


def test_a_restarted_provider_has_a_new_key(make_strict_provider: Callable[[str], StrictProvider]) -> None:
    provider = make_strict_provider("https://localhost:1/callback")
    before = provider.jwks()

    provider.restart()

    assert provider.jwks() != before
