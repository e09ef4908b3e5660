from __future__ import annotations

import asyncio
import json
import os
import shutil
import time
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from uuid import UUID

import pytest
import pytest_asyncio
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from tests.support.evidence_records import access, conversation, decided, heartbeat, opened
from tests.support.journals import stored
from tests.support.log_site import CONTROL, ORIGIN, Site, rows
from vestibule.control import integrator as module
from vestibule.control.remembered import Tree
from vestibule.control.signer import FileSigner
from vestibule.evidence.canonical import leaf_hash
from vestibule.evidence.checkpoint import VerifierKey
from vestibule.evidence.errors import SignatureRefused
from vestibule.evidence.merkle import Frontier
from vestibule.evidence.tiles import decode_entries
from vestibule.model.record import Kind, Record
from vestibule.stores import tiles
from vestibule.stores.log import LogStore

pytestmark = pytest.mark.asyncio


@pytest_asyncio.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    made = Site(tmp_path / "data")
    yield made
    await asyncio.to_thread(made.close)


def faults(site: Site) -> list[tuple[str, str]]:
    """List the faults that the control process recorded: name and detail."""
    records = [
        json.loads(each.body) for each in stored(site.data / "journal" / CONTROL) if b"AuditFault" in each.frame.header
    ]
    return [(record["fault"], record["detail"]) for record in records]


async def until(claim: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not claim():
        assert time.monotonic() < deadline, "waited in vain"
        await asyncio.sleep(0.01)


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
    await until(lambda: len(faults(site)) == 1)
    ((name, detail),) = faults(site)
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


# Cut off and done again


class Stop(Exception):
    """The process ends here."""


class StoppingSigner(FileSigner):
    """Ends the process instead of signing, or right after it."""

    after = False

    def sign(self, old: int, proof: Sequence[bytes], checkpoint: str) -> bytes:
        if not self.after:
            raise Stop
        super().sign(old, proof, checkpoint)
        raise Stop


@pytest.mark.parametrize("after", [False, True])
async def test_a_publication_cut_off_between_tiles_and_checkpoint_gives_the_same_bytes(
    site: Site, tmp_path: Path, after: bool
) -> None:
    # Given a log with one checkpoint, and more leaves
    site.converse(1, 130)
    async with site.integrator() as log:
        await log.publish_now()
        site.converse(2, 130)
        await log.integrated()
    shutil.copytree(site.data, tmp_path / "undisturbed", ignore=shutil.ignore_patterns("journal"))
    # When the process ends between the tiles and the signature, or between it and the checkpoint
    signer = StoppingSigner(site.data / "keys", ORIGIN)
    signer.after = after
    async with site.integrator(signer) as log:
        with pytest.raises(Stop):
            await log.publish_now()
    assert site.checkpoint().size < log.size
    # Then the next start publishes what an undisturbed one would have
    async with site.integrator() as log:
        assert await log.publish_now() == log.size
    disturbed = site.files()
    shutil.rmtree(site.data / "log")
    for name in ("log", "keys"):
        shutil.rmtree(site.data / name, ignore_errors=True)
        shutil.copytree(tmp_path / "undisturbed" / name, site.data / name)
    shutil.copy2(tmp_path / "undisturbed" / "guard.json", site.data / "guard.json")
    site.delete_database()
    for path in (tmp_path / "undisturbed").glob("state.sqlite*"):
        shutil.copy2(path, site.data / path.name)
    async with site.integrator() as log:
        await log.publish_now()
    assert site.files() == disturbed
    assert site.verify().returncode == 0


async def test_a_checkpoint_that_was_signed_and_kept_is_released_by_the_next_start(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.converse(1)
    async with site.integrator() as log:
        await log.publish_now()
        site.converse(2)
        await log.integrated()

        def stop(*_: object) -> None:
            raise Stop

        monkeypatch.setattr(module.Integrator, "_release", stop)
        with pytest.raises(Stop):
            await log.publish_now()
        monkeypatch.undo()
    assert site.checkpoint().size < log.size
    async with site.integrator() as log:
        assert site.checkpoint().size == log.size == log.published_size
    assert site.verify().returncode == 0


async def test_files_of_a_publication_that_never_came_about_are_removed(site: Site) -> None:
    site.converse(1)
    async with site.integrator() as log:
        await log.publish_now()
        site.converse(2)
        await log.integrated()
    signer = StoppingSigner(site.data / "keys", ORIGIN)
    async with site.integrator(signer) as log:
        with pytest.raises(Stop):
            await log.publish_now()
        cut_off = f"tile/entries/000.p/{log.size}"
        assert (site.data / "log" / cut_off).exists()
    site.converse(3)
    async with site.integrator() as log:
        assert not (site.data / "log" / cut_off).exists()
        await log.publish_now()
    assert site.verify().returncode == 0


async def test_a_database_that_cannot_be_written_loses_no_record(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    async with site.integrator() as log:
        site.converse(1)

        async def refuse(*_: object, **__: object) -> None:
            raise OperationalError("INSERT", {}, Exception("database or disk is full"))

        monkeypatch.setattr(LogStore, "add", refuse)
        for _ in range(2):
            with pytest.raises(OperationalError):
                await log.integrated()
        monkeypatch.undo()
        assert await log.integrated() == 10
        assert log.faults == {}


# Rebuilt


async def test_a_lost_database_is_made_again_with_the_same_roots_and_index(site: Site) -> None:
    site.converse(1, 300)
    site.converse(2, 20, node="n1.w1")
    async with site.integrator() as log:
        await log.publish_now()
        site.converse(3, 40, node="n1.w1")
        site.converse(4, 40)
        await log.integrated()
        await log.publish_now()
        async with site.database() as engine:
            before = {name: await rows(engine, name) for name in ("leaf", "session", "statement", "node_epoch")}
    files, root = site.files(), site.checkpoint().root
    site.delete_database()
    async with site.integrator() as log:
        assert log.rolled_back is None
        assert log.published_size == site.checkpoint().size
        async with site.database() as engine:
            after = {name: await rows(engine, name) for name in before}
        assert after == before
        await log.publish_now()
    assert site.files() == files
    assert site.checkpoint().root == root


async def test_a_rebuild_that_was_cut_off_goes_on_with_the_next_start(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.converse(1, 400)
    async with site.integrator() as log:
        await log.publish_now()
    files = site.files()
    site.delete_database()
    bundles: list[int] = []
    bundle = module.Integrator._bundle

    def stop_at_the_third(self: module.Integrator, n: int, size: int) -> object:
        bundles.append(n)
        if n == 2:
            raise Stop
        return bundle(self, n, size)

    monkeypatch.setattr(module.Integrator, "_bundle", stop_at_the_third)
    with pytest.raises(Stop):
        async with site.integrator():
            pass
    monkeypatch.undo()
    assert bundles == [0, 1, 2]
    async with site.integrator() as log:
        assert log.rolled_back is None
        assert log.size == log.published_size
        site.converse(2)
        await log.integrated()
        await log.publish_now()
    assert site.verify().returncode == 0
    assert files.items() <= site.files().items() | {("checkpoint", files["checkpoint"])}


async def test_a_rebuild_from_a_log_that_is_not_of_these_journals_is_refused(site: Site) -> None:
    site.converse(1, 10)
    async with site.integrator() as log:
        await log.publish_now()
    site.stop_writer()
    shutil.rmtree(site.data / "journal" / "n1.w0")
    site.delete_database()
    async with site.integrator() as log:
        assert "does not hold what was published" in (log.rolled_back or "")
        assert await log.publish_now() == log.published_size


# Rolled back


async def _grown(site: Site, backup: Path) -> None:
    """Publish, take a backup of the database, grow and publish again."""
    site.converse(1)
    async with site.integrator() as log:
        await log.publish_now()
    site.copy_database(backup)
    site.converse(2)
    async with site.integrator() as log:
        await log.publish_now()


@pytest.mark.case("E-14")
@pytest.mark.parametrize("memory", ["signer", "guard", "checkpoint"])
async def test_an_old_database_trips_the_guard_by_each_memory_alone_and_nothing_is_signed(
    site: Site, tmp_path: Path, memory: str
) -> None:
    # Given
    await _grown(site, tmp_path / "backup")
    site.restore_database(tmp_path / "backup")
    if memory != "signer":
        (site.data / "keys" / "signer.json").unlink()
    if memory != "guard":
        (site.data / "guard.json").unlink()
    if memory != "checkpoint":
        (site.data / "log" / "checkpoint").unlink()
    before = site.files("log") | site.files("keys")
    # When
    async with site.integrator() as log:
        size = log.size
        assert "was restored or cut off" in (log.rolled_back or "")
        site.converse(3)
        # Then
        assert await log.integrated() == size
        await log.publish_now()
    assert site.files("log") | site.files("keys") == before
    await until(lambda: [name for name, _ in faults(site)] == ["rolled_back"])


@pytest.mark.case("E-14")
async def test_a_database_with_other_content_of_the_same_size_trips_the_guard(site: Site, tmp_path: Path) -> None:
    await _grown(site, tmp_path / "backup")
    other = Site(tmp_path / "other")
    other.converse(7)
    other.converse(8)
    async with other.integrator() as log:
        await log.publish_now()
    await asyncio.to_thread(other.close)
    # When database and journals are another gateway's
    other.copy_database(tmp_path / "foreign")
    site.restore_database(tmp_path / "foreign")
    async with site.integrator() as log:
        assert log.rolled_back is not None
        assert await log.publish_now() == log.published_size


async def test_an_old_segment_stops_its_chain_before_anything_is_signed_over_it(site: Site, tmp_path: Path) -> None:
    site.converse(1)
    segment = site.data / "journal" / "n1.w0" / "1-0.seg"
    old = segment.read_bytes()
    site.converse(2)
    async with site.integrator() as log:
        await log.publish_now()
    site.stop_writer()
    segment.chmod(0o600)
    segment.write_bytes(old)
    site.converse(3)
    async with site.integrator() as log:
        assert "n1.w0" in log.faults
        size = log.size
        site.converse(4)
        assert await log.integrated() == size


async def test_a_database_that_changes_under_a_running_integrator_stops_it(site: Site, tmp_path: Path) -> None:
    site.converse(1)
    async with site.integrator() as log, site.database() as engine:
        async with engine.begin() as connection:
            await connection.execute(text("UPDATE log_state SET size = size - 1"))
        site.converse(2)
        await log.integrated()
        assert "not the one that was read" in (log.rolled_back or "")


async def test_a_record_that_was_changed_after_it_became_a_leaf_is_not_published(site: Site) -> None:
    site.converse(1)
    async with site.integrator() as log:
        await log.publish_now()
        published = log.published_size
        (ticket, *_) = site.converse(2)
        await log.integrated()
        place = next(each for each in stored(site.data / "journal" / "n1.w0") if each.leaf == ticket.written[0].leaf)
        with place.path.open("r+b") as file:
            file.seek(place.frame.offset + 120)
            file.write(b"0" if place.frame.header[112:113] != b"0" else b"1")
        assert await log.publish_now() == published
        assert "were changed in the journal" in (log.rolled_back or "")


async def test_the_signer_of_another_key_is_noticed_at_the_start(site: Site) -> None:
    site.converse(1)
    async with site.integrator() as log:
        await log.publish_now()
    for name in ("log.key", "signer.json"):
        os.unlink(site.data / "keys" / name)
    async with site.integrator() as log:
        assert "is not what this log published" in (log.rolled_back or "")


# Not signed


class UnwillingSigner(FileSigner):
    """Refuses whatever it is asked."""

    def sign(self, old: int, proof: Sequence[bytes], checkpoint: str) -> bytes:
        raise OSError("the key's device is gone")


async def test_without_a_signer_the_log_grows_unsigned_and_after_a_while_says_so(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "UNSIGNED", 0.1)
    signer = UnwillingSigner(site.data / "keys", ORIGIN)
    async with site.integrator(signer, publish_every=0.02, look_every=0.01) as log:
        task = asyncio.create_task(log.run())
        site.converse(1)
        await until(lambda: log.size >= 10)
        await until(lambda: any(name == "signer_down" for name, _ in faults(site)))
        assert log.published_size == 0
        assert log.rolled_back is None
        task.cancel()
        await asyncio.wait([task])
    assert [name for name, _ in faults(site)].count("signer_down") == 1


async def test_a_log_that_cannot_be_signed_stops_growing_at_its_limit(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BACKLOG", 20)
    monkeypatch.setattr(module, "BATCH", 5)
    site.converse(1, 40)
    async with site.integrator(UnwillingSigner(site.data / "keys", ORIGIN)) as log:
        with pytest.raises(OSError, match="device is gone"):
            await log.integrated()
        assert log.size == 20
    async with site.integrator() as log:
        await log.integrated()
        await log.publish_now()
        assert log.published_size == log.size == 84


async def test_what_a_signer_refuses_stops_the_log(site: Site) -> None:
    class Refusing(FileSigner):
        def sign(self, old: int, proof: Sequence[bytes], checkpoint: str) -> bytes:
            raise SignatureRefused("another tree was signed")

        @property
        def last(self) -> Tree:
            return Tree()

    site.converse(1)
    async with site.integrator(Refusing(site.data / "keys", ORIGIN)) as log:
        assert await log.publish_now() == 0
        assert log.rolled_back == "another tree was signed"


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
