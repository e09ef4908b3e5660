from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID

import pytest
import pytest_asyncio
from sqlalchemy.exc import OperationalError

from tests.support.evidence_records import access, conversation, decided, heartbeat, opened
from tests.support.journals import Clock, open_journal, stored
from tests.support.log_site import CONTROL, ORIGIN, Site, rows, until
from vestibule.evidence import verify
from vestibule.evidence.canonical import leaf_hash
from vestibule.evidence.checkpoint import VerifierKey
from vestibule.evidence.merkle import Frontier
from vestibule.evidence.tiles import decode_entries
from vestibule.model.record import Kind, Record
from vestibule.stores import tiles
from vestibule.stores.log import LogStore

pytestmark = pytest.mark.asyncio

DAY = 86_400_000_000


@pytest_asyncio.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    made = Site(tmp_path / "data")
    yield made
    await asyncio.to_thread(made.close)


# Leaves


async def test_every_record_of_every_writer_is_a_leaf_once_in_the_order_of_its_writer(site: Site) -> None:
    site.converse(1)
    site.converse(2, node="n1.w1")
    async with site.integrator() as log:
        site.converse(3)
        await log.integrated()
        async with site.database() as engine:
            leaves = await rows(engine, "leaf")
    assert [leaf["leaf_index"] for leaf in leaves] == list(range(log.size))
    for node in ("n1.w0", "n1.w1", CONTROL):
        on_disk = [(each.header.epoch, each.header.n) for each in stored(site.data / "journal" / node)]
        assert [(leaf["epoch"], leaf["n"]) for leaf in leaves if leaf["node"] == node] == on_disk


async def test_the_tree_is_the_tree_of_the_journals_headers(site: Site) -> None:
    site.converse(1, 200)
    async with site.integrator() as log:
        await log.publish_now()
    entries: list[bytes] = []
    for n in range(-(-log.published_size // 256)):
        width = min(256, log.published_size - 256 * n)
        entries += decode_entries((site.data / "log" / tiles.entries_path(n, width)).read_bytes(), width)
    headers = {each.frame.header for node in ("n1.w0", CONTROL) for each in stored(site.data / "journal" / node)}
    assert set(entries) <= headers
    assert Frontier().extend(map(leaf_hash, entries))[0].root() == site.checkpoint().root
    assert site.checkpoint().size == len(entries) == log.published_size


async def test_the_first_start_makes_key_and_genesis_and_no_later_one_does(site: Site) -> None:
    async with site.integrator():
        pass
    async with site.integrator():
        pass
    genesis = [json.loads(each.body) for each in stored(site.data / "journal" / CONTROL)]
    assert [(each["origin"], each["generation"]) for each in genesis] == [(ORIGIN, 1)]
    vkey = (site.data / "log" / "log.vkey").read_text()
    assert vkey == genesis[0]["vkey"] + "\n"
    assert VerifierKey.parse(genesis[0]["vkey"]) == site.signer().key


async def test_a_genesis_that_a_crash_kept_from_the_log_is_not_recorded_twice(site: Site) -> None:
    async with site.integrator():
        pass
    # The database is as it was before the record became a leaf.
    site.delete_database()
    async with site.integrator():
        pass
    assert len(stored(site.data / "journal" / CONTROL)) == 1


async def test_a_genesis_that_cannot_be_found_now_is_not_recorded_a_second_time(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with site.integrator():
        pass
    site.delete_database()

    async def refuse(*_: object, **__: object) -> None:
        raise OperationalError("INSERT", {}, Exception("database or disk is full"))

    monkeypatch.setattr(LogStore, "add", refuse)
    async with site.integrator():
        pass
    assert len(stored(site.data / "journal" / CONTROL)) == 1


async def test_a_frame_that_is_half_written_is_not_read_and_is_read_once_it_is_whole(site: Site) -> None:
    site.write([access(UUID(int=1)), opened(UUID(int=1))])
    first, second = stored(site.data / "journal" / "n1.w0")
    whole = first.path.read_bytes()
    for length in (first.frame.end + 1, first.frame.end + 100, second.frame.end - 1):
        first.path.write_bytes(whole[:length].ljust(len(whole), b"\0"))
        async with site.integrator() as log:
            assert log.faults == {}
            async with site.database() as engine:
                assert [each["n"] for each in await rows(engine, "leaf") if each["node"] == "n1.w0"] == [0]
    async with site.integrator() as log:
        size = log.size
        first.path.write_bytes(whole)
        assert await log.integrated() == size + 1
        assert log.faults == {}


async def test_the_index_holds_what_the_leaves_hold(site: Site) -> None:
    site.converse(1, 4)
    async with site.integrator(), site.database() as engine:
        (session,) = await rows(engine, "session")
        statements = await rows(engine, "statement")
    assert (session["session"], session["cause"], session["statements"]) == (UUID(int=1).bytes, "client_closed", 4)
    assert [(each["number"], each["outcome"]) for each in statements] == [(no, "ok") for no in range(1, 5)]


async def test_a_running_integrator_publishes_by_itself(site: Site) -> None:
    async with site.integrator(publish_every=0.1, look_every=0.02) as log:
        task = asyncio.create_task(log.run())
        site.converse(1)
        await until(lambda: log.published_size >= log.size > 9)
        site.converse(2)
        await until(lambda: site.checkpoint().size == log.size > 18)
        task.cancel()
        await asyncio.wait([task])
        site.converse(3)
        await log.close()
    assert site.checkpoint().size == log.size
    assert len(list((site.data / "log" / "checkpoints").iterdir())) >= 2


async def test_cancelling_in_the_middle_of_a_publication_does_not_disturb_it(site: Site) -> None:
    site.converse(1, 300)
    async with site.integrator(publish_every=0.0, look_every=0.0) as log:
        for _ in range(5):
            task = asyncio.create_task(log.run())
            await asyncio.sleep(0.005)
            task.cancel()
            await asyncio.wait([task])
            site.converse(log.size)
        await log.close()
    assert site.checkpoint().size == log.size
    assert site.verify().returncode == 0


# Verified by others


async def test_the_stand_alone_verifier_finds_nothing_wrong(site: Site) -> None:
    site.converse(1, 150)
    site.converse(2, 10, node="n1.w1")
    async with site.integrator() as log:
        await log.publish_now()
        for number in range(3, 8):
            site.converse(number, 40, node=f"n1.w{number % 2}")
            await log.integrated()
            await log.publish_now()
    checked = site.verify()
    assert checked.returncode == 0, checked.stdout
    assert "FAIL" not in checked.stdout


async def test_the_verifier_finds_nothing_wrong_before_the_first_and_in_the_middle_of_a_publication(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with site.integrator():
        assert await asyncio.to_thread(verify.main, [str(site.data)]) == 0
    for number in (1, 2):
        site.converse(number, 100)
        async with site.integrator() as log:
            monkeypatch.setattr(log, "_sign", lambda _: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                await log.publish_now()
            found, _, notes = await asyncio.to_thread(verify.verify, str(site.data), None)
            assert not any(found.values()), found
            assert f"files show {log.size - log.published_size} of them" in "".join(notes)
        async with site.integrator() as log:
            await log.publish_now()


async def test_a_clock_that_is_stepped_back_and_forth_makes_no_fault(site: Site) -> None:
    clock = Clock()
    site.writers["n1.w0"] = open_journal(site.data / "journal" / "n1.w0", node="n1.w0", clock=clock)
    async with site.integrator() as log:
        for number, step in enumerate((0, -DAY, 366 * DAY, -2 * DAY), start=1):
            clock.at += step
            site.clock.at += step
            site.converse(number, 20)
            await log.integrated()
            await log.publish_now()
    assert site.checkpoint().size == log.size
    written = [record.header.t for record in stored(site.data / "journal" / "n1.w0")]
    assert written != sorted(written)
    checked = site.verify()
    assert checked.returncode == 0, checked.stdout


# Chains that stop


async def test_a_record_that_was_changed_stops_its_chain_and_no_other(site: Site) -> None:
    site.converse(1)
    site.stop_writer()
    segment = site.data / "journal" / "n1.w0" / "1-0.seg"
    second = stored(site.data / "journal" / "n1.w0")[1].frame
    content = bytearray(segment.read_bytes())
    content[second.offset + 200] ^= 1
    segment.chmod(0o600)
    segment.write_bytes(content)
    segment.chmod(0o440)
    site.converse(2, node="n1.w1")
    async with site.integrator() as log:
        await log.integrated()
        async with site.database() as engine:
            leaves = await rows(engine, "leaf")
    assert [leaf["n"] for leaf in leaves if leaf["node"] == "n1.w0"] == [0]
    assert len([leaf for leaf in leaves if leaf["node"] == "n1.w1"]) == 9
    assert list(log.faults) == ["n1.w0"]
    await until(lambda: len(site.faults()) == 1)
    ((name, detail),) = site.faults()
    assert name == "journal_inconsistent"
    assert detail.startswith("n1.w0: ")


async def test_a_chain_whose_records_were_removed_stops(site: Site) -> None:
    site.converse(1)
    site.stop_writer()
    async with site.integrator() as log:
        await log.publish_now()
    (site.data / "journal" / "n1.w0" / "1-0.seg").unlink()
    async with site.integrator() as log:
        assert "cannot be read" in log.faults["n1.w0"]
        site.converse(2, node="n1.w1")
        await log.integrated()
        async with site.database() as engine:
            assert len([each for each in await rows(engine, "leaf") if each["node"] == "n1.w1"]) == 9
        assert log.rolled_back is None


async def test_a_chain_that_starts_anew_with_the_same_numbers_stops(site: Site) -> None:
    site.converse(1)
    site.stop_writer()
    async with site.integrator() as log:
        await log.publish_now()
        shutil.rmtree(site.data / "journal" / "n1.w0")
        site.converse(2)
        size = log.size
        assert await log.integrated() == size
    async with site.integrator() as log:
        assert "n1.w0" in log.faults


async def test_a_body_that_is_none_of_its_kind_stops_its_chain_and_no_other(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a writer whose bodies are not checked
    from vestibule.stores import chain

    monkeypatch.setattr(chain, "encode_body", lambda kind, members, salt: json.dumps(dict(members)).encode())
    site.write([heartbeat()])
    site.write([Record(Kind.POLICY_APPLIED, {"strange": 1})])
    site.write([heartbeat()])
    monkeypatch.undo()
    site.converse(1, node="n1.w1")
    async with site.integrator() as log:
        assert "not one of its kind" in log.faults["n1.w0"]
        async with site.database() as engine:
            leaves = await rows(engine, "leaf")
    assert [leaf["n"] for leaf in leaves if leaf["node"] == "n1.w0"] == [0]
    assert len([leaf for leaf in leaves if leaf["node"] == "n1.w1"]) == 9


async def test_a_statement_in_two_batches_is_one_row_with_its_outcome(site: Site) -> None:
    records = conversation(UUID(int=1), 1)
    async with site.integrator() as log, site.database() as engine:
        for record in records[:3]:
            site.write([record])
        await log.integrated()
        assert (await rows(engine, "statement"))[0]["outcome"] is None
        site.write(records[3:])
        await log.integrated()
        assert (await rows(engine, "statement"))[0]["outcome"] == "ok"
        assert await rows(engine, "open_session") == []


async def test_a_second_decision_of_a_session_is_not_mixed_with_the_first(site: Site) -> None:
    site.write([access(UUID(int=1)), opened(UUID(int=1)), decided(UUID(int=1), 1), decided(UUID(int=1), 2, "deny")])
    async with site.integrator(), site.database() as engine:
        assert [each["decision"] for each in await rows(engine, "statement")] == ["allow", "deny"]


async def test_how_far_behind_the_log_is_grows_only_while_it_does_not_move(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with site.integrator(look_every=0.01) as log:
        running = asyncio.create_task(log.run())
        first = log.behind_seconds
        await until(lambda: log.behind_seconds < max(first, 0.5))
        monkeypatch.setattr(LogStore, "add", _broken)
        site.converse(1)
        await until(lambda: log.behind_seconds > 0.5)
        monkeypatch.undo()
        await until(lambda: log.behind_seconds < 0.5)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running


async def _broken(*_: object, **__: object) -> None:
    raise OSError("no space")
