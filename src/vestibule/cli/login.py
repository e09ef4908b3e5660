"""`vestibule login`, `logout` and `token`: who is at this keyboard, and what they may show to a database.

What people read goes to standard error. A token goes to standard output: of `token` always, of `login` only where that
is no terminal, so that it does not stay on a screen unasked.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import sys
import webbrowser
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final
from urllib.parse import urlencode, urlsplit

import typer

from vestibule.cli import credentials
from vestibule.cli.api import Api, logged_in, printable, server_url
from vestibule.cli.credentials import Credentials
from vestibule.cli.exits import CommandError, Exit
from vestibule.cli.loopback import Loopback
from vestibule.identity.handover import authorization_request, new_verifier, token_request

#: How long the command waits for the browser, in seconds.
PATIENCE: Final = 300.0
DEFAULT_PORT: Final = 15_432

_LIFE: Final = re.compile(r"([1-9][0-9]{0,6})([smhd])")
_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Server = Annotated[
    str,
    typer.Option(
        "--server", metavar="URL", envvar="VESTIBULE_URL", help="The gateway's control plane: https://HOST:PORT."
    ),
]
Authority = Annotated[
    Path | None,
    typer.Option(
        "--ca", metavar="FILE", envvar="VESTIBULE_CA", help="Certificates to trust, in place of the system's."
    ),
]


def login(
    server: Server = "",
    ca: Authority = None,
    provider: Annotated[
        str, typer.Option("--provider", metavar="NAME", help="The identity provider, if there are several.")
    ] = "",
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Print the address, open no browser.")] = False,
) -> None:
    """Log in with a browser, and keep the log-in for the other commands.

    Without --server, the gateway of the last log-in is taken.
    Standard output gets the token if it is not a terminal: export PGPASSWORD="$(vestibule login)"
    """
    gateway, trusted = _gateway(server, ca)
    with Api(gateway, trusted) as api:
        got = _log_in(api, provider, opens_browser=not no_browser)
    credentials.save(Credentials(gateway, str(got["name"]), str(got["access_token"]), str(got["expires_at"]), trusted))
    _say(_welcome(gateway, trusted, got))
    if not sys.stdout.isatty():
        typer.echo(got["access_token"])


def logout() -> None:
    """End the log-in with all its tokens, and the sessions that they opened."""
    known = credentials.load()
    try:
        with Api(known.server, known.ca, known.token) as api:
            api.call("POST", "/api/v1/logout")
    except CommandError as error:
        if error.code is Exit.UNREACHABLE:
            raise CommandError(f"{error}; the log-in was not ended", Exit.UNREACHABLE) from error
        # It had ended before: there is nothing left but the file.
    credentials.remove()
    _say(f"{printable(known.name)} is logged out of {known.server}.")


def token(
    target: Annotated[
        list[str] | None, typer.Option("--target", metavar="NAME", help="Good for this target only; repeatable.")
    ] = None,
    life: Annotated[str, typer.Option("--life", metavar="TIME", help="How long it is good: 30s, 15m, 8h.")] = "",
    as_json: Json = False,
) -> None:
    """Make a token and print it: the password for a database.

    It ends with the log-in, or earlier by --life. It is shown this once.
    """
    wanted: dict[str, Any] = {"targets": target} if target else {}
    if life:
        wanted["life"] = seconds_of(life)
    with logged_in() as api:
        made = api.call("POST", "/api/v1/tokens", body=wanted)
    typer.echo(json.dumps(made, indent=2) if as_json else made["token"])


def _log_in(api: Api, provider: str, *, opens_browser: bool) -> Mapping[str, Any]:
    state, verifier = new_verifier(), new_verifier()
    with Loopback(state) as loopback:
        query = dict(authorization_request(loopback.redirect_uri, state, verifier))
        if provider:
            query["provider"] = provider
        _send(f"{api.server}/login?{urlencode(query)}", loopback.port, opens_browser=opens_browser)
        answer = loopback.wait(PATIENCE)
    _check(answer, api.server)
    got = api.call("POST", "/login/token", form=token_request(loopback.redirect_uri, answer["code"], verifier))
    if not isinstance(got, dict) or not {"access_token", "name", "expires_at"} <= got.keys():
        raise CommandError(f"{api.server} does not answer as a gateway does")
    return got


def _send(url: str, port: int, *, opens_browser: bool) -> None:
    if opens_browser and _has_screen() and webbrowser.open(url):
        _say(f"Log in with the browser that has opened, or open this address:\n\n  {url}\n")
        return
    _say(f"Open this address in a browser on this machine:\n\n  {url}\n")
    _say(f"From another machine, forward the port first: ssh -L {port}:127.0.0.1:{port} ...")


def _has_screen() -> bool:
    # Without one, Python would open a browser of text in this very terminal.
    return sys.platform == "darwin" or any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"))


def _check(answer: Mapping[str, str], server: str) -> None:
    if "code" not in answer:
        raise CommandError(printable(answer.get("error_description") or "the log-in was refused"))
    # RFC 9207: the answer of another gateway is not to be swapped at this one.
    if answer.get("iss", "").rstrip("/") != server:
        issuer = printable(answer.get("iss", ""))
        raise CommandError(f"the gateway calls itself {issuer}; log in with --server {issuer}", Exit.USAGE)


def _gateway(server: str, ca: Path | None) -> tuple[str, str | None]:
    if server:
        return server_url(server), str(ca.absolute()) if ca is not None else None
    try:
        known = credentials.load()
    except CommandError as error:
        raise CommandError("which gateway? write --server https://HOST:PORT", Exit.USAGE) from error
    return known.server, str(ca.absolute()) if ca is not None else known.ca


def _welcome(gateway: str, ca: str | None, got: Mapping[str, Any]) -> str:
    name, ports = printable(str(got["name"])), got.get("ports") or {}
    parts = {
        "host": urlsplit(gateway).hostname or "",
        "port": str(ports.get("postgres", DEFAULT_PORT)),
        "user": f"{name}+TARGET",
        "dbname": "DATABASE",
        "sslmode": "verify-full",
        "sslrootcert": ca or "system",
    }
    return (
        f"Logged in as {name} until {printable(str(got['expires_at']))}.\n\n"
        f'  export PGPASSWORD="$(vestibule token)"\n  {psql(parts)}\n'
    )


def psql(parts: Mapping[str, str]) -> str:
    """Write the line that starts psql with a connection string."""
    return f"psql {shlex.quote(' '.join(f'{key}={_quoted(value)}' for key, value in parts.items()))}"


def _quoted(value: str) -> str:
    # libpq's rule for a connection string: quotes where there is anything but plain characters.
    if re.fullmatch(r"[A-Za-z0-9_.:/@+-]+", value):
        return value
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def seconds_of(life: str) -> int:
    """Read what was given for `--life`."""
    given = _LIFE.fullmatch(life)
    if given is None:
        raise CommandError(f"{life!r} is no time; write for example 30s, 15m or 8h", Exit.USAGE)
    return int(given[1]) * _UNITS[given[2]]


def _say(text: str) -> None:
    typer.echo(text, err=True)
