"""`vestibule serve`: the gateway itself."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vestibule.app import control
from vestibule.cli.exits import CommandError, Exit
from vestibule.model.errors import EvidenceUnavailable
from vestibule.settings import load


def serve(
    config: Annotated[
        Path, typer.Option("--config", help="The operator's file.", envvar="VESTIBULE_CONFIG", show_default=True)
    ] = Path("vestibule.yaml"),
) -> None:
    """Run the gateway: control process, data processes, evidence log.

    It ends on SIGTERM or Ctrl-C; open sessions get ten seconds.
    """
    try:
        control.run(load(config))
    except EvidenceUnavailable as error:
        raise CommandError(f"the journal cannot be used: {error}", Exit.FAILED) from None
    except OSError as error:
        raise CommandError(f"{error.filename or 'the gateway'}: {error.strerror or error}", Exit.UNREACHABLE) from None
