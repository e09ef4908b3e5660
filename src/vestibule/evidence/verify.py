#!/usr/bin/env python3
"""Check a Vestibule data folder offline, with Python 3.8 or later alone and without changing anything.

python3 verify.py DATA [--checkpoint saved.txt] [--json]    exit status 0: passed, 1: failed, 2: no data folder
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import os
import re
import struct
import sys
import time
from bisect import bisect_left
from collections import Counter
from datetime import datetime, timezone
from functools import lru_cache, partial, reduce
from pathlib import Path
from typing import Any, BinaryIO, Callable, Iterator, Sequence  # noqa: UP035 (Python 3.8)

RESIDUAL = """Vestibule shows what passed through it. It cannot show: access that bypassed it (reconciliation reports
make such access visible where the target keeps a log); what a script, stored procedure, trigger or job did inside a
target after the recorded bytes arrived; what a person did with data after it was displayed; who sat at the keyboard
of an authenticated session. A party that controls the gateway at the moment of an event can falsify that event before
it is recorded; everything before the last cosigned checkpoint is beyond that party's reach. A party that controls the
gateway and every witness can rewrite what is younger than the last RFC 3161 token, unless a copy in a locked store
contradicts it."""
NO_SAVED = "no saved checkpoint was given: an end that was cut off, or a log written and signed anew, is not found"
NEVER = "V05 tree: no checkpoint was published yet; if the gateway ran for minutes, its own log says what is in its way"
DIED = "a gateway is publishing them, or died while it did, and its next start removes what it left"
CHECKS = {
    "V05": "tree",
    "V07": "chains",
    "V08": "sessions",
    "V09": "bodies",
    "V10": "recordings",
    "V11": "effect order",
    "V12": "approvals",
}
HEADER = re.compile(
    rb'\{"v":1,"kind":"(?P<kind>\w+)","id":"(?P<id>[\da-f-]{36})","t":"(?P<t>[\d:.TZ-]{27})",'
    rb'"node":"(?P<node>[\w.-]+)","epoch":(?P<epoch>\d{1,16}),'
    rb'"n":(?P<n>\d{1,16}),"prev":"(?P<prev>\w{64})","session":(?:null|"(?P<session>[\da-f-]{36})"),"sn":(?:null|(?P<sn>\d{1,16})),'
    rb'"sprev":(?:null|"(?P<sprev>\w{64})"),"target":(?:null|"(?:[^"\\]|\\.)*"),"body":"(?P<body>\w{64})",'
    rb'"len":(?P<len>\d{1,16})[,}].*'
)
LIFE = ("Heartbeat", "LogGenesis", "NodeStarted")
EVENTS = ("SessionOpened", "SessionClosed", "StatementDecided", "StatementFinished")
APPROVALS = ("ApprovalRequested", "ApprovalAnswered", "PermitUsed")
#: What comes of content that is not as a gateway writes it.
UNREADABLE = (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError)
#: Seconds by which a record may be younger than the act that it stands for.
SLACK = 10.0
START = re.compile(rb'\{"v":1,"kind":"')
SEGMENT = re.compile(r"(0|[1-9][0-9]{0,15})-(0|[1-9][0-9]{0,15})\.seg")
TILE = re.compile(r"(?a)tile/(entries|[1-9]?\d)/((?:x\d{3}/){0,5}\d{3})(?:\.p/([1-9]\d?|1\d\d|2[0-4]\d|25[0-5]))?")
SIGNATURE = re.compile("\u2014 ([^ ]+) ([^ ]+)")
NUMBER = re.compile(r"0|[1-9][0-9]{0,15}")
FRONT = re.compile(r"checkpoint|log\.vkey|checkpoints/(?:0|[1-9][0-9]{0,15})")
PRIME, ORDER = 2**255 - 19, 2**252 + 27742317777372353535851937790883648493
CURVE = -121665 * pow(121666, PRIME - 2, PRIME) % PRIME
CRC = [reduce(lambda value, _: value >> 1 ^ 0x82F63B78 * (value & 1), range(8), byte) for byte in range(256)]
CHUNK = b"VSO1\1\1\1\0"
OBJECT = re.compile(r"obj/([0-9a-f]{2})/(\1[0-9a-f]{62})")
BASE = (4 * pow(5, PRIME - 2, PRIME) % PRIME).to_bytes(32, "little")


def add(p: tuple[int, ...], q: tuple[int, ...]) -> tuple[int, ...]:
    """Add two points of Ed25519 in extended coordinates (RFC 8032, 5.1.4)."""
    a, b = (p[1] - p[0]) * (q[1] - q[0]) % PRIME, (p[1] + p[0]) * (q[1] + q[0]) % PRIME
    c, d = 2 * p[3] * q[3] * CURVE % PRIME, 2 * p[2] * q[2] % PRIME
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % PRIME, g * h % PRIME, f * g % PRIME, e * h % PRIME


def encode_point(p: tuple[int, ...]) -> bytes:
    """Write a point as 32 bytes."""
    inverse = pow(p[2], PRIME - 2, PRIME)
    return (p[1] * inverse % PRIME | (p[0] * inverse % PRIME & 1) << 255).to_bytes(32, "little")


@lru_cache(maxsize=8)
def multiples(data: bytes) -> list[list[tuple[int, ...]]]:
    """Give the multiples of a point by 4-bit digit; a second form of a point, or one of small order, is refused."""
    y = int.from_bytes(data, "little") & (2**255 - 1)
    square = (y * y - 1) * pow(CURVE * y * y + 1, PRIME - 2, PRIME) % PRIME
    x = pow(square, (PRIME + 3) // 8, PRIME)
    x = x if (x * x - square) % PRIME == 0 else x * pow(2, (PRIME - 1) // 4, PRIME) % PRIME
    x = x if x & 1 == data[31] >> 7 else -x % PRIME
    point: tuple[int, ...] = (x, y, 1, x * y % PRIME)
    four = add(add(point, point), add(point, point))
    if (x * x - square) % PRIME or encode_point(point) != data or add(four, four)[0] % PRIME == 0:
        raise ValueError("not a point that a key may be")
    table: list[list[tuple[int, ...]]] = []
    for _ in range(64):
        table.append([(0, 1, 1, 0)])
        for _ in range(16):
            table[-1].append(add(table[-1][-1], point))
        point = table[-1][-1]
    return table


def verify_ed25519(public: bytes, signature: bytes, message: bytes) -> bool:
    """Verify a signature (RFC 8032, 5.1.7), strictly: a signature has one form only."""
    s = int.from_bytes(signature[32:], "little")
    k = int.from_bytes(hashlib.sha512(signature[:32] + public + message).digest(), "little") % ORDER
    result: tuple[int, ...] = (0, 1, 1, 0)
    for place in range(64):
        x, y, z, t = multiples(public)[place][k >> 4 * place & 15]
        result = add(add(result, multiples(BASE)[place][s >> 4 * place & 15]), (-x, y, z, -t))
    return len(signature) == 64 and s < ORDER and encode_point(result) == signature[:32]


def crc32c(data: bytes) -> bytes:
    """Give the CRC-32C of data (RFC 3720, 12.1)."""
    value = 0xFFFFFFFF
    for byte in data:
        value = CRC[(value ^ byte) & 255] ^ value >> 8
    return (value ^ 0xFFFFFFFF).to_bytes(4, "big")


def unbase64(text: str) -> bytes:
    """Decode canonical base64."""
    data = base64.b64decode(text.encode(), validate=True)
    if base64.b64encode(data).decode() != text:
        raise ValueError("base64 that is not canonical")
    return data


def parse_vkey(data: bytes) -> tuple[str, bytes, bytes]:
    """Read a verifier key: name, key id, public key."""
    text = data.decode("utf-8", "replace")
    name, shown, rest = ([*text[:-1].split("+", 2), "", ""])[:3]
    key = unbase64(rest)
    key_id = hashlib.sha256(name.encode() + b"\n" + key).digest()[:4]
    if len(key) != 33 or key[0] != 1 or key_id.hex() != shown or text[-1:] != "\n":
        raise ValueError("not one line with a name, a key and the key id of both")
    multiples(key[1:])
    return name, key_id, key[1:]


def open_checkpoint(data: bytes, vkey: tuple[str, bytes, bytes], foreign: bool) -> tuple[int, bytes]:
    """Read a signed checkpoint: size and root; lines of other signers only where `foreign` allows them."""
    text, _, below = data.decode("utf-8", "replace").rpartition("\n\n")
    (*signatures, end), lines, good = below.split("\n"), text.split("\n"), 0
    for line in signatures:
        match = SIGNATURE.fullmatch(line)
        payload = unbase64(match[2]) if match else b""
        known = match is not None and (match[1], payload[:4]) == vkey[:2]
        if not (verify_ed25519(vkey[2], payload[4:], (text + "\n").encode()) if known else match and foreign):
            raise ValueError("a line below the text is not the log's signature of it")
        good += known
    if good != 1 or end or len(lines) != 3 or lines[0] != vkey[0] or not NUMBER.fullmatch(lines[1]):
        raise ValueError("not a checkpoint that the log's key signed once")
    return int(lines[1]), unbase64(lines[2])


def files(folder: Path) -> Iterator[Path]:
    """Give what is no folder below a folder, and folders that cannot be read; depth may be any."""
    folders = [folder] if folder.is_dir() else []
    for here in folders:
        try:
            for path in here.iterdir():
                if not os.path.isdir(path):
                    yield path
                elif not path.is_symlink():
                    folders.append(path)
        except FileNotFoundError:
            continue  # a running gateway may have removed it
        except OSError:
            yield here


class Writer:
    """The records of one writer in order; `where` says which one was read last."""

    def __init__(self, folder: Path, fail: Callable[[str, str], None]) -> None:
        self.folder, self.name, self.fail = folder, folder.name, fail
        self.where, self.stopped, self.records = "", False, self._read()

    @staticmethod
    def _length(head: bytes) -> int:
        header, body = struct.unpack(">II", head) if len(head) == 8 else (0, 0)
        return header + body + 4 if 0 < header <= 1024 and body <= 60000 else 0

    def _is_record(self, data: bytes, place: int = 0) -> bool:
        end = place + 4 + self._length(data[place : place + 8])
        return end > place + 4 and data[end : end + 4] == crc32c(data[place:end])

    def _frames(self, file: BinaryIO) -> Iterator[tuple[int, bytes, bytes]]:
        """Give place, header and body of each record; where the end is not clean, an empty header and the reason."""
        offset, retried = 0, False
        while True:
            data = b"".join([head := file.read(8), file.read(self._length(head))])
            if self._is_record(data):
                middle = 8 + int.from_bytes(head[:4], "big")
                yield offset, data[8:middle], data[middle:-4]
                offset += len(data)
                continue
            data += file.read()
            if not data.strip(b"\0") and not (data and (offset + len(data)) % 4096):
                return
            behind = any(self._is_record(data, found.start() - 8) for found in START.finditer(data, 9))
            if behind or retried:
                yield offset, b"", b"a damaged record" if behind else b"a record that is not whole, or foreign bytes"
                return
            time.sleep(0.05)  # a running gateway may be writing it
            file.seek(offset)
            retried = True

    def _read(self) -> Iterator[tuple[bytes, bytes]]:
        paths = sorted(self.folder.iterdir())
        found = [(SEGMENT.fullmatch(path.name) if path.is_file() else None) or self._check_room(path) for path in paths]
        for epoch, n in sorted((int(match[1]), int(match[2])) for match in found if match):
            name = f"{epoch}-{n}.seg"
            with open(self.folder / name, "rb", buffering=0) as file:
                for offset, header, body in self._frames(file):
                    self.where = f"journal/{self.name}/{name} at offset {offset}"
                    if not header:
                        self.stopped = True
                        return self.fail("V09", f"{self.where}: {body.decode()}")
                    if f',"node":"{self.name}","epoch":{epoch},"n":{n},'.encode() not in header:
                        self.fail("V07", f"{self.where}: not record {n} of epoch {epoch} of {self.name}")
                    n += 1
                    yield header, body
        return None

    def _check_room(self, path: Path) -> re.Match[str] | None:
        rooms = ("lock", "spare", "reserve", "spare.new", "reserve.new")
        data = path.read_bytes() if path.name in rooms and path.is_file() else b"?"
        sound = not data.strip(b"\0") and len(data) % (1 + len(data) if path.name == "lock" else 4096) == 0
        if not sound and path.exists():
            self.fail("V07", f"journal/{self.name}/{path.name}: does not belong in a journal")
        return None


def moment(text: str) -> float:
    """Read a time of a record."""
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=timezone.utc).timestamp()  # noqa: UP017


def person(who: dict[str, Any] | None) -> tuple[str, str] | None:
    """Say who somebody is, whatever they are called."""
    return (who["iss"], who["sub"]) if who else None


class Approvals:
    """What was asked for, who answered, what used it: compared at the end, for writers have no common order."""

    def __init__(self, fail: Callable[[str], None], count: Counter[str]) -> None:
        self.fail, self.count = fail, count
        self.requests: dict[str, dict[str, Any]] = {}
        self.answers: dict[str, dict[str, Any]] = {}
        self.uses: list[dict[str, Any]] = []
        self.names: Counter[str] = Counter()
        self.spent: Counter[str] = Counter()

    def take(self, header: dict[str, Any], leaf: str, content: dict[str, Any], where: str) -> None:
        """Keep what a record says; `content` has the person of its session as `person`."""
        for name in ("text", "ops", "comment", "proof"):
            content.pop(name, None)
        content.update(ref={"id": header["id"], "leaf": leaf}, at=moment(header["t"]), where=where)
        if header["kind"] == "ApprovalRequested":
            people = (content["requester"], content.get("sponsor"))
            if not isinstance(content["approval"], str):
                raise ValueError("an approval has a name")
            content.update(
                people={person(who) for who in people if who}, until=moment(content["expires_at"]) + SLACK, over=False
            )
            self.requests[leaf] = content
        elif header["kind"] == "ApprovalAnswered":
            self.answers[leaf] = content
        else:
            self.uses.append(content)

    def check(self) -> None:
        """Compare requests, answers and uses."""
        self.names = Counter(str(request["approval"]) for request in self.requests.values())
        steps = ((self._request, self.requests.values()), (self._answer, self.answers.values()), (self._use, self.uses))
        for step, records in steps:
            for record in records:
                try:
                    step(record)
                except UNREADABLE:
                    self._expect(False, record, "or what it refers to, cannot be read")

    def _expect(self, holds: bool, record: dict[str, Any], text: str) -> None:
        if not holds:
            name = record.get("approval") or record.get("permit")  # an answer names its permit with its limits
            self.fail(f"{record['where']}: {name if isinstance(name, str) else 'an answer'} {text}")

    @staticmethod
    def _find(records: dict[str, dict[str, Any]], ref: dict[str, Any]) -> dict[str, Any] | None:
        found = records.get(ref["leaf"]) if isinstance(ref, dict) else None
        return found if found and found["ref"] == ref else None

    def _request(self, request: dict[str, Any]) -> None:
        self._expect(self.names[request["approval"]] == 1, request, "asks under an id that is used twice")

    def _answer(self, answer: dict[str, Any]) -> None:
        request = self._find(self.requests, answer["request"])
        self._expect(request is not None, answer, "refers to no request")
        if request is not None and answer["answer"] != "granted":
            request["over"] = True
        elif request is not None and person(answer.get("approver")) in (None, *request["people"]):
            self.count["self-approved"] += 1
            self._expect(False, answer, f"to {request['approval']} is by its own requester or sponsor, or by nobody")

    def _use(self, use: dict[str, Any]) -> None:
        request = self._find(self.requests, use["request"])
        self._expect(request is not None, use, "refers to no request")
        if request is not None and use["result"] == "spent":
            self.spent[use["permit"]] += 1
            self._spent(use, request, self.spent[use["permit"]])

    def _spent(self, use: dict[str, Any], request: dict[str, Any], times: int) -> None:
        answers = [self._find(self.answers, ref) for ref in use["answers"]]
        grants = [
            each for each in answers if each and each["answer"] == "granted" and each["request"] == request["ref"]
        ]
        permits = [each["permit"] for each in grants if each.get("permit", {}).get("id") == use["permit"]]
        people = {person(each["approver"]) for each in grants}
        equal = all(use[name] == request[name] for name in ("bytes_mac", "bind_key")) and use["equal"] is True
        self._expect(equal, use, f"was used for other bytes than {request['approval']} has asked for")
        self.count["equal"] += equal
        self._expect(len(grants) == len(answers), use, "refers to what is no approval of its request")
        self._expect(len(people - request["people"]) >= request["quorum"], use, "has too few approvers")
        groups = all(each["four_eyes"]["group"] in request["approvers"] for each in grants)
        self._expect(groups, use, "has an approver of another group than was asked")
        self._expect(not request["over"], use, "was used although its request was refused, withdrawn or expired")
        self._expect(len(permits) == 1, use, "was given by none of its answers, or by several")
        ends = [request["until"], *(moment(permit["expires_at"]) + SLACK for permit in permits)]
        self._expect(max(each["at"] for each in [use, *grants]) <= min(ends), use, "was used or given too late")
        self._expect(times <= sum(permit["uses"] for permit in permits[:1]), use, "was used more often than it may be")
        self._expect(use["person"] == person(request["requester"]), use, "was used by another person than asked for it")


class Records:
    """What the records say about each other: chains, sessions, bodies, order, approvals."""

    def __init__(self, fail: Callable[[str, str], None], recordings: Recordings) -> None:
        self.fail, self.vkey, self.recordings = fail, b"", recordings
        self.count: Counter[str] = Counter()
        self.approvals = Approvals(partial(fail, "V12"), self.count)
        self.chains: dict[str, dict[str, Any]] = {}
        self.sessions: dict[str, dict[str, Any]] = {}
        self.late: list[tuple[bool, dict[str, Any], bytes, str]] = []

    def take(self, data: bytes, body: bytes, where: str) -> None:
        """Check one record against those before it; `where` names it in findings."""
        match = HEADER.fullmatch(data)
        if match is None:
            return self.fail("V07", f"{where}: not a header of version 1")
        header: dict[str, Any] = {member: value and value.decode() for member, value in match.groupdict().items()}
        header.update({member: int(match[member]) for member in ("epoch", "n", "sn", "len") if match[member]})
        node, epoch, name = header["node"], header["epoch"], header["session"]
        leaf = hashlib.sha256(b"\0" + data).hexdigest()
        self.count["records"] += 1
        chain = self.chains.setdefault(node, {"epoch": -1, "next": 0, "leaf": "0" * 64, "live": set()})
        if epoch != chain["epoch"]:
            chain.update(epoch=epoch, next=0 if epoch > chain["epoch"] else -1)
            self.count["epochs"] += 1
        self._follow("V07", chain, f"{node} epoch {epoch}", (header["n"], header["prev"], leaf), where)
        if len(body) != header["len"] or hashlib.sha256(body).hexdigest() != header["body"]:
            self.fail("V09", f"{where}: the body is not the one that the header names")
        if name is not None and header["sn"] is not None:
            fresh = {"node": node, "next": 0, "leaf": "0" * 64, "opened": False, "decisions": {}, "who": None}
            session = self.sessions.setdefault(name, fresh)
            self._follow("V08", session, f"session {name}", (header["sn"], header["sprev"], leaf), where)
        if header["kind"] in EVENTS and header["sn"] is None:
            self.late.append((header["kind"] == "SessionClosed", header, body, where))
        elif header["kind"] in (*LIFE, *EVENTS, *APPROVALS, "ChunkSealed"):
            self.read(header, leaf, body, where)
        return None

    def _follow(self, check: str, chain: dict[str, Any], name: str, link: tuple[int, str, str], where: str) -> None:
        if link[:2] != (chain["next"], chain["leaf"]):
            self.fail(check, f"{where}: {name} has record {link[0]} where a linked record {chain['next']} belongs")
        chain["next"], chain["leaf"] = link[0] + 1, link[2]

    def read(self, header: dict[str, Any], leaf: str, body: bytes, where: str) -> None:
        """Check what a record says; for what other writers say of a session at the end, as its place is not fixed."""
        try:
            if header["kind"] in LIFE:
                self._life(header["kind"], header["node"], json.loads(body), where)
            elif header["kind"] in APPROVALS:
                self._approval(header, leaf, json.loads(body), where)
            elif header["kind"] == "ChunkSealed":
                self.recordings.take(header["session"], json.loads(body), where)
            else:
                self._event(header["kind"], header["session"], leaf, json.loads(body), where)
        except UNREADABLE:
            self.fail("V09", f"{where}: the body of a {header['kind']} cannot be read")

    def _life(self, kind: str, node: str, content: dict[str, Any], where: str) -> None:
        chain = self.chains[node]
        if kind == "NodeStarted":
            chain["live"].clear()
        elif kind == "LogGenesis" and content["vkey"].encode() + b"\n" != self.vkey:
            self.fail("V05", f"{where}: names another key than log/log.vkey")
        elif kind == "Heartbeat":
            self.count["beats"] += 1
            self.count["published"] = max(self.count["published"], content.get("published_size", 0))
            ids = sorted(bytes.fromhex(name.replace("-", "")) for name in chain["live"])
            # A session may be on its way in or out at that moment: told, but not held against it.
            self.count["odd beats"] += hashlib.sha256(b"".join(ids)).hexdigest() != content["sessions_digest"]

    def _event(self, kind: str, name: str, leaf: str, content: dict[str, Any], where: str) -> None:
        session = self.sessions.get(name)
        if kind == "StatementFinished":
            self._finished(session, name, content, where)
        elif session is None or session["opened"] == (kind == "SessionOpened"):
            self.fail("V08", f"{where}: session {name} has a {kind} but {'was open' if session else 'was not open'}")
        elif kind == "SessionOpened":
            session.update(opened=True, who=person(content["who"]))
            self.count["opened"] += 1
            self.chains[session["node"]]["live"].add(name)
        elif kind == "StatementDecided":
            session["decisions"][leaf] = content["decision"]
            self.count["decided"] += 1
        else:
            self.count["closed"] += 1
            self.chains[session["node"]]["live"].discard(name)
            if content.get("last_sn", session["next"] - 1) != session["next"] - 1:
                self.fail("V08", f"{where}: session {name} ends before or behind record {content['last_sn']}")
            del self.sessions[name]
            self.recordings.close(name, content.get("chunks", {}), content.get("recording_complete", False))

    def _finished(self, session: dict[str, Any] | None, name: str, content: dict[str, Any], where: str) -> None:
        if not isinstance(content["forwarded"], bool):
            raise ValueError("a statement was forwarded or not")
        decision = session["decisions"].pop(content["decided"]["leaf"], None) if session else None
        self.count["finished"] += 1
        self.count["forwarded"] += content["forwarded"]
        if content["forwarded"] and decision not in ("allow", "spent"):
            self.fail(
                "V11", f"{where}: session {name} forwarded a statement that neither a decision nor a permit allows"
            )
        elif session and decision is None:
            self.fail("V11", f"{where}: session {name} ends a statement that was not decided, or ends it twice")

    def _approval(self, header: dict[str, Any], leaf: str, content: dict[str, Any], where: str) -> None:
        session, kind = self.sessions.get(header["session"]), header["kind"]
        decided = content.get("decided", {}).get("leaf")
        is_held = session is not None and header["sn"] is not None and session["decisions"].get(decided) == "hold"
        self.count[kind] += 1
        if kind == "PermitUsed" and content["result"] == "spent":
            self.count["spent"] += 1
            if is_held and session:
                session["decisions"][decided] = "spent"
            else:
                self.fail(
                    "V12", f"{where}: {content['permit']} was used for a statement that its session does not hold"
                )
        elif kind == "ApprovalRequested" and content["scope"] == "statement" and "decided" in content and not is_held:
            self.fail("V12", f"{where}: {content['approval']} asks for a statement that its session does not hold")
        content["person"] = session["who"] if session else None
        self.approvals.take(header, leaf, content, where)


class Recordings:
    """The chunks that records name: each is there, in its own place, and they are as many as the sessions say."""

    def __init__(self, folder: Path, fail: Callable[[str], None]) -> None:
        self.folder, self.fail = folder, fail
        self.open: dict[str, dict[str, dict[int, str]]] = {}
        self.closed: dict[str, tuple[dict[str, int], bool]] = {}
        self.named: set[str] = set()
        self.chunks = self.sessions = self.spare = 0

    def take(self, session: str, content: dict[str, Any], where: str) -> None:
        """Check what a ChunkSealed names."""
        about, seq = content["object"], content["seq"]
        path = f"obj/{about['sha256'][:2]}/{about['sha256']}"
        if not OBJECT.fullmatch(path) or (type(seq), type(content["stream"])) != (int, str):
            raise ValueError("not a chunk's place and object")
        place = bytes.fromhex(session.replace("-", "") + about["key"].replace("-", "")) + seq.to_bytes(8, "big")
        if session not in self.open:
            self.sessions += 1
        seqs = self.open.setdefault(session, {}).setdefault(content["stream"], {})
        self.chunks += seq not in seqs
        if seqs.setdefault(seq, about["sha256"]) != about["sha256"]:
            self.fail(f"{where}: session {session} has two different chunks {seq}")
        self.named.add(about["sha256"])
        data = (self.folder / path).read_bytes() if (self.folder / path).is_file() else None
        if data is None:
            self.fail(f"objects/{path}: missing, chunk {seq} of session {session}")
        elif hashlib.sha256(data).hexdigest() != about["sha256"] or len(data) != about["bytes"]:
            self.fail(f"objects/{path}: changed, chunk {seq} of session {session}")
        elif data[:48] != CHUNK + place:
            self.fail(f"objects/{path}: is not chunk {seq} of session {session}, which {where} says")

    def close(self, session: str, counts: dict[str, int], complete: bool) -> None:
        """Note how many chunks a closed session says that it has."""
        if {type(count) for count in counts.values()} - {int}:
            raise ValueError("not how many chunks there are")
        found = self.open.get(session, {})
        if counts != {stream: len(seqs) for stream, seqs in found.items()}:
            self.closed[session] = (counts, complete)
        elif all(sorted(seqs) == list(range(len(seqs))) for seqs in found.values()):
            self.open.pop(session, None)

    def end(self) -> list[str]:
        """Compare counts, look at every file; give what could not be checked."""
        notes = []
        for session, found in self.open.items():
            for stream, seqs in found.items():
                if sorted(seqs) != list(range(len(seqs))):
                    self.fail(f"session {session}: a chunk of {stream} is missing among {len(seqs)}")
        for session, (counts, complete) in self.closed.items():
            found = self.open.get(session, {})
            for stream in sorted({*counts, *found}):
                said, there = counts.get(stream, 0), len(found.get(stream, ()))
                if complete or there > said:
                    self.fail(f"session {session}: says {said} chunks of {stream}, and {there} are recorded")
                elif there < said:
                    notes.append(f"session {session}: {said - there} of {said} chunks of {stream} are not sealed yet")
        self._check_files()
        if self.chunks:
            notes.append(f"the content of {self.chunks} chunks: they are encrypted, and no key was given")
        if self.spare:
            notes.append(f"{self.spare} objects that no record names: what is left of a crash, or not recorded yet")
        return notes

    def _check_files(self) -> None:
        for file in sorted(files(self.folder)):
            path = file.relative_to(self.folder).as_posix()
            match = OBJECT.fullmatch(path)
            if (match and match[2] in self.named) or path.startswith("new/"):
                continue
            try:
                if match is None or hashlib.sha256(file.read_bytes()).hexdigest() != match[2]:
                    self.fail(f"objects/{path}: does not belong there")
            except OSError as error:
                self.fail(f"objects/{path}: {error.strerror}")
            self.spare += match is not None


class Log:
    """The published tree, grown again from its entries, each of which must be the next record of its writer."""

    def __init__(self, folder: Path, fail: Callable[[str], None], records: Records, writers: dict[str, Writer]) -> None:
        self.folder, self.fail, self.records, self.writers = folder, fail, records, writers
        self.signed = self.sizes = sorted(self._names("checkpoints"))
        self.end = self.until = max(self.sizes, default=0)
        self.size, self.stops, self.unsigned = 0, {0}, False
        self.rows: dict[int, list[bytes]] = {0: []}
        self.vkey: tuple[str, bytes, bytes] | None = None
        self.saved: tuple[int, bytes] | None = None

    @staticmethod
    def _root_of(row: list[bytes]) -> bytes:
        """Give the root over subtrees of one size, the last of which may be smaller (RFC 9162, 2.1.1)."""
        while len(row) > 1:
            pairs = [row[place : place + 2] for place in range(0, len(row), 2)]
            row = [hashlib.sha256(b"\1" + b"".join(pair)).digest() if len(pair) == 2 else pair[0] for pair in pairs]
        return row[0] if row else hashlib.sha256().digest()

    def _numbered(self, n: int, mark: str = "") -> str:
        return (self._numbered(n // 1000, "x") + "/" if n > 999 else "") + f"{mark}{n % 1000:03d}"

    def check(self, saved: bytes | None) -> None:
        """Walk the log from its first leaf to its newest checkpoint."""
        try:
            self.records.vkey = self._file("log.vkey") or b""
            self.vkey = parse_vkey(self.records.vkey)
            self.saved = open_checkpoint(saved, self.vkey, True) if saved is not None else None
        except ValueError as bad:
            self.fail(f"{'the saved checkpoint' if self.vkey else 'log/log.vkey'}: {bad}")
        self.stops = {*self.sizes, self.saved[0] if self.saved else 0}
        self._compare_roots()
        self._walk()
        wrong = self._go_on() if self.size == self.end else []
        if self.saved and self.saved[0] > self.end:
            self.fail(f"the log has {self.end} leaves, the saved checkpoint {self.saved[0]}: its end was cut off")
        self._check_names(wrong)

    def _walk(self) -> None:
        while self.size < self.until and self._bundle(self.size // 256):
            pass
        for level, row in self.rows.items() if self.size == self.until else ():
            self._compare_files(level, f"tile/{level}", b"".join(row), range(0, 32 * len(row) + 1, 32), self.size)

    def _go_on(self) -> list[str]:
        """Follow the files of a larger tree, which nobody signed: they may hold younger records and nothing else."""
        tiles = [match for match in map(TILE.fullmatch, self._paths()) if match and match[1] in ("entries", "0")]
        wrong: list[str] = []
        self.until = max([self.end, *map(self._reach, tiles)])
        if self.until > self.end:
            fail, self.fail, self.unsigned, self.sizes = self.fail, wrong.append, True, [*self.signed, self.until]
            self._walk()
            self.fail = fail
        return wrong

    def _file(self, path: str) -> bytes | None:
        return (self.folder / path).read_bytes() if (self.folder / path).is_file() else None

    def _names(self, folder: str) -> list[int]:
        return [int(path.name) for path in (self.folder / folder).glob("*") if NUMBER.fullmatch(path.name)]

    def _bundle(self, n: int) -> bool:
        width, known = min(256, self.until - n * 256), len(self.rows[0])
        name = self._numbered(n) + f".p/{width}" * (width < 256)
        data, ends = self._file(f"tile/entries/{name}") or b"", [0]
        while ends[-1] < len(data):
            ends.append(ends[-1] + 2 + int.from_bytes(data[ends[-1] : ends[-1] + 2], "big"))
        if ends[-1] != len(data) or len(ends) != width + 1:
            where = f"leaf {self.size} and those behind it could not be checked"
            self.fail(f"log/tile/entries/{name}: not {width} entries; {where}")
            return False
        self._compare_files(0, "tile/entries", data, ends, self.size)
        return all(self._grow(data[ends[place] + 2 : ends[place + 1]]) for place in range(known, width))

    def _grow(self, entry: bytes) -> bool:
        header = HEADER.fullmatch(entry)
        writer = self.writers.get(header["node"].decode()) if header else None
        record = next(writer.records, None) if writer and not writer.stopped else None
        is_next = record is not None and record[0] == entry
        if writer and record and is_next:
            self.records.take(entry, record[1], f"leaf {self.size}, {writer.where}")
        elif writer is None or not writer.stopped:
            where = getattr(writer, "where", "no journal")
            self.fail(f"leaf {self.size}: not the next record of its writer ({where})")
        if writer and not is_next:
            writer.stopped = True
        self._put(0, hashlib.sha256(b"\0" + entry).digest())
        self.size += 1
        self._compare_roots()
        return is_next or not self.unsigned

    def _put(self, level: int, root: bytes) -> None:
        row = self.rows.setdefault(level, [])
        row.append(root)
        if len(row) == 256:
            self._compare_files(level, f"tile/{level}", b"".join(row), range(0, 8193, 32), self.size)
            self.rows[level] = []
            self._put(level + 1, self._root_of(row))

    def _compare_files(self, level: int, folder: str, data: bytes, ends: Sequence[int], leaf: int) -> None:
        n, count = leaf >> 8 * (level + 1), len(ends) - 1
        path = f"{folder}/{self._numbered(n)}"
        first, last = (bisect_left(self.sizes, (n * 256 + edge) << 8 * level) for edge in (1, 256))
        widths = {(size >> 8 * level) - n * 256 for size in self.sizes[first:last]}
        wanted = {f"{path}.p/{width}": data[: ends[width]] for width in widths}
        wanted.update({path: data} if count == 256 else {})
        for path, expected in wanted.items():
            found = self._file(path)
            if found != expected and not (found is None and self.unsigned):
                self.fail(f"log/{path}: {'missing' if found is None else 'not what the leaves give'}")

    def _compare_roots(self) -> None:
        if self.size not in self.stops:
            return
        root: list[bytes] = []
        for level in sorted(self.rows):
            root = [self._root_of(self.rows[level] + root)] if self.rows[level] + root else []
        found = (self.size, self._root_of(root))
        if self.saved and self.saved[0] == self.size and self.saved != found:
            self.fail(f"the saved checkpoint of {self.size} leaves has another root: this is another log")
        data = self._file(f"checkpoints/{self.size}")
        try:
            if data is not None and self.vkey and open_checkpoint(data, self.vkey, False) != found:
                raise ValueError("not the size and root of the leaves")
        except ValueError as bad:
            self.fail(f"log/checkpoints/{self.size}: {bad}")

    def _paths(self) -> list[str]:
        return [path.relative_to(self.folder).as_posix() for path in files(self.folder)]

    def _check_names(self, wrong: list[str]) -> None:
        """Report files that do not belong to the log, and a `checkpoint` that is not the newest."""
        strange = [path for path in self._paths() if not self._belongs(path)][:100]
        newest = self._file("checkpoint")
        if (newest is not None or self.signed) and newest != self._file(f"checkpoints/{self.end}"):
            wrong.append("log/checkpoint: not the newest checkpoint")
        if wrong or strange:
            time.sleep(0.1)  # a running gateway may be publishing: then its log has moved on by now
            if max(self._names("checkpoints"), default=0) > self.end:
                wrong, strange = [], [path for path in strange if not TILE.fullmatch(path)]
        for text in (*wrong, *(f"log/{path}: does not belong there" for path in strange)):
            self.fail(text)

    @staticmethod
    def _reach(match: re.Match[str]) -> int:
        return int(re.sub("[x/]", "", match[2])) * 256 + int(match[3] or 256)

    def _belongs(self, path: str) -> bool:
        match = TILE.fullmatch(path)
        if match is None:
            return FRONT.fullmatch(path) is not None
        count, level = self._reach(match), 0 if match[1] == "entries" else int(match[1])
        place = bisect_left(self.sizes, count << 8 * level)
        size, name = self.sizes[place : place + 1], self._numbered((count - 1) // 256)
        return match[2] == name and size != [] and (match[3] is None or size[0] >> 8 * level == count)


def verify(data: str, saved: bytes | None) -> tuple[dict[str, list[str]], dict[str, str], list[str]]:
    """Check a data folder; give what is wrong, the numbers of each check, and what could not be checked."""
    findings: dict[str, list[str]] = {check: [] for check in CHECKS}

    def fail(check: str, text: str) -> None:
        findings[check] += [text][: 100 - len(findings[check])]

    paths = sorted(Path(data, "journal").glob("*"))
    writers = {path.name: Writer(path, fail) for path in paths if path.is_dir()}
    for path in (path for path in paths if path.name not in writers):
        fail("V07", f"journal/{path.name}: does not belong in a journal")
    recordings = Recordings(Path(data, "objects"), partial(fail, "V10"))
    records = Records(fail, recordings)
    log = Log(Path(data, "log"), partial(fail, "V05"), records, writers)
    log.check(saved)
    for writer in writers.values():
        while not writer.stopped and (record := next(writer.records, None)):
            records.take(record[0], record[1], writer.where)
    for _, header, body, where in sorted(records.late, key=lambda each: each[0]):
        records.read(header, "", body, where)
    records.approvals.check()
    if not log.signed and records.count["published"]:
        fail("V05", f"log/checkpoints: empty, and {records.count['published']} leaves were published, say the records")
    notes = [NEVER] * (not log.signed) + [NO_SAVED] * (saved is None) + recordings.end()
    count = records.count
    running = [name for name, session in records.sessions.items() if session["opened"]]
    signed = f"{len(log.signed)} checkpoints with equal roots signed by {log.vkey[0] if log.vkey else 'nobody'}"
    signed += f", it begins with the saved one of {log.saved[0]} leaves" if log.saved else ""
    numbers = {
        "V05": f"{min(log.size, log.end)} leaves equal to the records of the journal, tiles equal, {signed}",
        "V07": f"{count['records']} records of {len(records.chains)} writers in {count['epochs']} epochs, all linked",
        "V08": f"{count['opened']} opened, {count['closed']} closed, {len(running)} open; {count['beats']} heartbeats, "
        f"{count['odd beats']} of which count other sessions open than the records",
        "V09": f"{count['records']} bodies, all as their headers name them",
        "V10": f"{recordings.chunks} chunks of {recordings.sessions} sessions, each there, unchanged and in its place",
        "V11": f"{count['decided']} statements decided, {count['finished']} ended, {count['forwarded']} forwarded",
        "V12": f"{count['ApprovalRequested']} requests, {count['spent']} used, "
        f"{'all' if count['equal'] == count['spent'] else count['equal']} commitments equal, "
        f"{count['self-approved']} self-approved",
    }
    notes += [f"session {name} is open: no record of its end yet" for name in running[:10]]
    if (young := count["records"] - min(log.size, log.end)) > 0:
        shown = f"; the log's files show {log.size - log.end} of them: {DIED}" if log.size > log.end else ""
        notes.append(f"{young} younger records are not yet under a signed checkpoint{shown}")
    if not log.signed:
        del numbers["V05"]
    return findings, numbers, notes


def main(argv: Sequence[str] | None = None) -> int:
    """Check, report, and give the exit status."""
    parser = argparse.ArgumentParser(prog="verify.py", description="Check a Vestibule data folder offline.")
    parser.add_argument("data", help="the folder that holds journal and log")
    parser.add_argument("--checkpoint", metavar="FILE", help="a checkpoint saved earlier: the log must begin with it")
    parser.add_argument("--json", action="store_true", help="report as JSON")
    options = parser.parse_args(argv)
    try:
        saved = Path(options.checkpoint).read_bytes() if options.checkpoint else None
    except OSError as error:
        parser.error(str(error))
    if not Path(options.data, "journal").is_dir() and not Path(options.data, "log").is_dir():
        parser.error(f"{options.data} is not a data folder: it holds neither journal nor log")
    findings, numbers, notes = verify(options.data, saved)
    rows = [{"check": name, "failures": found, "text": numbers.get(name, "")} for name, found in findings.items()]
    report = {"passed": not any(findings.values()), "checks": rows, "not_checked": notes, "not_shown": RESIDUAL}
    lines = [json.dumps(report, indent=2)] if options.json else []
    for name in () if options.json else [name for name in CHECKS if findings[name] or name in numbers]:
        bad, more = findings[name][:3], len(findings[name]) - 3
        text = "; ".join(bad) + f"; {more} more" * (more > 0) if bad else numbers[name]
        lines.append(f"{'FAIL' if bad else 'PASS'} {name} {CHECKS[name]}: {text}")
    lines += [] if options.json else [*(f"NOT CHECKED {note}" for note in notes), "", RESIDUAL]
    # A name in a record or of a file may hold what drives a terminal, or what it cannot show.
    sys.stdout.write(re.sub(r"[^\n -~]", lambda found: ascii(found[0])[1:-1], "\n".join([*lines, ""])))
    return int(not report["passed"])


if __name__ == "__main__":
    sys.exit(main())
