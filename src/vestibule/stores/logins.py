"""Logins and the tokens that point to them, in the state database.

1. A token is kept as its SHA-256 and nothing else; whoever reads the database can show none.
2. While somebody is signed in under a name, nobody else of the same issuer is, whatever the case of the letters.
3. Revocation is a time that is set once and never cleared.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, cast
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKey,
    Index,
    LargeBinary,
    Row,
    Select,
    Table,
    Text,
    and_,
    delete,
    func,
    insert,
    select,
    update,
)
from sqlalchemy.engine import CursorResult
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from vestibule.model.identity import Who, WhoType
from vestibule.model.login import Found, Login, NameTaken, StateUnavailable, Token, TokenKind, TooManyTokens
from vestibule.model.names import GroupName, Instant, LoginName, TargetName
from vestibule.stores.database import METADATA

MAX_TOKENS: Final = 500

LOGIN = Table(
    "login",
    METADATA,
    Column("login_id", LargeBinary(16), primary_key=True),
    Column("iss", Text, nullable=False),
    Column("sub", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("folded_name", Text, nullable=False),
    Column("type", Text, nullable=False),
    Column("provider", Text, nullable=False),
    Column("groups", Text, nullable=False),
    Column("amr", Text, nullable=False),
    Column("acr", Text, nullable=False),
    Column("auth_time", BigInteger),
    Column("ip", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False, index=True),
    Column("revoked_at", BigInteger),
    Index("login_by_name", "iss", "folded_name"),
)

TOKEN = Table(
    "token",
    METADATA,
    Column("token_id", LargeBinary(16), primary_key=True),
    Column("digest", LargeBinary(32), nullable=False, unique=True),
    Column("login_id", LargeBinary(16), ForeignKey("login.login_id", ondelete="CASCADE"), nullable=False, index=True),
    Column("kind", Text, nullable=False),
    Column("targets", Text),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    Column("revoked_at", BigInteger),
    Column("used_at", BigInteger),
)


class LoginStore:
    """Logins and tokens by SQLAlchemy; every method raises `StateUnavailable` when the database cannot."""

    def __init__(self, engine: AsyncEngine) -> None:
        """Use the tables of `engine`, which `open_database` made."""
        self._engine = engine
        # One control process writes: a check and what follows from it are not to be divided by another's.
        self._writing = asyncio.Lock()

    async def add_login(self, login: Login) -> None:
        """Keep a login; raise `NameTaken` while somebody else of the issuer is signed in under its name."""
        async with self._write() as connection:
            if await connection.scalar(_other_holder(login)):
                raise NameTaken("somebody else is signed in under this name")
            await connection.execute(insert(LOGIN).values(_login_row(login)))

    async def add_token(self, token: Token, digest: bytes) -> None:
        """Keep a token by its digest; raise `TooManyTokens` when the login holds as many as it may."""
        async with self._write() as connection:
            if (await connection.scalar(_live_tokens(token)) or 0) >= MAX_TOKENS:
                raise TooManyTokens(f"this log-in holds {MAX_TOKENS} live tokens; revoke some, or log in again")
            await connection.execute(insert(TOKEN).values(_token_row(token, digest)))

    async def find(self, digest: bytes) -> Found | None:
        """Find a token by its digest, with its login, whatever became of them."""
        row = await self._one(select(TOKEN, LOGIN).join(LOGIN, _POINTS_TO).where(TOKEN.c.digest == digest))
        return Found(_token(row), _login(row), row._mapping[TOKEN.c.digest]) if row is not None else None

    async def login(self, login: UUID) -> Login | None:
        """Read a login."""
        row = await self._one(select(LOGIN).where(LOGIN.c.login_id == login.bytes))
        return _login(row) if row is not None else None

    async def token(self, token: UUID) -> Token | None:
        """Read a token."""
        row = await self._one(select(TOKEN).where(TOKEN.c.token_id == token.bytes))
        return _token(row) if row is not None else None

    async def revoke_login(self, login: UUID, at: Instant) -> bool:
        """Revoke a login and so all its tokens; tell whether it was not revoked before."""
        live = and_(LOGIN.c.login_id == login.bytes, LOGIN.c.revoked_at.is_(None))
        return await self._changed(update(LOGIN).where(live).values(revoked_at=at))

    async def revoke_token(self, token: UUID, at: Instant) -> bool:
        """Revoke one token; tell whether it was not revoked before."""
        live = and_(TOKEN.c.token_id == token.bytes, TOKEN.c.revoked_at.is_(None))
        return await self._changed(update(TOKEN).where(live).values(revoked_at=at))

    async def touch(self, token: UUID, at: Instant) -> None:
        """Note that a token was used at `at`."""
        await self._changed(update(TOKEN).where(TOKEN.c.token_id == token.bytes).values(used_at=at))

    async def expired(self, after: Instant, until: Instant) -> Sequence[UUID]:
        """List the logins that expired after `after` and not after `until`, not revoked before."""
        ended = and_(LOGIN.c.expires_at > after, LOGIN.c.expires_at <= until, LOGIN.c.revoked_at.is_(None))
        async with self._read() as connection:
            return [UUID(bytes=row.login_id) for row in await connection.execute(select(LOGIN.c.login_id).where(ended))]

    async def purge(self, before: Instant) -> None:
        """Forget the logins, with their tokens, that expired before `before`."""
        await self._changed(delete(LOGIN).where(LOGIN.c.expires_at < before))

    async def _one(self, query: Select[Any]) -> Row[Any] | None:
        async with self._read() as connection:
            row: Row[Any] | None = (await connection.execute(query)).one_or_none()
            return row

    async def _changed(self, statement: Any) -> bool:  # noqa: ANN401 - any of the library's statements
        async with self._write() as connection:
            return cast(CursorResult[Any], await connection.execute(statement)).rowcount > 0

    @asynccontextmanager
    async def _read(self) -> AsyncIterator[AsyncConnection]:
        try:
            async with self._engine.connect() as connection:
                yield connection
        except SQLAlchemyError as error:
            raise _unavailable(error) from error

    @asynccontextmanager
    async def _write(self) -> AsyncIterator[AsyncConnection]:
        try:
            async with self._writing, self._engine.begin() as connection:
                yield connection
        except SQLAlchemyError as error:
            raise _unavailable(error) from error


_POINTS_TO: Final = TOKEN.c.login_id == LOGIN.c.login_id


def _unavailable(error: SQLAlchemyError) -> StateUnavailable:
    # The library's text repeats the statement's parameters: only the kind of error is told.
    return StateUnavailable(f"the state database cannot answer: {type(error).__name__}")


def _other_holder(login: Login) -> Select[Any]:
    return (
        select(func.count())
        .select_from(LOGIN)
        .where(
            LOGIN.c.iss == login.who.issuer,
            LOGIN.c.folded_name == login.who.name.casefold(),
            LOGIN.c.sub != login.who.subject,
            LOGIN.c.expires_at > login.created_at,
            LOGIN.c.revoked_at.is_(None),
        )
    )


def _live_tokens(token: Token) -> Select[Any]:
    return (
        select(func.count())
        .select_from(TOKEN)
        .where(
            TOKEN.c.login_id == token.login.bytes,
            TOKEN.c.expires_at > token.created_at,
            TOKEN.c.revoked_at.is_(None),
        )
    )


def _login_row(login: Login) -> dict[str, Any]:
    who = login.who
    return {
        "login_id": who.login.bytes,
        "iss": who.issuer,
        "sub": who.subject,
        "name": who.name,
        "folded_name": who.name.casefold(),
        "type": who.type,
        "provider": login.provider,
        "groups": json.dumps(sorted(login.groups)),
        "amr": json.dumps(login.amr),
        "acr": login.acr,
        "auth_time": login.auth_time,
        "ip": login.ip,
        "created_at": login.created_at,
        "expires_at": login.expires_at,
        "revoked_at": login.revoked_at,
    }


def _token_row(token: Token, digest: bytes) -> dict[str, Any]:
    return {
        "token_id": token.id.bytes,
        "digest": digest,
        "login_id": token.login.bytes,
        "kind": token.kind,
        "targets": None if token.targets is None else json.dumps(sorted(token.targets)),
        "created_at": token.created_at,
        "expires_at": token.expires_at,
        "revoked_at": token.revoked_at,
        "used_at": token.used_at,
    }


def _login(row: Row[Any]) -> Login:
    get, c = row._mapping, LOGIN.c
    login_id = UUID(bytes=get[c.login_id])
    return Login(
        Who(get[c.iss], get[c.sub], LoginName(get[c.name]), cast(WhoType, get[c.type]), login_id),
        get[c.provider],
        frozenset(GroupName(group) for group in json.loads(get[c.groups])),
        tuple(json.loads(get[c.amr])),
        get[c.acr],
        get[c.auth_time],
        get[c.ip],
        get[c.created_at],
        get[c.expires_at],
        get[c.revoked_at],
    )


def _token(row: Row[Any]) -> Token:
    get, c = row._mapping, TOKEN.c
    targets = get[c.targets]
    return Token(
        UUID(bytes=get[c.token_id]),
        UUID(bytes=get[c.login_id]),
        cast(TokenKind, get[c.kind]),
        get[c.created_at],
        get[c.expires_at],
        None if targets is None else frozenset(TargetName(target) for target in json.loads(targets)),
        get[c.revoked_at],
        get[c.used_at],
    )
