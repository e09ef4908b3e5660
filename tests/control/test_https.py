"""The control plane's server: TLS alone, bounded, ended in order."""

from __future__ import annotations

import asyncio
import socket
import ssl
from pathlib import Path

import pytest
from fastapi import FastAPI

from tests.support.hostile_issuer import self_signed
from tests.support.little_authority import LittleAuthority
from vestibule.control.https import Web
from vestibule.server.tls import ServerTls


async def _answer(port: int, context: ssl.SSLContext | None) -> bytes:
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", port, ssl=context, server_hostname="localhost" if context else None
    )
    writer.write(b"GET /x HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    answer = await reader.read()
    writer.close()
    return answer


def application() -> FastAPI:
    app = FastAPI()

    @app.get("/x")
    async def x() -> str:
        return "here"

    return app


def serve(pem: Path, context: ssl.SSLContext | None) -> bytes:
    async def run() -> bytes:
        web = Web(application(), pem, pem)
        with socket.create_server(("127.0.0.1", 0)) as listening:
            await web.start(listening)
            try:
                return await _answer(listening.getsockname()[1], context)
            finally:
                await web.stop()

    return asyncio.run(run())


@pytest.fixture(scope="module")
def pem(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return self_signed(tmp_path_factory.mktemp("web"))


def trusting(pem: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(pem))
    context.check_hostname = False
    return context


def test_requests_are_answered_over_tls_and_without_a_name_of_the_program(pem: Path) -> None:
    answer = serve(pem, trusting(pem))
    assert answer.startswith(b"HTTP/1.1 200")
    assert b"uvicorn" not in answer


def test_plain_http_is_not_answered(pem: Path) -> None:
    assert b"here" not in serve(pem, None)


@pytest.mark.parametrize("name", ["localhost", ""])
def test_each_handshake_shows_the_certificate_that_is_current_then(pem: Path, tmp_path: Path, name: str) -> None:
    leaf = LittleAuthority(tmp_path).issue()
    shown = [ServerTls(pem, pem), ServerTls(leaf.certificate, leaf.key)]
    current = 0
    trusting_nobody = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    trusting_nobody.check_hostname, trusting_nobody.verify_mode = False, ssl.CERT_NONE

    async def certificate(port: int) -> bytes:
        _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=trusting_nobody, server_hostname=name)
        found: bytes = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        writer.close()
        return found

    async def run() -> list[bytes]:
        nonlocal current
        web = Web(application(), pem, pem, lambda: shown[current].context(""))
        with socket.create_server(("127.0.0.1", 0)) as listening:
            await web.start(listening)
            port = listening.getsockname()[1]
            first = await certificate(port)
            current = 1
            found = [first, await certificate(port)]
            await web.stop()
            return found

    before, after = asyncio.run(run())
    assert before != leaf.der
    assert after == leaf.der


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion")
def test_old_tls_is_not_spoken(pem: Path) -> None:
    old = trusting(pem)
    old.minimum_version = ssl.TLSVersion.TLSv1
    old.maximum_version = ssl.TLSVersion.TLSv1_1
    old.set_ciphers("DEFAULT@SECLEVEL=0")
    with pytest.raises((ssl.SSLError, ConnectionError)):
        serve(pem, old)


def test_a_certificate_that_cannot_be_used_is_an_error_at_once(tmp_path: Path) -> None:
    (tmp_path / "x.pem").write_text("no certificate")
    with pytest.raises((ssl.SSLError, OSError)):
        Web(application(), tmp_path / "x.pem", tmp_path / "x.pem")
