"""The listener behind a trusted proxy."""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from ipaddress import ip_network

import pytest

from tests.server.test_listener import SSL_REQUEST, STARTUP, House, open_house
from tests.support.doors import eventually
from tests.support.little_authority import LittleAuthority
from tests.support.proxying import header
from vestibule.model.identity import Peer
from vestibule.server.listener import EVICTED, STARTUP_TIMEOUT

pytestmark = pytest.mark.asyncio

LOOPBACK = (ip_network("127.0.0.0/8"),)
ELSEWHERE = (ip_network("192.0.2.0/24"), ip_network("2001:db8::/32"))


async def log_in(house: House, ahead: bytes) -> None:
    end = await house.connect(ahead + SSL_REQUEST)
    assert await end.take(1) == b"S"
    secure = await house.secure(end)
    await asyncio.to_thread(secure.sendall, STARTUP)
    assert await asyncio.to_thread(secure.recv, 7) == b"welcome"


@pytest.mark.parametrize("ip", ["198.51.100.7", "2001:db8::7"])
async def test_the_client_that_a_trusted_proxy_names_is_the_client(little_authority: LittleAuthority, ip: str) -> None:
    async with open_house(little_authority, trusted_proxies=LOOPBACK) as house:
        await log_in(house, header(ip, 4711, [(0x04, b"any")]))
        assert house.desk.arrivals[0].client == Peer(ip, 4711)
        assert house.desk.arrivals[0].ahead == STARTUP
        assert house.listener.pending == 0


async def test_direct_tls_follows_a_header_too(little_authority: LittleAuthority) -> None:
    async with open_house(little_authority, trusted_proxies=LOOPBACK) as house:
        secure = await house.secure(await house.connect(header("198.51.100.7", 1)), "postgresql")
        await asyncio.to_thread(secure.sendall, STARTUP)
        assert await asyncio.to_thread(secure.recv, 7) == b"welcome"
        assert house.desk.arrivals[0].client.ip == "198.51.100.7"


async def test_a_header_that_comes_byte_by_byte_is_read(little_authority: LittleAuthority) -> None:
    async with open_house(little_authority, trusted_proxies=LOOPBACK) as house:
        end = await house.connect()
        for byte in header("198.51.100.7", 1):
            await end.send(bytes([byte]))
        await end.send(SSL_REQUEST)
        assert await end.take(1) == b"S"


async def test_a_local_header_speaks_for_the_proxy_itself(little_authority: LittleAuthority) -> None:
    async with open_house(little_authority, trusted_proxies=LOOPBACK) as house:
        await log_in(house, header("198.51.100.7", 1, command=0x20))
        assert house.desk.arrivals[0].client.ip == "127.0.0.1"


@pytest.mark.parametrize("said", [b"", header("127.0.0.1", 1, command=0x20)], ids=["nothing", "local"])
async def test_a_balancer_that_only_looks_whether_we_live_was_refused_nothing(
    little_authority: LittleAuthority, said: bytes
) -> None:
    async with open_house(little_authority, trusted_proxies=LOOPBACK) as house:
        (await house.connect(said)).leave()
        await asyncio.sleep(0.05)
        await eventually(lambda: house.listener.pending == 0)
        assert house.desk.refusals == []


async def test_a_trusted_proxy_without_a_header_is_refused_at_its_first_message(
    little_authority: LittleAuthority,
) -> None:
    async with open_house(little_authority, trusted_proxies=LOOPBACK) as house:
        end = await house.connect(SSL_REQUEST)
        with suppress(ConnectionResetError):
            assert await end.rest() == b""
        assert house.desk.causes == ["no PROXY protocol v2 header from a trusted proxy"]


async def test_a_header_from_anybody_else_is_nothing_but_wrong_first_bytes(little_authority: LittleAuthority) -> None:
    async with open_house(little_authority, trusted_proxies=ELSEWHERE) as house:
        end = await house.connect(header("198.51.100.7", 1) + SSL_REQUEST)
        with suppress(ConnectionResetError):
            assert await end.rest() == b""
        (refused, client), *_ = house.desk.refusals
        assert client.ip == "127.0.0.1"
        assert "PROXY" not in refused.cause
        await log_in(house, b"")


async def test_a_second_header_is_wrong_first_bytes_of_the_client(little_authority: LittleAuthority) -> None:
    async with open_house(little_authority, trusted_proxies=LOOPBACK) as house:
        end = await house.connect(header("198.51.100.7", 1) + header("203.0.113.9", 1))
        with suppress(ConnectionResetError):
            assert await end.rest() == b""
        assert [client.ip for _, client in house.desk.refusals] == ["198.51.100.7"]


async def test_what_is_injected_between_header_and_tls_ends_the_connection(little_authority: LittleAuthority) -> None:
    async with open_house(little_authority, trusted_proxies=LOOPBACK) as house:
        end = await house.connect(header("198.51.100.7", 1) + SSL_REQUEST + b"Q")
        with suppress(ConnectionResetError):
            assert await end.rest() == b""
        assert house.desk.causes == ["tls injection"]


async def test_half_a_header_is_cut_off_in_time(little_authority: LittleAuthority) -> None:
    async with open_house(little_authority, trusted_proxies=LOOPBACK, startup_seconds=0.2) as house:
        end = await house.connect(header("198.51.100.7", 1)[:20])
        with suppress(ConnectionResetError):
            assert await end.rest() == b""
        assert house.desk.causes == [STARTUP_TIMEOUT]


async def test_a_socket_that_another_process_has_shut_down_is_left_alone(little_authority: LittleAuthority) -> None:
    async with open_house(little_authority) as house:
        loop, looks = asyncio.get_running_loop(), 0
        real = house.listener._accept_some

        def counted() -> None:
            nonlocal looks
            looks += 1
            real()

        loop.remove_reader(house.listening)
        loop.add_reader(house.listening, counted)
        house.listening.shutdown(socket.SHUT_RDWR)
        await eventually(lambda: looks)
        await asyncio.sleep(0.05)
        assert looks == 1
        with pytest.raises(ConnectionRefusedError):
            await house.connect()


async def test_a_flood_through_a_proxy_costs_the_address_that_it_comes_from(little_authority: LittleAuthority) -> None:
    async with open_house(little_authority, trusted_proxies=LOOPBACK, pending=100, pending_per_address=5) as house:
        other = await house.connect(header("203.0.113.9", 1) + b"\0")
        for port in range(1, 21):
            await house.connect(header("198.51.100.7", port) + b"\0")
        await eventually(lambda: len(house.desk.refusals) == 15)
        assert {client.ip for _, client in house.desk.refusals} == {"198.51.100.7"}
        assert set(house.desk.causes) == {EVICTED}
        assert house.listener.pending == 6
        assert await other.nothing()
