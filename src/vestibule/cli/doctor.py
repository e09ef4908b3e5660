"""`vestibule doctor`: whether this gateway is set up so that one can rely on it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from vestibule.app.doctor.findings import Finding, levels
from vestibule.app.doctor.visit import promises, visit
from vestibule.cli.api import printable
from vestibule.cli.exits import Exit
from vestibule.settings import Settings, load


def doctor(
    target: Annotated[str, typer.Argument(metavar="[TARGET]", help="Look at this target of the policy too.")] = "",
    config: Annotated[
        Path, typer.Option("--config", help="The operator's file.", envvar="VESTIBULE_CONFIG", show_default=True)
    ] = Path("vestibule.yaml"),
    strict: Annotated[bool, typer.Option("--strict", help="A warning counts as a failure.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Check settings, certificates, data folder, disk, clock, limits and providers; and a target, as it will be met.

    Run it as the user that serves, on the machine that serves; a gateway that runs meanwhile is not disturbed. Each
    line is ok, warn, fail or unreachable, with what to do. Exit status 0: no check failed; 1: one did, or with
    --strict one warns; 2: the operator's file is wrong; 3: nothing failed but that a provider or target does not
    answer.
    """
    settings = load(config)
    findings = asyncio.run(_all(settings, target, quiet=as_json))
    said = promises(findings, target)
    if as_json:
        document = {"findings": [asdict(finding) for finding in findings], "evidence": said}
        typer.echo(json.dumps(document, indent=2))
    else:
        typer.echo("\nWhat the evidence can promise:")
        for line in said:
            typer.echo(printable(f"  {line}"))
    raise typer.Exit(status(findings, strict=strict))


def status(findings: Sequence[Finding], *, strict: bool) -> Exit:
    """Say how the command ends."""
    found = levels(findings)
    if "fail" in found:
        return Exit.FAILED
    if "unreachable" in found:
        return Exit.UNREACHABLE
    return Exit.FAILED if strict and "warn" in found else Exit.OK


async def _all(settings: Settings, target: str, *, quiet: bool) -> list[Finding]:
    findings = []
    async for finding in visit(settings, target):
        findings.append(finding)
        if not quiet:
            typer.echo(line(finding))
    return findings


def line(finding: Finding) -> str:
    """Write a finding for people."""
    text = " ".join(finding.text.split())
    shown = printable(f"{finding.level:<12} {finding.about}: {text}")
    return f"{shown}\n{'':13}-> {printable(finding.advice)}" if finding.advice else shown
