"""The control plane as the command line sees it: one HTTP client, and errors that say what to do."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import urlsplit

import httpx2

from vestibule.cli import credentials
from vestibule.cli.exits import CommandError, Exit
from vestibule.model.errors import ConfigurationError

TIMEOUT: Final = 30.0


class Api:
    """A gateway's control plane; close it, or use it in a `with` statement."""

    def __init__(self, server: str, ca: str | None, token: str | None = None) -> None:
        """Trust the certificates in the file `ca`, or the system's; speak with `token`, if one is given."""
        self.server = server_url(server)
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        self._client = httpx2.Client(
            base_url=self.server, verify=_tls(ca), headers=headers, timeout=TIMEOUT, trust_env=False
        )

    def __enter__(self) -> Self:
        """Use it."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connections."""
        self._client.close()

    def call(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        body: Mapping[str, Any] | None = None,
        form: Mapping[str, str] | None = None,
    ) -> Any:  # noqa: ANN401 - JSON
        """Ask, and give the JSON that comes back; raise `CommandError` with the gateway's own words."""
        try:
            answer = self._client.request(method, path, params=query, json=body, data=form)
        except httpx2.HTTPError as error:
            raise _unreachable(self.server, error) from error
        if answer.is_success:
            return _json(answer) if answer.content else None
        raise CommandError(_detail(answer), Exit.UNREACHABLE if answer.status_code in (502, 503, 504) else Exit.FAILED)


def logged_in() -> Api:
    """Open the gateway where this person is logged in."""
    known = credentials.load()
    return Api(known.server, known.ca, known.token)


def server_url(text: str) -> str:
    """Check the address of a gateway: https, a host, maybe a port."""
    parts = urlsplit(text)
    if parts.scheme != "https" or not parts.hostname or parts.path not in ("", "/") or parts.query or parts.fragment:
        raise CommandError(f"{text!r} is no gateway; write https://HOST:PORT", Exit.USAGE)
    return text.rstrip("/")


def printable(text: str) -> str:
    """Make a text from elsewhere safe for a terminal."""
    return "".join(character if character.isprintable() else "?" for character in text)


def _tls(ca: str | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca)
    except (OSError, ssl.SSLError) as error:
        raise ConfigurationError(f"the certificates in {ca} cannot be read; name a PEM file") from error


def _unreachable(server: str, error: httpx2.HTTPError) -> CommandError:
    if "CERTIFICATE_VERIFY_FAILED" in str(error):
        return CommandError(f"the certificate of {server} is not trusted; name its authority by --ca", Exit.UNREACHABLE)
    return CommandError(f"{server} cannot be reached ({type(error).__name__})", Exit.UNREACHABLE)


def _json(answer: httpx2.Response) -> Any:  # noqa: ANN401 - JSON
    try:
        return answer.json()
    except ValueError as error:
        raise CommandError(f"{answer.url.host} does not answer as a gateway does") from error


def _detail(answer: httpx2.Response) -> str:
    try:
        problem = answer.json()
        detail = problem.get("detail") or problem.get("error_description")
    except (ValueError, AttributeError):
        detail = None
    # The program itself says who speaks.
    return printable(str(detail)).removeprefix("vestibule: ") if detail else f"the gateway answers {answer.status_code}"
