"""How the data process is wired."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from pathlib import Path
from uuid import UUID

import pytest

from tests.support.policies import HEAD, RULES
from tests.support.scripted import FakeJournal
from vestibule.app.data import DataProcess, make_recorder, open_journal, reach, started, wall_clock, writer
from vestibule.model.errors import ConfigurationError
from vestibule.model.event import Tls
from vestibule.model.identity import Peer
from vestibule.model.names import Instant, TargetName
from vestibule.model.target import Target
from vestibule.policy.document import load
from vestibule.protocols.base import Conversation, Reply, Speak, StartTls
from vestibule.protocols.postgres import rows
from vestibule.server.clock import Clock
from vestibule.server.commits import Commits
from vestibule.settings import Settings
from vestibule.settings import load as load_settings

POLICY = load((HEAD + RULES).encode(), "policy.yaml")
MASKED = load((HEAD + RULES + "masks: [{name: ssn, columns: ['*.customers.ssn']}]\n").encode(), "policy.yaml")
CONVERSATION = Conversation(UUID(int=1), Peer("192.0.2.1", 1), Tls("TLSv1.3", "x"), Instant(0), bytes(16), bytes(8))


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    for name in ("server.pem", "server.key"):
        (tmp_path / name).touch(mode=0o600)
    listener = "{address: '127.0.0.1:15432', certificate: server.pem, key: server.key}"
    (tmp_path / "vestibule.yaml").write_text(
        f"public_url: https://v.example:8443\ndata: data\npolicy: policy.yaml\nnode: gate1\n"
        f"listeners:\n  postgres: {listener}\n  control: {listener}\n"
        "journal: {segment_bytes: 1MiB, min_free: 0, stop_free: 0}\n"
    )
    return load_settings(tmp_path / "vestibule.yaml")


def given(text: bytes = POLICY.text, digest: str = POLICY.digest) -> dict[str, str]:
    """What the control process gives."""
    return {"text": text.decode(), "digest": digest, "storage_key_id": "k1", "storage_key": "00" * 32}


def test_nobody_is_served_before_there_is_a_policy(settings: Settings) -> None:
    with pytest.raises(AssertionError):
        DataProcess(settings).make_relay(CONVERSATION)


def test_every_relay_decides_by_the_policy_in_force(settings: Settings) -> None:
    process = DataProcess(settings)
    process.apply_policy(given())
    process.make_relay(CONVERSATION)
    assert process._around is not None
    gate = process._around.gate
    other = load(POLICY.text + b"# reviewed\n", "policy.yaml")
    process.apply_policy(given(other.text, other.digest))
    assert process._around.gate is gate, "sessions that are open keep their gate"
    assert gate.policy == other.digest


@pytest.mark.parametrize(
    "spoilt", [{"digest": "0" * 64}, {"text": 7}, {"storage_key": None}, {"storage_key": "no hex"}]
)
def test_a_policy_that_is_not_what_it_says_is_refused(settings: Settings, spoilt: dict[str, str]) -> None:
    with pytest.raises(ValueError):
        DataProcess(settings).apply_policy(given() | spoilt)


def test_a_policy_that_does_not_load_is_refused_and_the_old_one_stays(settings: Settings) -> None:
    process = DataProcess(settings)
    process.apply_policy(given())
    with pytest.raises(ConfigurationError):
        process.apply_policy(given(b"version: 2\n"))
    assert process._around is not None
    assert process._around.gate.policy == POLICY.digest


def test_results_are_recorded_where_the_policy_says_what_is_sensitive_and_not_against_the_settings(
    settings: Settings,
) -> None:
    target = next(iter(POLICY.targets.values()))
    process = DataProcess(settings)
    process.apply_policy(given())
    assert process._around is not None
    recording = process._around.gate.recording
    assert not recording.records(target)
    process.apply_policy(given(MASKED.text, MASKED.digest))
    assert recording.records(target)
    digest = settings.recording.model_copy(update={"results": "digest"})
    without = DataProcess(settings.model_copy(update={"recording": digest}))
    without.apply_policy(given(MASKED.text, MASKED.digest))
    assert not without.records_results(target)
    assert (recording.rows, recording.bytes) == (10_000, 8 << 20)


def test_a_data_process_has_a_spool_of_its_own_and_its_share_of_the_room(settings: Settings) -> None:
    half = settings.model_copy(update={"workers": 2})

    async def make() -> None:
        commits = Commits(FakeJournal(), lambda: None)
        recorder = make_recorder(half, 1, commits, Clock())
        recorder._spool.take(settings.recording.spool_max // 2)
        assert not recorder.admits_sessions
        recorder.close()

    asyncio.run(make())
    assert (settings.data / "spool" / "gate1.1").is_dir()


def test_each_writer_has_a_folder_and_a_name_of_its_own(settings: Settings) -> None:
    folder, node = writer(settings, "0")
    assert node == "gate1.0"
    assert folder == settings.data / "journal" / "gate1.0"
    journal = open_journal(settings, "0", lambda call: call())
    journal.close()
    assert [path.suffix for path in folder.glob("*.seg")] == [".seg"]


def test_a_start_says_what_runs(settings: Settings) -> None:
    said = started(settings)
    assert said["config_sha256"] == settings.digest
    assert said["build"] == rows.BUILD


def test_records_are_stamped_by_the_machines_own_clock() -> None:
    before = time.time_ns() // 1_000
    assert before <= wall_clock() <= time.time_ns() // 1_000


def test_a_target_is_spoken_to_as_it_is_configured() -> None:
    target = POLICY.targets[TargetName("core-banking")]
    assert isinstance(next(reach(target, b"")), Reply)
    assert isinstance(next(reach(_with_tls(target, "verify-full", direct=True), b"")), StartTls)
    assert next(reach(_with_tls(target, "disable"), b"hello")) == Reply(b"hello")
    with pytest.raises(StopIteration) as said:
        next(reach(_with_tls(target, "disable"), b""))
    assert said.value.value == Speak()


def _with_tls(target: Target, mode: str, direct: bool = False) -> Target:
    return replace(target, tls=replace(target.tls, mode=mode, direct=direct))  # type: ignore[arg-type] - one of its words
