from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from tests.support.policies import HEAD, RULES
from vestibule.model.errors import ConfigurationError
from vestibule.model.target import Address
from vestibule.policy.document import PolicyError
from vestibule.settings import Settings, SettingsError, load, read_policy

TEXT = """\
public_url: https://vestibule.example:8443
data: data
policy: policy.yaml
listeners:
  postgres: {address: "127.0.0.1:15432", certificate: server.pem, key: server.key}
  control: {address: "[::1]:8443", certificate: server.pem, key: server.key}
providers:
  corp: {client_secret: file:corp.secret, ca: idp-ca.pem}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("server.pem", "server.key", "corp.secret", "idp-ca.pem"):
        (tmp_path / name).write_text("hunter2")
        (tmp_path / name).chmod(0o600)
    (tmp_path / "policy.yaml").write_text(HEAD + RULES)
    return tmp_path


def read(folder: Path, text: str = TEXT) -> Settings:
    path = folder / "vestibule.yaml"
    path.write_text(text)
    return load(path)


def refused(folder: Path, text: str) -> str:
    with pytest.raises(SettingsError) as caught:
        read(folder, text)
    assert isinstance(caught.value, ConfigurationError)
    assert "hunter2" not in str(caught.value)
    return str(caught.value)


def test_the_file_is_read_with_paths_from_its_own_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read(folder)
    monkeypatch.chdir(folder.parent)
    settings = load(Path(folder.name) / "vestibule.yaml")
    assert settings.path == folder / "vestibule.yaml"
    assert settings.data == folder / "data"
    assert settings.policy == folder / "policy.yaml"
    assert settings.listeners.postgres.address == Address("127.0.0.1", 15432)
    assert settings.listeners.control.address == Address("::1", 8443)
    assert settings.listeners.control.key == folder / "server.key"
    assert settings.providers["corp"].client_secret == f"file:{folder}/corp.secret"
    assert settings.providers["corp"].ca == folder / "idp-ca.pem"
    assert settings.digest == hashlib.sha256(TEXT.encode()).hexdigest()


def test_absolute_paths_stay_and_variables_are_references(folder: Path) -> None:
    settings = read(folder, TEXT.replace("data: data", "data: /nowhere/data").replace("file:corp.secret", "env:CORP"))
    assert settings.data == Path("/nowhere/data")
    assert settings.providers["corp"].client_secret == "env:CORP"


def test_what_is_left_out_has_the_documented_default(folder: Path) -> None:
    settings = read(folder)
    assert (settings.node, settings.workers, settings.insecure_loopback_http) == ("gateway", 1, False)
    assert settings.journal.model_dump() == {
        "segment_bytes": 64 * 2**20,
        "min_free": 2 * 2**30,
        "stop_free": 512 * 2**20,
        "commit_timeout": 10.0,
    }
    assert (settings.origin, settings.log.publish_every) == ("vestibule.example/vestibule", 5.0)
    assert settings.limits.model_dump() == {
        "sessions": 1000,
        "pending": 2000,
        "pending_per_address": 500,
        "sessions_per_person": None,
        "sessions_per_address": None,
        "sessions_per_target": {},
        "startup_timeout": 10.0,
        "dial_timeout": 10.0,
        "bind_bytes": 64 * 2**20,
    }


def test_what_is_written_counts(folder: Path) -> None:
    more = (
        "node: gw-2\nworkers: 4\njournal: {segment_bytes: 1MiB, min_free: 3GiB, stop_free: 1GiB, "
        "commit_timeout: 500ms}\nlog: {origin: bank.example/log, publish_every: 1s}\n"
        "limits: {sessions: 5, bind_bytes: 1MiB, dial_timeout: 3s}\n"
    )
    settings = read(folder, TEXT + more)
    assert (settings.node, settings.workers, settings.origin) == ("gw-2", 4, "bank.example/log")
    assert (settings.journal.min_free, settings.journal.commit_timeout) == (3 * 2**30, 0.5)
    assert (settings.limits.sessions, settings.limits.bind_bytes, settings.limits.dial_timeout) == (5, 2**20, 3.0)


#: Old text, new text, the line that must be named, words of the message.
CERTIFICATE = "certificate: server.pem, key: server.key}\n  control"
WRONG = [
    ("https://vestibule", "http://vestibule", 1, "write https://vestibule.example:8443"),
    ("https://vestibule.example:8443", "http://127.0.0.1:8443", 1, "must be https with host and port only"),
    ("https://vestibule.example:8443", "https://vestibule.example/path", 1, "must be https with host and port only"),
    ("public_url", "public_uri", 1, 'did you mean "public_url"?'),
    ("data: data", "data: server.pem", 2, "not a folder"),
    ("data: data", "data: server.pem/data", 2, "Not a directory; write the path of a folder"),
    ("data: data", f"data: {'d' * 256}", 2, "File name too long; write the path of a folder"),
    ("data: data", "data: loop/data", 2, "Too many levels of symbolic links; write the path of a folder"),
    ("policy: policy.yaml", "policy:", 3, "has no value"),
    ("postgres:", "postgresql:", 5, 'did you mean "postgres"?'),
    ("127.0.0.1:15432", "127.0.0.1", 5, "has no port"),
    (CERTIFICATE, "certificate: no.pem, key: server.key}\n  control", 5, "No such file"),
    (CERTIFICATE, "certificate: ., key: server.key}\n  control", 5, "Is a directory"),
    (CERTIFICATE, "certificate: pipe, key: server.key}\n  control", 5, "not a file"),
    (CERTIFICATE, "key: server.key}\n  control", 5, '"certificate" is missing'),
    (CERTIFICATE, "certificate: server.pem, key: open}\n  control", 5, "run: chmod 600"),
    ("file:corp.secret", "file:open", 8, "run: chmod 600"),
    ("file:corp.secret", "file:missing", 8, "No such file"),
    ("file:corp.secret", "hunter2", 8, "write env:NAME or file:/path"),
    ("file:corp.secret", "vault:hunter2", 8, "cannot read secrets from vault: stores"),
    ("ca: idp-ca.pem", "ca: missing.pem", 8, "No such file"),
    ("ca: idp-ca.pem", "issuer: x", 8, "belongs in the policy"),
    ("providers:", "trusted_proxies: [10.0.0.1/8]\nproviders:", 7, "write an address or a network like"),
    ("providers:", "trusted_proxies: [1]\nproviders:", 7, "write an address or a network like"),
    ("providers:", "trusted_proxies: [balancer]\nproviders:", 7, "write an address or a network like"),
    ("providers:", 'trusted_proxies: ["::/0"]\nproviders:', 7, "lets everybody say who they are"),
    ("providers:", "stores: {}\nproviders:", 7, "belongs to a coming version"),
    ("providers:", "access: []\nproviders:", 7, "belongs in the policy"),
    ("providers:", "workers: 0\nproviders:", 7, "must be at least 1"),
    ("providers:", "workers: 65\nproviders:", 7, "must be at most 64"),
    ("providers:", "workers: two\nproviders:", 7, "must be a whole number; write for example workers: 1"),
    ("providers:", "node: Gateway 1\nproviders:", 7, "write 1 to 63 of a-z"),
    ("providers:", "journal: {commit_timeout: 10}\nproviders:", 7, "write a number with its unit"),
    ("providers:", "journal: {commit_timeout: 1h}\nproviders:", 7, "write from 0.1s to 300s"),
    ("providers:", "journal: {segment_bytes: 1KiB}\nproviders:", 7, "out of bounds; write from 1048576"),
    ("providers:", "journal: {min_free: 1MiB}\nproviders:", 7, "min_free is below stop_free"),
    ("providers:", "log: {origin: 'https://x'}\nproviders:", 7, "like a URL without https://"),
    ("providers:", "insecure_loopback_http: yes\nproviders:", 7, "must be true or false"),
    ("providers:", "limits: {session: 1}\nproviders:", 7, 'did you mean "sessions"?'),
]  # fmt: skip


@pytest.mark.timeout(30)
@pytest.mark.parametrize(("old", "new", "line", "words"), WRONG, ids=[f"{new[:50]!r}" for _, new, _, _ in WRONG])
def test_what_is_wrong_is_refused_at_its_line(folder: Path, old: str, new: str, line: int, words: str) -> None:
    (folder / "open").write_text("hunter2")
    (folder / "open").chmod(0o640)
    os.mkfifo(folder / "pipe", 0o600)
    (folder / "loop").symlink_to("loop")
    assert old in TEXT
    told = [entry for entry in refused(folder, TEXT.replace(old, new, 1)).splitlines() if words in entry]
    assert [entry.removeprefix(f"{folder}/vestibule.yaml:").split(":")[0] for entry in told] == [str(line)]


def test_all_problems_are_told_at_once(folder: Path) -> None:
    broken = TEXT.replace("https://", "").replace("file:corp.secret", "hunter2").replace("idp-ca.pem", "no.pem")
    assert len(refused(folder, broken).splitlines()) == 3


@pytest.mark.parametrize("name", ["server.key", "corp.secret"])
@pytest.mark.parametrize("mode", [0o640, 0o604, 0o666])
def test_a_key_that_others_can_use_stops_the_start_with_the_command_to_run(folder: Path, name: str, mode: int) -> None:
    (folder / name).chmod(mode)
    assert f"run: chmod 600 {folder / name}" in refused(folder, TEXT)


def test_certificates_may_be_read_by_all(folder: Path) -> None:
    (folder / "server.pem").chmod(0o644)
    (folder / "idp-ca.pem").chmod(0o644)
    read(folder)


def test_a_data_folder_that_others_can_write_is_refused(folder: Path) -> None:
    (folder / "data").mkdir()
    (folder / "data").chmod(0o770)
    assert f"run: chmod 700 {folder / 'data'}" in refused(folder, TEXT)
    (folder / "data").chmod(0o700)
    read(folder)


def test_a_file_that_is_not_there_is_a_configuration_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"vestibule\.yaml: No such file"):
        load(tmp_path / "vestibule.yaml")


def test_the_policy_is_read_beside_it(folder: Path) -> None:
    policy = read_policy(read(folder))
    assert policy.text == (HEAD + RULES).encode()


def test_a_broken_policy_is_told_with_its_own_lines(folder: Path) -> None:
    (folder / "policy.yaml").write_text("version: 2")
    with pytest.raises(PolicyError, match=r"policy\.yaml:1:10: "):
        read_policy(read(folder))
    (folder / "policy.yaml").unlink()
    with pytest.raises(ConfigurationError, match=r"policy\.yaml: No such file"):
        read_policy(read(folder))


def test_a_provider_that_the_policy_does_not_know_is_refused(folder: Path) -> None:
    with pytest.raises(SettingsError, match=r'vestibule\.yaml:8:3: .*no provider "corb"; did you mean "corp"'):
        read_policy(read(folder, TEXT.replace("  corp:", "  corb:")))


def test_plain_http_to_an_issuer_needs_the_flag_and_a_loopback_address(folder: Path) -> None:
    local = HEAD.replace("https://idp.bank.example/realms/staff", "http://127.0.0.1:9000")
    (folder / "policy.yaml").write_text(local + RULES)
    with pytest.raises(SettingsError, match="insecure_loopback_http: true"):
        read_policy(read(folder))
    assert read_policy(read(folder, TEXT + "insecure_loopback_http: true\n")).providers[0].issuer.startswith("http:")
    (folder / "policy.yaml").write_text(local.replace("127.0.0.1", "10.0.0.1") + RULES)
    with pytest.raises(PolicyError, match="plain http is refused"):
        read_policy(read(folder, TEXT + "insecure_loopback_http: true\n"))


_lines = TEXT.splitlines()


@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    index=st.integers(0, len(_lines) - 1),
    damage=st.sampled_from(["", "x", "- x", "workers: [", "  key: 7", "{}", "data: {a: b}", "\x00", "data: /dev/null"]),
    instead=st.booleans(),
)
def test_a_damaged_file_loads_or_is_refused(folder: Path, index: int, damage: str, instead: bool) -> None:
    lines = [*_lines]
    lines[index : index + instead] = [damage]
    try:
        assert isinstance(read(folder, "\n".join(lines)), Settings)
    except SettingsError as error:
        told = str(error)
        assert told.startswith(str(folder))
        assert "hunter2" not in told


METRICS = TEXT.replace("providers:", '  metrics: {address: "ADDRESS"}\nproviders:')


@pytest.mark.parametrize("address", ["127.0.0.1:9464", "127.0.0.9:9464", "[::1]:9464"])
def test_metrics_are_served_in_the_clear_on_loopback(folder: Path, address: str) -> None:
    metrics = read(folder, METRICS.replace("ADDRESS", address)).listeners.metrics
    assert metrics is not None
    assert metrics.certificate is None


def test_without_a_line_there_are_no_metrics(folder: Path) -> None:
    assert read(folder).listeners.metrics is None


@pytest.mark.parametrize("address", ["0.0.0.0:9464", "10.0.0.1:9464", "[::]:9464", "localhost.example:9464"])
def test_anywhere_else_metrics_need_a_certificate(folder: Path, address: str) -> None:
    text = METRICS.replace("ADDRESS", address)
    assert "only on a loopback address" in refused(folder, text)
    whole = text.replace(f'"{address}"}}', f'"{address}", certificate: server.pem, key: server.key}}')
    assert read(folder, whole).listeners.metrics is not None


def test_a_certificate_for_metrics_without_its_key_is_refused(folder: Path) -> None:
    text = METRICS.replace('"ADDRESS"', '"127.0.0.1:9464", certificate: server.pem')
    assert "certificate and key, or neither" in refused(folder, text)
