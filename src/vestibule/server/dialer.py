"""Opens targets: the second door.

1. The configured hosts are tried in order, each address of a host in turn, all within one time limit; a host that does
   not answer, or answers the first words that it cannot serve now, leaves the next its share of the time.
2. Only a target that is verified as its configuration says is handed to a relay.
3. A host that has failed is tried behind all others for `AVOID_SECONDS`, so that not every log-in waits for it.
4. A cancel goes to the very address that was connected, never to one that is resolved again.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

import structlog

from vestibule.model.errors import ConfigurationError, TargetUnavailable, VestibuleError
from vestibule.model.event import Tls
from vestibule.model.identity import Peer
from vestibule.model.target import Address, Target
from vestibule.protocols.base import Opening, Outcome, Speak
from vestibule.server import sockets
from vestibule.server.opening import Connection, OpeningFailed, Reader
from vestibule.server.tls import TargetSide

log = structlog.get_logger(__name__)

DIAL_SECONDS: Final = 10.0
CANCEL_SECONDS: Final = 10.0
AVOID_SECONDS: Final = 15.0
#: Hosts that are remembered to have failed; beyond that the oldest is forgotten.
_AVOIDED: Final = 1_000

Resolved = tuple[socket.AddressFamily, tuple[str, int] | tuple[str, int, int, int]]


class Secrets(Protocol):
    """The vault."""

    async def secret(self, reference: str) -> bytes:
        """Fetch the secret behind a reference, or raise a `VestibuleError`."""
        ...


@dataclass(frozen=True, slots=True)
class Route:
    """Where a connection leads: the host as it is configured, and the very address that was connected."""

    address: Address
    where: Resolved


@dataclass(frozen=True, slots=True)
class Link:
    """A verified target that waits for its first bytes, or has them."""

    transport: asyncio.Transport
    reader: Reader
    #: What the target sent before the relay reads, by the opening's account.
    ahead: bytes
    route: Route
    peer: Peer
    local_port: int
    tls: Tls | None


class Dialer:
    """Opens connections to targets, with the credential that only the gateway holds."""

    def __init__(
        self,
        reach: Callable[[Target, bytes], Opening],
        secrets: Secrets,
        dial_seconds: float = DIAL_SECONDS,
        avoid_seconds: float = AVOID_SECONDS,
    ) -> None:
        """Speak first as `reach` says; its second argument is what a session says first, empty for a cancel."""
        self._reach = reach
        self._secrets = secrets
        self._dial_seconds = dial_seconds
        self._avoid_seconds = avoid_seconds
        #: When each host that has failed last is tried in its turn again.
        self._avoided: dict[Address, float] = {}
        self._resolving: dict[Address, asyncio.Future[list[Resolved]]] = {}

    async def password(self, target: Target) -> bytes:
        """Fetch the target's secret from the vault."""
        try:
            async with asyncio.timeout(self._dial_seconds):
                return await self._secrets.secret(target.credential.password)
        except (VestibuleError, TimeoutError, OSError) as error:
            raise TargetUnavailable(f"credential not available: {type(error).__name__}") from error

    async def dial(self, target: Target, hello: bytes = b"") -> Link:
        """Connect to the first host that answers `hello` as it should; `TargetUnavailable` says what each one did."""
        loop = asyncio.get_running_loop()
        end = loop.time() + self._dial_seconds
        causes = []
        for place, address in enumerate(self._in_order(target)):
            share = max(0.0, end - loop.time()) / (len(target.hosts) - place)
            try:
                async with asyncio.timeout(share):
                    link = await self._dial_host(target, address, hello)
            except TimeoutError:
                causes.append(f"{address}: no answer in time")
            except (OpeningFailed, ConfigurationError) as error:
                causes.append(f"{address}: {error}")
            else:
                if causes:
                    log.warning("target_host_failed", target=target.name, causes=causes, reached=str(address))
                return link
            self.avoid(address)
        raise TargetUnavailable("; ".join(causes) or "no host is configured")

    def avoid(self, address: Address) -> None:
        """Try a host behind the others for a while: it did not answer, or refused a log-in."""
        self._avoided.pop(address, None)
        self._avoided[address] = asyncio.get_running_loop().time() + self._avoid_seconds
        if len(self._avoided) > _AVOIDED:
            del self._avoided[next(iter(self._avoided))]

    def _in_order(self, target: Target) -> list[Address]:
        now = asyncio.get_running_loop().time()
        return sorted(target.hosts, key=lambda address: self._avoided.get(address, now) > now)

    async def cancel(self, target: Target, route: Route, data: bytes) -> None:
        """Send a cancel request to where `route` leads and wait until the target has taken it."""
        try:
            async with asyncio.timeout(CANCEL_SECONDS):
                other = await self._open(target, route.address, route.where)
                try:
                    other.transport.write(data)
                    # The target answers nothing: its end says that the request was taken.
                    await other.reader.exactly(1)
                finally:
                    other.transport.close()
        except (OpeningFailed, ConfigurationError, TimeoutError) as error:
            log.warning("cancel_not_delivered", target=target.name, error=str(error) or type(error).__name__)

    # --- one host ----------------------------------------------------------------------------------------------------

    async def _dial_host(self, target: Target, address: Address, hello: bytes) -> Link:
        failed = OpeningFailed("the name has no address")
        for where in await self._resolve(address):
            try:
                return await self._open(target, address, where, hello)
            except OpeningFailed as error:
                failed = error
        raise failed

    async def _open(self, target: Target, address: Address, where: Resolved, hello: bytes = b"") -> Link:
        sock = await _connect(where)
        connection = Connection(sock, TargetSide(target.tls, address.host))
        try:
            ahead = _checked(await connection.carry_out(self._reach(target, hello)), connection, target)
            transport = await connection.hand_over()
        except BaseException:
            connection.abort()
            raise
        return Link(
            transport=transport,
            reader=connection.reader,
            ahead=ahead,
            route=Route(address, where),
            peer=Peer(where[1][0], where[1][1]),
            local_port=int(transport.get_extra_info("sockname")[1]),
            tls=connection.tls,
        )

    async def _resolve(self, address: Address) -> list[Resolved]:
        # One look-up a name at a time: a name server that hangs costs its own targets, not every thread there is.
        if address not in self._resolving:
            look_up = asyncio.ensure_future(_look_up(address))
            self._resolving[address] = look_up
            look_up.add_done_callback(lambda done: (self._resolving.pop(address), done.cancelled() or done.exception()))
        return await asyncio.shield(self._resolving[address])


def _checked(outcome: Outcome, connection: Connection, target: Target) -> bytes:
    if not isinstance(outcome, Speak):
        raise OpeningFailed(getattr(outcome, "cause", "not a target of this protocol"))
    if connection.tls is None and target.tls.mode != "disable":
        raise OpeningFailed("no TLS")
    return outcome.data


async def _look_up(address: Address) -> list[Resolved]:
    try:
        found = await asyncio.get_running_loop().getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise OpeningFailed(f"name not resolved: {error.strerror or type(error).__name__}") from error
    return [(socket.AddressFamily(family), where) for family, _, _, _, where in found]  # type: ignore[misc] # the stub allows addresses that only other families have


async def _connect(where: Resolved) -> socket.socket:
    family, address = where
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setblocking(False)
    try:
        sockets.tune(sock)
        await asyncio.get_running_loop().sock_connect(sock, address)
    except OSError as error:
        sock.close()
        # The event loop's own words repeat the address and leave the reason out.
        raise OpeningFailed(os.strerror(error.errno) if error.errno else type(error).__name__) from error
    except BaseException:
        sock.close()
        raise
    return sock
