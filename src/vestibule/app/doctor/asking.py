"""A conversation with a target as the gateway has it: reached, verified, logged in to, and asked in its own words.

The same dialer, TLS, log-in and codec as in service, so that what passes here passes there.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Final
from uuid import UUID

from vestibule.model.errors import TargetProtocolError, TargetUnavailable
from vestibule.model.event import Side
from vestibule.model.target import Target
from vestibule.protocols.postgres import messages as pg
from vestibule.protocols.postgres.authentication import LoggedIn, Login
from vestibule.protocols.postgres.codec import PROTOCOL_3_0, decode_backend, encode
from vestibule.protocols.postgres.frames import TARGET, Frame, FrameReader, Rows
from vestibule.protocols.postgres.learning import Learning, Surveyed
from vestibule.protocols.postgres.scram import SaltedPasswords
from vestibule.protocols.postgres.startup import read_startup, target_startup
from vestibule.server.dialer import Dialer, Link

_PIECE: Final = 32 * 1024
_HEAD: Final = 5

Row = tuple[str, ...]


class QuestionRefused(Exception):
    """The target answers a question with an error."""

    def __init__(self, code: str) -> None:
        """Keep its SQLSTATE; its words may quote what nobody should read."""
        super().__init__(f"the target answers {code}")
        self.code = code


class Asking:
    """One session of the gateway's own with a target."""

    def __init__(self, target: Target, link: Link) -> None:
        """Talk over `link`; call `log_in` first."""
        self._target, self._link = target, link
        self._frames = FrameReader(Side.TARGET, TARGET)
        self._frames.feed(link.ahead)

    async def log_in(self, password: bytes) -> None:
        """Log in as a session of the gateway would; the target has had its startup packet."""
        end_point = None if self._link.tls is None else self._link.tls.end_point
        login = Login(self._target, password, end_point, os.urandom(24), SaltedPasswords())
        while not isinstance(answer := login.receive(await self._message()), LoggedIn):
            self._link.transport.write(answer)
        while not isinstance(message := await self._message(), pg.ReadyForQuery):
            if isinstance(message, pg.ErrorResponse):
                raise TargetUnavailable(f"the target refused the log-in: {message.text('C')} {message.text('M')}")

    async def ask(self, question: str) -> Sequence[Row]:
        """Give the rows of an answer; NULL is an empty text."""
        self._link.transport.write(encode(pg.Query(question.encode())))
        learning, refused = Learning(self._target, is_survey=True), ""
        while True:
            self._frames.columns = learning.columns
            item = await self._item()
            if isinstance(item, Rows):
                learning.take_rows(item)
                continue
            message = decode_backend(item.type, item.body)
            match message:
                case pg.NoticeResponse() | pg.ParameterStatus():
                    continue
                case pg.ErrorResponse():
                    refused = message.text("C") or "?????"
                    continue
                case pg.ReadyForQuery() if refused:
                    raise QuestionRefused(refused)
            learned = learning.take(message)
            if isinstance(learned, Surveyed):
                return list(learned.rows())

    def close(self) -> None:
        """Say good-bye."""
        self._link.transport.write(encode(pg.Terminate()))
        self._link.transport.close()

    async def _message(self) -> pg.BackendMessage:
        item = await self._item()
        if not isinstance(item, Frame):
            raise TargetProtocolError("rows in log-in")
        return decode_backend(item.type, item.body)

    async def _item(self) -> Frame | Rows:
        while (item := self._frames.next()) is None:
            head = await self._exactly(_HEAD)
            self._frames.feed(head + await self._exactly(int.from_bytes(head[1:], "big") - 4))
        if not isinstance(item, Frame | Rows):
            raise TargetProtocolError("unexpected CopyData")
        return item

    async def _exactly(self, count: int) -> bytes:
        read = b""
        while len(read) < count:
            piece = await self._link.reader.exactly(min(_PIECE, count - len(read)))
            read += piece
            if not piece:
                raise TargetUnavailable("the target closed the connection")
        return read


async def open_target(target: Target, dialer: Dialer, database: str, session: UUID) -> Asking:
    """Reach a target and log in; raises `TargetUnavailable` or `TargetProtocolError`."""
    password = await dialer.password(target)
    ours = read_startup(pg.StartupMessage(PROTOCOL_3_0, (("user", "doctor"),)))
    hello = encode(target_startup(ours, target, database, session))
    asking = Asking(target, await dialer.dial(target, hello))
    try:
        await asking.log_in(password)
    except BaseException:
        asking.close()
        raise
    return asking
