from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import pytest_asyncio

from tests.support.evidence_records import access, closed, decided, finished, opened
from tests.support.journals import stored
from tests.support.log_site import CONTROL, Site, rows
from vestibule.control.recovery import Recovered
from vestibule.model.record import Kind

pytestmark = pytest.mark.asyncio
ADA, BOB = UUID(int=1), UUID(int=2)


@pytest_asyncio.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    made = Site(tmp_path / "data")
    yield made
    await asyncio.to_thread(made.close)


def said(site: Site, kind: Kind) -> list[dict[str, Any]]:
    """List what the control process recorded of a kind."""
    records = [each for each in stored(site.data / "journal" / CONTROL) if each.header.kind is kind]
    assert all(each.header.sn is None for each in records)
    return [json.loads(each.body) for each in records]


def crash(site: Site) -> None:
    """Leave a session with a running statement, and one that is quiet, behind a dead writer."""
    site.write([access(ADA), opened(ADA), decided(ADA, 1), finished(ADA, 1, rows=7), decided(ADA, 2)])
    site.write([access(BOB), opened(BOB)])
    site.stop_writer()


async def test_what_ran_is_unknown_and_the_session_is_closed_with_a_gap(site: Site) -> None:
    crash(site)
    async with site.integrator() as log, site.database() as engine:
        assert await site.recovery(engine, log).recover() == Recovered(2, 1)
    records = stored(site.data / "journal" / "n1.w0")
    (statement,) = said(site, Kind.STATEMENT_FINISHED)
    assert statement["decided"] == {"id": str(records[4].header.id), "leaf": records[4].leaf.hex()}
    assert (statement["outcome"], statement["forwarded"]) == ("unknown", True)
    session = said(site, Kind.SESSION_CLOSED)[0]
    assert session["opened"] == {"id": str(records[1].header.id), "leaf": records[1].leaf.hex()}
    assert (session["cause"], session["recording_complete"], session["last_sn"]) == ("crash", False, 4)
    assert (session["statements"], session["allowed"], session["rows"]) == (2, 2, 7)
    (gap,) = session["gaps"]
    assert gap["cause"] == "crash"
    assert gap["from"] <= gap["to"]
    assert session["duration_us"] == records[4].header.t - records[1].header.t


async def test_a_second_recovery_adds_nothing(site: Site) -> None:
    crash(site)
    async with site.integrator() as log, site.database() as engine:
        recovery = site.recovery(engine, log)
        await recovery.recover()
        assert await recovery.recover() == Recovered()
    async with site.integrator() as log, site.database() as engine:
        assert await site.recovery(engine, log).recover() == Recovered()
    assert len(said(site, Kind.SESSION_CLOSED)) == 2


async def test_a_recovery_cut_off_between_two_appends_adds_only_what_is_missing(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    crash(site)
    monkeypatch.setattr("vestibule.control.recovery.BATCH", 1)
    async with site.integrator() as log, site.database() as engine:
        commit, commits = site.journal.commit, 0

        async def die_at_the_third(*records: Any) -> Any:
            nonlocal commits
            commits += 1
            if commits == 3:
                raise KeyboardInterrupt
            return await commit(*records)

        monkeypatch.setattr(site.journal, "commit", die_at_the_third)
        with pytest.raises(KeyboardInterrupt):
            await site.recovery(engine, log).recover()
        monkeypatch.undo()
    async with site.integrator() as log, site.database() as engine:
        assert await site.recovery(engine, log).recover() == Recovered(1, 0)
    assert len(said(site, Kind.STATEMENT_FINISHED)) == 1
    assert len(said(site, Kind.SESSION_CLOSED)) == 2


async def test_a_writer_that_lives_is_left_alone(site: Site) -> None:
    site.write([access(ADA), opened(ADA)])
    async with site.integrator() as log, site.database() as engine:
        recovery = site.recovery(engine, log)
        assert await recovery.recover() == Recovered()
        assert await recovery.recover(["n1.w0"]) == Recovered()
        site.stop_writer()
        assert await recovery.recover(["n1.w1"]) == Recovered()
        assert await recovery.recover(["n1.w0"]) == Recovered(1, 0)


async def test_a_writer_whose_chain_has_stopped_is_left_alone(site: Site) -> None:
    site.write([access(ADA), opened(ADA)])
    async with site.integrator() as log:
        await log.publish_now()
    site.write([closed(ADA)])
    site.stop_writer()
    (site.data / "journal" / "n1.w0" / "1-0.seg").unlink()
    async with site.integrator() as log, site.database() as engine:
        assert "n1.w0" in log.faults
        assert await site.recovery(engine, log).recover() == Recovered()
    assert said(site, Kind.SESSION_CLOSED) == []


async def test_in_a_log_that_was_rolled_back_nothing_is_recovered(site: Site, tmp_path: Path) -> None:
    site.write([access(ADA), opened(ADA)])
    async with site.integrator() as log:
        await log.publish_now()
    site.copy_database(tmp_path / "backup")
    site.write([closed(ADA)])
    async with site.integrator() as log:
        await log.publish_now()
    site.stop_writer()
    site.restore_database(tmp_path / "backup")
    async with site.integrator() as log, site.database() as engine:
        assert log.rolled_back is not None
        assert await site.recovery(engine, log).recover() == Recovered()
    assert said(site, Kind.SESSION_CLOSED) == []


async def test_a_session_that_ended_needs_no_recovery(site: Site) -> None:
    site.write([access(ADA), opened(ADA), decided(ADA, 1, "deny"), finished(ADA, 1, "refused"), closed(ADA, 1)])
    site.stop_writer()
    async with site.integrator() as log, site.database() as engine:
        assert await site.recovery(engine, log).recover() == Recovered()


async def test_the_index_shows_the_crash_and_the_verifier_is_content(site: Site) -> None:
    crash(site)
    async with site.integrator() as log, site.database() as engine:
        await site.recovery(engine, log).recover()
        await log.publish_now()
        sessions = await rows(engine, "session")
        statements = await rows(engine, "statement")
    assert [(each["cause"], each["complete"]) for each in sessions] == [("crash", False)] * 2
    assert [each["outcome"] for each in statements] == ["ok", "unknown"]
    checked = site.verify()
    assert checked.returncode == 0, checked.stdout


async def test_the_numbers_are_written_as_a_node_start_says_them(site: Site) -> None:
    assert Recovered(2, 1, 7).members() == {"sessions": 2, "statements_unknown": 1, "spool_bytes": 7}


@contextmanager
def started(command: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stdout.readline().startswith(b"started")
        try:
            yield process
            process.stdout.read()
        finally:
            process.kill()


@pytest.mark.slow
async def test_what_a_killed_writer_left_is_recovered_whole(site: Site) -> None:
    folder = site.data / "journal" / "n1.w0"
    command = [sys.executable, "-m", "tests.support.journal_writer", str(folder)]
    async with site.integrator() as log, site.database() as engine:
        for _ in range(4):
            with started(command) as process:
                until = time.monotonic() + 0.1
                while time.monotonic() < until:
                    await log.integrated()
                process.send_signal(signal.SIGKILL)
            await site.recovery(engine, log).recover(["n1.w0"])
            assert await rows(engine, "open_session") == []
            assert await rows(engine, "open_statement") == []
        site.writer().close()
        site.writers.clear()
        await log.integrated()
        await log.publish_now()
        assert log.faults == {}
    checked = site.verify()
    assert checked.returncode == 0, checked.stdout
