"""Requests to an identity provider, bounded in every direction.

1. https only; plain http to a loopback address only where the operator's flag says so, and only from such an issuer.
2. Five seconds for the whole exchange, 512 KiB for the answer, no compression, no proxy from the environment.
3. A redirect is followed for a document, and only to the same scheme, host and port; a posted secret never moves on.
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final
from urllib.parse import urljoin, urlsplit

import httpx2

from vestibule.identity.failure import Failure, LoginRefused
from vestibule.model.errors import ConfigurationError

TIMEOUT = 5.0
MAX_BODY = 512 * 1024
MAX_REDIRECTS = 3
MAX_URL = 2048

SHORTEST_LIFE: Final = 5 * 60.0
DEFAULT_LIFE: Final = 60 * 60.0
LONGEST_LIFE: Final = 24 * 60 * 60.0

_MAX_AGE: Final = re.compile(r"(?:^|[,\s])max-age=\"?([0-9]{1,12})")
_NOT_KEPT: Final = re.compile(r"(?:^|[,\s])no-(?:store|cache)(?:$|[,\s])")


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back: status, body, for how many seconds it may be kept, and what time it is there."""

    status: int
    body: bytes
    life: float
    date: str = ""


class Fetcher:
    """An HTTP client for one provider, with its own idea of whom to trust."""

    def __init__(self, ca: str | None, *, insecure_loopback_http: bool) -> None:
        """Trust the certificates in the file `ca`, or the system's."""
        self._insecure = insecure_loopback_http
        self._client = httpx2.AsyncClient(
            verify=_tls(ca),
            trust_env=False,
            follow_redirects=False,
            timeout=TIMEOUT,
            headers={"Accept": "application/json", "Accept-Encoding": "identity"},
        )

    async def get(self, url: str, bearer: str | None = None) -> Answer:
        """Fetch a document."""
        headers = {} if bearer is None else {"Authorization": f"Bearer {bearer}"}
        async with _deadline():
            for _ in range(MAX_REDIRECTS + 1):
                answer, location = await self._send("GET", url, headers, None)
                if location is None:
                    return answer
                url = _same_host(url, location)
        raise LoginRefused(Failure.PROVIDER, "the identity provider redirects without end")

    async def post(self, url: str, form: Mapping[str, str], headers: Mapping[str, str]) -> Answer:
        """Post a form; a redirect is a refusal."""
        async with _deadline():
            answer, location = await self._send("POST", url, headers, form)
        if location is not None:
            raise LoginRefused(Failure.PROVIDER, "the identity provider answered the token request with a redirect")
        return answer

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def _send(
        self, method: str, url: str, headers: Mapping[str, str], form: Mapping[str, str] | None
    ) -> tuple[Answer, str | None]:
        try:
            async with self._client.stream(method, url, headers=dict(headers), data=form) as response:
                body = await _read(response)
        except (httpx2.HTTPError, httpx2.InvalidURL, ssl.SSLError, OSError) as error:
            raise LoginRefused(
                Failure.PROVIDER, f"the identity provider cannot be reached: {type(error).__name__}"
            ) from error
        location = response.headers.get("location") if response.is_redirect else None
        answered = response.headers
        kept = life(answered.get("cache-control", ""))
        return Answer(response.status_code, body, kept, answered.get("date", "")), location


def check_url(url: object, *, insecure_loopback_http: bool) -> str:
    """Check an address of the provider's: https, or http on a loopback address where that is allowed."""
    if not isinstance(url, str) or len(url) > MAX_URL or not url.isascii() or not url.isprintable() or " " in url:
        raise LoginRefused(Failure.DISCOVERY, "the provider names an address that is none")
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as error:
        raise LoginRefused(Failure.DISCOVERY, "the provider names an address that is none") from error
    if not parts.hostname or parts.username is not None or parts.fragment:
        raise LoginRefused(Failure.DISCOVERY, "the provider names an address with a user name, a fragment or no host")
    if parts.scheme == "https" or (parts.scheme == "http" and insecure_loopback_http and is_loopback(parts.hostname)):
        return url
    raise LoginRefused(Failure.DISCOVERY, "the provider names an address that is not https")


def is_loopback(host: str) -> bool:
    """Tell whether `host` is this machine, by name or by address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def life(cache_control: str) -> float:
    """Read for how many seconds a document may be kept: as the server says, within five minutes and a day."""
    directives = cache_control.lower()
    if _NOT_KEPT.search(directives):
        return SHORTEST_LIFE
    given = _MAX_AGE.search(directives)
    return min(max(float(given[1]), SHORTEST_LIFE), LONGEST_LIFE) if given else DEFAULT_LIFE


@asynccontextmanager
async def _deadline() -> AsyncIterator[None]:
    # Over the whole exchange: a server that drips a byte a second does not hold a log-in.
    try:
        async with asyncio.timeout(TIMEOUT):
            yield
    except TimeoutError as error:
        raise LoginRefused(Failure.PROVIDER, f"the identity provider did not answer within {TIMEOUT:g} s") from error


async def _read(response: httpx2.Response) -> bytes:
    if response.headers.get("content-encoding", "identity") != "identity":
        raise LoginRefused(Failure.PROVIDER, "the identity provider compressed its answer unasked")
    body = bytearray()
    async for chunk in response.aiter_raw():
        body += chunk
        if len(body) > MAX_BODY:
            raise LoginRefused(Failure.PROVIDER, f"the identity provider's answer is longer than {MAX_BODY} bytes")
    return bytes(body)


def _same_host(url: str, location: str) -> str:
    target = urljoin(url, location)
    old, new = urlsplit(url), urlsplit(target)
    if (old.scheme, old.netloc) != (new.scheme, new.netloc):
        raise LoginRefused(Failure.PROVIDER, "the identity provider redirects to another host")
    return target


def _tls(ca: str | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca)
    except (OSError, ssl.SSLError) as error:
        raise ConfigurationError(f"the certificates in {ca} cannot be read: {error}") from error
