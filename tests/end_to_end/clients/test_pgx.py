"""Go's pgx through the gateway, to PostgreSQL 15 and 18: its pool, ways of asking, batches, COPY, cancel."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support import pgx
from tests.support.gateway import TARGET, Gateway, GatewayFactory
from tests.support.postgres import DATABASE, GATEWAY, PostgresServer
from tests.support.side_by_side import MODERN, serve
from tests.support.signing_in import SignedIn, sign_in

#: Much is asked at once, of a machine that may be busy.
pytestmark = pytest.mark.timeout(400)

TABLE = "pgx_items"
MODES = {"cache_statement", "cache_describe", "describe_exec", "exec", "simple_protocol"}
COLUMNS = """
id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, label text, amount numeric, reference uuid, about jsonb,
at timestamptz, many text[], raw bytea, day date, flag boolean, ratio float8
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
    conninfo = (
        f"host=localhost port={both.port} user=dev1+{request.param} dbname={DATABASE} "
        f"sslmode=verify-full sslrootcert={both.ca}"
    )
    return pgx.ask(both.sandbox, pgx.Job(conninfo, dev.token, TABLE))


def test_every_way_of_asking_carries_numeric_uuid_jsonb_and_more_there_and_back(found: dict[str, Any]) -> None:
    row = [
        "-12345678901234567890.123456789",
        "12345678-1234-5678-1234-567812345678",
        {"nested": [1, None, "ü"]},
        "2026-02-28T23:59:59.999999Z",
        ["a", "{,}"],
        -1.5e300,
    ]

    assert found["types"] == dict.fromkeys(MODES, row)


def test_a_statement_is_prepared_once_and_used_again(found: dict[str, Any]) -> None:
    assert found["cached"] == {"total": 210, "kept": 1}


def test_a_refusal_in_a_batch_undoes_the_batch_as_an_error_of_the_server_would(found: dict[str, Any]) -> None:
    # pgx prepares all texts of a batch before it sends any, so each of them is told the first error.
    assert [outcome["code"] for outcome in found["batch"]["outcomes"]] == ["42501"] * 3
    assert f'alter {TABLE} needs "schema"' in found["batch"]["outcomes"][0]["message"]
    assert found["batch"]["left"] == 0


def test_five_hundred_statements_in_one_pipeline_are_answered_in_order(found: dict[str, Any]) -> None:
    assert found["many"] == sum(range(500))


def test_rows_are_copied_in_binary(found: dict[str, Any]) -> None:
    assert found["copied"] == [2_000, 2_000]


def test_a_context_cancels_a_statement_and_the_session_goes_on(found: dict[str, Any]) -> None:
    assert found["cancelled"]["error"]["code"] == "57014"
    assert found["cancelled"]["then"] == 42


def test_a_context_that_gives_a_session_up_leaves_the_pool_usable(found: dict[str, Any]) -> None:
    assert found["abandoned"] == {"is_cancelled": True, "then": 42}


def test_one_session_hears_what_another_says(found: dict[str, Any]) -> None:
    assert found["heard"] == [TABLE, "seven"]


def test_more_goroutines_than_sessions_share_the_pool(found: dict[str, Any]) -> None:
    assert found["pooled"]["sums"] == [number * sum(range(20)) for number in range(12)]
    assert 1 <= found["pooled"]["most"] <= 4


def test_errors_have_their_fields(found: dict[str, Any]) -> None:
    dropped, unknown, unread = (found["refused"][name] for name in ("dropped", "unknown", "unread"))

    assert (dropped["severity"], dropped["code"]) == ("ERROR", "42501")
    assert dropped["message"].startswith("vestibule: denied by rule")
    assert '"rule":"default"' in dropped["detail"]
    assert dropped["hint"]
    assert (unknown["code"], unknown["position"]) == ("42703", 8)
    assert (unread["code"], unread["position"]) == ("42601", 14)


def test_a_savepoint_is_rolled_back_also_behind_a_refusal(found: dict[str, Any]) -> None:
    assert found["nested"] == ["nested kept"]


def test_notices_arrive(found: dict[str, Any]) -> None:
    assert found["notices"] == ["25P01"]
