"""Certificates of clients at the listener, over real TLS: which end the handshake, and what is known of the others."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from tests.support.doors import PATIENCE, eventually, opening
from tests.support.forged import CLIENT_AUTH, SERVER_AUTH, Pair, forge
from tests.support.little_authority import LittleAuthority
from vestibule.identity.certificates import new_authority
from vestibule.model.identity import Peer
from vestibule.model.target import Address
from vestibule.protocols.base import Opening, Refused, StartTls
from vestibule.server import sockets
from vestibule.server.clock import Clock
from vestibule.server.listener import Arrival, Listener
from vestibule.server.tls import ServerTls

pytestmark = pytest.mark.asyncio

OURS = new_authority("vestibule.example")
VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]


def straight_to_tls() -> Opening:
    return opening(StartTls(""))


class Door:
    """A listener that greets who has come through, and remembers."""

    def __init__(self, authority: LittleAuthority, folder: Path, asks: bool = True) -> None:
        leaf = authority.issue()
        self.authority, self.folder = authority, folder
        self.arrivals: list[Arrival] = []
        self.causes: list[str] = []
        self.listening = sockets.listen(Address("127.0.0.1", 0))
        tls = ServerTls(leaf.certificate, leaf.key, OURS.pem if asks else "")
        self.listener = Listener(self.listening, straight_to_tls, tls, self, Clock())

    def arrived(self, arrival: Arrival) -> None:
        self.arrivals.append(arrival)
        arrival.transport.write(b"welcome")
        arrival.slot.release()

    def cancel_requested(self, key: bytes, client: Peer) -> None:
        raise AssertionError("nobody cancels")

    def turned_away(self, refused: Refused, client: Peer) -> None:
        self.causes.append(refused.cause)

    async def come(self, pair: Pair | None, version: ssl.TLSVersion) -> str:
        """Come in with a certificate; give the greeting, or the reason of the alert."""
        context = self.authority.client_context()
        context.minimum_version = context.maximum_version = version
        if pair is not None:
            pair.show_in(context, self.folder)
        return await asyncio.to_thread(self._come, context)

    def _come(self, context: ssl.SSLContext) -> str:
        sock = socket.create_connection(self.listening.getsockname(), PATIENCE)
        try:
            with sock, context.wrap_socket(sock, server_hostname="localhost") as secure:
                return secure.recv(7).decode()
        except ssl.SSLError as error:
            return error.reason or type(error).__name__


@asynccontextmanager
async def open_door(authority: LittleAuthority, folder: Path, asks: bool = True) -> AsyncIterator[Door]:
    door = Door(authority, folder, asks)
    door.listener.start()
    try:
        yield door
    finally:
        door.listener.stop()
        for arrival in door.arrivals:
            with suppress(OSError):
                arrival.transport.abort()
        door.listening.close()


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_certificate_of_ours_is_known_behind_the_handshake(
    little_authority: LittleAuthority, tmp_path: Path, version: ssl.TLSVersion
) -> None:
    shown = forge(OURS, uuid4(), uuid4())
    async with open_door(little_authority, tmp_path) as door:
        assert await door.come(shown, version) == "welcome"
        tls = door.arrivals[0].tls
        assert tls is not None
        assert tls.client_certificate == shown.der
        assert len(tls.certificate) == 64


@pytest.mark.parametrize("version", VERSIONS)
async def test_without_a_certificate_one_comes_in_as_before(
    little_authority: LittleAuthority, tmp_path: Path, version: ssl.TLSVersion
) -> None:
    async with open_door(little_authority, tmp_path) as door:
        assert await door.come(None, version) == "welcome"
        tls = door.arrivals[0].tls
        assert tls is not None
        assert (tls.client_certificate, tls.certificate) == (b"", "")


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_certificate_that_has_ended_comes_in_to_be_told_so(
    little_authority: LittleAuthority, tmp_path: Path, version: ssl.TLSVersion
) -> None:
    shown = forge(OURS, uuid4(), uuid4(), ends=timedelta(hours=-1))
    async with open_door(little_authority, tmp_path) as door:
        assert await door.come(shown, version) == "welcome"
        assert door.arrivals[0].tls is not None
        assert door.arrivals[0].tls.client_certificate == shown.der


def hostile() -> dict[str, Pair]:
    of = uuid4()
    return {
        "of another authority": forge(new_authority("other.example"), of, uuid4()),
        "of a namesake": forge(new_authority("vestibule.example"), of, uuid4()),
        "for servers": forge(OURS, of, uuid4(), uses=[SERVER_AUTH]),
        "that has signed itself": _of_itself(),
    }


def _of_itself() -> Pair:
    authority = new_authority("vestibule.example")
    return Pair(authority._certificate, authority._key)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("which", hostile())
async def test_any_other_certificate_ends_the_handshake_with_an_alert_and_is_recorded(
    little_authority: LittleAuthority, tmp_path: Path, version: ssl.TLSVersion, which: str
) -> None:
    async with open_door(little_authority, tmp_path) as door:
        reason = await door.come(hostile()[which], version)
        await eventually(lambda: door.causes)
        assert door.causes[0].startswith("certificate not accepted: ")
        # An alert, and no connection that is merely gone: the client can say what it is about.
        assert "ALERT" in reason
        assert door.arrivals == []


async def test_an_ended_certificate_of_another_authority_is_refused_all_the_same(
    little_authority: LittleAuthority, tmp_path: Path
) -> None:
    shown = forge(new_authority("other.example"), uuid4(), uuid4(), ends=timedelta(hours=-1))
    async with open_door(little_authority, tmp_path) as door:
        assert "ALERT" in await door.come(shown, ssl.TLSVersion.TLSv1_3)
        assert door.arrivals == []


async def test_what_a_certificate_of_ours_has_signed_is_not_accepted(
    little_authority: LittleAuthority, tmp_path: Path
) -> None:
    # A person whose certificate is no authority's tries to be one.
    person = forge(OURS, uuid4(), uuid4())
    below = forge(new_authority("x"), uuid4(), uuid4(), uses=[CLIENT_AUTH])
    fake = Pair(_signed_by(person, below), below.key)
    context = little_authority.client_context()
    certificate, key = fake.write(tmp_path)
    certificate.write_bytes(certificate.read_bytes() + person.write(tmp_path, "person")[0].read_bytes())
    context.load_cert_chain(certificate, key)
    async with open_door(little_authority, tmp_path) as door:
        assert "ALERT" in await asyncio.to_thread(door._come, context)
        assert door.arrivals == []


def _signed_by(person: Pair, below: Pair) -> x509.Certificate:
    old = below.certificate
    builder = x509.CertificateBuilder(
        person.certificate.subject,
        old.subject,
        below.key.public_key(),
        old.serial_number,
        old.not_valid_before_utc.replace(tzinfo=None),
        old.not_valid_after_utc.replace(tzinfo=None),
        list(old.extensions),
    )
    return builder.sign(person.key, hashes.SHA256())


async def test_a_listener_without_an_authority_asks_nobody(little_authority: LittleAuthority, tmp_path: Path) -> None:
    async with open_door(little_authority, tmp_path, asks=False) as door:
        assert await door.come(forge(OURS, uuid4(), uuid4()), ssl.TLSVersion.TLSv1_3) == "welcome"
        assert door.arrivals[0].tls is not None
        assert door.arrivals[0].tls.client_certificate == b""


async def test_a_session_that_is_resumed_is_still_known_by_its_certificate(
    little_authority: LittleAuthority, tmp_path: Path
) -> None:
    shown = forge(OURS, uuid4(), uuid4())
    context = little_authority.client_context()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    shown.show_in(context, tmp_path)

    def twice(address: tuple[str, int]) -> bool:
        session = None
        for _ in range(2):
            sock = socket.create_connection(address, PATIENCE)
            with sock, context.wrap_socket(sock, server_hostname="localhost", session=session) as secure:
                assert secure.recv(7) == b"welcome"
                session, is_resumed = secure.session, secure.session_reused
        return bool(is_resumed)

    async with open_door(little_authority, tmp_path) as door:
        assert await asyncio.to_thread(twice, door.listening.getsockname())
        assert [each.tls and each.tls.client_certificate for each in door.arrivals] == [shown.der] * 2
