"""What somebody may see in clear is stored masked: shown to real clients, and looked for wherever anything is kept."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tests.end_to_end.test_recording import closed, replayed, rows, verified
from tests.support.certificates import Authority
from tests.support.evidence import Evidence, Journal
from tests.support.gateway import TARGET, Gateway
from tests.support.postgres import PostgresServer
from tests.support.providers import LightProvider
from tests.support.sandbox import Sandbox
from tests.support.signing_in import SignedIn, sign_in
from tests.support.waiting import wait_for
from vestibule.evidence.recording import Place, decode_events, stored, unseal
from vestibule.evidence.spool import decode_frames, decode_head
from vestibule.model.record import Kind
from vestibule.stores.data_keys import open_data_keys
from vestibule.stores.database import open_database

pytestmark = pytest.mark.timeout(240)

MASKS = [
    {
        "name": "ssn",
        "columns": ["*.customers.ssn"],
        "transform": {"keep_last": 4},
        "clear_for": {"groups": ["dba-managers"]},
    },
    {"name": "pan", "columns": ["*.cards.pan"], "clear_for": {"groups": ["dba-managers"]}},
]
WHOLE = "SELECT ssn FROM customers ORDER BY id"


@pytest.fixture(scope="module")
def house(
    sandbox: Sandbox, authority: Authority, light_provider: LightProvider, postgres15: PostgresServer
) -> Iterator[Gateway]:
    """A gateway that masks SSNs and PANs for all but database managers."""
    made = Gateway(sandbox, authority, light_provider, {TARGET: postgres15})
    made.policy["masks"] = MASKS
    made.start()
    made.login("ana")
    yield made
    assert made.stop() == 0


@pytest.fixture(scope="module")
def dora(house: Gateway) -> SignedIn:
    """dora, for whom nothing is masked."""
    return sign_in(house, "dora")


@pytest.fixture(scope="module")
def dev1(house: Gateway) -> SignedIn:
    """dev1, for whom it is."""
    return sign_in(house, "dev1")


@pytest.fixture(scope="module")
def clear(postgres15: PostgresServer) -> list[str]:
    """The values that nothing may keep, as they are in the bank."""
    return [str(row[0]) for row in postgres15.execute("SELECT ssn FROM customers UNION ALL SELECT pan FROM cards")]


def connect(house: Gateway, who: SignedIn, name: str) -> psycopg.Connection:
    return psycopg.connect(house.conninfo(who.person, who.token, TARGET, application_name=name), autocommit=True)


def ended(house: Gateway, name: str) -> str:
    return str(wait_for(lambda: closed(house, name), "the end of the session")["session"])


def of_session(house: Gateway, session: str, kind: Kind) -> list[Evidence]:
    return [record for record in Journal(house.data).records(kind) if str(record.session) == session]


def opened(house: Gateway) -> dict[str, bytes]:
    """Everything that was recorded, decrypted: chunks, and what is in the spool."""

    async def read() -> dict[str, bytes]:
        engine = await open_database(house.data / "state.sqlite")
        try:
            keys = await open_data_keys(engine, house.data / "keys" / "kek")
            found: dict[str, bytes] = {}
            for record in Journal(house.data).records(Kind.CHUNK_SEALED):
                about = stored(record["object"])
                key = await keys.data_key(about.key)
                assert key is not None
                assert record.session is not None
                data = (house.data / "objects" / "obj" / about.sha256[:2] / about.sha256).read_bytes()
                plain = unseal(data, Place(record.session, about.key, record["seq"]), key, about)
                found[f"chunk {about.sha256}"] = b"".join(event.data for _, event in decode_events(plain))
            for path, data in _read(house.data / "spool").items():
                key = await keys.data_key(decode_head(data).place.key)
                found[f"decrypted {path}"] = b"" if key is None else decode_frames(data, key)[0]
            return found
        finally:
            await engine.dispose()

    return asyncio.run(read())


def _read(folder: Path) -> dict[str, bytes]:
    """Read all files below a folder that are still there."""
    found: dict[str, bytes] = {}
    for path in folder.rglob("*"):
        with contextlib.suppress(FileNotFoundError):
            if path.is_file():
                found[str(path)] = path.read_bytes()
    return found


def kept(house: Gateway) -> dict[str, bytes]:
    """Every byte that is kept anywhere: the data folder, the operator's log, and the recordings decrypted."""
    found = opened(house) | _read(house.data)
    assert house.program is not None
    found["the operator's log"] = house.program.output().encode()
    return found


def hits(house: Gateway, values: list[str]) -> list[str]:
    """Where any of the values is, in its own form or without what separates its digits."""
    forms = {form.encode() for value in values for form in (value, re.sub(r"\D", "", value))}
    wanted = re.compile(b"|".join(re.escape(form) for form in sorted(forms)))
    return [place for place, data in kept(house).items() if wanted.search(data)]


@pytest.mark.case("E-40")
def test_what_an_entitled_person_reads_in_clear_is_kept_nowhere_in_clear(
    house: Gateway, dora: SignedIn, clear: list[str], name: str
) -> None:
    psql = house.psql("dora", dora.token, appname=name)
    plain = psql.run(WHOLE, "SELECT pan FROM cards", "SELECT reverse(ssn), upper(ssn) FROM customers")
    copied = psql.run("COPY customers TO STDOUT", "COPY (SELECT pan FROM cards) TO STDOUT")
    failed = psql.run("SELECT (ssn || 'x')::int FROM customers", "SELECT count(ssn) FROM customers")
    with connect(house, dora, name) as connection:
        text = connection.execute(WHOLE).fetchall()
        binary = connection.execute(WHOLE, binary=True).fetchall()
        bound = connection.execute("SELECT ssn, id FROM customers WHERE id = %s", [1]).fetchall()
        made = connection.execute("SELECT to_json(c)::text, c FROM customers c").fetchall()
        connection.execute("CREATE TEMP TABLE mine AS SELECT ssn AS city, name FROM customers")
        own = connection.execute("SELECT city FROM mine").fetchall()
        derived = connection.execute("SELECT city || '' FROM mine").fetchall()
        connection.execute("BEGIN")
        connection.execute("DECLARE those CURSOR FOR SELECT ssn || '' FROM customers")
        fetched = connection.execute("FETCH ALL FROM those").fetchall()
        connection.execute("COMMIT")
        with connection.cursor().copy("COPY (SELECT ssn FROM customers) TO STDOUT (FORMAT binary)") as copy:
            raw = b"".join(bytes(block) for block in copy)
        # While the session is open, what it was shown is in the spool.
        assert hits(house, clear) == []

    # The screen did show them.
    numbers = [value for value in clear if "-" in value]
    assert set(clear) <= set(plain.rows)
    assert all(value in copied.output for value in clear)
    assert numbers[0] in failed.errors
    for seen in (text, binary, own, derived, fetched):
        assert {row[0] for row in seen} == set(numbers)
    assert bound[0][0] in numbers
    assert all(value in str(made) and value.encode() in raw for value in numbers)
    wait_for(lambda: len([s for s in house.sessions("ana") if s["banner"] == name and s["closed_at"]]) == 4, "the ends")
    assert "PASS V10 recordings" in verified(house)
    assert hits(house, clear) == []
    # What is kept is the same rows, masked.
    everything = b"".join(opened(house).values())
    assert all(f"***{value[-4:]}".encode() in everything for value in numbers)


@pytest.mark.case("E-40")
def test_the_record_names_the_rules_that_let_values_pass(house: Gateway, dora: SignedIn, name: str) -> None:
    with connect(house, dora, name) as connection:
        for text in (WHOLE, "SELECT id FROM customers", "SELECT upper(pan) FROM cards", "SELECT pan FROM cards"):
            connection.execute(text).fetchall()  # type: ignore[arg-type]
    session = ended(house, name)
    decided = of_session(house, session, Kind.STATEMENT_DECIDED)

    assert [record.body.get("clear_by") for record in decided] == [["ssn"], None, ["pan", "ssn"], ["pan"]]
    [first] = of_session(house, session, Kind.SESSION_OPENED)
    assert first["recording"]["results"] == "masked"


def test_a_replay_shows_a_cleared_session_masked_and_all_else_as_it_was(
    house: Gateway, dora: SignedIn, name: str
) -> None:
    with connect(house, dora, name) as connection:
        seen = connection.execute("SELECT id, ssn, name FROM customers ORDER BY id LIMIT 2").fetchall()
        connection.execute("SELECT id, reverse(ssn) FROM customers ORDER BY id LIMIT 1").fetchall()
        with connection.cursor().copy("COPY (SELECT ssn FROM customers) TO STDOUT") as copy:
            list(copy)
    session = ended(house, name)

    assert rows(house, session)[:3] == [
        *[[str(number), f"***{ssn[-4:]}", person] for number, ssn, person in seen],
        [None, "***"],
    ]
    results = [result for record in of_session(house, session, Kind.STATEMENT_FINISHED) for result in record["results"]]
    assert [result["recorded"] for result in results] == ["full", "full", "none"]


def test_a_replay_shows_a_masked_session_what_it_was_shown_and_names_the_rule(
    house: Gateway, dev1: SignedIn, name: str
) -> None:
    with connect(house, dev1, name) as connection:
        seen = connection.execute("SELECT id::text, ssn, name FROM customers ORDER BY id LIMIT 3").fetchall()
    session = ended(house, name)
    [table] = [table for table in replayed(house, session) if table["rows"]]

    assert table["rows"] == [list(row) for row in seen]
    assert all(row[1].startswith("***") for row in seen)
    assert [column["masked"] for column in table["columns"]] == ["", "ssn", ""] or [
        column["masked"] for column in table["columns"]
    ] == [None, "ssn", None]
    text = house.cli("ana", "sessions", "replay", session, "--speed", "0").output
    assert "ssn (ssn)" in text


def test_nothing_of_somebody_else_is_in_clear_while_another_session_is_cleared(
    house: Gateway, dora: SignedIn, dev1: SignedIn, clear: list[str], name: str
) -> None:
    with connect(house, dora, name) as cleared, connect(house, dev1, name) as masked:
        for _ in range(3):
            assert cleared.execute(WHOLE).fetchall() != masked.execute(WHOLE).fetchall()
        assert hits(house, clear) == []


#: Nothing can be masked in a process that starts with this.
BROKEN = """
from vestibule.protocols.postgres import frames


def mask(*_):
    raise RuntimeError("broken")


frames.mask = mask
"""


@pytest.mark.case("E-44")
def test_where_masking_what_is_stored_fails_nothing_is_stored_and_the_operator_is_alarmed(
    sandbox: Sandbox,
    authority: Authority,
    light_provider: LightProvider,
    postgres15: PostgresServer,
    clear: list[str],
    name: str,
) -> None:
    made = Gateway(sandbox, authority, light_provider, {TARGET: postgres15})
    made.policy["masks"] = MASKS
    site = sandbox.folder("mask-broken")
    sandbox.write(site / "sitecustomize.py", BROKEN)
    made.environment["PYTHONPATH"] = str(site)
    made.start()
    made.login("ana")
    with connect(made, sign_in(made, "dora"), name) as connection:
        seen = connection.execute(WHOLE).fetchall()
        with pytest.raises(psycopg.Error) as refused:
            connection.execute("SELECT 1")
    session = ended(made, name)

    assert {row[0] for row in seen} <= set(clear)
    assert refused.value.sqlstate == "58030"
    [finished] = [each for each in of_session(made, session, Kind.STATEMENT_FINISHED) if each.body.get("results")]
    assert [result["recorded"] for result in finished["results"]] == ["none"]
    faults = Journal(made.data).records(Kind.AUDIT_FAULT)
    assert [(fault["fault"], fault["phase"]) for fault in faults] == [
        ("storage_mask_leak", "started"),
        ("storage_mask_leak", "ended"),
    ]
    assert made.program is not None
    assert "audit_fault" in made.program.output()
    assert hits(made, clear) == []
    assert made.stop() == 0
    assert "PASS V10" in made.cli("ana", "evidence", "verify", made.data).output
