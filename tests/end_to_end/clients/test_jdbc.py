"""PostgreSQL's JDBC driver through the gateway, to PostgreSQL 15 and 18, beside the driver at the server itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from tests.support import jdbc, zoo
from tests.support.gateway import TARGET, Gateway, GatewayFactory
from tests.support.postgres import GATEWAY, PostgresServer
from tests.support.side_by_side import MASKS, MODERN, opening, serve
from tests.support.signing_in import SignedIn, sign_in

#: Much is asked at once, of a machine that may be busy.
pytestmark = pytest.mark.timeout(400)

ZOO = "zoo_jdbc"
#: Columns whose binary form the driver reads once a statement is prepared at the server.
COLUMNS = "id, name, kilograms, pounds, born, seen, picture, reference, tags, about, ratio, is_big, since, keeper"
TABLES = ["TABLE", "VIEW", "MATERIALIZED VIEW", "PARTITIONED TABLE", "FOREIGN TABLE", "SEQUENCE", "TYPE", "INDEX"]
#: What tools ask DatabaseMetaData.
QUESTIONS: tuple[tuple[str, list[Any]], ...] = (
    ("getTables", [None, "zoo", "%", TABLES]),
    ("getTables", [None, None, "customers", ["TABLE"]]),
    ("getTables", [None, "pg_catalog", "pg_%", ["SYSTEM TABLE", "SYSTEM VIEW"]]),
    ("getColumns", [None, "zoo", "%", "%"]),
    ("getColumns", [None, None, "customers", None]),
    ("getPrimaryKeys", [None, "zoo", "animals"]),
    ("getIndexInfo", [None, "zoo", "animals", False, False]),
    ("getIndexInfo", [None, "public", "customers", True, True]),
    ("getImportedKeys", [None, "zoo", "animals"]),
    ("getExportedKeys", [None, "zoo", "keepers"]),
    ("getCrossReference", [None, "public", "customers", None, "public", "accounts"]),
    ("getBestRowIdentifier", [None, "zoo", "animals", 2, True]),
    ("getVersionColumns", [None, "zoo", "animals"]),
    ("getTablePrivileges", [None, "zoo", "%"]),
    ("getColumnPrivileges", [None, "zoo", "animals", "%"]),
    ("getSchemas", []),
    ("getCatalogs", []),
    ("getTableTypes", []),
    ("getTypeInfo", []),
    ("getUDTs", [None, "zoo", "%", None]),
    ("getFunctions", [None, "zoo", "%"]),
    ("getProcedures", [None, "zoo", "%"]),
    ("getFunctionColumns", [None, "zoo", "%", "%"]),
    ("getProcedureColumns", [None, "zoo", "%", "%"]),
    ("getClientInfoProperties", []),
    ("getSQLKeywords", []),
    ("getDatabaseProductVersion", []),
    ("getMaxTableNameLength", []),
    ("getDefaultTransactionIsolation", []),
)


@pytest.fixture(scope="module")
def servers(postgres15: PostgresServer, postgres18: PostgresServer) -> Iterator[dict[str, PostgresServer]]:
    """Both servers, with a zoo."""
    made = {TARGET: postgres15, MODERN: postgres18}
    for server in made.values():
        zoo.build(server, ZOO)
    yield made
    for server in made.values():
        server.drop_database(ZOO)


@pytest.fixture(scope="module")
def both(module_gateways: GatewayFactory, servers: dict[str, PostgresServer]) -> Gateway:
    """A gateway to either server."""
    return serve(module_gateways, *servers.values(), opening(ZOO))


@pytest.fixture(scope="module")
def dev(both: Gateway) -> SignedIn:
    """dev1, who may read and write."""
    return sign_in(both, "dev1")


@pytest.fixture(scope="module", params=[TARGET, MODERN])
def target(request: pytest.FixtureRequest) -> str:
    """Either target."""
    return request.param


class Driver:
    """The driver at one target: asks through the gateway, and directly."""

    def __init__(self, gateway: Gateway, person: SignedIn, target: str, server: PostgresServer) -> None:
        self._gateway, self._person, self._target, self._server = gateway, person, target, server

    def through(self, *steps: Mapping[str, Any], autocommit: bool = True, **more: str) -> list[dict[str, Any]]:
        """Do the steps through the gateway; `more` are properties of the connection."""
        address, properties = self._gateway.jdbc(self._person.person, self._person.token, self._target, **more)
        return self._ask(address.replace("/core", f"/{ZOO}"), properties, steps, autocommit)

    def direct(self, *steps: Mapping[str, Any], autocommit: bool = True, **more: str) -> list[dict[str, Any]]:
        """Do them at the server."""
        properties = {
            "user": GATEWAY,
            "password": self._server.passwords[GATEWAY],
            "sslmode": "verify-full",
            "sslrootcert": str(self._server.ca),
            **more,
        }
        return self._ask(f"jdbc:postgresql://localhost:{self._server.port}/{ZOO}", properties, steps, autocommit)

    def _ask(
        self, address: str, properties: dict[str, str], steps: tuple[Mapping[str, Any], ...], autocommit: bool
    ) -> list[dict[str, Any]]:
        job = jdbc.Job(address, properties, [], autocommit=autocommit, steps=steps)
        return jdbc.ask(self._gateway.sandbox, job, timeout=180).results


@pytest.fixture
def driver(both: Gateway, dev: SignedIn, target: str, servers: dict[str, PostgresServer]) -> Driver:
    """The driver as dev1."""
    return Driver(both, dev, target, servers[target])


def ask(text: str, **more: object) -> dict[str, object]:
    """A step that asks one statement."""
    return {"do": "ask", "text": text, **more}


def described(call: str, arguments: list[Any]) -> dict[str, Any]:
    """A step that asks DatabaseMetaData."""
    return {"do": "describe", "call": call, "arguments": arguments}


def differing(one: list[dict[str, Any]], other: list[dict[str, Any]]) -> dict[str, tuple[Any, Any]]:
    """Give the questions that were answered in another way."""
    return {
        f"{call}{arguments}": (mine, theirs)
        for (call, arguments), mine, theirs in zip(QUESTIONS, one, other, strict=True)
        if mine != theirs
    }


def test_database_metadata_is_what_it_is_at_the_server(driver: Driver) -> None:
    steps = [described(*question) for question in QUESTIONS]
    through, direct = driver.through(*steps), driver.direct(*steps)

    assert differing(through, direct) == {}
    assert [question for question, answer in zip(QUESTIONS, direct, strict=True) if "state" in answer] == []
    assert [row[3] for row in direct[5]["rows"]] == ["id"]
    assert len(direct[3]["rows"]) > 40


def test_database_metadata_is_the_same_where_columns_are_masked(
    module_gateways: GatewayFactory, servers: dict[str, PostgresServer], target: str
) -> None:
    masking = serve(module_gateways, *servers.values(), opening(ZOO, masks=MASKS))
    masked = Driver(masking, sign_in(masking, "dev1"), target, servers[target])
    steps = [described(*question) for question in QUESTIONS]

    assert differing(masked.through(*steps), masked.direct(*steps)) == {}
    (shown,) = masked.through(ask("SELECT name FROM zoo.animals WHERE id = 60"))
    assert shown["rows"] == [["***"]]
    assert masking.stop() == 0


def compared(rows: list[list[str | None]]) -> list[dict[str, Any]]:
    """Name the values, without what the driver writes otherwise in each format: arrays, and 1 beside 1.0."""
    named = [dict(zip(COLUMNS.split(", "), row, strict=True)) for row in rows]
    return [{**row, "tags": None, "ratio": float(row["ratio"] or 0)} for row in named]


def test_a_statement_is_prepared_at_the_server_and_read_in_binary_with_the_same_values(driver: Driver) -> None:
    steps = (
        {"do": "repeat", "text": f"SELECT {COLUMNS} FROM zoo.animals WHERE id <= ? ORDER BY id", "times": 8,
         "values": [20]},
        ask("SELECT count(*), count(*) FILTER (WHERE name LIKE 'S\\_%') FROM pg_prepared_statements"),
    )  # fmt: skip
    through, direct = driver.through(*steps), driver.direct(*steps)

    assert through == direct
    runs = through[0]["runs"]
    assert [len(run) for run in runs] == [20] * 8
    # How the driver writes an array tells in which format it came: in text as the server wrote it.
    tags = COLUMNS.split(", ").index("tags")
    assert (runs[0][0][tags], runs[-1][0][tags]) == (r'{a1,NULL,"{,\"\\"}', r'{"a1",NULL,"{,\"\\"}')
    assert compared(runs[0]) == compared(runs[-1])
    assert through[1]["rows"] == [["1", "1"]]


@pytest.mark.case("PG-20")
def test_rows_are_fetched_in_portions_inside_a_transaction(driver: Driver) -> None:
    step = ask("SELECT n, n * 2 FROM generate_series(1, 1000) n ORDER BY n", fetch_size=17)

    (answer,) = driver.through(step, autocommit=False)

    assert answer["rows"] == [[str(n), str(n * 2)] for n in range(1, 1_001)]


def test_current_schema_is_a_property_of_the_connection(driver: Driver) -> None:
    answers = driver.through(ask("SELECT count(*) FROM animals"), ask("SHOW search_path"), currentSchema="zoo,public")

    assert answers[0]["rows"] == [["61"]]
    assert answers[1]["rows"] == [['"zoo", "public"']]


def test_a_current_schema_of_the_servers_choice_is_refused_at_log_in(driver: Driver) -> None:
    (answer,) = driver.through(ask("SELECT 1"), currentSchema="$user")[:1]

    assert answer["state"] == "42501"
    assert "search_path must name schemas literally" in answer["message"]


@pytest.mark.parametrize("rewrite", ["false", "true"])
def test_batches_and_generated_keys_work(driver: Driver, name: str, rewrite: str) -> None:
    (made, counts, keys, total) = driver.through(
        ask(f"CREATE TEMP TABLE {name} (id bigint GENERATED ALWAYS AS IDENTITY, label text, n int)"),
        {
            "do": "batch",
            "text": f"INSERT INTO {name} (label, n) VALUES (?, ?)",
            "rows": [[f"r{n}", n] for n in range(300)],
        },
        {"do": "keys", "text": f"INSERT INTO {name} (label) VALUES ('a'), ('b')", "columns": ["id"]},
        ask(f"SELECT count(*), sum(n) FROM {name}"),
        reWriteBatchedInserts=rewrite,
    )

    assert made == {"changed": 0}
    # A batch that the driver rewrites is one statement, of whose rows it knows no single counts (-2).
    assert set(counts["counts"]) == ({-2} if rewrite == "true" else {1})
    assert keys["rows"] == [["301"], ["302"]]
    assert total["rows"] == [["302", str(sum(range(300)))]]


def test_copy_manager_copies_both_ways(driver: Driver, name: str) -> None:
    data = "".join(f"{n}\tline {n}\n" for n in range(5_000))
    _, copied, back = driver.through(
        ask(f"CREATE TEMP TABLE {name} (n int, x text)"),
        {"do": "copy in", "text": f"COPY {name} FROM STDIN", "data": data},
        {"do": "copy out", "text": f"COPY (SELECT * FROM {name} ORDER BY n) TO STDOUT"},
    )

    assert copied == {"changed": 5_000}
    assert back["data"] == data


def test_cancel_ends_a_statement_and_the_session_goes_on(driver: Driver) -> None:
    cancelled, then = driver.through({"do": "cancel", "text": "SELECT pg_sleep(100)"}, ask("SELECT 41 + 1"))

    assert cancelled["state"] == "57014"
    assert then["rows"] == [["42"]]


def test_refusals_have_state_position_detail_and_hint(driver: Driver) -> None:
    denied, unread, unknown = driver.through(
        ask("DROP TABLE zoo.log"), ask("SELECT 1 FRO x y"), ask("SELECT no_such FROM zoo.log")
    )

    assert denied["state"] == "42501"
    assert 'drop zoo.log needs "schema"' in denied["message"]
    assert '"rule":"default"' in denied["detail"]
    assert denied["hint"]
    assert (unread["state"], unread["position"]) == ("42601", 14)
    assert (unknown["state"], unknown["position"]) == ("42703", 8)


def test_a_refusal_inside_a_transaction_leaves_it_to_be_rolled_back(driver: Driver, name: str) -> None:
    steps = (
        ask(f"CREATE TEMP TABLE {name} (n int)"),
        {"do": "commit"},
        ask(f"INSERT INTO {name} VALUES (1)"),
        ask("DROP TABLE zoo.log"),
        ask("SELECT 1"),
        {"do": "roll back"},
        ask(f"SELECT count(*) FROM {name}"),
    )
    answers = driver.through(*steps, autocommit=False)

    assert [answers[place].get("state") for place in (3, 4)] == ["42501", "25P02"]
    assert answers[-1]["rows"] == [["0"]]


def test_a_certificate_that_another_authority_signed_is_not_believed(driver: Driver, servers: dict[str, Any]) -> None:
    wrong = str(servers[TARGET].sandbox.write(servers[TARGET].folder / "wrong.pem", "no certificate", 0o644))

    (answer,) = driver.through(ask("SELECT 1"), sslrootcert=wrong)

    assert answer["state"] is not None
    assert "rows" not in answer
