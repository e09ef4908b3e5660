"""pg_dump and pg_restore through the gateway: what they write is what they write at the server itself.

Debian's programs are of version 15, and pg_dump refuses a newer server: PostgreSQL 18 is not dumped here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import zoo
from tests.support.clients import Psql
from tests.support.gateway import TARGET, Gateway, GatewayFactory
from tests.support.postgres import DEBIAN, PostgresServer
from tests.support.side_by_side import MASKS, Sides, opening
from tests.support.signing_in import SignedIn, sign_in

#: Much is asked at once, of a machine that may be busy.
pytestmark = pytest.mark.timeout(400)

ZOO, COPY = "zoo_dump", "copy_dump"
#: Large objects are read by calls by number, which the gateway does not take.
NO_LARGE_OBJECTS = "--no-blobs"
PG_DUMP, PG_RESTORE = DEBIAN / "pg_dump", DEBIAN / "pg_restore"


@pytest.fixture(scope="module")
def server(postgres15: PostgresServer) -> Iterator[PostgresServer]:
    """The server, with a zoo."""
    zoo.build(postgres15, ZOO)
    yield postgres15
    postgres15.drop_database(ZOO)


@pytest.fixture(scope="module")
def gateway_to_it(module_gateways: GatewayFactory, server: PostgresServer) -> Gateway:
    """A gateway where engineers read, and who manages databases does anything."""
    return module_gateways.make({TARGET: server}, policy=opening(ZOO, COPY, allow=["read"]))


@pytest.fixture(scope="module")
def reader(gateway_to_it: Gateway) -> SignedIn:
    """dev1, who may read and no more."""
    return sign_in(gateway_to_it, "dev1")


@pytest.fixture(scope="module")
def manager(gateway_to_it: Gateway) -> SignedIn:
    """dora, who may do anything that can be judged."""
    return sign_in(gateway_to_it, "dora")


@pytest.fixture
def sides(gateway_to_it: Gateway, server: PostgresServer, reader: SignedIn) -> Sides:
    """The reader's way to the zoo, and the direct one."""
    return Sides(gateway_to_it, server, reader, TARGET, ZOO)


@pytest.fixture
def empty(server: PostgresServer) -> Iterator[str]:
    """An empty database that the policy opens, of the gateway's role."""
    server.drop_database(COPY)
    server.create_database(COPY, template="template0")
    yield COPY
    server.drop_database(COPY)


def dump(psql: Psql, *options: str, file: str = "dump") -> Path:
    """Dump, and give the file or folder."""
    done = psql.program([PG_DUMP, NO_LARGE_OBJECTS, *options, "-f", file])
    assert (done.status, done.errors) == (0, "")
    return psql.folder / file


def script_of(dumped: Path, psql: Psql) -> str:
    """Write a dump of any format as a script, without the key that each run draws anew."""
    done = psql.program([PG_RESTORE, "-f", "-", str(dumped)])
    assert (done.status, done.errors) == (0, "")
    return without_key(done.output)


def without_key(script: str) -> str:
    """Leave out what differs from run to run."""
    return re.sub(r"^(\\(un)?restrict) \w+$", r"\1", script, flags=re.MULTILINE)


@pytest.mark.case("PG-31")
@pytest.mark.parametrize("options", [[], ["--schema-only"], ["--data-only", "--inserts"], ["-n", "zoo", "--clean"]])
def test_who_may_only_read_dumps_what_the_server_dumps_directly(sides: Sides, options: list[str]) -> None:
    scripts = [without_key(dump(psql, *options).read_text()) for psql in (sides.through(), sides.direct())]

    assert scripts[0] == scripts[1]
    assert "zoo.animals" in scripts[0]


@pytest.mark.case("PG-31")
@pytest.mark.parametrize("options", [["-Fc"], ["-Fd", "-j", "2"], ["-Ft"]], ids=["custom", "folder", "tar"])
def test_every_format_holds_the_same_also_with_two_workers(sides: Sides, options: list[str]) -> None:
    through, direct = sides.through(), sides.direct()

    assert script_of(dump(through, *options), through) == script_of(dump(direct, *options), direct)


@pytest.mark.case("PG-31")
@pytest.mark.parametrize("way", ["plain", "custom", "parallel"])
def test_what_was_dumped_is_restored_into_another_database(
    gateway_to_it: Gateway, sides: Sides, manager: SignedIn, empty: str, way: str
) -> None:
    psql = gateway_to_it.psql("dora", manager.token, TARGET, database=empty)
    source = Sides(gateway_to_it, sides.server, manager, TARGET, "core").through()
    if way == "plain":
        dumped = dump(source)
        done = psql.program(["psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-f", str(dumped)])
    else:
        jobs = ["-j", "2"] if way == "parallel" else []
        dumped = dump(source, "-Fd" if jobs else "-Fc", *jobs)
        done = psql.program([PG_RESTORE, "-d", empty, *jobs, "--exit-on-error", str(dumped)])

    assert (done.status, done.errors) == (0, "")
    again = [without_key(dump(each).read_text()) for each in (sides.direct("core"), sides.direct(empty))]
    assert again[0] == again[1]


def test_a_zoo_is_restored_but_for_what_takes_a_superuser(
    sides: Sides, gateway_to_it: Gateway, manager: SignedIn, empty: str
) -> None:
    dumped = dump(sides.direct(), "-Fc")
    through = gateway_to_it.psql("dora", manager.token, TARGET, database=empty)

    done = through.program([PG_RESTORE, "-d", empty, str(dumped)])
    complained = sorted(set(re.findall(r"could not execute query: ERROR:  (.*)", done.errors)))
    sides.server.drop_database(empty)
    sides.server.create_database(empty, template="template0")
    directly = sides.direct(empty).program([PG_RESTORE, "-d", empty, str(dumped)])

    assert complained == sorted(set(re.findall(r"could not execute query: ERROR:  (.*)", directly.errors)))
    assert [line for line in complained if "vestibule" in line] == []
    restored = sides.server.execute("SELECT count(*) FROM zoo.animals", database=empty)
    assert restored == [(61,)]


def test_a_dump_reads_one_moment_while_others_write(sides: Sides, gateway_to_it: Gateway) -> None:
    """A repeatable-read transaction with its snapshot handed to workers: the isolation is the server's."""
    through = sides.through()
    done = through.program(
        ["psql", "-X", "-At", "-v", "ON_ERROR_STOP=1"],
        typed="BEGIN; SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY;\n"
        "LOCK TABLE zoo.animals, zoo.keepers IN ACCESS SHARE MODE;\n"
        "SELECT pg_catalog.pg_export_snapshot() <> '' AS s;\nSHOW transaction_isolation;\nROLLBACK;\n",
    )

    assert done.errors == ""
    assert done.output.splitlines()[-3:] == ["t", "repeatable read", "ROLLBACK"]


# What is refused is refused readably


def test_a_stronger_lock_is_not_for_who_may_only_read(sides: Sides) -> None:
    done = sides.through().run("BEGIN", "LOCK TABLE zoo.animals IN ROW SHARE MODE")

    assert 'lock zoo.animals needs "write"' in done.errors


def test_large_objects_cannot_be_dumped_and_the_error_says_why(sides: Sides) -> None:
    done = sides.through().program([PG_DUMP, "-f", "dump"])

    assert done.status == 1
    assert "could not open large object" in done.errors
    assert "function calls by number (FunctionCall) are not supported" in done.errors


def test_who_may_only_read_cannot_restore_and_is_told_what_it_takes(sides: Sides, empty: str) -> None:
    dumped = dump(sides.through(), "-Fc", "-t", "zoo.log")

    done = sides.through(empty).program([PG_RESTORE, "-d", empty, "--no-owner", "--exit-on-error", str(dumped)])

    assert done.status == 1
    assert 'denied by rule "default": create zoo.log needs "schema"' in done.errors


def test_where_columns_are_masked_a_dump_is_refused_with_what_to_do_and_for_who_is_cleared_it_is_whole(
    module_gateways: GatewayFactory, server: PostgresServer
) -> None:
    masking = module_gateways.make({TARGET: server}, policy=opening(ZOO, masks=MASKS))
    masked = Sides(masking, server, sign_in(masking, "dev1"), TARGET, ZOO)
    cleared = Sides(masking, server, sign_in(masking, "dora"), TARGET, ZOO)

    refused = masked.through().program([PG_DUMP, NO_LARGE_OBJECTS, "-f", "dump"])
    whole = without_key(dump(cleared.through()).read_text())

    assert refused.status == 1
    assert "attmissingval is masked for you" in refused.errors
    assert "To copy rows, write COPY (SELECT column, ...) TO STDOUT; a whole dump takes somebody" in refused.errors
    assert whole == without_key(dump(cleared.direct()).read_text())
    copied = masked.through().run("COPY (SELECT id, feeling FROM zoo.animals WHERE id < 3 ORDER BY id) TO STDOUT")
    assert copied.rows == ["1\tfine", "2\tglad"]
    assert masking.stop() == 0
