"""Where secrets come from: environment variables and files. No error ever carries a secret.

1. `env:NAME` is the variable's value; `file:/path` is the file's content without one newline at its end.
2. A file that its group or others can read is refused: what others have read is no secret.
3. The file is judged after it was opened, so that it cannot be exchanged in between; only a regular file is read, and
   at most 64 KiB of it.
"""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import Mapping
from typing import Final

from vestibule.model.errors import VestibuleError

LIMIT: Final = 64 * 1024


class SecretUnavailable(VestibuleError):
    """A secret cannot be had; the text is for the operator: it names the reference and what to do."""


class Vault:
    """Fetches secrets by reference, anew each time: a rotated secret is found at once."""

    def __init__(self, environment: Mapping[bytes, bytes] = os.environb) -> None:
        """Look up variables in `environment`."""
        self._environment = environment

    async def secret(self, reference: str) -> bytes:
        """Fetch the secret behind `reference` without holding up the event loop."""
        return await asyncio.to_thread(self.read, reference)

    def read(self, reference: str) -> bytes:
        """Fetch the secret behind `reference`."""
        kind, _, rest = reference.partition(":")
        match kind:
            case "env":
                return self._variable(rest)
            case "file":
                return _file(rest)
            case _:
                # Not repeated: somebody may have written the secret in the place of the reference.
                raise SecretUnavailable(
                    "this version reads env:NAME and file:/path; it knows no other kind of reference"
                )

    def _variable(self, name: str) -> bytes:
        value = self._environment.get(os.fsencode(name), b"")
        if not value:
            raise SecretUnavailable(f"env:{name}: the variable is not set; set it for the process that serves")
        return value


def _file(path: str) -> bytes:
    if not os.path.isabs(path):
        raise SecretUnavailable(f"file:{path}: write an absolute path")
    try:
        # Without O_NONBLOCK a named pipe would hold the process until somebody writes.
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "no path"
        raise SecretUnavailable(f"file:{path}: {why}; check the path and who owns the file") from None
    try:
        return _content(fd, path)
    except OSError as error:
        raise SecretUnavailable(f"file:{path}: {error.strerror}") from None
    finally:
        os.close(fd)


def _content(fd: int, path: str) -> bytes:
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode):
        raise SecretUnavailable(f"file:{path}: not a regular file")
    if status.st_mode & 0o077:
        raise SecretUnavailable(f"file:{path}: its group or others can use it; run: chmod 600 {path}")
    with os.fdopen(fd, "rb", closefd=False) as file:
        content = file.read(LIMIT + 1)
    if len(content) > LIMIT:
        raise SecretUnavailable(f"file:{path}: longer than {LIMIT} bytes; this is no password")
    secret = content.removesuffix(b"\n")
    if not secret:
        raise SecretUnavailable(f"file:{path}: empty; write the secret into it")
    return secret
