"""What is recorded of the target's answers, where a session is recorded: what the client is shown, before it is sent.

1. Rows are kept with the description that they are read by, in the formats that the client chose.
2. Where less is stored than shown, rows are kept as the plan for what is stored says. Columns of an answer that it
   does not allow, or does not foretell, are hidden one and all; COPY data of such an answer is not kept.
3. Of an error its code and its message are kept, masked: servers quote values. Where they may quote what is not stored
   the message is the fixed one of the code, in the statement's record too.
4. When masking what is stored fails, nothing of it is kept and nothing more is carried out in the session; that is an
   alarm.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from vestibule.masking.diagnostics import reduced
from vestibule.masking.layout import Fault, Field, layout
from vestibule.masking.steps import RowMask, row_mask
from vestibule.model.plan import Transform
from vestibule.protocols.postgres import messages as pg
from vestibule.protocols.postgres.codec import encode
from vestibule.protocols.postgres.frames import Rows
from vestibule.protocols.postgres.owed import Answer, Owed, Running
from vestibule.protocols.postgres.session import Session

_HIDE: Final = Transform("hide")


class Keeping:
    """Keeps what the statements of a session disclose."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def data(self, running: Running, data: bytes, rows: int, item: Rows | None = None) -> None:
        """Record bytes of a result that the client is sent, as far as results are recorded; `item` are its rows."""
        session, kept = self._session, None if running.result is None else running.result.kept
        if kept is None:
            return
        if item is not None and not item.is_storable:
            kept.withhold()
            self._alarm()
        stored = data if item is None or item.stored is None else item.stored
        if kept.take(len(stored), rows, session.is_mid_message):
            session.keep(running, stored, self._head_of(running), session.is_mid_message)

    def mask(self, message: pg.RowDescription, owed: Owed) -> RowMask | None:
        """Say how rows are masked where they are stored; None where that is as they are shown."""
        if owed.storing is None or not self._session.gate.records_results:
            return None
        fields = [Field(each.name, each.table, each.column, each.type, each.format) for each in message.fields]
        plan = owed.stored_plan
        found = None if plan is None else layout(plan, fields, owed.storing.sensitive)
        if found is None or isinstance(found, Fault):
            transforms: list[Transform | None] = [_HIDE] * len(fields)
        else:
            transforms = [None if column is None else column.transform for column in found.columns]
        if not any(transforms):
            return None
        types, formats, lengths = zip(
            *[(each.type, each.format, each.modifier) for each in message.fields], strict=True
        )
        return row_mask(transforms, types, formats, lengths)

    def begin_copy(self, running: Running, owed: Owed) -> None:
        """Keep nothing of a COPY of what may not be stored: its data is text, and has no columns."""
        kept = None if running.result is None else running.result.kept
        plan = owed.stored_plan
        is_clean = plan is not None and plan.columns is None and not plan.is_reduced
        if kept is not None and owed.storing is not None and not is_clean:
            kept.withhold()

    def error_of(self, message: pg.ErrorResponse, owed: Owed) -> tuple[str, str]:
        """Give what may be recorded of an error: code and message."""
        known = self._session.known
        # A Query behind unsynced messages ends their transaction, and speaks of all that was done in it.
        is_end = owed.answer is Answer.QUERY and owed.is_behind
        if known.is_apart if owed.storing is None or is_end else owed.storing.is_reduced:
            message = pg.ErrorResponse(tuple(reduced(dict(message.fields), known.constraints).items()))
        return message.text("C"), message.text("M")

    def error(self, running: Running, error: tuple[str, str]) -> None:
        """Record an error, without detail and hint."""
        code, words = error
        shown = pg.ErrorResponse((("S", "ERROR"), ("C", code), ("M", self._session.gate.masked(words))))
        self._session.keep(running, encode(shown))

    def _alarm(self) -> None:
        session = self._session
        fault = session.gate.fail_storage_mask(session.now)
        if fault is not None:
            session.persist(fault)

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
