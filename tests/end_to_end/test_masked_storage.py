"""What is kept of masked columns: nothing, though somebody has seen them; and what a new policy changes at once."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.support.gateway import TARGET, Gateway, GatewayFactory
from tests.support.postgres import GATEWAY, PostgresServer
from tests.support.raw_client import in_session
from tests.support.signing_in import SignedIn, sign_in
from tests.support.waiting import wait_for
from vestibule.protocols.postgres import messages as pg
from vestibule.protocols.postgres.codec import encode

MASK = {
    "name": "numbers",
    "columns": ["*.kept_people.ssn"],
    "transform": {"keep_last": 4},
    "clear_for": {"groups": ["dba-managers"]},
}
_draw = random.Random(40)
VALUES = [f"{_draw.randint(100, 665)}-{_draw.randint(10, 99)}-{_draw.randint(1000, 9999)}" for _ in range(50)]


def masking(policy: dict[str, Any]) -> None:
    policy["masks"] = [copy.deepcopy(MASK)]


@pytest.fixture
def house(module_gateways: GatewayFactory, postgres15: PostgresServer) -> Iterator[Gateway]:
    """A gateway of the test's own, with people whose numbers are masked."""
    with postgres15.connect(GATEWAY) as connection:
        connection.execute("CREATE TABLE kept_people (id int PRIMARY KEY, ssn text UNIQUE)")
        connection.cursor().executemany("INSERT INTO kept_people VALUES (%s, %s)", list(enumerate(VALUES)))
    yield module_gateways.make({TARGET: postgres15}, policy=masking)
    postgres15.execute("DROP TABLE kept_people")


def kept(house: Gateway) -> dict[Path, bytes]:
    """Every file of the gateway: journal, state, log, and what it told its operator."""
    files = {path: path.read_bytes() for path in house.folder.rglob("*") if path.is_file()}
    assert house.program is not None
    return files | {Path("the operator's log"): house.program.output().encode()}


def forms(value: str) -> tuple[bytes, ...]:
    return value.encode(), value.replace("-", "").encode(), value.encode().hex().encode()


@pytest.mark.case("E-40")
def test_who_is_cleared_sees_every_number_and_nothing_that_is_kept_has_one(house: Gateway) -> None:
    dora = sign_in(house, "dora")
    psql = house.psql("dora", dora.token)
    done = psql.run("SELECT ssn FROM kept_people ORDER BY id")
    assert done.rows == VALUES, "the screen shows them"
    assert psql.script("\\copy kept_people (ssn) TO STDOUT\n").rows == VALUES
    assert psql.run(f"SELECT id FROM kept_people WHERE ssn = '{VALUES[7]}'").rows == ["7"]
    assert VALUES[3] in psql.run(f"INSERT INTO kept_people VALUES (99, '{VALUES[3]}')").errors
    assert VALUES[0] in psql.run("SELECT ssn::int FROM kept_people ORDER BY id").errors
    with in_session(house.port, house.ca, f"dora+{TARGET}", dora.token) as client:
        bound = pg.Bind("", "", (), (VALUES[5].encode(),), (1,))
        client.ask(pg.Parse("", b"SELECT ssn FROM kept_people WHERE ssn = $1"), bound, pg.Execute("", 0), pg.Sync())
        client.query("COPY kept_people TO STDOUT (FORMAT binary)")
        told = b"".join(map(encode, client.messages))
    assert all(value.encode() in told for value in VALUES)
    house.login("ana")
    wait_for(lambda: house.sessions("ana"), "the sessions in the index")
    files = kept(house)
    house.restart()
    files |= {Path("behind the restart") / path: data for path, data in kept(house).items()}
    found = [(path, value) for path, data in files.items() for value in VALUES for form in forms(value) if form in data]
    assert found == []


def first(session: psycopg.Connection[Any]) -> str:
    row = session.execute("SELECT ssn FROM kept_people WHERE id = 0").fetchone()
    assert row is not None
    return str(row[0])


def test_a_policy_that_masks_more_or_less_holds_in_open_sessions(house: Gateway) -> None:
    dev: SignedIn = sign_in(house, "dev1")
    hidden, clear = f"***{VALUES[0][-4:]}", VALUES[0]
    with psycopg.connect(house.conninfo("dev1", dev.token), autocommit=True, prepare_threshold=1) as session:
        for _ in range(3):
            assert first(session) == hidden
        house.change_policy(lambda policy: policy.pop("masks"))
        wait_for(lambda: first(session) == clear, "the policy without masks")
        session.execute("CREATE TEMP TABLE taken AS SELECT ssn FROM kept_people")
        assert session.execute("SELECT count(*) FROM taken").fetchone() == (50,)
        house.change_policy(masking)
        wait_for(lambda: first(session) == hidden, "the policy with masks")
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="taken was made when other columns were masked"):
            session.execute("TABLE taken")
        assert first(session) == hidden
