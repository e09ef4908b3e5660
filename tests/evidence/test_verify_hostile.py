"""What the verifier says of folders and records that were made to make it fall over: findings, and always a report."""

from __future__ import annotations

import json
import os
import random
import subprocess
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from tests.support.data_folder import LOGIN, START, busy_day, write_files
from vestibule.evidence import verify
from vestibule.evidence.segment import encode_frame
from vestibule.model.names import stamp

FILES, _, _ = busy_day(1, rounds=1)
SESSION = str(UUID(int=77))
OBJECT = {"sha256": "ab" * 32, "bytes": 9, "key": LOGIN}
CHUNK = {"stream": "results", "seq": 0, "object": OBJECT}
OPENED = {"who": {"iss": "i", "sub": "s"}}
CLOSED = {"last_sn": 2, "chunks": {"results": 1}, "recording_complete": True}
ASKED = {
    "approval": "AR-7Q2M4V0XKD",
    "scope": "statement",
    "requester": {"iss": "i", "sub": "s"},
    "expires_at": stamp(START),
}


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """No gateway is writing, so that nothing needs a second look a moment later."""
    monkeypatch.setattr(verify.time, "sleep", lambda _: None)


def journal(*said: tuple[str, dict[str, Any]], session: bytes = SESSION.encode(), at: bytes = b"") -> bytes:
    """A segment in which the records of one session hold together, whatever they say."""
    frames, previous = b"", "0" * 64
    for n, (kind, content) in enumerate(said):
        body = json.dumps(content).encode()
        header = (
            b'{"v":1,"kind":"%s","id":"%s","t":"%s","node":"gate1.0","epoch":1,"n":%d,"prev":"%s","session":"%s",'
            b'"sn":%d,"sprev":"%s","target":null,"body":"%s","len":%d}'
        ) % (
            *(kind.encode(), str(UUID(int=n)).encode(), at or stamp(START).encode(), n, previous.encode(), session),
            *(n, previous.encode(), sha256(body).hexdigest().encode(), len(body)),
        )
        previous = sha256(b"\0" + header).hexdigest()
        frames += encode_frame(header, body)
    return frames


def report(folder: Path, capsys: pytest.CaptureFixture[str], segment: bytes) -> str:
    """What an auditor is told; nothing in it drives a terminal."""
    write_files(folder, {"journal/gate1.0/1-0.seg": segment})
    assert verify.main([str(folder)]) == 1
    told = capsys.readouterr().out
    assert told.isascii()
    assert all(line.isprintable() for line in told.splitlines())
    assert all(f" {check} " in told for check in verify.CHECKS)
    return told


@pytest.mark.parametrize(
    ("session", "at"), [(b"\xe5" * 36, b""), (b"x", b""), (SESSION.encode(), b"\xff" * 27), (SESSION.encode(), b"now")]
)
def test_a_header_whose_session_or_time_is_no_text_is_no_header(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], session: bytes, at: bytes
) -> None:
    told = report(tmp_path, capsys, journal(("SessionOpened", OPENED), session=session, at=at))

    assert "not a header of version 1" in told


@pytest.mark.parametrize("chunks", [5, "x", [["results", 1]], {"results": "1"}, {"results": None}, {"results": [1]}])
def test_counts_of_chunks_that_are_none_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], chunks: object
) -> None:
    said = [("SessionOpened", OPENED), ("ChunkSealed", CHUNK), ("SessionClosed", {**CLOSED, "chunks": chunks})]

    assert "the body of a SessionClosed cannot be read" in report(tmp_path, capsys, journal(*said))


@pytest.mark.parametrize(
    "changed",
    [
        {"seq": -1},
        {"seq": 2**64},
        {"seq": "0"},
        {"seq": 1.5},
        {"seq": None},
        {"stream": 7},
        {"stream": None},
        {"object": {**OBJECT, "sha256": "a" * 5_000}},
        {"object": {**OBJECT, "sha256": "../../../../etc/passwd"}},
        {"object": {**OBJECT, "sha256": 7}},
        {"object": {**OBJECT, "key": "x"}},
    ],
)
def test_a_chunk_that_could_be_nowhere_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], changed: dict[str, Any]
) -> None:
    said = [("SessionOpened", OPENED), ("ChunkSealed", {**CHUNK, **changed}), ("ChunkSealed", {**CHUNK, "seq": 1})]

    assert "the body of a ChunkSealed cannot be read" in report(tmp_path, capsys, journal(*said))


@pytest.mark.parametrize("forwarded", [10**4_200, "yes", 1, None])
def test_a_statement_is_forwarded_or_not(tmp_path: Path, capsys: pytest.CaptureFixture[str], forwarded: object) -> None:
    said = [("SessionOpened", OPENED), *[("StatementFinished", {"decided": {"leaf": ""}, "forwarded": forwarded})] * 11]

    assert "the body of a StatementFinished cannot be read" in report(tmp_path, capsys, journal(*said))


@pytest.mark.parametrize("name", [None, 7, ["x"]])
def test_a_request_without_a_name_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str], name: object) -> None:
    said = [("SessionOpened", OPENED), ("ApprovalRequested", {**ASKED, "approval": name})]

    assert "the body of a ApprovalRequested cannot be read" in report(tmp_path, capsys, journal(*said))


def test_what_a_name_holds_reaches_no_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name = "\x1b[2J\x9b1m\ud800\u202e"
    said = [("SessionOpened", OPENED), ("ApprovalRequested", {**ASKED, "approval": name, "decided": {}})]

    assert r"\x1b[2J\x9b1m\ud800\u202e asks for a statement" in report(tmp_path, capsys, journal(*said))


def test_the_names_of_files_are_told_whatever_they_are(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_files(tmp_path, FILES)
    for folder in ("log", "objects", "journal"):
        (tmp_path / folder).mkdir(exist_ok=True)
        Path(os.fsdecode(os.fsencode(tmp_path / folder) + b"/\xff\x1b[2J")).write_bytes(b"")

    told = report(tmp_path, capsys, journal(("SessionOpened", OPENED)))

    assert all(rf"{folder}/\udcff\x1b[2J: does not belong" in told for folder in ("log", "objects", "journal"))


def test_a_folder_in_the_place_of_a_segment_does_not_belong_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "journal" / "gate1.0" / "1-5.seg").mkdir(parents=True)
    os.mkfifo(tmp_path / "journal" / "gate1.0" / "1-6.seg")

    told = report(tmp_path, capsys, journal(("SessionOpened", OPENED)))

    assert "journal/gate1.0/1-5.seg: does not belong" in told
    assert "journal/gate1.0/1-6.seg: does not belong" in told


def test_folders_may_be_deeper_than_the_stack(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_files(tmp_path, FILES)
    monkeypatch.chdir(tmp_path / "log")
    try:
        for _ in range(1_200):
            os.mkdir("d")
            os.chdir("d")
        Path("x").touch()
        os.chdir(tmp_path)

        told = report(tmp_path, capsys, journal(("SessionOpened", OPENED)))

        assert "/d/x: does not belong there" in told
    finally:
        # Python cannot clear it away either.
        subprocess.run(["rm", "-rf", tmp_path / "log"], check=True)


def test_random_bodies_that_hold_together_always_give_a_report(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    values = [
        None,
        True,
        -1,
        1.5,
        2**64,
        "",
        "x",
        [],
        [1],
        {},
        {"leaf": []},
        {"id": 1, "leaf": "0" * 64},
        SESSION,
        OBJECT,
    ]
    names = [
        *CHUNK,
        *CLOSED,
        *ASKED,
        "decided",
        "forwarded",
        "decision",
        "request",
        "answers",
        "permit",
        "answer",
        "result",
    ]
    kinds = [*verify.EVENTS, *verify.APPROVALS, *verify.LIFE, "ChunkSealed"]
    random_ = random.Random(1)
    for _ in range(100):
        said = [("SessionOpened", OPENED)]
        for _ in range(8):
            changed = {name: random_.choice(values) for name in random_.sample(names, 5)}
            said.append((random_.choice(kinds), {**CHUNK, **CLOSED, **ASKED, **changed}))
        report(tmp_path, capsys, journal(*said))
