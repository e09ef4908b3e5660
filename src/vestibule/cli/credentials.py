"""What `vestibule login` keeps for the commands behind it: one file below the person's configuration folder.

Folder 0700, file 0600; a file that others can read is not used, because they may have changed it too.
"""

from __future__ import annotations

import json
import os
import secrets
import stat
from dataclasses import asdict, dataclass, field
from pathlib import Path

from vestibule.cli.exits import CommandError, Exit


@dataclass(frozen=True, slots=True)
class Credentials:
    """A log-in at one gateway; `ca` is the path of the certificates to trust there."""

    server: str
    name: str
    token: str = field(repr=False)
    expires_at: str
    ca: str | None = None


def path() -> Path:
    """Say where the file is (XDG base directories)."""
    base = os.environ.get("XDG_CONFIG_HOME", "")
    # A relative path there is to be ignored, says the specification.
    folder = Path(base) if base.startswith("/") else Path.home() / ".config"
    return folder / "vestibule" / "credentials.json"


def save(credentials: Credentials) -> None:
    """Keep a log-in in place of the one before."""
    file = path()
    fresh = file.with_name(f".{file.name}.{secrets.token_hex(4)}")
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(descriptor, "w", encoding="utf-8") as writer:
            json.dump(asdict(credentials), writer)
        fresh.replace(file)
    except OSError as error:
        raise CommandError(f"the log-in cannot be kept in {file}: {error.strerror}") from error


def load() -> Credentials:
    """Read the log-in; raise `CommandError` if there is none to use."""
    file = path()
    try:
        with file.open(encoding="utf-8") as reader:
            if stat.S_IMODE(os.fstat(reader.fileno()).st_mode) & 0o077:
                raise CommandError(f"{file} is open to others; run: chmod 600 {file}")
            return Credentials(**json.load(reader))
    except FileNotFoundError as error:
        raise CommandError('nobody is logged in here; run "vestibule login"', Exit.USAGE) from error
    except (OSError, ValueError, TypeError) as error:
        raise CommandError(f'{file} cannot be read; run "vestibule login" again', Exit.USAGE) from error


def remove() -> None:
    """Forget the log-in."""
    path().unlink(missing_ok=True)
