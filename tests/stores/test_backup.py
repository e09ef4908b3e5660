"""A backup is a folder that a crash could have left, whatever happens while it is made."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from pathlib import Path
from uuid import UUID

import pytest
import pytest_asyncio

from tests.support.journals import stored
from tests.support.log_site import Site
from tests.support.recordings import KEY, KEY_ID
from vestibule.evidence import verify
from vestibule.evidence.recording import Event, Part, Place, encode_event
from vestibule.model.errors import ConfigurationError
from vestibule.model.names import Instant
from vestibule.stores.backup import BackupFailed, back_up
from vestibule.stores.manifest import Manifest, read_manifest
from vestibule.stores.spool import Spool

pytestmark = pytest.mark.asyncio
LATE = UUID(int=77)


def wall_clock() -> Instant:
    return Instant(time.time_ns() // 1_000)


@pytest_asyncio.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    made = Site(tmp_path / "data", wall_clock)
    yield made
    await asyncio.to_thread(made.close)


async def taken(site: Site, to: Path, clock: Callable[[], Instant] | None = None) -> Manifest:
    return await asyncio.to_thread(back_up, site.data, to, clock or site.clock)


def found_in(folder: Path, saved: bytes | None = None) -> dict[str, list[str]]:
    return {check: texts for check, texts in verify.verify(str(folder), saved)[0].items() if texts}


def files_in(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


async def goes_on(folder: Path) -> None:
    """An integrator takes the copy up, and signs what comes."""
    copy = Site(folder, wall_clock)
    try:
        async with copy.integrator() as log:
            assert (log.rolled_back, log.faults) == (None, {})
            copy.converse(1_000, node="n1.w9")
            await log.integrated()
            await log.publish_now()
            assert log.published_size > 0
    finally:
        await asyncio.to_thread(copy.close)
    assert found_in(folder) == {}


async def test_backups_while_two_write_and_the_log_is_published_verify_and_go_on(site: Site, tmp_path: Path) -> None:
    stop = threading.Event()

    def work(node: str, first: int) -> None:
        number = first
        while not stop.is_set():
            site.converse(number, node=node)
            number += 1

    for node in ("n1.w0", "n1.w1"):
        site.writer(node)
    threads = [threading.Thread(target=work, args=(f"n1.w{n}", n * 100_000 + 1)) for n in range(2)]
    async with site.integrator(publish_every=0.01, look_every=0.005) as log:
        await log.publish_now()
        task = asyncio.create_task(log.run())
        for thread in threads:
            thread.start()
        try:
            for number in range(6):
                made = await taken(site, tmp_path / f"backup-{number}")
                assert found_in(tmp_path / f"backup-{number}") == {}
            assert made.leaves > 0
        finally:
            stop.set()
            for thread in threads:
                await asyncio.to_thread(thread.join)
            task.cancel()
            await asyncio.wait([task])
        # What was cut off of a publication is removed by the next one.
        await log.integrated()
        await log.publish_now()
        saved = (site.data / "log" / "checkpoint").read_bytes()
    assert found_in(site.data, saved) == {}
    await goes_on(tmp_path / "backup-3")


async def test_what_was_recorded_behind_the_moment_is_not_copied(site: Site, tmp_path: Path) -> None:
    async with site.integrator() as log:
        await log.publish_now()
        site.converse(1, 10)
    records = stored(site.data / "journal" / "n1.w0")
    border = records[7].header.t
    await taken(site, tmp_path / "backup", lambda: border)
    copied = stored(tmp_path / "backup" / "journal" / "n1.w0")
    assert [record.header.n for record in copied] == list(range(8))
    assert found_in(tmp_path / "backup") == {}


async def test_a_clock_that_was_set_back_is_told_and_leaves_no_backup(site: Site, tmp_path: Path) -> None:
    async with site.integrator() as log:
        site.converse(1, 10)
        await log.integrated()
        border = stored(site.data / "journal" / "n1.w0")[7].header.t
        with pytest.raises(BackupFailed, match=r"n1\.w0.*the clock was set back"):
            await taken(site, tmp_path / "backup", lambda: border)
    with pytest.raises(ConfigurationError, match="cut off"):
        read_manifest(tmp_path / "backup")


async def test_what_is_published_meanwhile_is_not_in_the_copy_of_the_log(site: Site, tmp_path: Path) -> None:
    loop = asyncio.get_running_loop()
    async with site.integrator() as log:
        site.converse(1)
        await log.integrated()
        before = await log.publish_now()

        async def go_on() -> int:
            await log.integrated()
            return await log.publish_now()

        def meanwhile() -> Instant:
            now = site.clock()
            site.converse(2)
            assert asyncio.run_coroutine_threadsafe(go_on(), loop).result() > before
            return now

        made = await taken(site, tmp_path / "backup", meanwhile)
    assert made.leaves == before
    assert f"\n{before}\n" in (tmp_path / "backup" / "log" / "checkpoint").read_text()
    assert {name: digest for name, digest in made.files.items() if not (tmp_path / "backup" / name).exists()} == {}
    assert list(made.differences(tmp_path / "backup")) == []
    await goes_on(tmp_path / "backup")


async def test_a_key_that_is_made_meanwhile_is_copied(site: Site, tmp_path: Path) -> None:
    def meanwhile() -> Instant:
        with closing(sqlite3.connect(site.data / "state.sqlite")) as state, state:
            state.execute("INSERT INTO data_key VALUES (?, 'session', 'k', x'00', NULL, NULL)", (LATE.bytes,))
        return site.clock()

    async with site.integrator():
        await taken(site, tmp_path / "backup", meanwhile)
    with closing(sqlite3.connect(tmp_path / "backup" / "state.sqlite")) as state:
        assert (LATE.bytes,) in state.execute("SELECT key_id FROM data_key").fetchall()
    assert list(read_manifest(tmp_path / "backup").differences(tmp_path / "backup")) == []


async def test_a_part_of_the_spool_that_is_sealed_meanwhile_is_in_the_copy_all_the_same(
    site: Site, tmp_path: Path
) -> None:
    part = Spool(site.data / "spool" / "n1.w0", 1 << 30).begin(Place(UUID(int=1), KEY_ID, 0), KEY)
    part.write(0, encode_event(Event(0, 1, Part.FRAMES, b"shown")))
    name = part.path.name

    def meanwhile() -> Instant:
        part.close()
        part.drop()
        return site.clock()

    async with site.integrator():
        await taken(site, tmp_path / "backup", meanwhile)
    assert (tmp_path / "backup" / "spool" / "n1.w0" / name).is_file()


@pytest.mark.parametrize("settled", [True, False])
async def test_sealed_segments_and_keys_keep_their_modes_and_nothing_is_open_to_others(
    site: Site, tmp_path: Path, settled: bool
) -> None:
    async with site.integrator() as log:
        site.converse(1)
        site.stop_writer()
        await log.integrated()
    if settled:
        os.utime(site.data / "journal" / "n1.w0" / "1-0.seg", (1, 1))
    made = await taken(site, tmp_path / "backup")
    modes = {name: (tmp_path / "backup" / name).stat().st_mode & 0o777 for name in made.files}
    assert modes["journal/n1.w0/1-0.seg"] == 0o440
    assert modes["keys/log.key"] == modes["state.sqlite"] == 0o600
    assert not [name for name, mode in modes.items() if mode & 0o007]
    assert (tmp_path / "backup").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("to", ["data/backup", "data/journal/backup"])
async def test_a_folder_inside_the_data_folder_is_refused(site: Site, tmp_path: Path, to: str) -> None:
    async with site.integrator():
        with pytest.raises(ConfigurationError, match="inside the data folder"):
            await taken(site, tmp_path / to)


async def test_a_folder_that_is_not_empty_is_refused_and_what_is_in_it_stays(site: Site, tmp_path: Path) -> None:
    (tmp_path / "notes").write_text("mine")
    async with site.integrator():
        with pytest.raises(ConfigurationError, match="not empty"):
            await taken(site, tmp_path)
    assert (tmp_path / "notes").read_text() == "mine"


async def test_what_is_no_data_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no data folder"):
        back_up(tmp_path, tmp_path / "backup", lambda: Instant(0))


async def test_the_files_of_another_user_are_not_worked_on(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with site.integrator():
        monkeypatch.setattr("os.geteuid", lambda: 4_242)
        with pytest.raises(ConfigurationError, match="run this command as that user"):
            await taken(site, tmp_path / "backup")


async def test_a_tile_behind_a_gap_in_the_listing_is_left_out_too(site: Site, tmp_path: Path) -> None:
    async with site.integrator() as log:
        site.converse(1)
        await log.integrated()
        size = await log.publish_now()
    for path in ("entries/009", "0/x001/067", "1/000.p/7", "entries/000.p/250"):
        tile = site.data / "log" / "tile" / path
        tile.parent.mkdir(parents=True, exist_ok=True)
        tile.write_bytes(b"of a publication that goes on")
    await taken(site, tmp_path / "backup")
    assert files_in(tmp_path / "backup" / "log" / "tile") == {f"0/000.p/{size}", f"entries/000.p/{size}"}
