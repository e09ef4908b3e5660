"""A request as one of its readers sees it: summed up, and with what they can do about it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from vestibule.control.approval_view import shown_hash
from vestibule.control.web.highlight import MASKED
from vestibule.evidence.literals import SCANNED_CHARACTERS, TEXT_BYTES, TEXT_CHARACTERS
from vestibule.gate.records import OPERATIONS_SHOWN
from vestibule.model.approval import Request, State
from vestibule.model.identity import Identity
from vestibule.model.record import Json
from vestibule.model.statement import Impact
from vestibule.stores.approvals import Given, Kept

#: A character takes six bytes of JSON at most, and the text stands in quotes.
_NEARLY_FULL: Final = TEXT_BYTES - 8
#: Objects that a summary names; the table has them all.
NAMED: Final = 3
#: What PostgreSQL calls the types that parameters usually have.
TYPES: Final[Mapping[str, str]] = {
    "0": "not said",
    "16": "boolean",
    "17": "bytea",
    "20": "bigint",
    "21": "smallint",
    "23": "integer",
    "25": "text",
    "114": "json",
    "700": "real",
    "701": "double precision",
    "1042": "character",
    "1043": "varchar",
    "1082": "date",
    "1083": "time",
    "1114": "timestamp",
    "1184": "timestamptz",
    "1186": "interval",
    "1700": "numeric",
    "2950": "uuid",
    "3802": "jsonb",
}


@dataclass(frozen=True, slots=True)
class Shown:
    """One operation: what it does to what, and how much that may change."""

    verb: str
    object: str
    impact: str


@dataclass(frozen=True, slots=True)
class Value:
    """One bound value."""

    type: str
    value: str
    is_null: bool


@dataclass(frozen=True, slots=True)
class Card:
    """What a page shows of a request; `may_answer` is the service's word on its reader."""

    kept: Kept
    viewer: Identity
    may_answer: bool

    @property
    def request(self) -> Request:
        """What was asked for."""
        return self.kept.request

    @property
    def state(self) -> State:
        """What became of it."""
        return self.kept.state

    @property
    def answers(self) -> Sequence[Given]:
        """What people answered."""
        return self.kept.answers

    @property
    def hash(self) -> str:
        """What an answer must carry."""
        return shown_hash(self.request)

    @property
    def address(self) -> str:
        """The page of it."""
        return f"/approvals/{self.request.approval}"

    @property
    def granted(self) -> int:
        """How many have approved."""
        return self.kept.granted

    @property
    def decided_by(self) -> Given | None:
        """The answer that decided; what ran out of time or was withdrawn has none."""
        return self.answers[-1] if self.answers and self.state in ("granted", "refused", "spent") else None

    @property
    def operations(self) -> list[Shown]:
        """What the statement does."""
        return [
            Shown(_text(each, "verb"), _text(each, "object"), _impact(_text(each, "impact")))
            for each in self.request.operations
        ]

    @property
    def parameters(self) -> list[Value]:
        """The bound values, in order."""
        is_postgres = self.request.protocol == "postgres"
        return [
            Value(
                TYPES.get(_text(each, "type"), _text(each, "type")) if is_postgres else _text(each, "type"),
                _text(each, "value"),
                each.get("null") is True,
            )
            for each in self.request.parameters
        ]

    @property
    def impact(self) -> str:
        """The worst that it may do; what is not known is the worst."""
        words = [each.impact for each in self.operations]
        return max(words, key=lambda word: Impact[word.upper()], default=Impact.UNKNOWN.word)

    @property
    def summary(self) -> str:
        """Say in one line what is done to what; of what is less than the worst, nothing."""
        worst = [each for each in self.operations if each.impact == self.impact]
        named = list(dict.fromkeys(f"{each.verb.upper()} {each.object}".strip() for each in worst))
        more = f" and {len(named) - NAMED} more" if len(named) > NAMED else ""
        return ", ".join(named[:NAMED]) + more if named else "A statement that is not understood"

    @property
    def is_cut(self) -> bool:
        """Tell whether the statement may go on behind its text; masks change lengths, so doubt says yes."""
        text = self.request.text
        as_json = json.dumps(text, ensure_ascii=False).encode(errors="replace")
        is_full = len(text) >= TEXT_CHARACTERS or len(as_json) > _NEARLY_FULL
        return self.request.text_bytes > SCANNED_CHARACTERS or is_full

    @property
    def has_more(self) -> bool:
        """Tell whether the statement may do more than what is listed."""
        return len(self.request.operations) >= OPERATIONS_SHOWN

    @property
    def masks(self) -> int:
        """How many values are masked."""
        values = [_text(each, "value") for each in self.request.parameters]
        return sum(1 for text in (self.request.text, *values) if MASKED.search(text))

    @property
    def why_not(self) -> str:
        """Say why its reader cannot answer."""
        request, who = self.request, self.viewer.who
        if self.state != "pending":
            return _ENDED[self.state]
        if (who.issuer, who.subject) == (request.requester.issuer, request.requester.subject):
            return "You asked for this; somebody else answers."
        if any((who.issuer, who.subject) == (given.approver.issuer, given.approver.subject) for given in self.answers):
            return "You have answered; others have yet to."
        if self.viewer.groups.isdisjoint(request.approvers):
            return f"This is answered by {' or '.join(sorted(request.approvers))}."
        return "It cannot be answered any more."


_ENDED: Final[Mapping[State, str]] = {
    "granted": "It is approved, and has not run yet.",
    "refused": "It was denied and will not run.",
    "expired": "Nobody answered in time; it will not run.",
    "withdrawn": "It was withdrawn; it will not run.",
    "spent": "It was approved and has run.",
}


def _text(members: Mapping[str, Json], name: str) -> str:
    value = members.get(name)
    return value if isinstance(value, str) else ""


def _impact(word: str) -> str:
    return word if word.upper() in Impact.__members__ else Impact.UNKNOWN.word
