from __future__ import annotations

import secrets
import socket
from pathlib import Path

import pytest

from vestibule.app.supervised import READY, STOPPING, tell


def listen(address: str | bytes) -> socket.socket:
    made = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    made.bind(address)
    made.settimeout(20)
    return made


def test_a_service_manager_with_a_path_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    with listen(str(tmp_path / "notify")) as manager:
        tell(READY)
        tell(STOPPING)
        assert [manager.recv(100) for _ in range(2)] == [b"READY=1", b"STOPPING=1"]


def test_one_with_an_abstract_address_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"vestibule-{secrets.token_hex(8)}"
    monkeypatch.setenv("NOTIFY_SOCKET", f"@{name}")
    with listen(f"\0{name}") as manager:
        tell(READY)
        assert manager.recv(100) == b"READY=1"


@pytest.mark.parametrize("address", [None, "", "relative", "/nowhere/at/all", "@nobody-listens-here", "/" + "x" * 200])
def test_nobody_who_listens_is_no_reason_not_to_serve(address: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    if address is not None:
        monkeypatch.setenv("NOTIFY_SOCKET", address)
    tell(READY)
