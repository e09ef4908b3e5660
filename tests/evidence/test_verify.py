"""The verifier against folders that are whole, damaged, and forged by who should not be able to."""

import ast
import json
import subprocess
import sys
from pathlib import Path
from uuid import UUID

import pytest

from tests import tamper
from tests.support import data_folder
from tests.support.data_folder import (
    PublishedLog,
    busy_day,
    findings,
    gate,
    published_folder,
    write_files,
)
from vestibule.evidence import verify
from vestibule.evidence.checkpoint import Signature
from vestibule.evidence.log import Row
from vestibule.evidence.segment import read_frames
from vestibule.model.names import Instant, TargetName
from vestibule.model.record import Kind, Record, Reference
from vestibule.stores.segments import Journal

FILES, LOG, WRITERS = busy_day(1)
NEWEST = FILES["log/checkpoint"]
CHUNKS = sum(name.startswith("objects/") for name in FILES)
SOURCE = Path(verify.__file__)


# --- whole folders


def test_a_whole_folder_passes_with_the_numbers_in_words(tmp_path, capsys) -> None:
    write_files(tmp_path, FILES)
    assert verify.main([str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    size = LOG.state.tree.size
    assert lines[:7] == [
        f"PASS V05 tree: {size} leaves equal to the records of the journal, tiles equal, 9 checkpoints with equal "
        "roots signed by vestibule.test/log/1",
        f"PASS V07 chains: {size} records of 3 writers in 4 epochs, all linked",
        "PASS V08 sessions: 30 opened, 21 closed, 9 open; 24 heartbeats, 0 of which count other sessions open than "
        "the records",
        f"PASS V09 bodies: {size} bodies, all as their headers name them",
        f"PASS V10 recordings: {CHUNKS} chunks of 14 sessions, each there, unchanged and in its place",
        "PASS V11 effect order: 125 statements decided, 96 ended, 67 forwarded",
        "PASS V12 approvals: 0 requests, 0 used, all commitments equal, 0 self-approved",
    ]
    assert lines[7].startswith("NOT CHECKED no saved checkpoint was given")
    assert sum("is open: no record of its end yet" in line for line in lines) == 9


def test_the_residual_statement_is_printed(tmp_path, capsys) -> None:
    write_files(tmp_path, FILES)
    verify.main([str(tmp_path)])
    assert capsys.readouterr().out.endswith(f"\n\n{verify.RESIDUAL}\n")


def test_the_report_can_be_had_as_json(tmp_path, capsys) -> None:
    write_files(tmp_path, FILES)
    assert verify.main([str(tmp_path), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["passed"]
    assert [row["check"] for row in report["checks"]] == ["V05", "V07", "V08", "V09", "V10", "V11", "V12"]
    (tmp_path / "log/log.vkey").unlink()
    assert verify.main([str(tmp_path), "--json"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert not report["passed"]
    assert any("log/log.vkey" in text for text in report["checks"][0]["failures"])


@pytest.mark.slow
def test_a_saved_checkpoint_of_any_earlier_size_is_found_in_the_log(tmp_path) -> None:
    for name, note in FILES.items():
        if name.startswith("log/checkpoints/"):
            assert findings(tmp_path, FILES, note) == {}
    assert verify.main([str(tmp_path), "--checkpoint", str(tmp_path / "log/checkpoint")]) == 0


def test_a_saved_checkpoint_may_carry_the_lines_of_witnesses(tmp_path) -> None:
    line = str(Signature("witness", b"\x01\x02\x03\x04", bytes(72))).encode()
    assert findings(tmp_path, FILES, NEWEST + line) == {}
    assert "log/checkpoint" in str(findings(tmp_path, FILES | {"log/checkpoint": NEWEST + line}))


def test_records_younger_than_the_checkpoint_are_counted_and_checked_but_no_fault(tmp_path) -> None:
    chain = gate()
    files = published_folder([chain])
    session = chain.open_session()
    session.finish(session.decide())
    name = "journal/gate1.0/1-0.seg"
    assert findings(tmp_path, files | {name: b"".join(frame for _, frame in chain.frames)}) == {}
    _, _, notes = verify.verify(str(tmp_path), None)
    assert "4 younger records are not yet under a signed checkpoint" in notes
    assert f"session {session.id} is open: no record of its end yet" in notes
    dropped = b"".join(frame for _, frame in chain.frames[:2] + chain.frames[3:])
    assert "gate1.0 epoch 1 has record 3" in str(findings(tmp_path, files | {name: dropped})["V07"])


def test_what_the_journal_writes_is_a_whole_folder(tmp_path) -> None:
    now = iter(range(data_folder.START, data_folder.START + 10**9, 1_000))
    session = UUID("019b7ca9-8d03-7000-8000-00000000000a")
    access = {"attempted": "ada", "client": data_folder.PEER, "protocol": "postgres", "decision": "allow"}
    records = [
        Record(Kind.NODE_STARTED, {"version": "1", "python": "3.11", "clean": True}),
        Record(Kind.ACCESS_DECIDED, access, session, TargetName("core"), "access"),
        Record(
            Kind.SESSION_OPENED,
            data_folder.OPENED | {"access": Reference("access")},
            session,
            TargetName("core"),
            "opened",
        ),
        Record(Kind.SESSION_CLOSED, {"opened": Reference("opened", last=True), "cause": "client_closed"}, session),
        Record(Kind.NODE_STOPPED, {"cause": "operator", "open_sessions": 0, "queue_empty": True}),
    ]
    for count in (len(records), 1):
        journal = Journal.open(
            tmp_path / "journal/gate1.0",
            "gate1.0",
            lambda: Instant(next(now)),
            segment_bytes=262_144,
            reserve_bytes=262_144,
            min_free=0,
            stop_free=0,
        )
        ticket = journal.append(records[:count])
        journal.close()
        assert ticket.error is None
    log = PublishedLog(data_folder.test_key())
    for path in sorted(tmp_path.glob("journal/gate1.0/*.seg")):
        log.add([Row("gate1.0", frame.header, frame.body) for frame in read_frames(path.read_bytes())])
    log.publish()
    write_files(tmp_path / "log", log.files)
    found, numbers, notes = verify.verify(str(tmp_path), None)
    assert not any(found.values())
    assert "1 opened, 1 closed, 0 open" in numbers["V08"]
    assert notes == [verify.NO_SAVED]


# --- damage


@pytest.mark.slow
def test_a_hundred_random_damages_are_found(tmp_path) -> None:
    found, missed = tamper.run(tmp_path, 100, seed=11)
    assert missed == []
    assert found.total() == 100


def flipped(name: str, place: int = -1) -> dict[str, bytes]:
    data = bytearray(FILES[name])
    data[place] ^= 1
    return {name: bytes(data)}


SEGMENT = next(name for name in FILES if name.startswith("journal/gate1.0/") and name.endswith(".seg"))
PARTIAL = next(name for name in FILES if name.startswith("log/tile/0/000.p/"))


@pytest.mark.parametrize(
    ("change", "check", "named"),
    [
        (flipped(SEGMENT, 100), "V09", SEGMENT),
        (flipped(PARTIAL), "V05", PARTIAL),
        (flipped(PARTIAL.replace("tile/0", "tile/entries")), "V05", PARTIAL.replace("tile/0", "tile/entries")),
        (flipped("log/tile/0/000"), "V05", "log/tile/0/000"),
        (flipped("log/tile/entries/000", 300), "V05", "leaf "),
        (flipped("log/checkpoint", -3), "V05", "log/checkpoint"),
        (flipped("log/log.vkey", 3), "V05", "log/log.vkey"),
        (flipped("journal/gate1.1/reserve", 5), "V07", "journal/gate1.1/reserve"),
        ({"journal/gate1.1/lock": b"x"}, "V07", "journal/gate1.1/lock"),
        ({"journal/gate1.1/notes.txt": b""}, "V07", "journal/gate1.1/notes.txt"),
        ({"journal/notes.txt": b""}, "V07", "journal/notes.txt"),
        ({"log/tile/0/notes.txt": b""}, "V05", "log/tile/0/notes.txt"),
        ({"log/5": b""}, "V05", "log/5"),
        ({"log/tile/0/000.p/7": FILES[PARTIAL][:224]}, "V05", "log/tile/0/000.p/7"),
        ({"log/tile/0/002.p/300": b""}, "V05", "log/tile/0/002.p/300"),
        ({"log/tile/0/x000/000": FILES["log/tile/0/000"]}, "V05", "log/tile/0/x000/000"),
        ({"log/checkpoint": FILES["log/checkpoints/60"]}, "V05", "log/checkpoint"),
        ({"log/checkpoints/61": FILES["log/checkpoints/60"]}, "V05", "log/checkpoints/61"),
        ({"log/checkpoints/61": NEWEST}, "V05", "log/checkpoints/61"),
    ],
)
def test_damage_is_named(tmp_path, change, check, named) -> None:
    found = findings(tmp_path, FILES | change)
    assert any(named in text for text in found[check])


@pytest.mark.parametrize("name", [*(name for name in FILES if name.startswith("log/")), SEGMENT])
def test_every_missing_file_is_found(tmp_path, name) -> None:
    write_files(tmp_path, FILES)
    (tmp_path / name).unlink()
    found, _, _ = verify.verify(str(tmp_path), None)
    assert any(found.values())


def test_a_renamed_segment_is_found_although_its_records_are_whole(tmp_path) -> None:
    files = dict(FILES)
    files["journal/gate1.1/7-0.seg"] = files.pop("journal/gate1.1/2-0.seg")
    assert "7-0.seg" in str(findings(tmp_path, files)["V07"])


def test_a_record_that_was_not_written_whole_is_told_once_the_writer_had_time(tmp_path) -> None:
    chain = gate()
    files = published_folder([chain])
    name = "journal/gate1.0/1-0.seg"
    chain.heartbeat(0)
    whole = b"".join(frame for _, frame in chain.frames)
    torn = whole[:-50]
    files[name] = torn + bytes(-len(torn) % 4_096)
    assert findings(tmp_path, files)["V09"] == [
        f"{name} at offset {len(chain.frames[0][1])}: a record that is not whole, or foreign bytes"
    ]
    files[name] = whole + bytes(-len(whole) % 4_096)
    assert findings(tmp_path, files) == {}


def test_a_folder_whose_log_is_gone_fails(tmp_path) -> None:
    journal = {name: data for name, data in FILES.items() if name.startswith("journal/")}
    assert "log/checkpoint" in str(findings(tmp_path, journal)["V05"])


# --- the file itself


def test_it_runs_alone(tmp_path) -> None:
    write_files(tmp_path / "data", FILES)
    alone = tmp_path / "verify.py"
    alone.write_bytes(SOURCE.read_bytes())
    command = [sys.executable, "-I", "-S", str(alone), str(tmp_path / "data")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("PASS V05")


@pytest.mark.parametrize("arguments", [[], ["{}/nothing"], ["{}", "--checkpoint", "{}/nothing"], ["--what"]])
def test_wrong_usage_has_a_status_of_its_own(tmp_path, arguments, capsys) -> None:
    write_files(tmp_path, FILES)
    with pytest.raises(SystemExit) as stopped:
        verify.main([argument.format(tmp_path) for argument in arguments])
    assert stopped.value.code == 2
    assert "usage" in capsys.readouterr().err


def test_it_is_one_file_of_the_standard_library_for_python_3_8_and_nothing_in_it_writes() -> None:
    text = SOURCE.read_text()
    assert len(text.splitlines()) <= 800
    tree = ast.parse(text, feature_version=(3, 8))
    names = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    names |= {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    assert names <= sys.stdlib_module_names | {"__future__"}
    assert not names & {"socket", "urllib", "http", "ssl", "subprocess", "shutil"}
    called = {
        node.func.attr for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
    }
    assert not called & {
        "write_bytes",
        "write_text",
        "unlink",
        "rename",
        "replace_file",
        "mkdir",
        "touch",
        "chmod",
        "removesuffix",
        "removeprefix",
    }
    opened = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "open"]
    assert [node.args[1].value for node in opened] == ["rb"]
