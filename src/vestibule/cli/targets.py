"""`vestibule targets`: what one may connect to, and how."""

from __future__ import annotations

import json
from typing import Annotated
from urllib.parse import urlsplit

import typer

from vestibule.cli.api import logged_in, printable


def targets(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """List the targets that you may use, with what to type."""
    with logged_in() as api:
        answer = api.call("GET", "/api/v1/targets")
        host = urlsplit(api.server).hostname or ""
    if as_json:
        typer.echo(json.dumps(answer, indent=2))
        return
    if not answer["targets"]:
        typer.echo("You may use no target; ask the owner of the policy for an access entry.")
    for target in answer["targets"]:
        labels = ", ".join(f"{key}={value}" for key, value in target["labels"].items())
        typer.echo(printable(f"{target['name']} ({target['protocol']}{', ' + labels if labels else ''})"))
        for database in target["databases"]:
            typer.echo(printable(f"  psql 'host={host} port={answer['port']} user={target['user']} dbname={database}'"))
