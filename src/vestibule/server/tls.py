"""TLS on both doors: contexts, handshakes, and what a handshake agreed on.

1. TLS 1.2 or newer. Compression and renegotiation are off.
2. Who comes in is asked for a certificate of the gateway's own authority, and may have none. One of another authority,
   or for another use than a client's, ends the handshake with an alert that says so. One that has ended does not: who
   shows it is told so in the protocol's words, by whoever keeps what has become of it.
3. Towards a target: `verify-full` checks chain and host (also an IP address), `verify-ca` the chain, `require` neither.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import socket
import ssl
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import structlog
from cryptography import x509

from vestibule.model.errors import ConfigurationError
from vestibule.model.event import Tls
from vestibule.model.target import TargetTls
from vestibule.server import sockets
from vestibule.server.certificate import Certificate, Watch, read

HANDSHAKE_TIMEOUT: Final = 10.0
#: How long a close waits for the other side's close_notify.
SHUTDOWN_TIMEOUT: Final = 5.0
_REMEMBERED: Final = 256
#: X509_V_FLAG_NO_CHECK_TIME of OpenSSL's x509_vfy.h, for which `ssl` has no name.
_NO_CHECK_TIME: Final = ssl.VerifyFlags(0x200000)
#: The contexts that targets were last verified with.
_LAST: Final[dict[tuple[TargetTls, str], ssl.SSLContext]] = {}

log = structlog.get_logger(__name__)


class ServerTls:
    """The listener's side: one certificate, a context for each protocol name that is agreed on."""

    is_client = False

    def __init__(self, certificate: Path, key: Path, authority: str = "") -> None:
        """Read certificate chain and key, so that a broken file is found at the start.

        Clients are asked for a certificate that `authority` (PEM) has signed; if it is empty, for none.
        """
        self._certificate = read(certificate, key)
        self._authority = authority
        self._contexts: dict[str, ssl.SSLContext] = {}
        self._watch = Watch(certificate, key, self._certificate, self._renew)

    async def watch(self) -> None:
        """Put a renewed certificate into use, for new connections, until cancelled."""
        await self._watch.run()

    def _renew(self, certificate: Certificate) -> None:
        self._certificate = certificate
        self._contexts.clear()

    def context(self, alpn: str) -> ssl.SSLContext:
        """Give the context that agrees on `alpn`, if the client offers it."""
        if alpn not in self._contexts:
            self._contexts[alpn] = self._make(alpn)
        return self._contexts[alpn]

    async def handshake(self, sock: socket.socket, protocol: asyncio.Protocol, alpn: str) -> asyncio.Transport:
        """Let TLS take over the accepted socket with whatever is unread."""
        # The event loop closes its own when a handshake fails, and an alert is still to be sent.
        with sock.dup() as spare:
            try:
                transport, _ = await asyncio.get_running_loop().connect_accepted_socket(
                    lambda: protocol,
                    sock,
                    ssl=self.context(alpn),
                    ssl_handshake_timeout=HANDSHAKE_TIMEOUT,
                    ssl_shutdown_timeout=SHUTDOWN_TIMEOUT,
                )
            except ssl.SSLCertVerificationError as error:
                await sockets.part(spare, getattr(error, "alert", b""))
                raise
        return transport

    def _make(self, alpn: str) -> ssl.SSLContext:
        context = _modern(_Alerting(ssl.PROTOCOL_TLS_SERVER))
        self._certificate.load_into(context)
        if self._authority:
            context.load_verify_locations(cadata=self._authority)
            context.verify_flags |= _NO_CHECK_TIME
            context.verify_mode = ssl.CERT_OPTIONAL
        if alpn:
            context.set_alpn_protocols([alpn])
        return context


class _Handshake(ssl.SSLObject):
    """Keeps the alert that is the answer to a certificate, which no event loop sends."""

    outgoing: ssl.MemoryBIO

    def do_handshake(self) -> None:
        """Go on with the handshake."""
        try:
            super().do_handshake()
        except ssl.SSLCertVerificationError as error:
            error.alert = self.outgoing.read()  # type: ignore[attr-defined] # for whoever has the socket
            raise


class _Alerting(ssl.SSLContext):
    """Makes such handshakes."""

    sslobject_class = _Handshake

    def wrap_bio(self, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO, *more: Any, **named: Any) -> ssl.SSLObject:  # noqa: ANN401 - the library's own
        """Make one."""
        made = super().wrap_bio(incoming, outgoing, *more, **named)
        if isinstance(made, _Handshake):
            made.outgoing = outgoing
        return made


class TargetSide:
    """The dialer's side: how one target is verified at one configured host."""

    is_client = True

    def __init__(self, tls: TargetTls, host: str) -> None:
        """Verify `host`, the name that is configured, whatever address it resolves to."""
        self._tls, self._host = tls, host

    async def handshake(self, sock: socket.socket, protocol: asyncio.Protocol, alpn: str) -> asyncio.Transport:
        """Let TLS take over the connected socket."""
        transport, _ = await asyncio.get_running_loop().create_connection(
            lambda: protocol,
            sock=sock,
            ssl=target_context(self._tls, alpn),
            server_hostname=self._host,
            ssl_handshake_timeout=HANDSHAKE_TIMEOUT,
            ssl_shutdown_timeout=SHUTDOWN_TIMEOUT,
        )
        return transport


def target_context(tls: TargetTls, alpn: str) -> ssl.SSLContext:
    """Give the context that verifies a target; a changed CA file is read anew, and one that is broken is not used."""
    try:
        context = _target_context(tls, alpn, _state(tls.ca))
    except OSError as error:
        if (last := _LAST.get((tls, alpn))) is None:
            raise ConfigurationError(f"tls.ca {tls.ca}: {error}; name a PEM file with the target's CA") from error
        log.error("target_ca_not_reloaded", file=tls.ca, error=str(error), still="the CA that was in use before")
        return last
    _LAST[tls, alpn] = context
    if len(_LAST) > _REMEMBERED:
        del _LAST[next(iter(_LAST))]
    return context


def _state(path: str | None) -> tuple[int, ...]:
    if path is None:
        return ()
    status = os.stat(path)
    return status.st_ino, status.st_mtime_ns, status.st_ctime_ns, status.st_size


@lru_cache(maxsize=_REMEMBERED)
def _target_context(tls: TargetTls, alpn: str, _changed: tuple[int, ...]) -> ssl.SSLContext:
    context = _modern(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
    context.check_hostname = tls.mode == "verify-full"
    context.verify_mode = ssl.CERT_NONE if tls.mode == "require" else ssl.CERT_REQUIRED
    if tls.ca is not None:
        context.load_verify_locations(tls.ca)
    else:
        context.load_default_certs()
    if alpn:
        context.set_alpn_protocols([alpn])
    return context


def _modern(context: ssl.SSLContext) -> ssl.SSLContext:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    return context


def agreed(transport: asyncio.BaseTransport) -> tuple[Tls, str]:
    """Say what the handshake agreed on, and the protocol name, maybe empty."""
    session: ssl.SSLObject = transport.get_extra_info("ssl_object")
    cipher = session.cipher()
    certificate = session.getpeercert(binary_form=True)
    fingerprint, end_point = ("", b"") if certificate is None else _bound(certificate)
    shown = certificate if certificate is not None and session.server_side else b""
    tls = Tls(session.version() or "", cipher[0] if cipher else "", fingerprint, end_point, shown)
    return tls, session.selected_alpn_protocol() or ""


@lru_cache(maxsize=256)
def _bound(certificate: bytes) -> tuple[str, bytes]:
    return hashlib.sha256(certificate).hexdigest(), end_point_hash(certificate)


def end_point_hash(certificate: bytes) -> bytes:
    """Hash a DER certificate for `tls-server-end-point` (RFC 5929, 4.1); empty where the RFC defines none."""
    try:
        algorithm = x509.load_der_x509_certificate(certificate).signature_hash_algorithm
    except ValueError:
        return b""
    if algorithm is None:
        return b""
    name = "sha256" if algorithm.name in ("md5", "sha1") else algorithm.name
    return hashlib.new(name, certificate).digest()
