"""What is checked of folder, certificates and machine."""

from __future__ import annotations

import datetime
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from vestibule.app.doctor import own
from vestibule.app.doctor.findings import Finding
from vestibule.settings import Journal, Limits, Settings

NOW = datetime.datetime.now(datetime.UTC)
DAY = datetime.timedelta(days=1)
Pair = tuple[x509.Certificate, ec.EllipticCurvePrivateKey]


def issue(
    names: tuple[str, ...] = ("v.example",),
    begins: datetime.datetime = NOW - DAY,
    ends: datetime.datetime = NOW + 90 * DAY,
    by: Pair | None = None,
) -> Pair:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])])
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name if by is None else by[0].subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(ends)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(each) for each in names]), critical=False)
    )
    return builder.sign(key if by is None else by[1], hashes.SHA256()), key


def write(folder: Path, key: ec.EllipticCurvePrivateKey, *chain: x509.Certificate) -> tuple[Path, Path]:
    pem, private = folder / "v.pem", folder / "v.key"
    pem.write_bytes(b"".join(each.public_bytes(serialization.Encoding.PEM) for each in chain))
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return pem, private


def judged(folder: Path, key: ec.EllipticCurvePrivateKey, *chain: x509.Certificate, host: str = "v.example") -> Finding:
    [finding] = own.certificate("certificate of control", *write(folder, key, *chain), host)
    return finding


def test_a_certificate_that_fits_its_key_its_name_and_its_time_is_good(tmp_path: Path) -> None:
    authority = issue(("authority",))
    leaf, key = issue(by=authority)
    assert judged(tmp_path, key, leaf, authority[0]).level == "ok"


@pytest.mark.parametrize("host", ["v.example", "V.Example", "a.v.example"])
def test_names_are_compared_as_clients_do(tmp_path: Path, host: str) -> None:
    leaf, key = issue(("v.example", "*.v.example"))
    assert judged(tmp_path, key, leaf, host=host).level == "ok"


@pytest.mark.parametrize(
    ("made", "level", "said"),
    [
        ({"ends": NOW - datetime.timedelta(seconds=5)}, "fail", "has expired"),
        ({"begins": NOW + DAY}, "fail", "not valid yet"),
        ({"ends": NOW + 3 * DAY, "begins": NOW - 87 * DAY}, "warn", "expires in 3.0 days"),
        ({"ends": NOW + DAY, "begins": NOW - DAY / 2}, "ok", "fits its key"),
        ({"names": ("w.example",)}, "fail", "does not name v.example"),
        ({"names": ("*.v.example",)}, "fail", "does not name v.example"),
    ],
)
def test_what_is_wrong_with_a_certificate_is_said(tmp_path: Path, made: dict[str, Any], level: str, said: str) -> None:
    leaf, key = issue(**made)
    found = judged(tmp_path, key, leaf)
    assert found.level == level
    assert said in found.text


def test_a_chain_in_the_wrong_order_or_of_somebody_else_is_said(tmp_path: Path) -> None:
    leaf, key = issue(by=issue(("authority",)))
    found = judged(tmp_path, key, leaf, issue(("stranger",))[0])
    assert found.level == "fail"
    assert "does not sign" in found.text


def test_a_key_of_another_certificate_is_said(tmp_path: Path) -> None:
    assert judged(tmp_path, issue()[1], issue()[0]).level == "fail"


def settings(data: Path, **journal: Any) -> Settings:
    return cast(Settings, SimpleNamespace(data=data, journal=Journal(**journal), limits=Limits()))


def test_a_folder_that_is_only_ours_is_good_and_one_to_be_made_too(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    assert next(own.folder(settings(tmp_path))).level == "ok"
    assert "is made at the first start" in next(own.folder(settings(tmp_path / "new" / "data"))).text


@pytest.mark.parametrize("name", ["", "keys/kek", "state.sqlite", "journal"])
def test_what_others_can_read_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / "keys").mkdir()
    path = tmp_path / name
    if name:
        path.mkdir() if name == "journal" else path.touch()
    tmp_path.chmod(0o700)
    path.chmod(0o750)
    found = next(own.folder(settings(tmp_path)))
    assert found.level == "fail"
    assert str(path) in found.text


def test_a_folder_of_somebody_else_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own.os, "geteuid", lambda: os.getuid() + 1)
    assert "not this user's" in next(own.folder(settings(tmp_path))).text


@pytest.mark.parametrize(("kind", "level"), [("tmpfs", "fail"), ("nfs4", "warn"), ("ext4", "ok"), ("xfs", "ok")])
def test_a_file_system_that_forgets_is_no_place_for_evidence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, level: str
) -> None:
    monkeypatch.setattr(own, "_kind_of", lambda _: kind)
    [found] = own.filesystem(tmp_path)
    assert found.level == level


def test_the_disk_is_timed_and_nothing_is_left_behind(tmp_path: Path) -> None:
    median, worst = own.sync_times(tmp_path)
    assert 0 < median <= worst
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("said", "level"), [("core", "ok"), ("|/usr/lib/systemd/systemd-coredump %P %u", "warn"), ("", "ok")]
)
def test_memory_that_the_kernel_hands_to_a_program_is_said(tmp_path: Path, said: str, level: str) -> None:
    (tmp_path / "core_pattern").write_text(said + "\n")
    [found] = own.cores(tmp_path / "core_pattern")
    assert found.level == level


def test_a_limit_for_no_target_of_the_policy_is_said_with_what_was_probably_meant() -> None:
    limits = Limits(sessions_per_target={"core-bankin": 5, "reports": 7, "elsewhere": 9})
    found = list(own.limited(limits, ["core-banking", "reports"]))
    assert [(each.level, each.about) for each in found] == [
        ("warn", "limits.sessions_per_target.core-bankin"),
        ("warn", "limits.sessions_per_target.elsewhere"),
    ]
    assert found[0].advice == 'did you mean "core-banking"?'
    assert found[1].advice == "known here: core-banking, reports"


def test_room_is_held_against_the_journal_s_bounds(tmp_path: Path) -> None:
    for least, level in (("1MiB", "ok"), ("500000GiB", "fail")):
        found = {each.about: each for each in own._disk(settings(tmp_path, min_free=least, stop_free="1MiB"))}
        assert found["room"].level == level
