"""A data folder with a journal and a published log, made by the package's own code from a seed."""

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import groupby
from pathlib import Path
from uuid import UUID

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from vestibule.evidence import verify
from vestibule.evidence.canonical import ZERO_LEAF, Header, encode_body, encode_header, leaf_hash, uuid7
from vestibule.evidence.checkpoint import Checkpoint, VerifierKey, sign_checkpoint
from vestibule.evidence.heartbeat import sessions_digest
from vestibule.evidence.log import Grown, LogState, Row, integrate, publication, publishable
from vestibule.evidence.merkle import TileRoot, root_at
from vestibule.evidence.recording import Event, Part, Place, encode_event, seal
from vestibule.evidence.segment import encode_frame, segment_name
from vestibule.model.names import Instant, TargetName, stamp
from vestibule.model.record import Json, Kind

ORIGIN = "vestibule.test/log/1"
START = Instant(1_767_323_045_000_000)
HEX = "00" * 32
LOGIN = "019b7ca9-8d03-7000-8000-000000000001"
WHO: dict[str, Json] = {"iss": "https://idp.test", "sub": "u1", "name": "ada", "type": "human", "login": LOGIN}
PROOF: dict[str, Json] = {"method": "token", "credential": LOGIN}
RULE: dict[str, Json] = {"name": "engineers", "section": "access", "policy": HEX}
PEER: dict[str, Json] = {"ip": "127.0.0.1", "port": 5000}
#: The members of a SessionOpened, all but `access`.
OPENED: dict[str, Json] = {
    "who": WHO,
    "proof": PROOF,
    "client": PEER,
    "protocol": "postgres",
    "target": "core-banking",
    "target_account": "vestibule_rw",
    "policy": HEX,
    "data_key": LOGIN,
    "ends_at": stamp(START),
}


@dataclass
class SessionChain:
    sn: int = 0
    leaf: bytes = ZERO_LEAF


@dataclass
class WriterChain:
    """One writer: records go in, segment files come out."""

    node: str
    source: random.Random
    epoch: int = 0
    n: int = 0
    prev: bytes = ZERO_LEAF
    sessions: dict[UUID, SessionChain] = field(default_factory=dict)
    open: set[UUID] = field(default_factory=set)
    frames: list[tuple[tuple[int, int], bytes]] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    objects: dict[str, bytes] = field(default_factory=dict)

    def start(self) -> None:
        self.epoch, self.n = self.epoch + 1, 0
        self.open.clear()
        self.write(Kind.NODE_STARTED, {"version": "1", "python": "3.11", "clean": True})

    def write(
        self, kind: Kind, members: Mapping[str, Json], session: UUID | None = None, sequenced: bool = True
    ) -> dict[str, Json]:
        """Write one record, and give what refers to it."""
        chain = self.sessions.setdefault(session, SessionChain()) if session is not None and sequenced else None
        body = encode_body(kind, members, self.source.randbytes(16))
        header = Header(
            kind=kind,
            id=uuid7(Instant(START + self.n * 1_000), self.source.randbytes(10)),
            t=Instant(START + self.n * 1_000),
            node=self.node,
            epoch=self.epoch,
            n=self.n,
            prev=self.prev,
            session=session,
            sn=None if chain is None else chain.sn,
            sprev=None if chain is None else chain.leaf,
            target=None if session is None else TargetName("core-banking"),
            body=sha256(body).digest(),
            length=len(body),
        )
        data = encode_header(header)
        self.prev = leaf_hash(data)
        self.frames.append(((self.epoch, self.n), encode_frame(data, body)))
        self.rows.append(Row(self.node, data, body))
        self.n += 1
        if chain is not None:
            chain.sn, chain.leaf = chain.sn + 1, self.prev
        return {"id": str(header.id), "leaf": self.prev.hex()}

    def heartbeat(self, beat: int, published: int = 0) -> None:
        digest = sessions_digest(self.open)
        members: dict[str, Json] = {"beat": beat, "sessions_open": len(self.open), "sessions_digest": digest}
        self.write(Kind.HEARTBEAT, members | {"published_size": published})

    def open_session(self) -> "OpenSession":
        session = UUID(bytes=self.source.randbytes(16), version=4)
        access: dict[str, Json] = {
            "who": WHO,
            "attempted": "ada+core",
            "client": PEER,
            "protocol": "postgres",
            "decision": "allow",
            "rule": RULE,
        }
        ref = self.write(
            Kind.SESSION_OPENED, {"access": self.write(Kind.ACCESS_DECIDED, access, session), **OPENED}, session
        )
        self.open.add(session)
        return OpenSession(self, session, ref)

    def segments(self, size: int) -> Iterator[tuple[str, bytes]]:
        """Give the segment files, a new one after `size` records and in each epoch."""
        for epoch, numbered in groupby(self.frames, key=lambda entry: entry[0][0]):
            frames = [frame for _, frame in numbered]
            for first in range(0, len(frames), size):
                yield segment_name(epoch, first), b"".join(frames[first : first + size])


@dataclass
class OpenSession:
    writer: WriterChain
    id: UUID
    opened: dict[str, Json]
    no: int = 0
    chunks: int = 0

    def record(self, by: WriterChain | None = None) -> str:
        """Seal a chunk of what was shown, and give its file; `by` is another writer that recovers it."""
        place = Place(self.id, UUID(LOGIN), self.chunks)
        plain = encode_event(Event(self.chunks, 1, Part.FRAMES, b"what was shown " * 9))
        salt = sha256(self.id.bytes + bytes([self.chunks])).digest()
        data, about = seal(place, bytes(32), salt[:24], salt[:16], plain)
        name = f"objects/obj/{about.sha256[:2]}/{about.sha256}"
        self.writer.objects[name] = data
        covers: dict[str, Json] = {"first_us": 0, "last_us": 1, "events": 1, "statements": [1, 1]}
        members: dict[str, Json] = {"stream": "results", "seq": self.chunks, "object": about.members(), **covers}
        self.chunks += 1
        (by or self.writer).write(Kind.CHUNK_SEALED, {**members, "recovered": by is not None}, self.id, by is None)
        return name

    def decide(self, decision: str = "allow") -> dict[str, Json]:
        self.no += 1
        members: dict[str, Json] = {
            "statement": str(UUID(int=self.id.int ^ self.no)),
            "no": self.no,
            "dialect": "postgres",
            "text": f"SELECT {self.no}",
            "text_bytes": 8,
            "text_mac": HEX,
            "bytes_mac": HEX,
            "bind_key": LOGIN,
            "ops": [{"verb": "select", "object": "t", "impact": "read"}],
            "decision": decision,
            "rule": RULE,
        }
        return self.writer.write(Kind.STATEMENT_DECIDED, members, self.id)

    def finish(self, decided: dict[str, Json], forwarded: bool = True, outcome: str = "ok") -> None:
        members: dict[str, Json] = {"decided": decided, "outcome": outcome, "forwarded": forwarded, "rows": 1}
        self.writer.write(Kind.STATEMENT_FINISHED, members, self.id)

    def close(self) -> None:
        last = self.writer.sessions[self.id].sn
        members: dict[str, Json] = {
            "opened": self.opened,
            "cause": "client_closed",
            "statements": self.no,
            "last_sn": last,
            "chunks": {"results": self.chunks} if self.chunks else {},
            "recording_complete": True,
        }
        self.writer.write(Kind.SESSION_CLOSED, members, self.id)
        self.writer.open.discard(self.id)


class PublishedLog:
    """The integrator and publisher of one node, over a dictionary of files."""

    def __init__(self, key: Ed25519PrivateKey, origin: str = ORIGIN) -> None:
        self.key = key
        self.vkey = VerifierKey(origin, key.public_key().public_bytes_raw())
        self.files: dict[str, bytes] = {"log.vkey": f"{self.vkey}\n".encode()}
        self.state = LogState()
        self.published = 0
        self.entries: list[bytes] = []
        self.hashes = Grown(lambda level, start, end: (), 0, [], [])
        self.taken: dict[str, int] = {}
        #: The whole folder as it was after earlier publications.
        self.earlier: list[dict[str, bytes]] = []

    def integrate(self, *writers: WriterChain) -> None:
        """Take what the writers have written since the last time."""
        for writer in writers:
            start = self.taken.get(writer.node, 0)
            self.taken[writer.node] = len(writer.rows)
            self.add(writer.rows[start:])

    def add(self, rows: list[Row]) -> None:
        """Make leaves of rows that follow."""
        done = integrate(self.state, rows, limit=1_000_000)
        if done.faults:
            raise AssertionError(done.faults)
        self.state = done.state
        self._grow(rows, [leaf.hash for leaf in done.leaves], done.tiles)

    def force(self, rows: list[Row]) -> None:
        """Make leaves of any rows, as somebody with the log's key could."""
        leaves = [leaf_hash(row.header) for row in rows]
        tree, tiles = self.state.tree.extend(leaves)
        self.state = LogState(tree, self.state.chains)
        self._grow(rows, leaves, tiles)

    def _grow(self, rows: list[Row], leaves: list[bytes], tiles: tuple[TileRoot, ...]) -> None:
        self.entries += [row.header for row in rows]
        self.hashes = Grown(self.hashes.published, 0, [*self.hashes.leaves, *leaves], [*self.hashes.tiles, *tiles])

    def publish(self) -> int:
        size = publishable(self.state.tree.size)
        root = root_at(size, self.hashes)
        self.files |= dict(publication(self.published, size, self.hashes, lambda start, end: self.entries[start:end]))
        note = sign_checkpoint(Checkpoint(self.vkey.name, size, root), self.vkey, self.key.sign)
        self.files[f"checkpoints/{size}"] = self.files["checkpoint"] = note
        self.published = size
        return size


def write_files(folder: Path, files: Mapping[str, bytes]) -> None:
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def test_key() -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(sha256(b"vestibule test log key").digest())


def busy_day(seed: int, rounds: int = 8) -> tuple[dict[str, bytes], PublishedLog, list[WriterChain]]:
    """Make the files of a node with three writers: epochs, sessions of all kinds, some checkpoints; all published."""
    source = random.Random(seed)
    log = PublishedLog(test_key())
    control, *gates = writers = [WriterChain(node, source) for node in ("gate1.control", "gate1.0", "gate1.1")]
    control.start()
    control.write(Kind.LOG_GENESIS, {"origin": ORIGIN, "generation": 1, "vkey": str(log.vkey), "reason": "first start"})
    control.write(
        Kind.POLICY_APPLIED, {"policy": HEX, "text": "version: 1\n", "source": "file", "effective_at": stamp(START)}
    )
    for gate in gates:
        gate.start()
    for number in range(rounds):
        for gate in gates:
            _serve(gate, source)
        if number == rounds // 2:
            _crash(gates[1], control)
        control.write(Kind.IDENTITY_EVENT, {"event": "login_ok", "source": "oidc", "who": WHO, "sessions": []})
        for writer in writers:
            writer.heartbeat(number, log.published)
        log.integrate(*source.sample(writers, len(writers)))
        log.publish()
        log.earlier.append(folder_of(log, writers))
    for writer in (*gates, control):
        writer.write(Kind.NODE_STOPPED, {"cause": "operator", "open_sessions": len(writer.open), "queue_empty": True})
    if sum(len(writer.rows) for writer in writers) % 256 == 0:
        control.heartbeat(rounds, log.published)
    log.integrate(*writers)
    log.publish()
    return folder_of(log, writers), log, writers


def folder_of(log: PublishedLog, writers: list[WriterChain]) -> dict[str, bytes]:
    files = {f"log/{name}": data for name, data in log.files.items()}
    for writer in writers:
        segments = {f"journal/{writer.node}/{name}": data for name, data in writer.segments(60)}
        # The newest segment still has the room that was allocated for it.
        newest = list(segments)[-1]
        segments[newest] += bytes(-len(segments[newest]) % 4_096)
        files |= (
            writer.objects
            | segments
            | {f"journal/{writer.node}/lock": b"", f"journal/{writer.node}/reserve": bytes(4_096)}
        )
    return files


def gate() -> WriterChain:
    """Start one writer."""
    chain = WriterChain("gate1.0", random.Random(7))
    chain.start()
    return chain


def published_folder(writers: list[WriterChain]) -> dict[str, bytes]:
    """Make the folder of writers whose records are all published."""
    log = PublishedLog(test_key())
    log.integrate(*writers)
    log.publish()
    return folder_of(log, writers)


def findings(folder: Path, files: Mapping[str, bytes], saved: bytes | None = None) -> dict[str, list[str]]:
    """Write a folder and give what the verifier finds, by check."""
    write_files(folder, files)
    found, _, _ = verify.verify(str(folder), saved)
    return {check: texts for check, texts in found.items() if texts}


def _serve(gate: WriterChain, source: random.Random) -> None:
    sessions = [gate.open_session() for _ in range(source.randint(1, 3))]
    for session in sessions:
        for _ in range(source.randint(1, 4)):
            decided = session.decide()
            session.finish(decided, outcome=source.choice(["ok", "error", "cancelled"]))
        session.finish(session.decide("deny"), forwarded=False, outcome="refused")
        session.decide("deny")
        for _ in range(session.no % 3):
            session.record()
    for session in sessions[source.randint(0, 1) :]:
        session.close()


def _crash(gate: WriterChain, control: WriterChain) -> None:
    """The process is killed with a statement at the target; it starts again and the control process recovers."""
    session = gate.open_session()
    decided = session.decide()
    session.record()
    sequenced = gate.sessions[session.id].sn - 1
    gate.start()
    unknown: dict[str, Json] = {"decided": decided, "outcome": "unknown", "forwarded": True}
    control.write(Kind.STATEMENT_FINISHED, unknown, session.id, sequenced=False)
    session.record(by=control)
    closed: dict[str, Json] = {
        "opened": session.opened,
        "cause": "crash",
        "chunks": {"results": session.chunks},
        "last_sn": sequenced,
        "recording_complete": False,
    }
    control.write(Kind.SESSION_CLOSED, closed, session.id, sequenced=False)
