"""A log whose integrator was cut off, or lost its database, becomes what it would have been."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
import pytest_asyncio
from sqlalchemy.exc import OperationalError

from tests.support.log_site import ORIGIN, Site, rows
from vestibule.control import integrator as module
from vestibule.control.signer import FileSigner
from vestibule.stores.log import LogStore

pytestmark = pytest.mark.asyncio


@pytest_asyncio.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    made = Site(tmp_path / "data")
    yield made
    await asyncio.to_thread(made.close)


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
