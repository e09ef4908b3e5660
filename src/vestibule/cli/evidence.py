"""`vestibule evidence`: check what was recorded, without trusting who recorded it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vestibule.cli.commands import example
from vestibule.evidence import verify as checker

app = typer.Typer(no_args_is_help=True, help="Check the evidence, offline.")


@app.command(epilog=example("vestibule evidence verify /var/lib/vestibule --checkpoint saved.txt"))
def verify(
    data: Annotated[Path, typer.Argument(metavar="DATA", help="The data folder, or a copy of it.")],
    checkpoint: Annotated[
        Path | None,
        typer.Option("--checkpoint", metavar="FILE", help="A checkpoint that was kept elsewhere, to compare with."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Check journal and log: tree, chains, sessions, bodies, the order of record and effect.

    The same checks run without this program: python3 verify.py DATA (vestibule/evidence/verify.py alone,
    Python 3.8 or later, nothing else). Exit status 0: all passed; 1: a check failed; 2: not a data folder.
    """
    arguments = [str(data)]
    if checkpoint is not None:
        arguments += ["--checkpoint", str(checkpoint)]
    if as_json:
        arguments.append("--json")
    raise typer.Exit(checker.main(arguments))
