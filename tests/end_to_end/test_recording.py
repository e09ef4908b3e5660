"""Recordings of real sessions: what psycopg is shown is what a replay shows, after kill -9 of the data process too.

Recording is switched on from outside here, by a start file of Python: the gateway itself records nothing before
results are masked.
"""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.support import processes
from tests.support.certificates import Authority
from tests.support.evidence import Journal
from tests.support.gateway import TARGET, Gateway
from tests.support.postgres import PostgresServer
from tests.support.providers import LightProvider
from tests.support.sandbox import Sandbox
from tests.support.signing_in import SignedIn, sign_in
from tests.support.waiting import wait_for
from vestibule.model.record import Kind

SWITCH = """
import vestibule.gate.kept as kept

_init = kept.Recording.__init__
kept.Recording.__init__ = lambda self, records=None, *limits: _init(self, lambda target: True, *limits)
"""
SLOWLY = (
    "SELECT g::text, repeat('x', 500), CASE WHEN g % 20 = 0 THEN pg_sleep(0.01) END FROM generate_series(1, 20000) g"
)
#: What may be lost of output by kill -9: 64 KiB, and what was read from the target at once.
LOST = 128 * 1024


@pytest.fixture(scope="module")
def house(sandbox: Sandbox, authority: Authority, light_provider: LightProvider, postgres15: PostgresServer):
    """A gateway that records what its clients are shown."""
    made = Gateway(sandbox, authority, light_provider, {TARGET: postgres15})
    site = sandbox.folder("recording-on")
    sandbox.write(site / "sitecustomize.py", SWITCH)
    made.environment["PYTHONPATH"] = str(site)
    made.settings["recording"] = {"result_rows": 1_000_000, "result_bytes": "64MiB"}
    made.start()
    made.login("ana")
    yield made
    assert made.stop() == 0


@pytest.fixture(scope="module")
def dev1(house: Gateway) -> SignedIn:
    return sign_in(house, "dev1")


def connect(house: Gateway, who: SignedIn, name: str) -> psycopg.Connection:
    return psycopg.connect(house.conninfo(who.person, who.token, TARGET, application_name=name), autocommit=True)


def session_of(house: Gateway, name: str) -> dict[str, Any]:
    return next(session for session in house.sessions("ana") if session["banner"] == name)


def closed(house: Gateway, name: str) -> dict[str, Any] | None:
    try:
        found = session_of(house, name)
    except (StopIteration, RuntimeError):
        return None
    return found if found["closed_at"] else None


def replayed(house: Gateway, session: str) -> list[dict[str, Any]]:
    done = house.cli("ana", "sessions", "replay", session, "--json")
    assert done.status == 0, done.errors
    return [each for each in json.loads(done.output) if "rows" in each]


def rows(house: Gateway, session: str) -> list[list[Any]]:
    return [row for table in replayed(house, session) for row in table["rows"]]


def verified(house: Gateway) -> str:
    """Check all evidence of the gateway that runs; one that is just publishing is looked at again."""

    def check() -> str:
        done = house.cli("ana", "evidence", "verify", house.data)
        return done.output if done.status == 0 else ""

    return wait_for(check, "evidence that passes")


def test_what_a_client_was_shown_is_what_a_replay_shows(house: Gateway, dev1: SignedIn, name: str) -> None:
    with connect(house, dev1, name) as connection:
        simple = connection.execute("SELECT 1 AS one, NULL AS nothing, 'zwei' AS two").fetchall()
        binary = connection.execute("SELECT 7::int8, 1.50::numeric, true", binary=True).fetchall()
        with connection.cursor().copy("COPY (SELECT generate_series(1, 3)) TO STDOUT") as copy:
            copied = [line.decode() for line in (bytes(block) for block in copy) if line]
        with pytest.raises(psycopg.errors.DivisionByZero):
            connection.execute("SELECT 1/0")
    session = wait_for(lambda: closed(house, name), "the end of the session")
    tables = replayed(house, session["session"])

    assert simple == [(1, None, "zwei")]
    assert [column["name"] for column in tables[0]["columns"]] == ["one", "nothing", "two"]
    assert [table["rows"] for table in tables if table["rows"]] == [
        [["1", None, "zwei"]],
        [["7", "1.50", "t"]],
        [[line.rstrip("\n")] for line in copied],
    ]
    assert len(binary) == 1
    assert tables[-1]["error"].startswith("22012")
    text = house.cli("ana", "sessions", "replay", session["session"], "--speed", "0").output
    assert text.index("SELECT") < text.index("zwei") < text.rindex("closed: client_closed")


def test_the_evidence_says_what_was_recorded_and_passes_the_verifier(house: Gateway, dev1: SignedIn, name: str) -> None:
    with connect(house, dev1, name) as connection:
        connection.execute("SELECT repeat('x', 500), g FROM generate_series(1, 3000) g").fetchall()
    session = wait_for(lambda: closed(house, name), "the end of the session")
    records = [record for record in Journal(house.data).records() if str(record.session) == session["session"]]
    said = {record.kind: record.body for record in records}

    assert said[Kind.SESSION_OPENED]["recording"]["results"] == "masked"
    result = next(record.body for record in records if record.kind == Kind.STATEMENT_FINISHED)["results"][0]
    assert (result["recorded"], result["recorded_rows"]) == ("full", 3000)
    assert said[Kind.SESSION_CLOSED]["recording_complete"] is True
    chunks = sum(record.kind == Kind.CHUNK_SEALED for record in records)
    assert said[Kind.SESSION_CLOSED]["chunks"] == {"results": chunks}
    assert len(rows(house, session["session"])) == 3000
    assert "PASS V10 recordings" in verified(house)
    assert list((house.data / "spool").glob("*/*")) == []


def test_nothing_that_was_shown_lies_in_clear_in_objects_spool_or_journal(
    house: Gateway, dev1: SignedIn, name: str
) -> None:
    secret = "canary" + name
    with connect(house, dev1, name) as connection:
        connection.execute("SELECT %s || lower(%s)", ("CAN", secret[3:].upper())).fetchall()
        time.sleep(0.3)
        stored = {path: path.read_bytes() for path in house.data.rglob("*") if path.is_file()}
    shown = ("CAN" + secret[3:]).encode()

    assert any("spool" in path.parts for path in stored)
    assert [path for path, data in stored.items() if shown in data] == []


def test_kill_9_of_the_data_process_loses_little_of_what_was_shown(house: Gateway, dev1: SignedIn, name: str) -> None:
    received: list[str] = []

    def read() -> None:
        try:
            with connect(house, dev1, name) as connection:
                for row in connection.cursor().stream(SLOWLY):
                    received.append(row[0])
        except psycopg.OperationalError:
            pass

    reader = threading.Thread(target=read)
    reader.start()
    wait_for(lambda: len(received) > 2_500, "rows")
    assert house.program is not None
    [victim] = [
        pid for pid in processes.descendants(house.program.pid)
        if b"vestibule.app.data" in Path(f"/proc/{pid}/cmdline").read_bytes()
    ]  # fmt: skip
    os.kill(victim, signal.SIGKILL)
    reader.join(30)
    session = wait_for(lambda: closed(house, name), "the recovery of the session")
    kept = [row[0] for row in rows(house, session["session"])]

    assert session["cause"] == "crash"
    assert session["complete"] is False
    assert kept == [str(number) for number in range(1, len(kept) + 1)]
    assert (len(received) - len(kept)) * 520 <= LOST
    assert len(kept) > 2_000
    text = verified(house)
    assert "PASS V10 recordings" in text
    recovered = [r for r in Journal(house.data).records() if r.kind == Kind.CHUNK_SEALED and r.body["recovered"]]
    assert [str(record.session) for record in recovered] == [session["session"]]


def test_a_running_session_is_followed_within_about_a_second(house: Gateway, dev1: SignedIn, name: str) -> None:
    with connect(house, dev1, name) as connection:
        connection.execute("SELECT 'before'").fetchall()
        session = wait_for(lambda: session_of(house, name), "the session")["session"]
        token = house.login("ana")

        def page(after: str, wait: int) -> dict[str, Any]:
            path = f"/api/v1/sessions/{session}/replay/results?after={after}&wait={wait}&seen=1"
            status, text = house.get(path, token)
            assert status == 200, text
            found: dict[str, Any] = json.loads(text)
            return found

        first = page("0.0.0", 5)
        answers: list[tuple[float, dict[str, Any]]] = []

        def wait_for_rows() -> None:
            after = first["next"]
            while not any(answer["tables"] for _, answer in answers):
                answers.append((time.monotonic(), page(after, 5)))

        follower = threading.Thread(target=wait_for_rows)
        follower.start()
        time.sleep(0.5)
        began = time.monotonic()
        connection.execute("SELECT 'while followed'").fetchall()
        follower.join(10)
        took = time.monotonic() - began

    assert first["tables"][0]["rows"] == [["before"]]
    assert ["while followed"] in [row for _, answer in answers for table in answer["tables"] for row in table["rows"]]
    assert took < 2
