"""The gateway's own questions to a target: what it has of its own, and where columns are masked, all its relations.

They are asked when a session begins, and again before the next statement once the answer may have changed. They are
the only statements that the gateway invents; their answers are never shown to the client.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from struct import Struct
from typing import Final

from vestibule.analysis.sql.catalog import QUERY, Catalog, catalog, search_path, temporaries
from vestibule.masking.catalog import QUERY as SNAPSHOT
from vestibule.model.errors import TargetProtocolError
from vestibule.model.target import Target
from vestibule.protocols.postgres import messages as pg
from vestibule.protocols.postgres.codec import encode
from vestibule.protocols.postgres.frames import Rows

QUESTION: Final = encode(pg.Query(QUERY.encode()))
SURVEY: Final = encode(pg.Query(SNAPSHOT.encode()))
#: The same inside a transaction, whose settings the question changes for itself.
SURVEY_IN_TRANSACTION: Final = encode(
    pg.Query(f"SAVEPOINT vestibule; {SNAPSHOT}; ROLLBACK TO vestibule; RELEASE vestibule".encode())
)
#: A target's answer is bounded like anything else that it says.
ANSWER_BYTES: Final = 8 << 20
SURVEY_BYTES: Final = 64 << 20

_length = Struct("!i").unpack_from
_row_head = Struct("!BIH").unpack_from


@dataclass(frozen=True, slots=True)
class Learned:
    """What the target has of its own, and the search path of this session."""

    catalog: Catalog
    search_path: str
    #: Its temporary relations and their numbers.
    temporaries: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Surveyed:
    """The rows of a snapshot of all relations, as they came; inside a transaction it may be as old as that."""

    data: Sequence[bytes]
    is_of_now: bool = True

    def rows(self) -> Iterator[tuple[str, ...]]:
        """Read them."""
        for data in self.data:
            yield from _rows(data)


class Learning:
    """One answer, as it arrives; `columns` judges its rows."""

    def __init__(self, target: Target, *, is_survey: bool = False) -> None:
        self._target = target
        self._is_survey = is_survey
        self._limit = SURVEY_BYTES if is_survey else ANSWER_BYTES
        self._data: list[bytes] = []
        self._bytes = 0
        self.columns: int | None = None

    def take_rows(self, item: Rows) -> None:
        """Take whole rows."""
        self._bytes += len(item.data)
        if not item.complete or self._bytes > self._limit:
            raise TargetProtocolError("an answer about the catalog that cannot be")
        self._data.append(item.data)

    def take(self, message: pg.BackendMessage) -> Learned | Surveyed | None:
        """Take a message; the last one gives what was asked."""
        match message:
            case pg.RowDescription(fields=fields):
                self.columns = len(fields)
            case pg.CommandComplete():
                self.columns = None
            case pg.ReadyForQuery(status=status):
                if self._is_survey:
                    return Surveyed(self._data, status == "I")
                return self._learned()
            case _:
                raise TargetProtocolError(f"the catalog could not be read: {type(message).__name__}")
        return None

    def _learned(self) -> Learned:
        rows = [row for data in self._data for row in _rows(data)]
        try:
            vouched = (function.name for function in self._target.functions)
            known = catalog(rows, vouched, self._target.credential.username)
            return Learned(known, search_path(rows), temporaries(rows))
        except (IndexError, ValueError):
            # Columns that are missing, and numbers that are none.
            raise TargetProtocolError("an answer about the catalog that cannot be") from None


def _rows(data: bytes) -> Iterator[tuple[str, ...]]:
    """Read whole DataRow frames that the row kernel has checked."""
    at = 0
    while at < len(data):
        _, _, columns = _row_head(data, at)
        at += 7
        values: list[str] = []
        for _ in range(columns):
            length = max(_length(data, at)[0], 0)
            at += 4
            values.append(data[at : at + length].decode(errors="replace"))
            at += length
        yield tuple(values)
