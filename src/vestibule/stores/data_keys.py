"""Data keys, wrapped under one key of the deployment (the KEK) in a file beside the database.

1. A data key is 32 random bytes, kept as AES-256-GCM under the KEK with its id and class as associated data:
   a row moved to another id or class does not open.
2. The KEK's file is made once, readable by its owner alone. Where wrapped keys exist and the file does not, nothing
   is made: a new KEK would hide the loss of every key, and so of every commitment and recording under them.
3. The token key (`k1`) and the deployment's bind key are data keys that are made at the first start.
4. Whoever asks for a key while others are being made shares the next transaction: log-ins come in crowds, and each
   transaction waits for the disk.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import secrets
import stat
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from uuid import UUID, uuid4

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from sqlalchemy import Column, LargeBinary, Select, Table, Text, insert, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from vestibule.model.errors import ConfigurationError
from vestibule.model.login import StateUnavailable
from vestibule.stores.database import METADATA

KEY_BYTES: Final = 32
NONCE_BYTES: Final = 12

TOKEN_KEY_ID: Final = "k1"
_TOKEN_KEY_CLASS: Final = f"token:{TOKEN_KEY_ID}"
_BIND_KEY_CLASS: Final = "bind"

DATA_KEY = Table(
    "data_key",
    METADATA,
    Column("key_id", LargeBinary(16), primary_key=True),
    Column("class", Text, nullable=False, index=True),
    Column("kek", Text, nullable=False),
    Column("wrapped", LargeBinary, nullable=False),
    Column("destroy_after", Text),
    Column("destroyed_at", Text),
)


@dataclass(frozen=True, slots=True)
class Kek:
    """The key that wraps all others; `id` is derived from it and names it in every row."""

    secret: bytes = field(repr=False)

    @property
    def id(self) -> str:
        """Name the key without giving it away."""
        return hashlib.sha256(b"vestibule/kek/v1\0" + self.secret).hexdigest()[:16]

    def wrap(self, key_id: UUID, key_class: str, key: bytes) -> bytes:
        """Encrypt `key` for keeping."""
        nonce = secrets.token_bytes(NONCE_BYTES)
        return nonce + AESGCM(self.secret).encrypt(nonce, key, _bound(key_id, key_class))

    def unwrap(self, key_id: UUID, key_class: str, wrapped: bytes) -> bytes:
        """Decrypt what `wrap` made; raise `StateUnavailable` for anything else."""
        try:
            nonce, sealed = wrapped[:NONCE_BYTES], wrapped[NONCE_BYTES:]
            return AESGCM(self.secret).decrypt(nonce, sealed, _bound(key_id, key_class))
        except (InvalidTag, ValueError) as error:
            raise StateUnavailable(f"data key {key_id} does not open with this KEK") from error


@dataclass(slots=True, eq=False)
class _Wanted:
    """A key that somebody waits for."""

    key_class: str
    made: tuple[UUID, bytes] | None = None


class DataKeys:
    """Makes, keeps and opens data keys; the methods raise `StateUnavailable` when the database cannot."""

    def __init__(self, engine: AsyncEngine, kek: Kek) -> None:
        """Use the tables of `engine`; `open_data_keys` is the way in."""
        self._engine = engine
        self._kek = kek
        self._making = asyncio.Lock()
        self._wanted: list[_Wanted] = []

    async def new_data_key(self, key_class: str) -> tuple[UUID, bytes]:
        """Make a key of its own for a session or whatever else `key_class` names."""
        wanted = _Wanted(key_class)
        self._wanted.append(wanted)
        try:
            async with self._making:
                return wanted.made or await self._make_wanted(wanted)
        finally:
            self._wanted.remove(wanted)

    async def _make_wanted(self, wanted: _Wanted) -> tuple[UUID, bytes]:
        """Make the keys of all who wait, and give one of them; if that fails, the next who waits tries again."""
        waiting = [each for each in self._wanted if each.made is None]
        async with self._connection() as connection:
            keys = await self._make(connection, [each.key_class for each in waiting])
        for each, key in zip(waiting, keys, strict=True):
            each.made = key
        return keys[waiting.index(wanted)]

    async def data_key(self, key_id: UUID) -> bytes | None:
        """Open a key; None if there is none of this id."""
        async with self._connection() as connection:
            row = (await connection.execute(select(DATA_KEY).where(DATA_KEY.c.key_id == key_id.bytes))).one_or_none()
        return None if row is None else self._open(row._mapping)[1]

    async def token_key(self) -> tuple[str, bytes]:
        """Give the key of the storage tokens, and its id."""
        return TOKEN_KEY_ID, (await self._only(_TOKEN_KEY_CLASS))[1]

    async def bind_key(self) -> tuple[UUID, bytes]:
        """Give the deployment's bind key, for commitments that belong to no session."""
        return await self._only(_BIND_KEY_CLASS)

    async def _only(self, key_class: str) -> tuple[UUID, bytes]:
        async with self._making, self._connection() as connection:
            row = (await connection.execute(_first_of(key_class))).one_or_none()
            return (await self._make(connection, [key_class]))[0] if row is None else self._open(row._mapping)

    async def _make(self, connection: AsyncConnection, key_classes: Sequence[str]) -> list[tuple[UUID, bytes]]:
        keys = [(uuid4(), secrets.token_bytes(KEY_BYTES)) for _ in key_classes]
        rows = [
            {
                "key_id": key_id.bytes,
                "class": key_class,
                "kek": self._kek.id,
                "wrapped": self._kek.wrap(key_id, key_class, key),
            }
            for (key_id, key), key_class in zip(keys, key_classes, strict=True)
        ]
        await connection.execute(insert(DATA_KEY), rows)
        return keys

    def _open(self, row: Any) -> tuple[UUID, bytes]:  # noqa: ANN401 - the library's row mapping
        key_id = UUID(bytes=row["key_id"])
        return key_id, self._kek.unwrap(key_id, row["class"], row["wrapped"])

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[AsyncConnection]:
        try:
            async with self._engine.begin() as connection:
                yield connection
        except SQLAlchemyError as error:
            raise StateUnavailable(f"the state database cannot answer: {type(error).__name__}") from error


async def open_data_keys(engine: AsyncEngine, path: Path) -> DataKeys:
    """Open the data keys with the KEK in the file `path`, which is made if this is the first start."""
    async with engine.connect() as connection:
        keks = set((await connection.execute(select(DATA_KEY.c.kek).distinct())).scalars())
    kek = _kek(path, is_first_start=not keks)
    if keks - {kek.id}:
        raise ConfigurationError(
            f"{path} is not the key that the state database was written with; put the right file back"
        )
    return DataKeys(engine, kek)


def _kek(path: Path, *, is_first_start: bool) -> Kek:
    return make_kek(path) if is_first_start and not path.exists() else read_kek(path)


def make_kek(path: Path) -> Kek:
    """Make the KEK's file, complete and durable before it has its name."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    unnamed = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(unnamed, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with open(descriptor, "wb") as file:
            file.write(secrets.token_bytes(KEY_BYTES))
            file.flush()
            os.fsync(descriptor)
        # Fails if another process was first; then the other's is the key.
        os.link(unnamed, path)
    except FileExistsError:
        return read_kek(path)
    finally:
        unnamed.unlink()
    _sync(path.parent)
    return read_kek(path)


def read_kek(path: Path) -> Kek:
    """Read the KEK; refuse a file that others may read, or that holds no key."""
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            secret = file.read(KEY_BYTES + 1)
    except OSError as error:
        raise ConfigurationError(
            f"the key file {path} cannot be read ({error.strerror}); restore it from its backup, "
            "without it the recorded sessions cannot be opened"
        ) from error
    if stat.S_IMODE(mode) & 0o077:
        raise ConfigurationError(f"the key file {path} is open to others; run chmod 600 {path}")
    if len(secret) != KEY_BYTES:
        raise ConfigurationError(f"the key file {path} does not hold {KEY_BYTES} bytes; restore it from its backup")
    return Kek(secret)


def _first_of(key_class: str) -> Select[Any]:
    return select(DATA_KEY).where(DATA_KEY.c["class"] == key_class).order_by(DATA_KEY.c.key_id).limit(1)


def _bound(key_id: UUID, key_class: str) -> bytes:
    return key_id.bytes + key_class.encode()


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
