"""What this package asks of others: a place for log-ins, and a journal for what happened."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol
from uuid import UUID

from vestibule.model.login import Found, Login, Token
from vestibule.model.names import Instant
from vestibule.model.record import Record


class Ticket(Protocol):
    """What became of one batch of records."""

    @property
    def error(self) -> Exception | None:
        """Say why it failed, once it is decided."""
        ...


class Journal(Protocol):
    """Where records go: the writer of this process."""

    def append(self, records: Sequence[Record], done: Callable[[Ticket], None]) -> object:
        """Queue `records` as one batch and return at once; `done` is called, on any thread, when it is decided."""
        ...


class Logins(Protocol):
    """Where logins and tokens are kept. Every method raises `StateUnavailable` when it cannot."""

    async def add_login(self, login: Login) -> None:
        """Keep a login; raise `NameTaken` while somebody else of the issuer is signed in under its name."""
        ...

    async def add_token(self, token: Token, digest: bytes) -> None:
        """Keep a token by its digest; raise `TooManyTokens` when the login holds as many as it may."""
        ...

    async def find(self, digest: bytes) -> Found | None:
        """Find a token by its digest, with its login, whatever became of them."""
        ...

    async def login(self, login: UUID) -> Login | None:
        """Read a login."""
        ...

    async def token(self, token: UUID) -> Token | None:
        """Read a token."""
        ...

    async def revoke_login(self, login: UUID, at: Instant) -> bool:
        """Revoke a login and so all its tokens; tell whether it was not revoked before."""
        ...

    async def revoke_token(self, token: UUID, at: Instant) -> bool:
        """Revoke one token; tell whether it was not revoked before."""
        ...

    async def touch(self, token: UUID, at: Instant) -> None:
        """Note that a token was used at `at`."""
        ...

    async def expired(self, after: Instant, until: Instant) -> Sequence[UUID]:
        """List the logins that expired after `after` and not after `until`, not revoked before."""
        ...

    async def purge(self, before: Instant) -> None:
        """Forget the logins, with their tokens, that expired before `before`."""
        ...


class Revoked(Protocol):
    """Somebody who wants to know at once that access ends."""

    def __call__(self, login: UUID, cause: str, token: UUID | None = None) -> None:
        """End what `login` opened, or only what `token` opened when it is named."""
        ...
