"""`vestibule backup` and `vestibule restore`: the data folder, whole, copied while the gateway works."""

from __future__ import annotations

import time
from itertools import islice
from pathlib import Path
from typing import Annotated, Final

import typer

from vestibule.cli.exits import CommandError, Exit
from vestibule.evidence import verify as checker
from vestibule.evidence.checkpoint import VerifierKey, open_checkpoint
from vestibule.evidence.errors import EvidenceFormatError
from vestibule.model.names import Instant
from vestibule.settings import load
from vestibule.stores import restore as restoring
from vestibule.stores.backup import back_up, check_empty, check_owner
from vestibule.stores.manifest import Manifest, read_manifest

#: Lines of what is wrong that are printed.
SHOWN: Final = 20

Config = Annotated[
    Path, typer.Option("--config", help="The operator's file.", envvar="VESTIBULE_CONFIG", show_default=True)
]


def backup(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="A new or empty folder for the copy.")],
    config: Config = Path("vestibule.yaml"),
) -> None:
    """Copy the data folder: journal, log, state, objects, spool, keys.

    Sessions go on while it runs; a gateway that stands may be copied too. Run it as the user of the gateway. The copy
    holds the keys: whoever has it can open what was recorded, so keep it like the data folder. It is a data folder
    itself: vestibule evidence verify FOLDER checks it.
    """
    data = load(config).data
    try:
        made = back_up(data, folder, _now)
    except OSError as error:
        raise CommandError(_cut_off(folder, error), Exit.FAILED) from None
    typer.echo(f"{folder}: everything up to {made.taken_at}, {made.leaves} signed leaves, {len(made.files)} files.")
    typer.echo(f"Check it: vestibule evidence verify {folder}")


def restore(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="A backup.")],
    config: Config = Path("vestibule.yaml"),
    checkpoint: Annotated[
        Path | None,
        typer.Option("--checkpoint", metavar="FILE", help="The newest checkpoint that was kept elsewhere."),
    ] = None,
    no_checkpoint: Annotated[
        bool, typer.Option("--no-checkpoint", help="No checkpoint was kept: what is missing cannot be known.")
    ] = False,
) -> None:
    """Make the data folder of a backup, after checking all of it.

    The data folder must be new or empty. A log goes on only behind everything that it has published, so name the newest
    checkpoint that was kept elsewhere. Log-ins, tokens and open approvals of the backup are ended; the next start of
    the gateway records that it was restored, and as of when. Exit status 1: the backup is damaged, or the log went on
    after it.
    """
    if (checkpoint is None) != no_checkpoint:
        raise CommandError(
            "name the newest checkpoint that was kept elsewhere (--checkpoint FILE); write --no-checkpoint if there is "
            "none: then nobody can know whether the lost gateway had published more than this backup holds",
            Exit.USAGE,
        )
    data = load(config).data
    manifest = read_manifest(folder)
    check_empty(data)
    check_owner(data)
    _compare(folder, manifest)
    saved = None if checkpoint is None else _read(checkpoint)
    known = None if saved is None else _size_of(saved, folder, checkpoint)
    if known is not None and known > manifest.leaves:
        raise CommandError(_log_went_on(folder, manifest, known))
    _verify(folder, saved)
    try:
        restoring.restore(folder, manifest, data, known, _now)
    except OSError as error:
        raise CommandError(_cut_off(data, error), Exit.FAILED) from None
    typer.echo(f"{data}: as it was at {manifest.taken_at}. What was recorded after that is not in it.")
    typer.echo("Everybody logs in again; what was approved and not used is asked for again.")
    typer.echo("The next start of the gateway records that it was restored.")


def _compare(folder: Path, manifest: Manifest) -> None:
    found = list(manifest.differences(folder))
    if found:
        lines = "".join(f"\n  {each}" for each in islice(found, SHOWN))
        more = f"\n  and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
        raise CommandError(f"{folder} is not whole; nothing was restored:{lines}{more}")


def _verify(folder: Path, saved: bytes | None) -> None:
    findings, _, _ = checker.verify(str(folder), saved)
    found = [f"{check}: {text}" for check, texts in findings.items() for text in texts]
    if found:
        lines = "".join(f"\n  {each}" for each in islice(found, SHOWN))
        raise CommandError(f"the evidence in {folder} does not verify; nothing was restored:{lines}")


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise CommandError(f"{path}: {error.strerror}", Exit.USAGE) from None


def _size_of(saved: bytes, folder: Path, checkpoint: Path | None) -> int:
    try:
        key = VerifierKey.parse((folder / "log" / "log.vkey").read_text().strip())
        return open_checkpoint(saved, key).size
    except (EvidenceFormatError, OSError) as error:
        raise CommandError(f"{checkpoint} is no checkpoint of the log in {folder}: {error}", Exit.USAGE) from None


def _log_went_on(folder: Path, manifest: Manifest, known: int) -> str:
    return (
        f"the log went on after this backup: {folder} has {manifest.leaves} signed leaves, the checkpoint {known}, so "
        f"{known - manifest.leaves} records that were published are missing. A log that goes on without them would "
        "contradict what was published, so nothing was restored. Restore a newer backup, or the lost data folder "
        "itself if its disk can be read; if there is none, keep this backup as the evidence of the old log, and start "
        "on an empty data folder with another log.origin (docs/guide/operations.md)"
    )


def _cut_off(folder: Path, error: OSError) -> str:
    return (
        f"{error.filename or folder}: {error.strerror or error}; remove what is in {folder}, and run the command again"
    )


def _now() -> Instant:
    return Instant(time.time_ns() // 1_000)
