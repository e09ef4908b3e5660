"""node-postgres through the gateway, to PostgreSQL 15 and 18: pool, parameters, names, cancel, transactions, errors."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support import node_postgres
from tests.support.gateway import TARGET, Gateway, GatewayFactory
from tests.support.postgres import DATABASE, GATEWAY, PostgresServer
from tests.support.side_by_side import MODERN, serve
from tests.support.signing_in import SignedIn, sign_in

#: Much is asked at once, of a machine that may be busy.
pytestmark = pytest.mark.timeout(400)

TABLE = "node_items"
COLUMNS = """
id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, label text, amount numeric, reference uuid, about jsonb,
at timestamptz, many text[], raw bytea, flag boolean, ratio float8
"""


@pytest.fixture(scope="module")
def both(module_gateways: GatewayFactory, postgres15: PostgresServer, postgres18: PostgresServer) -> Iterator[Gateway]:
    """A gateway to either server, each with the table."""
    for server in (postgres15, postgres18):
        with server.connect(GATEWAY) as connection:
            connection.execute(f"CREATE TABLE {TABLE} ({COLUMNS})")
    yield serve(module_gateways, postgres15, postgres18)
    for server in (postgres15, postgres18):
        server.execute(f"DROP TABLE {TABLE}")


@pytest.fixture(scope="module")
def dev(both: Gateway) -> SignedIn:
    """dev1, who may read and write."""
    return sign_in(both, "dev1")


@pytest.fixture(scope="module", params=[TARGET, MODERN])
def found(request: pytest.FixtureRequest, both: Gateway, dev: SignedIn) -> dict[str, Any]:
    """What all the program's checks found at either target."""
    job = node_postgres.Job(both.port, f"dev1+{request.param}", dev.token, DATABASE, str(both.ca), TABLE)
    return node_postgres.ask(both.sandbox, job)


def test_parameters_carry_many_types_there_and_back(found: dict[str, Any]) -> None:
    assert found["types"] == [
        "Ünï", "-12345678901234567890.123456789", "12345678-1234-5678-1234-567812345678",
        {"nested": [1, None, "ü"]}, "2026-02-28T23:59:59.999Z", ["a", None, "{,}"], "0001ff", True, -1.5e300,
    ]  # fmt: skip


def test_results_in_binary_are_read(found: dict[str, Any]) -> None:
    assert found["binary"] == {"n": 7, "label": "ü", "flag": True, "raw": "x"}


def test_a_named_statement_is_prepared_once(found: dict[str, Any]) -> None:
    assert found["named"] == {"total": 210, "kept": 1}


def test_several_statements_in_one_query_have_a_result_each(found: dict[str, Any]) -> None:
    assert found["several"] == [["SELECT", [1]], ["SELECT", [2, 3]], ["SET", []]]


def test_a_pool_shares_its_sessions(found: dict[str, Any]) -> None:
    assert found["pooled"] == {"sums": [2 * n for n in range(60)], "most": 4}


def test_a_refusal_in_a_transaction_fails_it_until_its_rollback(found: dict[str, Any]) -> None:
    assert found["transaction"]["refused"]["code"] == "42501"
    assert found["transaction"]["behind"] == "25P02"
    assert found["transaction"]["left"] == ["kept"]


def test_the_drivers_cancel_ends_a_statement_and_the_session_goes_on(found: dict[str, Any]) -> None:
    assert found["cancelled"]["error"]["code"] == "57014"
    assert found["cancelled"]["then"] == 42


def test_a_statement_timeout_given_at_log_in_holds(found: dict[str, Any]) -> None:
    assert found["timedOut"] == {"error": "57014", "then": 42}


def test_one_session_hears_what_another_says(found: dict[str, Any]) -> None:
    assert found["heard"] == [TABLE, "eight"]


def test_notices_arrive(found: dict[str, Any]) -> None:
    assert found["notices"] == ["25P01", "00000"]


@pytest.mark.parametrize("way", ["denied", "prepared"])
def test_a_refusal_has_the_fields_of_an_error(found: dict[str, Any], way: str) -> None:
    denied = found["refused"][way]

    assert (denied["severity"], denied["code"]) == ("ERROR", "42501")
    assert f'alter {TABLE} needs "schema"' in denied["message"]
    assert '"rule":"default"' in denied["detail"]
    assert denied["hint"]


def test_errors_of_parser_and_server_have_their_place_and_names(found: dict[str, Any]) -> None:
    unread, unknown, duplicate = (found["refused"][name] for name in ("unread", "unknown", "duplicate"))

    assert (unread["code"], unread["position"]) == ("42601", "14")
    assert (unknown["code"], unknown["position"]) == ("42703", "8")
    assert (duplicate["code"], duplicate["table"], duplicate["constraint"]) == ("23505", TABLE, f"{TABLE}_pkey")
    assert found["refused"]["then"] == 42


def test_a_wrong_token_and_a_plain_connection_are_refused_readably(found: dict[str, Any]) -> None:
    assert found["wrongToken"]["code"] == "28P01"
    assert "token not accepted" in found["wrongToken"]["message"]
    assert found["plain"]["code"] == "28000"
    assert "TLS" in found["plain"]["message"]
