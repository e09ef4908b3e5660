from pathlib import Path
from uuid import UUID

import pytest

from vestibule.evidence.errors import EvidenceFormatError
from vestibule.evidence.kinds import BODY
from vestibule.evidence.recording import Event, Part, Place, encode_event, unseal
from vestibule.model.record import Kind
from vestibule.stores.objects import Directory
from vestibule.stores.sealing import seal_part
from vestibule.stores.spool import Spool, SpoolPart

KEY = bytes(range(32))
PLACE = Place(UUID(int=1), UUID(int=9), 4)
EVENTS = [Event(10, 1, Part.HEAD, b"T"), Event(20, 1, Part.FRAMES, b"D"), Event(30, 3, Part.FRAMES, b"C")]


@pytest.fixture
def part(tmp_path: Path) -> SpoolPart:
    part = Spool(tmp_path / "spool", 1 << 20).begin(PLACE, KEY)
    for event in EVENTS:
        part.write(event.offset_us, encode_event(event))
    return part


@pytest.fixture
def store(tmp_path: Path) -> Directory:
    return Directory(tmp_path / "objects")


def test_a_part_becomes_the_chunk_of_its_place(part, store) -> None:
    sealed = seal_part(part.path, KEY, store)

    plain = unseal(store.get(sealed.about.sha256), PLACE, KEY, sealed.about)
    assert plain == b"".join(map(encode_event, EVENTS))
    assert sealed.torn == 0
    assert part.path.exists()


def test_the_members_of_its_record_say_what_it_covers(part, store) -> None:
    members = seal_part(part.path, KEY, store).members(recovered=True)

    assert BODY[Kind.CHUNK_SEALED](members) == members
    about = {name: members[name] for name in ("seq", "first_us", "last_us", "events", "statements", "recovered")}
    assert about == {"seq": 4, "first_us": 10, "last_us": 30, "events": 3, "statements": [1, 3], "recovered": True}


@pytest.mark.parametrize("tail", [b"torn", bytes(4096)])
def test_a_torn_end_is_cut_and_told(part, store, tail) -> None:
    part.path.write_bytes(part.path.read_bytes() + tail)

    sealed = seal_part(part.path, KEY, store)

    assert sealed.torn == len(tail)
    assert sealed.covers.events == 3


def test_a_last_frame_that_was_not_written_whole_costs_that_frame(part, store) -> None:
    part.path.write_bytes(part.path.read_bytes()[:-1])

    assert seal_part(part.path, KEY, store).covers.events == 2


def test_a_file_that_is_no_part_is_refused(tmp_path, store) -> None:
    (tmp_path / "x").write_bytes(b"something else")

    with pytest.raises(EvidenceFormatError):
        seal_part(tmp_path / "x", KEY, store)


def test_two_chunks_of_the_same_events_are_two_objects(part, store) -> None:
    assert seal_part(part.path, KEY, store).about.sha256 != seal_part(part.path, KEY, store).about.sha256


def test_a_store_that_does_not_have_what_was_put_there_is_an_error(part, store, monkeypatch) -> None:
    monkeypatch.setattr(store, "exists", lambda name: False)

    with pytest.raises(OSError, match="does not have"):
        seal_part(part.path, KEY, store)
