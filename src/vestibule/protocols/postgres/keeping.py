"""What is recorded of the target's answers, where a session is recorded: what the client is shown, before it is sent.

1. Rows are kept with the description that they are read by, in the formats that the client chose.
2. Of an error its code and its message are kept, masked: servers quote values.
"""

from __future__ import annotations

from dataclasses import replace

from vestibule.protocols.postgres import messages as pg
from vestibule.protocols.postgres.codec import encode
from vestibule.protocols.postgres.owed import Running
from vestibule.protocols.postgres.session import Session


class Keeping:
    """Keeps what the statements of a session disclose."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def data(self, running: Running, data: bytes, rows: int = 0) -> None:
        """Record bytes of a result that the client is sent, as far as results are recorded."""
        session, kept = self._session, None if running.result is None else running.result.kept
        if kept is not None and kept.take(len(data), rows, session.is_mid_message):
            session.keep(running, data, self._head_of(running), session.is_mid_message)

    def error(self, running: Running, error: tuple[str, str]) -> None:
        """Record an error, without detail and hint."""
        code, words = error
        shown = pg.ErrorResponse((("S", "ERROR"), ("C", code), ("M", self._session.gate.masked(words))))
        self._session.keep(running, encode(shown))

    def _head_of(self, running: Running) -> bytes:
        """Give the description of the rows that a statement returns now, in the formats that the client chose."""
        shape = self._session.owed[0].shape
        if running.head is None:
            fields = () if shape is None else _formatted(shape.fields, running.formats)
            running.head = encode(pg.RowDescription(fields))
        return running.head


def _formatted(fields: tuple[pg.Field, ...], formats: tuple[int, ...] | None) -> tuple[pg.Field, ...]:
    """Give columns the formats of a Bind; the description of a portal has them already."""
    if not formats or any(field.format for field in fields):
        return fields
    one = formats[0]
    return tuple(
        replace(field, format=one if len(formats) == 1 else formats[at] if at < len(formats) else 0)
        for at, field in enumerate(fields)
    )
