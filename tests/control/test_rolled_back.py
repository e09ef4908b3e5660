"""A log that was rolled back, or cannot be signed, is not signed."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
import pytest_asyncio
from sqlalchemy import text

from tests.support.journals import stored
from tests.support.log_site import ORIGIN, Site, until
from vestibule.control import integrator as module
from vestibule.control.remembered import Tree
from vestibule.control.signer import FileSigner
from vestibule.evidence.errors import SignatureRefused

pytestmark = pytest.mark.asyncio


@pytest_asyncio.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    made = Site(tmp_path / "data")
    yield made
    await asyncio.to_thread(made.close)


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
    await until(lambda: [name for name, _ in site.faults()] == ["rolled_back"])


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
        await until(lambda: any(name == "signer_down" for name, _ in site.faults()))
        assert log.published_size == 0
        assert log.rolled_back is None
        task.cancel()
        await asyncio.wait([task])
    assert [name for name, _ in site.faults()].count("signer_down") == 1


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
