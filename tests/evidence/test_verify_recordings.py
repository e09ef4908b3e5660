"""V10: the verifier against recordings that are whole, damaged, moved, or fewer than their sessions say."""

from pathlib import Path
from uuid import UUID

import pytest

from tests.support.data_folder import (
    LOGIN,
    PublishedLog,
    WriterChain,
    findings,
    folder_of,
    gate,
    published_folder,
    write_files,
)
from tests.support.data_folder import test_key as the_key
from vestibule.evidence import verify
from vestibule.evidence.recording import Place, encode_envelope
from vestibule.model.record import Kind


def recorded(chunks: int = 2) -> tuple[WriterChain, list[str]]:
    """A writer with one closed session, and the files of its chunks."""
    writer = gate()
    session = writer.open_session()
    names = [session.record() for _ in range(chunks)]
    session.close()
    return writer, names


def notes_of(folder: Path) -> list[str]:
    found, _, notes = verify.verify(str(folder), None)
    assert not any(found.values())
    return notes


def closing(writer: WriterChain, session, chunks: int, complete: bool) -> None:
    writer.write(
        Kind.SESSION_CLOSED,
        {
            "opened": session.opened,
            "cause": "evidence_fault",
            "chunks": {"results": chunks},
            "recording_complete": complete,
        },
        session.id,
    )
    writer.open.discard(session.id)


def test_whole_recordings_pass_and_their_content_is_told_as_not_checked(tmp_path) -> None:
    writer, _ = recorded()
    assert findings(tmp_path, published_folder([writer])) == {}

    assert "the content of 2 chunks: they are encrypted, and no key was given" in notes_of(tmp_path)


def test_every_chunk_that_is_missing_is_named_with_its_session(tmp_path) -> None:
    writer, names = recorded()
    files = published_folder([writer])
    del files[names[1]]

    [text] = findings(tmp_path, files)["V10"]
    assert text.startswith(f"{names[1]}: missing, chunk 1 of session ")


@pytest.mark.parametrize("place", [0, 4, 8, 24, 47, 48, 80, -1])
def test_every_changed_byte_of_a_chunk_is_found(tmp_path, place) -> None:
    writer, names = recorded()
    files = published_folder([writer])
    data = bytearray(files[names[0]])
    data[place] ^= 1

    [text] = findings(tmp_path, files | {names[0]: bytes(data)})["V10"]
    assert text.startswith(f"{names[0]}: changed, chunk 0")


def test_chunks_of_two_sessions_that_changed_places_are_found(tmp_path) -> None:
    writer, (one,) = recorded(1)
    session = writer.open_session()
    other = session.record()
    session.close()
    files = published_folder([writer])
    files[one], files[other] = files[other], files[one]

    assert len(findings(tmp_path, files)["V10"]) == 2


def test_a_record_that_names_the_chunk_of_another_session_is_found(tmp_path) -> None:
    """As somebody with the log's key could write it: the envelope says whose it is."""
    writer = gate()
    session, other = writer.open_session(), writer.open_session()
    name = session.record()
    about = next(row for row in writer.rows if b"ChunkSealed" in row.header)
    members = verify.json.loads(about.body)
    del members["salt"]
    writer.write(Kind.CHUNK_SEALED, members, other.id)

    [text] = findings(tmp_path, published_folder([writer]))["V10"]
    assert text.startswith(f"{name}: is not chunk 0 of session {other.id}")


def test_a_session_without_one_of_its_chunks_is_found_by_the_count_and_by_the_gap(tmp_path) -> None:
    writer = gate()
    session = writer.open_session()
    session.chunks = 1
    session.record()
    session.close()

    texts = findings(tmp_path, published_folder([writer]))["V10"]
    assert any("a chunk of results is missing among 1" in text for text in texts)
    assert any("says 2 chunks of results, and 1 are recorded" in text for text in texts)


@pytest.mark.parametrize("said", [0, 1, 3])
def test_a_session_that_counts_other_chunks_than_there_are_is_found(tmp_path, said) -> None:
    writer = gate()
    session = writer.open_session()
    session.record()
    session.record()
    closing(writer, session, said, complete=True)

    assert "chunks of results" in str(findings(tmp_path, published_folder([writer]))["V10"])


def test_chunks_that_are_still_in_the_spool_are_listed_not_held_against_an_incomplete_recording(tmp_path) -> None:
    writer = gate()
    session = writer.open_session()
    session.record()
    closing(writer, session, 3, complete=False)
    assert findings(tmp_path, published_folder([writer])) == {}

    assert f"session {session.id}: 2 of 3 chunks of results are not sealed yet" in notes_of(tmp_path)


def test_more_chunks_than_a_session_says_are_found_even_if_it_was_not_complete(tmp_path) -> None:
    writer = gate()
    session = writer.open_session()
    session.record()
    session.record()
    closing(writer, session, 1, complete=False)

    assert "V10" in findings(tmp_path, published_folder([writer]))


def test_two_different_chunks_in_one_place_are_found_and_the_same_one_twice_is_not(tmp_path) -> None:
    writer = gate()
    session = writer.open_session()
    session.record()
    session.chunks = 0
    session.record()
    session.close()
    assert findings(tmp_path / "same", published_folder([writer])) == {}

    again = writer.open_session()
    again.record()
    again.chunks, again.opened = 0, {"id": LOGIN, "leaf": "1" * 64}
    first = writer.rows[-1]
    members = verify.json.loads(first.body)
    members["object"] = {**members["object"], "sha256": "2" * 64}
    del members["salt"]
    writer.write(Kind.CHUNK_SEALED, members, again.id)
    assert "two different chunks 0" in str(findings(tmp_path / "other", published_folder([writer]))["V10"])


@pytest.mark.parametrize("name", ["objects/notes.txt", "objects/obj/00/notes", f"objects/obj/00/{'1' * 64}"])
def test_a_foreign_file_among_the_objects_is_found(tmp_path, name) -> None:
    writer, _ = recorded()

    [text] = findings(tmp_path, published_folder([writer]) | {name: b"foreign"})["V10"]
    assert text == f"{name}: does not belong there"


def test_an_object_that_no_record_names_is_counted(tmp_path) -> None:
    """A crash between the object and its record leaves one."""
    writer, _ = recorded()
    data = encode_envelope(Place(UUID(int=1), UUID(int=2), 0))
    digest = verify.hashlib.sha256(data).hexdigest()
    left = {f"objects/obj/{digest[:2]}/{digest}": data, "objects/new/0123": b"half"}
    assert findings(tmp_path, published_folder([writer]) | left) == {}

    assert "1 objects that no record names: what is left of a crash, or not recorded yet" in notes_of(tmp_path)


def test_a_chunk_recovered_after_a_crash_counts(tmp_path) -> None:
    control = WriterChain("gate1.control", gate().source)
    control.start()
    writer = gate()
    session = writer.open_session()
    session.record()
    last = writer.sessions[session.id].sn - 1
    session.record(by=control)
    control.write(
        Kind.SESSION_CLOSED,
        {
            "opened": session.opened,
            "cause": "crash",
            "chunks": {"results": 2},
            "last_sn": last,
            "recording_complete": False,
        },
        session.id,
        sequenced=False,
    )
    writers = [writer, control]
    log = PublishedLog(the_key())
    log.integrate(*writers)
    log.publish()
    write_files(tmp_path, folder_of(log, writers))

    assert not any("not sealed" in note for note in notes_of(tmp_path))
