"""The authority for people's certificates: a file that only its owner can read, made at the first start.

It is no part of what a target trusts, nor of what the listeners show. Without its file a new one is made: every
certificate of the old one ends, and nobody gets in who should not.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from vestibule.identity.certificates import Authority, new_authority, read_authority
from vestibule.model.errors import ConfigurationError
from vestibule.stores.disk import replace

AUTHORITY_FILE: Final = "user-ca.pem"


def open_authority(folder: Path, name: str) -> Authority:
    """Read the authority from `folder`; the first start makes it, and calls it `name`."""
    path = folder / AUTHORITY_FILE
    if not path.exists():
        made = new_authority(name)
        replace(path, made.kept())
        return made
    if path.stat().st_mode & 0o077:
        raise ConfigurationError(f"{path}: its group or others can sign for people; run: chmod 600 {path}")
    try:
        return read_authority(path.read_bytes())
    except ConfigurationError as error:
        raise ConfigurationError(
            f"{path}: {error}; restore the file, or remove it and start: people then need new certificates"
        ) from None
