import asyncio
import hashlib
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import pytest
import structlog

from tests.support.doors import PATIENCE, End, eventually
from tests.support.little_authority import Leaf, LittleAuthority
from tests.support.scripted import FakeSecrets, target
from vestibule.model.errors import TargetUnavailable, VestibuleError
from vestibule.model.target import Target, TargetTls, TlsMode
from vestibule.protocols.base import Opening
from vestibule.protocols.postgres.opening import reach as reach_postgres
from vestibule.server import dialer as dialer_module
from vestibule.server.dialer import Dialer, Link

pytestmark = pytest.mark.asyncio

Behaviour = Callable[[End], Awaitable[None]]


def reach(to: Target, hello: bytes) -> Opening:
    return reach_postgres(to.tls.direct, plaintext=to.tls.mode == "disable", hello=hello)


class Server:
    """A target that behaves as a test says, one connection after the other."""

    def __init__(self, behaviour: Behaviour) -> None:
        self.sock = socket.create_server(("127.0.0.1", 0))
        self.sock.setblocking(False)
        self.address: tuple[str, int] = self.sock.getsockname()
        self.connections = 0
        self.seen: list[bytes] = []
        self._behaviour = behaviour
        self._task = asyncio.create_task(self._serve())

    async def _serve(self) -> None:
        while True:
            sock, _ = await asyncio.get_running_loop().sock_accept(self.sock)
            self.connections += 1
            end = End(sock)
            try:
                with suppress(OSError):
                    await self._behaviour(end)
            finally:
                end.sock.close()

    def stop(self) -> None:
        self._task.cancel()
        self.sock.close()


@asynccontextmanager
async def serving(behaviour: Behaviour) -> AsyncIterator[Server]:
    server = Server(behaviour)
    try:
        yield server
    finally:
        server.stop()
        await asyncio.sleep(0)


def answering(words: bytes, linger: float = 0.2) -> Behaviour:
    """Answer the first request with `words`."""

    async def behave(end: End) -> None:
        await end.take(8)
        await end.send(words)
        with suppress(TimeoutError):
            async with asyncio.timeout(linger):
                await end.rest()

    return behave


def secure(leaf: Leaf, direct: bool = False, alpn: tuple[str, ...] = ("postgresql",), say: bytes = b"") -> Behaviour:
    """Do as a server should, then echo what comes."""

    async def behave(end: End) -> None:
        if not direct:
            await end.take(8)
            await end.send(b"S")
        await asyncio.to_thread(echo, end)

    def echo(end: End) -> None:
        end.sock.settimeout(PATIENCE)
        with suppress(OSError):
            end.sock = leaf.server_context(alpn).wrap_socket(end.sock, server_side=True)
            if say:
                end.sock.sendall(say)
            while data := end.sock.recv(1_000):
                end.sock.sendall(data)

    return behave


async def dial(server: Server, tls: TargetTls, host: str = "127.0.0.1") -> Link:
    return await Dialer(reach, FakeSecrets(), 5.0).dial(target((host, server.address[1]), tls=tls))


async def refusal(server: Server, tls: TargetTls, host: str = "127.0.0.1") -> str:
    with pytest.raises(TargetUnavailable) as caught:
        await dial(server, tls, host)
    return str(caught.value)


def pinned(authority: LittleAuthority, mode: TlsMode = "verify-full", direct: bool = False) -> TargetTls:
    return TargetTls(mode, ca=str(authority.ca), direct=direct)


async def echoed(link: Link, words: bytes) -> bytes:
    link.transport.write(words)
    async with asyncio.timeout(PATIENCE):
        return link.ahead + await link.reader.exactly(len(words))


# --- as it should be -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("direct", [False, True])
@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
async def test_a_verified_target_is_handed_over_with_its_facts(
    little_authority: LittleAuthority, host: str, direct: bool
) -> None:
    leaf = little_authority.issue("localhost", "127.0.0.1")
    async with serving(secure(leaf, direct)) as server:
        link = await dial(server, pinned(little_authority, direct=direct), host)
        assert await echoed(link, b"hello") == b"hello"
        assert (link.route.address.host, link.peer.ip, link.peer.port) == (host, "127.0.0.1", server.address[1])
        assert link.local_port == link.transport.get_extra_info("sockname")[1]
        assert link.tls is not None
        assert link.tls.version == "TLSv1.3"
        assert link.tls.certificate == hashlib.sha256(leaf.der).hexdigest()
        assert link.tls.end_point == hashlib.sha256(leaf.der).digest()
        assert not link.transport.get_extra_info("peercert"), "for hours nobody would read it"
        link.transport.abort()


async def test_a_target_in_plain_text_is_reached_only_if_its_configuration_says_so() -> None:
    async def echo(end: End) -> None:
        await end.send(await end.take(5))

    async with serving(echo) as server:
        link = await dial(server, TargetTls("disable"))
        assert await echoed(link, b"hello") == b"hello"
        assert link.tls is None
        link.transport.abort()


async def test_what_a_target_says_first_is_not_lost(little_authority: LittleAuthority) -> None:
    leaf = little_authority.issue()
    async with serving(secure(leaf, say=b"greeting")) as server:
        link = await dial(server, pinned(little_authority))
        await asyncio.sleep(0.05)
        assert await link.reader.exactly(8) == b"greeting"
        link.transport.abort()


async def test_the_hosts_are_tried_in_order_until_one_answers(little_authority: LittleAuthority) -> None:
    leaf = little_authority.issue()
    with socket.create_server(("127.0.0.1", 0)) as closed:
        dead = closed.getsockname()
    async with serving(answering(b"N")) as lying, serving(secure(leaf)) as good, serving(secure(leaf)) as unused:
        to = target(dead, lying.address, good.address, unused.address, tls=pinned(little_authority))
        link = await Dialer(reach, FakeSecrets()).dial(to)
        assert link.peer.port == good.address[1]
        assert (lying.connections, unused.connections) == (1, 0)
        link.transport.abort()


async def test_a_silent_host_leaves_the_next_its_share_of_the_time(little_authority: LittleAuthority) -> None:
    leaf = little_authority.issue()

    async def silent(end: End) -> None:
        await end.rest()

    async with serving(silent) as mute, serving(secure(leaf)) as good:
        to = target(mute.address, good.address, tls=pinned(little_authority))
        link = await Dialer(reach, FakeSecrets(), 1.0).dial(to)
        assert link.peer.port == good.address[1]
        link.transport.abort()


# --- a target that lies ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "cause"),
    [
        (b"S" + b"R\0\0\0\x08\0\0\0\0", "tls injection"),
        (b"SS", "tls injection"),
        (b"N", "the target does not speak TLS"),
        (b"E\0\0\0\x10SFATAL\0", "the target answered SSLRequest with an error"),
        (b"\x16\x03\x01", "something else than S or N"),
        (b"HTTP/1.1 400 Bad Request\r\n", "something else than S or N"),
        (b"", "no answer in time"),
    ],
)
async def test_a_target_that_lies_before_tls_is_not_reached(
    little_authority: LittleAuthority, words: bytes, cause: str
) -> None:
    async with serving(answering(words, linger=2.0)) as server:
        to = target(server.address, tls=pinned(little_authority))
        with pytest.raises(TargetUnavailable, match=cause):
            await Dialer(reach, FakeSecrets(), 0.5).dial(to)


async def test_bytes_sent_behind_the_answer_after_a_pause_never_reach_the_relay(
    little_authority: LittleAuthority,
) -> None:
    async def late(end: End) -> None:
        await end.take(8)
        await end.send(b"S")
        await asyncio.sleep(0.02)
        await end.send(b"R\0\0\0\x08\0\0\0\0")
        await end.rest()

    async with serving(late) as server:
        assert "tls handshake failed" in await refusal(server, pinned(little_authority))


async def test_a_target_that_closes_or_stands_still_in_the_handshake_is_not_reached(
    little_authority: LittleAuthority,
) -> None:
    async def close(end: End) -> None:
        await end.take(8)
        await end.send(b"S")
        await end.take(1)

    async def stand_still(end: End) -> None:
        await end.take(8)
        await end.send(b"S")
        await end.rest()

    async with serving(close) as server:
        assert "tls handshake failed" in await refusal(server, pinned(little_authority))
    async with serving(stand_still) as server:
        with pytest.raises(TargetUnavailable, match="no answer in time"):
            await Dialer(reach, FakeSecrets(), 0.3).dial(target(server.address, tls=pinned(little_authority)))


async def test_direct_tls_needs_its_protocol_name(little_authority: LittleAuthority) -> None:
    leaf = little_authority.issue()
    for alpn in ((), ("http/1.1",)):
        async with serving(secure(leaf, direct=True, alpn=alpn)) as server:
            cause = await refusal(server, pinned(little_authority, direct=True))
            assert "ALPN" in cause or "tls handshake failed" in cause


async def test_an_opening_that_forgets_tls_does_not_lead_to_plain_text(little_authority: LittleAuthority) -> None:
    async with serving(answering(b"")) as server:
        dialer = Dialer(lambda *_: reach_postgres(False, plaintext=True), FakeSecrets())
        with pytest.raises(TargetUnavailable, match="no TLS"):
            await dialer.dial(target(server.address, tls=pinned(little_authority)))


# --- certificates ----------------------------------------------------------------------------------------------------

VERDICTS: list[tuple[str, TlsMode, str]] = [
    ("another name", "verify-full", "certificate not accepted"),
    ("another name", "verify-ca", ""),
    ("another authority", "verify-full", "certificate not accepted"),
    ("another authority", "verify-ca", "certificate not accepted"),
    ("another authority", "require", ""),
    ("expired", "verify-full", "certificate not accepted"),
    ("expired", "verify-ca", "certificate not accepted"),
    ("another address", "verify-full", "certificate not accepted"),
]


@pytest.mark.parametrize(("which", "mode", "cause"), VERDICTS)
async def test_a_wrong_certificate_is_refused_as_the_mode_says(
    little_authority: LittleAuthority,
    tmp_path_factory: pytest.TempPathFactory,
    which: str,
    mode: TlsMode,
    cause: str,
) -> None:
    stranger = LittleAuthority(tmp_path_factory.mktemp("stranger"), "stranger")
    leaf = {
        "another name": lambda: little_authority.issue("db2.internal"),
        "another address": lambda: little_authority.issue("127.0.0.2", "localhost"),
        "another authority": stranger.issue,
        "expired": lambda: little_authority.issue(expired=True),
    }[which]()
    async with serving(secure(leaf)) as server:
        if cause:
            assert cause in await refusal(server, pinned(little_authority, mode))
        else:
            link = await dial(server, pinned(little_authority, mode))
            assert link.tls is not None
            link.transport.abort()


async def test_only_the_pinned_authority_counts_not_the_systems(little_authority: LittleAuthority) -> None:
    async with serving(secure(little_authority.issue())) as server:
        assert "certificate not accepted" in await refusal(server, TargetTls())


async def test_old_tls_is_refused(little_authority: LittleAuthority) -> None:
    leaf = little_authority.issue()
    context = leaf.server_context()
    with pytest.warns(DeprecationWarning, match=r"TLSv1_1"):
        context.maximum_version = ssl.TLSVersion.TLSv1_1

    async def old(end: End) -> None:
        await end.take(8)
        await end.send(b"S")

        def shake() -> None:
            end.sock.settimeout(PATIENCE)
            with suppress(OSError):
                context.wrap_socket(end.sock, server_side=True)

        await asyncio.to_thread(shake)

    async with serving(old) as server:
        assert "tls handshake failed" in await refusal(server, pinned(little_authority))


async def test_an_authority_file_that_is_missing_is_named_to_the_operator() -> None:
    async with serving(answering(b"S")) as server:
        assert "/absent/ca.pem" in await refusal(server, TargetTls(ca="/absent/ca.pem"))


# --- names, secrets --------------------------------------------------------------------------------------------------


async def test_a_name_that_does_not_resolve_is_a_cause_among_others(monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    loop = asyncio.get_running_loop()

    class Loop:
        getaddrinfo = staticmethod(fail)

        def __getattr__(self, name: str) -> object:
            return getattr(loop, name)

    monkeypatch.setattr(asyncio, "get_running_loop", Loop)
    with pytest.raises(TargetUnavailable, match=r"db1\.internal:5432: name not resolved: Name or service not known"):
        await Dialer(reach, FakeSecrets()).dial(target(("db1.internal", 5432)))


async def test_one_look_up_of_a_name_serves_all_who_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = 0

    async def slow(address: object) -> list[object]:
        nonlocal calls
        calls += 1
        await asyncio.sleep(0.05)
        return [(socket.AF_INET, server.address)]

    async def echo(end: End) -> None:
        await end.rest()

    monkeypatch.setattr(dialer_module, "_look_up", slow)
    async with serving(answering(b"")) as server:
        dialer = Dialer(reach, FakeSecrets())
        to = target(("db1.internal", 5432), tls=TargetTls("disable"))
        links = await asyncio.gather(*(dialer.dial(to) for _ in range(5)))
        assert calls == 1
        links.append(await dialer.dial(to))
        assert calls == 2
        for link in links:
            link.transport.abort()


async def test_whoever_gives_up_does_not_end_the_look_up_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    async def slow(address: object) -> list[object]:
        await asyncio.sleep(0.1)
        return [(socket.AF_INET, server.address)]

    monkeypatch.setattr(dialer_module, "_look_up", slow)
    async with serving(answering(b"")) as server:
        dialer = Dialer(reach, FakeSecrets())
        to = target(("db1.internal", 5432), tls=TargetTls("disable"))
        first, second = (asyncio.create_task(dialer.dial(to)) for _ in range(2))
        await asyncio.sleep(0.02)
        first.cancel()
        link = await second
        link.transport.abort()


async def test_the_secret_comes_from_the_vault() -> None:
    assert await Dialer(reach, FakeSecrets()).password(target(("127.0.0.1", 1))) == b"target password"


@pytest.mark.parametrize("error", [VestibuleError("env:PASSWORD"), OSError("disk"), TimeoutError()])
async def test_a_vault_that_fails_makes_the_target_unavailable(error: Exception) -> None:
    class Locked:
        async def secret(self, reference: str) -> bytes:
            raise error

    with pytest.raises(TargetUnavailable, match="credential not available"):
        await Dialer(reach, Locked()).password(target(("127.0.0.1", 1)))


async def test_a_vault_that_does_not_answer_is_given_up() -> None:
    class Silent:
        async def secret(self, reference: str) -> bytes:
            await asyncio.Event().wait()
            return b""

    with pytest.raises(TargetUnavailable, match="credential not available"):
        await Dialer(reach, Silent(), 0.05).password(target(("127.0.0.1", 1)))


# --- cancel ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["verify-full", "disable"])
async def test_a_cancel_takes_the_same_way_and_waits_until_it_was_taken(
    little_authority: LittleAuthority, mode: TlsMode
) -> None:
    leaf = little_authority.issue()
    taken = asyncio.Event()

    async def behave(end: End) -> None:
        if mode == "disable":
            server.seen.append(await end.take(14))
        else:
            await end.take(8)
            await end.send(b"S")
            await asyncio.to_thread(take, end)
        if server.seen[-1]:
            taken.set()

    def take(end: End) -> None:
        end.sock.settimeout(PATIENCE)
        end.sock = leaf.server_context().wrap_socket(end.sock, server_side=True)
        with suppress(OSError):
            server.seen.append(end.sock.recv(14))

    async with serving(behave) as server:
        to = target(("localhost", server.address[1]), tls=pinned(little_authority, mode))
        dialer = Dialer(reach, FakeSecrets())
        link = await dialer.dial(to)
        link.transport.abort()
        await eventually(lambda: server.seen or server.connections)
        await asyncio.wait_for(dialer.cancel(to, link.route, b"cancel request"), 5)
        assert taken.is_set()
        assert server.seen[-1] == b"cancel request"
        assert server.connections == 2


async def test_a_cancel_goes_to_the_address_that_was_connected_not_to_a_new_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def take(end: End) -> None:
        server.seen.append(await end.take(14))

    async with serving(take) as server:
        dialer = Dialer(reach, FakeSecrets())
        to = target(("localhost", server.address[1]), tls=TargetTls("disable"))
        link = await dialer.dial(to)
        link.transport.abort()

        async def moved(address: object) -> list[object]:
            raise AssertionError("resolved again")

        monkeypatch.setattr(dialer_module, "_look_up", moved)
        await dialer.cancel(to, link.route, b"cancel request")
        assert server.seen[-1] == b"cancel request"


async def test_a_target_that_never_takes_a_cancel_is_left_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dialer_module, "CANCEL_SECONDS", 0.1)

    async def ignore(end: End) -> None:
        await end.rest()

    async with serving(ignore) as server:
        dialer = Dialer(reach, FakeSecrets())
        to = target(server.address, tls=TargetTls("disable"))
        link = await dialer.dial(to)
        link.transport.abort()
        with structlog.testing.capture_logs() as logs:
            await asyncio.wait_for(dialer.cancel(to, link.route, b"cancel request"), 5)
        assert [entry["event"] for entry in logs] == ["cancel_not_delivered"]
