"""The chain of one writer: records get number, link, id, time and salt, and become frames.

1. `n` is dense within the epoch and `prev` is the leaf before; `sn` and `sprev` say the same within a session.
2. A reference becomes id and leaf of the record that its session wrote under that name. `last_sn` of a SessionClosed
   is filled in here: nobody else knows it.
3. A draft is what one batch would add. Nothing of it counts before `accept`, so a failed batch leaves no gap.
4. The 12 bits of an id that RFC 9562 leaves to a counter hold the record's place in its batch. After a power cut this
   tells a batch that was torn in the middle from a segment that was damaged (`segment_file`).
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final
from uuid import UUID

from vestibule.evidence.canonical import ZERO_LEAF, Header, encode_body, encode_header, leaf_hash, uuid7
from vestibule.evidence.segment import encode_frame
from vestibule.model.errors import EvidenceUnavailable
from vestibule.model.names import Instant
from vestibule.model.record import Json, Kind, Record, Reference

#: Sessions that have not opened (refused log-ins, scans) whose state is kept; the oldest is forgotten first.
UNOPENED_LIMIT: Final = 16_384
#: The largest place in a batch that an id can hold; later records of a larger batch all say this.
PLACE_LIMIT: Final = 0xFFF
_SALT_BYTES: Final = 16
_NOISE_BYTES: Final = 8
#: The three digits behind the version of a UUIDv7.
_PLACE: Final = re.compile(rb'\{"v":1,"kind":"[A-Za-z]+","id":"[0-9a-f]{8}-[0-9a-f]{4}-7([0-9a-f]{3})-')
_PLAIN: Final = frozenset({str, int, bool, type(None)})


@dataclass(frozen=True, slots=True)
class Encoded:
    """One record as it will stand in the segment; `spent` are the names it referred to for the last time."""

    record: Record
    id: UUID
    leaf: bytes
    frame: bytes
    spent: tuple[str, ...]


def place_in_batch(header: bytes) -> int:
    """Read from a header's id which record of its batch it is, from 0."""
    found = _PLACE.match(header)
    return PLACE_LIMIT if found is None else int(found[1], 16)


@dataclass(slots=True)
class _Session:
    """Where the chain of one session stands, and the names that later records may refer to."""

    sn: int = 0
    sprev: bytes = ZERO_LEAF
    opened: bool = False
    names: dict[str, dict[str, Json]] = field(default_factory=dict)

    def copy(self) -> _Session:
        return _Session(self.sn, self.sprev, self.opened, self.names.copy())


class Chain:
    """One epoch of one writer, and the sessions that it carries."""

    def __init__(self, node: str, epoch: int, prev: bytes, random: Callable[[int], bytes]) -> None:
        self.node = node
        self.epoch = epoch
        self.n = 0
        self.prev = prev
        self._random = random
        self._sessions: dict[UUID, _Session] = {}
        self._unopened: OrderedDict[UUID, None] = OrderedDict()

    def draft(self) -> Draft:
        """Start a batch."""
        return Draft(self, self._random)

    def accept(self, draft: Draft) -> None:
        """Take over what became durable."""
        self.n, self.prev = draft.n, draft.prev
        for session, state in draft.touched.items():
            self._keep(session, state)

    def begin(self, epoch: int, prev: bytes) -> None:
        """Go on in a new epoch; sessions keep their own chains."""
        self.epoch, self.n, self.prev = epoch, 0, prev

    def knows(self, session: UUID | None, name: str) -> bool:
        """Tell whether a later record of `session` may refer to `name`."""
        return session in self._sessions and name in self._sessions[session].names

    def session(self, session: UUID) -> _Session:
        """Give the state of `session` for changing."""
        state = self._sessions.get(session)
        return _Session() if state is None else state.copy()

    def _keep(self, session: UUID, state: _Session | None) -> None:
        self._unopened.pop(session, None)
        if state is None:
            self._sessions.pop(session, None)
            return
        self._sessions[session] = state
        if not state.opened:
            self._unopened[session] = None
            if len(self._unopened) > UNOPENED_LIMIT:
                del self._sessions[self._unopened.popitem(last=False)[0]]


class Draft:
    """What one batch would add to a chain."""

    def __init__(self, chain: Chain, random: Callable[[int], bytes]) -> None:
        self._chain = chain
        self._random = random
        self.encoded: list[Encoded] = []
        self.size = 0
        self.cut(0)

    def add(self, records: Sequence[Record], instant: Instant) -> None:
        """Add `records`, all of them or, with an error, none."""
        before = len(self.encoded)
        try:
            for record in records:
                self._apply(self._encode(record, instant))
        except BaseException:
            self.cut(before)
            raise

    def cut(self, count: int) -> None:
        """Keep the first `count` records only."""
        kept = self.encoded[:count]
        self.n, self.prev = self._chain.n, self._chain.prev
        self.touched: dict[UUID, _Session | None] = {}
        self.encoded, self.size = [], 0
        for encoded in kept:
            self._apply(encoded)

    def data(self) -> bytes:
        """Give the bytes of the whole batch."""
        return b"".join([encoded.frame for encoded in self.encoded])

    def _encode(self, record: Record, instant: Instant) -> Encoded:
        random = self._random(_SALT_BYTES + _NOISE_BYTES)
        state = self._state(record.session) if record.session is not None and record.sequenced else None
        members, spent = self._resolve(record)
        if record.kind is Kind.SESSION_CLOSED and state is not None:
            members = {**members, "last_sn": state.sn}
        body = encode_body(record.kind, members, random[:_SALT_BYTES])
        record_id = uuid7(instant, self._noise(random[_SALT_BYTES:]))
        header = encode_header(
            Header(
                kind=record.kind,
                id=record_id,
                t=instant,
                node=self._chain.node,
                epoch=self._chain.epoch,
                n=self.n,
                prev=self.prev,
                session=record.session,
                sn=None if state is None else state.sn,
                sprev=None if state is None else state.sprev,
                target=record.target,
                body=sha256(body).digest(),
                length=len(body),
            )
        )
        return Encoded(record, record_id, leaf_hash(header), encode_frame(header, body), spent)

    def _noise(self, random: bytes) -> bytes:
        place = min(len(self.encoded), PLACE_LIMIT)
        return (place << 62 | int.from_bytes(random, "big") >> 2).to_bytes(10, "big")

    def _apply(self, encoded: Encoded) -> None:
        self.encoded.append(encoded)
        self.size += len(encoded.frame)
        self.n += 1
        self.prev = encoded.leaf
        record = encoded.record
        if record.session is None or not record.sequenced:
            return
        state = self._state(record.session)
        state.sn += 1
        state.sprev = encoded.leaf
        for name in encoded.spent:
            state.names.pop(name, None)
        if record.name:
            state.names[record.name] = {"id": str(encoded.id), "leaf": encoded.leaf.hex()}
        if record.kind is Kind.SESSION_OPENED:
            state.opened = True
        elif record.kind is Kind.SESSION_CLOSED:
            self.touched[record.session] = None

    def _state(self, session: UUID) -> _Session:
        state = self.touched.get(session)
        if state is None:
            # A session that closed within this batch starts anew, as it would after it.
            state = _Session() if session in self.touched else self._chain.session(session)
            self.touched[session] = state
        return state

    def _resolve(self, record: Record) -> tuple[Mapping[str, Json], tuple[str, ...]]:
        found: list[Reference] = []
        holders: list[str] = []
        for member, value in record.members.items():
            if type(value) not in _PLAIN:
                before = len(found)
                _references(value, found)
                if len(found) > before:
                    holders.append(member)
        if not found:
            return record.members, ()
        names = {} if record.session is None else self._state(record.session).names
        for reference in found:
            if reference.name not in names:
                raise EvidenceUnavailable(
                    f"{record.kind} refers to {reference.name!r}, which its session has not recorded"
                )
        members = {**record.members, **{member: _replaced(record.members[member], names) for member in holders}}
        return members, tuple([reference.name for reference in found if reference.last])


def _references(value: Json, found: list[Reference]) -> None:
    # The common types first: this runs over every member of every record.
    if type(value) in _PLAIN:
        return
    if type(value) is Reference:
        found.append(value)
    elif type(value) is dict or isinstance(value, Mapping):
        for inner in value.values():
            _references(inner, found)
    elif isinstance(value, Sequence):
        for inner in value:
            _references(inner, found)


def _replaced(value: Json, names: Mapping[str, dict[str, Json]]) -> Json:
    if type(value) in _PLAIN:
        return value
    if type(value) is Reference:
        return names[value.name]
    if isinstance(value, Mapping):
        return {member: _replaced(inner, names) for member, inner in value.items()}
    if isinstance(value, Sequence):
        return [_replaced(inner, names) for inner in value]
    return value
