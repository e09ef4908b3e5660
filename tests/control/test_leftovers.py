from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import pytest_asyncio

from tests.support.evidence_records import access, closed, opened
from tests.support.journals import stored
from tests.support.log_site import CONTROL, Site
from tests.support.recordings import KEY, KEY_ID
from vestibule.control.recovery import Recovered
from vestibule.evidence import recording, verify
from vestibule.evidence.recording import Event, Part, Place, decode_events, encode_event, unseal
from vestibule.model.record import Kind, Record
from vestibule.stores.objects import Directory
from vestibule.stores.sealing import seal_part
from vestibule.stores.spool import Spool, SpoolPart

pytestmark = pytest.mark.asyncio
ADA, BOB = UUID(int=1), UUID(int=2)


@pytest_asyncio.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    made = Site(tmp_path / "data")
    yield made
    await asyncio.to_thread(made.close)


def leave(site: Site, session: UUID, seq: int, *shown: bytes, key: UUID = KEY_ID) -> SpoolPart:
    """Write a part of the spool as the data process would, and leave it."""
    part = Spool(site.data / "spool" / "n1.w0", 1 << 30).begin(Place(session, key, seq), KEY)
    for data in shown:
        part.write(0, encode_event(Event(5, 1, Part.FRAMES, data)))
    part.close()
    return part


def said(site: Site, kind: Kind) -> list[tuple[UUID | None, dict[str, Any]]]:
    """What the control process recorded of a kind."""
    records = [each for each in stored(site.data / "journal" / CONTROL) if each.header.kind is kind]
    assert all(each.header.sn is None for each in records)
    return [(each.header.session, json.loads(each.body)) for each in records]


def shown(site: Site, session: UUID | None, body: dict[str, Any]) -> list[bytes]:
    about = recording.stored(body["object"])
    assert session is not None
    plain = unseal(site.objects.get(about.sha256), Place(session, KEY_ID, body["seq"]), KEY, about)
    return [event.data for _, event in decode_events(plain)]


def parts(site: Site) -> list[str]:
    return sorted(path.name for path in (site.data / "spool" / "n1.w0").iterdir())


async def recover(site: Site) -> Recovered:
    async with site.integrator() as log, site.database() as engine:
        return await site.recovery(engine, log).recover()


async def test_what_a_dead_process_left_becomes_chunks_before_its_session_is_closed(site: Site) -> None:
    site.write([access(ADA), opened(ADA)])
    left = [leave(site, ADA, 0, b"one", b"two"), leave(site, ADA, 1, b"three")]
    site.stop_writer()

    assert await recover(site) == Recovered(1, 0, sum(part.size for part in left))

    chunks = said(site, Kind.CHUNK_SEALED)
    assert [shown(site, *chunk) for chunk in chunks] == [[b"one", b"two"], [b"three"]]
    assert {(session, body["recovered"]) for session, body in chunks} == {(ADA, True)}
    [(_, end)] = said(site, Kind.SESSION_CLOSED)
    assert (end["chunks"], end["recording_complete"]) == ({"results": 2}, False)
    kinds = [each.header.kind for each in stored(site.data / "journal" / CONTROL)]
    assert kinds.index(Kind.CHUNK_SEALED) < kinds.index(Kind.SESSION_CLOSED)
    assert parts(site) == []


async def test_the_verifier_is_content_with_what_was_recovered(site: Site) -> None:
    site.write([access(ADA), opened(ADA)])
    leave(site, ADA, 0, b"one")
    site.stop_writer()
    await recover(site)
    async with site.integrator() as log:
        await log.publish_now()

    found, numbers, _ = verify.verify(str(site.data), None)
    assert found["V10"] == []
    assert numbers["V10"].startswith("1 chunks of 1 sessions")


async def test_a_torn_frame_is_cut_and_the_rest_is_kept(site: Site) -> None:
    site.write([access(ADA), opened(ADA)])
    part = leave(site, ADA, 0, b"whole", b"torn")
    part.path.write_bytes(part.path.read_bytes()[:-3])
    site.stop_writer()
    await recover(site)

    [chunk] = said(site, Kind.CHUNK_SEALED)
    assert shown(site, *chunk) == [b"whole"]


async def test_a_part_that_holds_nothing_yet_is_dropped(site: Site) -> None:
    site.write([access(ADA), opened(ADA)])
    leave(site, ADA, 0)
    site.stop_writer()

    assert await recover(site) == Recovered(1, 0, 0)
    assert said(site, Kind.CHUNK_SEALED) == []
    assert "chunks" not in said(site, Kind.SESSION_CLOSED)[0][1]
    assert parts(site) == []


async def test_a_chunk_that_is_in_the_log_is_not_recorded_again_and_its_part_is_dropped(site: Site) -> None:
    part = leave(site, ADA, 0, b"one")
    sealed = seal_part(part.path, KEY, site.objects)
    site.write(
        [access(ADA), opened(ADA), Record(Kind.CHUNK_SEALED, sealed.members(recovered=False), session=ADA)],
    )
    leave(site, ADA, 1, b"two")
    site.stop_writer()
    await recover(site)

    assert [body["seq"] for _, body in said(site, Kind.CHUNK_SEALED)] == [1]
    assert said(site, Kind.SESSION_CLOSED)[0][1]["chunks"] == {"results": 2}
    assert parts(site) == []


async def test_a_second_recovery_adds_nothing_wherever_the_first_was_cut_off(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.write([access(ADA), opened(ADA)])
    for seq in range(3):
        leave(site, ADA, seq, b"%d" % seq)
    site.stop_writer()
    drops = 0

    def die_at_the_second(path: Path) -> None:
        nonlocal drops
        drops += 1
        if drops == 2:
            raise KeyboardInterrupt
        path.unlink()

    monkeypatch.setattr("vestibule.control.leftovers._drop", die_at_the_second)
    with pytest.raises(KeyboardInterrupt):
        await recover(site)
    monkeypatch.undo()
    await recover(site)

    assert [body["seq"] for _, body in said(site, Kind.CHUNK_SEALED)] == [0, 1, 2]
    assert said(site, Kind.SESSION_CLOSED)[0][1]["chunks"] == {"results": 3}


async def test_what_a_closed_session_left_is_sealed_too(site: Site) -> None:
    site.write([access(ADA), opened(ADA), closed(ADA)])
    leave(site, ADA, 0, b"one")
    site.stop_writer()

    assert (await recover(site)).sessions == 0
    [(session, body)] = said(site, Kind.CHUNK_SEALED)
    assert (session, body["recovered"]) == (ADA, True)


async def test_a_process_that_lives_keeps_its_spool(site: Site) -> None:
    site.write([access(ADA), opened(ADA)])
    leave(site, ADA, 0, b"one")

    await recover(site)

    assert parts(site) == [f"{ADA}.0"]


@pytest.mark.parametrize("trouble", ["key", "name", "store"])
async def test_a_part_that_cannot_be_sealed_now_is_left_and_counted_and_sealed_when_it_can_be(
    site: Site, trouble: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.write([access(ADA), opened(ADA)])
    part = leave(site, ADA, 0, b"one", key=UUID(int=5) if trouble == "key" else KEY_ID)
    site.stop_writer()
    if trouble == "name":
        part.path.rename(part.path.with_name(f"{BOB}.0"))
    if trouble == "store":
        (site.data / "objects").write_bytes(b"")
    await recover(site)
    assert said(site, Kind.CHUNK_SEALED) == []
    assert len(parts(site)) == 1
    if trouble == "store":
        assert said(site, Kind.SESSION_CLOSED)[0][1]["chunks"] == {"results": 1}
        (site.data / "objects").unlink()
        await recover(site)
        assert len(said(site, Kind.CHUNK_SEALED)) == 1
        assert Directory(site.data / "objects").exists(said(site, Kind.CHUNK_SEALED)[0][1]["object"]["sha256"])
