"""The fuzzer of inputs: a short run over all that reads bytes, and that it finds what is planted."""

from __future__ import annotations

import faulthandler
import hashlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.fuzz import crew, inputs
from tests.fuzz.inputs import BLOCK, READERS, Inputs, Tally, chosen, run, save, shares, units
from tests.fuzz.readers import rows
from tests.fuzz.readers.base import Reader
from vestibule.wire.buffer import Cursor

#: Far more than they take: a busy machine is no defect.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
ROOT = Path(__file__).parents[2]


def tried(read: Callable[[bytes], bool], count: int = 2 * BLOCK, processes: int = 1) -> Tally:
    """Try a reader of three short words."""
    reader = Reader("planted", read, lambda: [b"one", b"three", b"eleven"], 1)
    return run([reader], {"planted": count}, 7, processes)


def only(tally: Tally) -> tuple[str, list[int]]:
    """The one defect that was found, and the inputs that show it."""
    [(what, found)] = tally.found.items()
    return what, [each.index for each in found]


def words(tally: Tally) -> set[str]:
    return {each.words for found in tally.found.values() for each in found}


def test_a_short_run_over_everything_finds_nothing(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.fuzz.inputs", "--count", "60000", "--save", str(tmp_path / "found")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=800)

    assert (done.stdout.splitlines()[-1:], done.stderr) == (["60000 inputs, 0 undefined errors"], ""), done.stdout
    assert done.returncode == 0
    assert not (tmp_path / "found").exists()
    assert all(reader.name in done.stdout for reader in READERS)


def test_a_run_that_is_ended_says_what_it_has_tried() -> None:
    command = [sys.executable, "-m", "tests.fuzz.inputs", "--count", "1000000000", "--only", "codecs.user"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        assert " of 1000000000 inputs, 0 undefined errors" in running.stdout.readline()
        running.terminate()
        last = running.stdout.read().splitlines()[-1]

    assert re.fullmatch(r"[1-9]\d* inputs, 0 undefined errors", last), last
    assert running.returncode == 1


def test_every_whole_input_is_read_without_a_defect_and_most_readers_accept_some() -> None:
    accepting = 0
    for name, reader in (made := Inputs(READERS, 1)).readers.items():
        accepting += sum(reader.read(data) for data in made.whole(name)) > 0

    # Nobody can make what proves a password, or a chunk of a given hash, by accident.
    assert accepting >= len(READERS) - 6


def test_the_same_seed_makes_the_same_inputs_however_they_are_shared_out() -> None:
    def read(data: bytes) -> bool:
        if data[:1] == b"\0":
            raise ValueError(data)
        return True

    one, other = tried(read, processes=1), tried(read, processes=3)

    assert only(one)[1] == sorted(only(other)[1])
    assert (one.tried, one.accepted) == (other.tried, other.accepted)
    assert (one.tried.total(), one.accepted.total() + one.defects) == (2 * BLOCK, 2 * BLOCK)
    assert [Inputs(chosen("notes.note"), seed).one("notes.note", 612) for seed in (1, 1)] == [
        Inputs(READERS, 1).one("notes.note", 612)
    ] * 2
    assert Inputs(chosen("notes.note"), 2).one("notes.note", 612) != Inputs(READERS, 1).one("notes.note", 612)


def test_what_was_found_is_saved_and_read_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    reader = Reader("planted", lambda data: bool(data[9]), lambda: [b"eleven words"], 1)
    tally = run([reader], {"planted": 700}, 7)
    what, found = only(tally)

    lines = list(save(tmp_path / "found", Inputs([reader], 7), 7, tally))

    assert what.startswith("IndexError at ")
    assert len(lines) == min(len(found), inputs.SAVED)
    assert lines[0].endswith(f"--seed 7 --replay planted:{found[0]}")
    assert len((tmp_path / "found" / f"planted.7.{found[0]}").read_bytes()) < 10


def test_a_check_that_is_missing_in_the_codec_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def string(cursor: Cursor) -> bytes:
        end = cursor.data.index(0, cursor.at)
        start, cursor.at = cursor.at, end + 1
        return cursor.data[start:end]

    monkeypatch.setattr(Cursor, "string", string)
    tally = run(chosen("codecs.frontend"), {"codecs.frontend": BLOCK}, 1)

    assert tally.defects > 10
    assert words(tally) == {"subsection not found"}


def test_a_kernel_that_differs_from_the_other_one_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    pure, scan = rows.KERNELS["pure"], rows.KERNELS["pure"].scan

    def forgetful(buffer: bytes, offset: int, end: int, columns: int) -> tuple[int, int]:
        stop, count = scan(buffer, offset, end, columns)
        return stop, count - (b"\xff\xff\xff\xff" in buffer[:stop])

    monkeypatch.setattr(pure, "scan", forgetful)
    with pytest.raises(AssertionError):
        inputs.check_whole(Inputs(chosen("rows.walked"), 1))


def test_what_hangs_is_found_and_the_others_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crew, "SECONDS", 1.0)

    def read(data: bytes) -> bool:
        while data == first:
            try:
                continue
            except Exception:  # noqa: BLE001 - nothing that reads an input can catch that it hangs
                pass
        return True

    first = Inputs([Reader("planted", read, lambda: [b"one", b"three", b"eleven"], 1)], 7).one("planted", 3)
    tally = tried(read, BLOCK)

    assert only(tally)[0].startswith("Hung at ")
    assert 3 in only(tally)[1]
    assert tally.tried.total() == BLOCK


def test_what_hangs_in_c_costs_its_process_and_no_other_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crew, "SECONDS_IN_C", 1.0)

    def read(data: bytes) -> bool:
        if data == first:
            hashlib.pbkdf2_hmac("sha256", data, b"salt", 2_000_000_000)
        return True

    first = Inputs([Reader("planted", read, lambda: [b"one", b"three", b"eleven"], 1)], 7).one("planted", 3)
    tally = tried(read, BLOCK)

    assert (only(tally)[0], words(tally)) == ("planted ended the process", {"Killed"})
    assert tally.tried.total() == BLOCK


def test_what_crashes_costs_its_process_and_no_other_input() -> None:
    def read(data: bytes) -> bool:
        if data[:1] == b"\0":
            faulthandler.disable()
            os.kill(os.getpid(), signal.SIGSEGV)
        return True

    tally = tried(read)

    assert (only(tally)[0], words(tally)) == ("planted ended the process", {"Segmentation fault"})
    assert tally.tried.total() == 2 * BLOCK


def test_what_takes_all_memory_is_found() -> None:
    tally = tried(lambda data: len(bytearray(len(data) << 40 if data[:1] == b"\0" else 1)) > 0, BLOCK)

    assert only(tally)[0].startswith("MemoryError at ")


def test_inputs_are_shared_out_to_the_last_one_and_mixed() -> None:
    counts = shares(READERS, 1_234_567)
    work = units(counts)

    assert sum(counts.values()) == sum(unit.stop for unit in work) == 1_234_567
    assert min(counts.values()) > 0
    assert {unit.name for unit in work[: len(work) // 50]} >= {
        reader.name for reader in READERS if counts[reader.name] > 60 * BLOCK
    }


def test_readers_are_chosen_by_name_or_by_what_is_before_the_dot() -> None:
    assert {reader.name.partition(".")[0] for reader in READERS} == {
        *("codecs", "rows", "records", "notes", "policy", "identity", "texts")
    }
    assert [reader.name for reader in chosen("rows.long")] == ["rows.long"]
    assert len(chosen("notes")) > 5
    with pytest.raises(SystemExit):
        chosen("nothing")
