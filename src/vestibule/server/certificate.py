"""A listener's certificate: read whole, put into use whole, and read again when its files change.

1. What is in use was read at once and fits together. Files that are half written, or a key of another certificate,
   change nothing: the old pair stays until there is a whole new one.
2. Who is connected stays connected; only handshakes from now on see the new certificate.
3. The operator is told once of each content that cannot be used, and once a day of an end that comes near.
"""

from __future__ import annotations

import asyncio
import os
import ssl
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import structlog
from cryptography import x509

from vestibule.model.errors import ConfigurationError

log = structlog.get_logger(__name__)

#: Seconds between two looks at the files.
WATCH_SECONDS: Final = 2.0
#: How long before its end a certificate is called old, and how often that is said.
SOON: Final = timedelta(days=14)
REMIND_SECONDS: Final = 86_400.0
_LARGEST: Final = 1024 * 1024
_ADVICE: Final = "name a PEM certificate chain and its unencrypted private key"


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate chain and its private key as PEM, read at one time."""

    chain: bytes
    key: bytes = field(repr=False)

    def load_into(self, context: ssl.SSLContext) -> None:
        """Have `context` show it; raise `ssl.SSLError` if the two do not fit together."""
        with _in_memory(self.chain) as chain, _in_memory(self.key) as key:
            # An encrypted key would have OpenSSL ask the terminal.
            context.load_cert_chain(chain, key, password=_refuse)

    @property
    def expires(self) -> datetime:
        """When the certificate itself ends."""
        return x509.load_pem_x509_certificates(self.chain)[0].not_valid_after_utc


def read(certificate: Path, key: Path, is_private: bool = False) -> Certificate:
    """Read both files and see that they fit; `is_private` refuses a key that others can use too."""
    try:
        pair = Certificate(_content(certificate), _content(key, is_private))
        pair.load_into(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
        pair.expires  # noqa: B018 - what cannot be read here must not fail later
    except (OSError, ValueError) as error:
        # An SSLError is an OSError.
        raise ConfigurationError(f"listener certificate {certificate} with key {key}: {error}; {_ADVICE}") from error
    return pair


class Watch:
    """Looks at the two files of a listener from time to time."""

    def __init__(
        self, certificate: Path, key: Path, current: Certificate, renewed: Callable[[Certificate], None]
    ) -> None:
        """Tell `renewed` of each new pair that can be used; `current` is in use now."""
        self._files = (certificate, key)
        self._current, self._renewed = current, renewed
        self._complaint = ""
        self._reminded: float | None = None

    async def run(self, seconds: float = WATCH_SECONDS) -> None:
        """Look until cancelled."""
        while True:
            self._remind(datetime.now(UTC))
            await asyncio.sleep(seconds)
            await self.look()

    async def look(self) -> None:
        """Look once."""
        try:
            found = await asyncio.to_thread(read, *self._files, is_private=True)
        except ConfigurationError as error:
            self._complain(str(error))
            return
        self._complaint = ""
        if found != self._current:
            self._current, self._reminded = found, None
            self._renewed(found)
            log.info("certificate_reloaded", file=str(self._files[0]), expires=f"{found.expires:%Y-%m-%d}")

    def _complain(self, words: str) -> None:
        if words != self._complaint:
            self._complaint = words
            log.error("certificate_not_reloaded", error=words, still="the one that was in use before is shown")

    def _remind(self, now: datetime) -> None:
        left = self._current.expires - now
        at = asyncio.get_running_loop().time()
        if left < SOON and (self._reminded is None or at - self._reminded >= REMIND_SECONDS):
            self._reminded = at
            advice = "renew it in place; it is read again by itself"
            expires = f"{self._current.expires:%Y-%m-%d %H:%M} UTC"
            if left > timedelta():
                log.warning("certificate_expires_soon", file=str(self._files[0]), expires=expires, advice=advice)
            else:
                log.warning("certificate_has_expired", file=str(self._files[0]), expires=expires, advice=advice)


def _content(path: Path, is_private: bool = False) -> bytes:
    # Without waiting: a named pipe in the place of the file must not hold the process.
    with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise ValueError(f"{path} is not a file")
        if is_private and status.st_mode & 0o077:
            raise ValueError(f"{path}: its group or others can use it; run: chmod 600 {path}")
        return file.read(_LARGEST)


@contextmanager
def _in_memory(content: bytes) -> Iterator[str]:
    # OpenSSL's binding takes names of files only. This one never touches a disk, and cannot change meanwhile.
    descriptor = os.memfd_create("certificate")
    try:
        os.write(descriptor, content)
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)


def _refuse() -> str:
    raise ValueError("the private key is encrypted")
