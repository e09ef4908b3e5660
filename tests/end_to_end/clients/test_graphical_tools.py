"""What DBeaver, pgAdmin and DataGrip ask when they connect and open their trees, for somebody who may only read.

The tools themselves need a screen; their questions are in `tools/`, each file with what it is known from. They are
asked as the tool asks: pgAdmin's by psycopg, simple queries; the others' by the JDBC driver.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import psycopg
import pytest
from psycopg.rows import tuple_row

from tests.support import jdbc, zoo
from tests.support.gateway import TARGET, Gateway, GatewayFactory
from tests.support.postgres import GATEWAY, PostgresServer
from tests.support.side_by_side import MASKS, MODERN, opening, serve
from tests.support.signing_in import SignedIn, sign_in
from tests.support.tools import Asked, texts

#: Much is asked at once, of a machine that may be busy.
pytestmark = pytest.mark.timeout(400)

ZOO = "zoo_tools"
#: Columns of the system's own that show nothing where anything is masked.
HIDDEN = frozenset({"prosrc", "prosqlbody", "attmissingval", "query", "umoptions", "options"})

Answer = tuple[list[str], list[tuple[object, ...]]] | str


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
def plain(module_gateways: GatewayFactory, servers: dict[str, PostgresServer]) -> Gateway:
    """A gateway where engineers may read and no more."""
    return serve(module_gateways, *servers.values(), opening(ZOO, allow=["read"]))


@pytest.fixture(scope="module")
def masking(module_gateways: GatewayFactory, servers: dict[str, PostgresServer]) -> Gateway:
    """The same, where columns of two tables are masked."""
    return serve(module_gateways, *servers.values(), opening(ZOO, allow=["read"], masks=MASKS))


@pytest.fixture(scope="module")
def reader(plain: Gateway) -> SignedIn:
    """dev1 at the first."""
    return sign_in(plain, "dev1")


@pytest.fixture(scope="module")
def masked_reader(masking: Gateway) -> SignedIn:
    """dev1 at the second."""
    return sign_in(masking, "dev1")


@pytest.fixture(scope="module", params=[TARGET, MODERN])
def target(request: pytest.FixtureRequest) -> str:
    """Either target."""
    return request.param


@pytest.fixture(scope="module")
def server(target: str, servers: dict[str, PostgresServer]) -> PostgresServer:
    """The server behind it."""
    return servers[target]


def by_psycopg(conninfo: str, asked: Sequence[Asked]) -> dict[str, Answer]:
    """Ask as pgAdmin does; give names and rows of each answer, or the error."""
    found: dict[str, Answer] = {}
    with psycopg.connect(conninfo, autocommit=True, cursor_factory=psycopg.ClientCursor) as connection:
        for each in asked:
            cursor = connection.cursor(row_factory=tuple_row)
            try:
                cursor.execute(each.text)  # type: ignore[arg-type]  # a text of the file
            except psycopg.Error as error:
                found[each.name] = f"{error.sqlstate} {error.diag.message_primary}"
                continue
            while cursor.description is None and cursor.nextset():
                pass
            names = [column.name for column in cursor.description or ()]
            found[each.name] = names, sorted(cursor.fetchall() if names else [], key=repr)
    return found


def by_jdbc(gateway: Gateway, address: str, properties: dict[str, str], asked: Sequence[Asked]) -> dict[str, Answer]:
    """Ask as the tools of the JDBC driver do."""
    job = jdbc.Job(address, properties, [each.text for each in asked])
    results = jdbc.ask(gateway.sandbox, job, timeout=240).results
    found: dict[str, Answer] = {}
    for each, result in zip(asked, results, strict=True):
        if "state" in result:
            found[each.name] = f"{result['state']} {result['message'].splitlines()[0]}"
        else:
            rows = [tuple(row) for row in result.get("rows", [])]
            found[each.name] = result.get("columns", []), sorted(rows, key=repr)
    return found


@dataclass(frozen=True, slots=True)
class Sitting:
    """Somebody with a tool before a server: asks the tool's questions through a gateway, or directly."""

    tool: str
    gateway: Gateway
    person: SignedIn
    target: str
    server: PostgresServer

    def through(self, asked: Sequence[Asked]) -> dict[str, Answer]:
        """Ask through the gateway."""
        if self.tool == "pgadmin":
            return by_psycopg(self.gateway.conninfo("dev1", self.person.token, self.target, dbname=ZOO), asked)
        address, properties = self.gateway.jdbc("dev1", self.person.token, self.target)
        return by_jdbc(self.gateway, address.replace("/core", f"/{ZOO}"), properties, asked)

    def direct(self, asked: Sequence[Asked]) -> dict[str, Answer]:
        """Ask the server itself."""
        if self.tool == "pgadmin":
            return by_psycopg(self.server.conninfo(GATEWAY, ZOO, options="-c search_path=public"), asked)
        properties = {
            "user": GATEWAY,
            "password": self.server.passwords[GATEWAY],
            "sslmode": "verify-full",
            "sslrootcert": str(self.server.ca),
            "currentSchema": '"public"',
        }
        return by_jdbc(self.gateway, f"jdbc:postgresql://localhost:{self.server.port}/{ZOO}", properties, asked)


def without(answer: Answer, hidden: frozenset[str]) -> Answer:
    """Leave columns out of an answer."""
    if isinstance(answer, str):
        return answer
    names, rows = answer
    kept = [place for place, name in enumerate(names) if name not in hidden]
    return [names[place] for place in kept], sorted([tuple(row[place] for place in kept) for row in rows], key=repr)


@pytest.mark.case("PG-26")
@pytest.mark.parametrize("tool", ["dbeaver", "pgadmin", "datagrip"])
def test_a_tool_connects_and_opens_its_tree_for_who_may_only_read(
    plain: Gateway, reader: SignedIn, target: str, server: PostgresServer, tool: str
) -> None:
    asked, sitting = texts(tool, server, ZOO), Sitting(tool, plain, reader, target, server)
    through, direct = sitting.through(asked), sitting.direct(asked)

    assert {name: answer for name, answer in through.items() if isinstance(answer, str)} == {}
    same = [each.name for each in asked if each.rows == "same"]
    assert [name for name in same if through[name] != direct[name]] == []
    assert len(asked) > 30


@pytest.mark.parametrize("tool", ["dbeaver", "pgadmin", "datagrip"])
def test_a_tool_works_where_columns_are_masked_but_for_sources_of_functions(
    masking: Gateway, masked_reader: SignedIn, target: str, server: PostgresServer, tool: str
) -> None:
    asked, sitting = texts(tool, server, ZOO), Sitting(tool, masking, masked_reader, target, server)
    through, direct = sitting.through(asked), sitting.direct(asked)

    refused = {name: answer for name, answer in through.items() if isinstance(answer, str)}
    assert set(refused) == {each.name for each in asked if each.masked == "refused"}
    assert [answer for answer in refused.values() if "masked for you" not in answer] == []
    same = [each.name for each in asked if each.rows == "same" and each.masked != "refused"]
    assert [name for name in same if without(through[name], HIDDEN) != without(direct[name], HIDDEN)] == []
