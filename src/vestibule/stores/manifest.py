"""The last file of a backup: which files it has, and what they were when they were copied.

1. It is written when everything else is durable: a backup without it is one that was cut off.
2. Every difference is named by file, so that whoever holds another copy knows what to look for.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import file_digest
from pathlib import Path
from typing import Final

from vestibule.model.errors import ConfigurationError
from vestibule.stores.disk import replace

MANIFEST: Final = "manifest.json"
#: Raised when an older program could not restore what a newer one kept.
FORMAT: Final = 1
#: Files without which a restored gateway could not sign, or not open what it recorded.
KEYS: Final = ("keys/kek", "keys/log.key", "keys/signer.json")


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a backup holds: as of when, how many leaves of the log are signed in it, and its files by SHA-256."""

    taken_at: str
    program: str
    schema: int
    leaves: int
    files: Mapping[str, str]

    def write(self, backup: Path) -> None:
        """Declare the backup whole."""
        content = {
            "format": FORMAT,
            "taken_at": self.taken_at,
            "program": self.program,
            "schema": self.schema,
            "leaves": self.leaves,
            "files": dict(sorted(self.files.items())),
        }
        replace(backup / MANIFEST, json.dumps(content, indent=1).encode() + b"\n")

    def differences(self, backup: Path) -> Iterator[str]:
        """Name each file that is missing or not what it was."""
        for name, digest in self.files.items():
            try:
                with (backup / name).open("rb") as file:
                    found = file_digest(file, "sha256").hexdigest()
            except FileNotFoundError:
                kept = " (put it back from where the keys are kept)" if name in KEYS else ""
                yield f"{name} is missing{kept}"
            except OSError as error:
                yield f"{name} cannot be read: {error.strerror}"
            else:
                if found != digest:
                    yield f"{name} was changed after it was copied"


def read_manifest(backup: Path) -> Manifest:
    """Read the manifest of a whole backup."""
    path = backup / MANIFEST
    try:
        content = json.loads(path.read_bytes())
        if content["format"] > FORMAT:
            raise ConfigurationError(
                f"{backup} was made by a newer Vestibule ({content['program']}); restore with that"
            )
        files = content["files"]
        if not all(isinstance(part, str) for pair in files.items() for part in pair) or not all(map(_is_inside, files)):
            raise ValueError("not a table of files")
        return Manifest(
            str(content["taken_at"]), str(content["program"]), int(content["schema"]), int(content["leaves"]), files
        )
    except FileNotFoundError:
        raise ConfigurationError(
            f"{backup} has no {MANIFEST}: it is no backup, or one that was cut off; take the newest whole one"
        ) from None
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror}; run this as the user that made the backup") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ConfigurationError(f"{path}: not what was written there; take another copy of the backup") from None


def _is_inside(name: str) -> bool:
    return bool(name) and not name.startswith("/") and ".." not in name.split("/")
