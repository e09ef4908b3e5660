"""Statement texts, what is stored of them, what a target says of its relations, the bus, and queries of the API."""

from __future__ import annotations

import asyncio
import json
from typing import Any, Final
from uuid import UUID

import orjson
from fastapi import FastAPI

from tests.fuzz import evil
from tests.fuzz.readers.base import Reader
from tests.support.approvals import REQUEST
from tests.support.masked import BANK, LABELS, SCENE
from tests.support.masked_statements import CLEAN, CLOSED, PLAIN, REFUSED, lines, pairs
from tests.support.policies import identity
from tests.support.texts import _SHAPES
from vestibule.analysis.sql import catalog as catalogs
from vestibule.analysis.sql.analyse import analyse
from vestibule.analysis.sql.parser import parse
from vestibule.control import replaying
from vestibule.control.api import approvals, sessions
from vestibule.control.api.guarded import Problem
from vestibule.control.api.sign_in import current_identity
from vestibule.evidence import literals
from vestibule.gate import exchange, reading
from vestibule.masking.catalog import snapshot
from vestibule.masking.sensitive import close
from vestibule.model.event import Admission
from vestibule.model.statement import Parsed, Unknown, Unsupported
from vestibule.wire import approval as approvals_on_the_bus
from vestibule.wire import identity as identities_on_the_bus
from vestibule.wire import jsonrpc

KEY: Final = bytes(range(32))
CATALOG: Final = catalogs.Catalog()
KNOWLEDGE: Final = reading.Knowledge(CATALOG, SCENE, SCENE)


def sql(data: bytes) -> bool:
    """A statement text: it is analysed or refused, what is stored of it is bounded, and the answer can travel."""
    read = analyse(data, CATALOG)
    spans = tuple(span for each in read.statements for span in each.literals) if isinstance(read, Parsed) else ()
    understood = isinstance(read, Parsed) and all(each.understood for each in read.statements)
    _bounded(literals.mask_text(data, spans, understood, KEY, "k").text)
    assert exchange.decode_answer(exchange.encode_answer(read)) == read
    return isinstance(read, Parsed)


def masked(data: bytes) -> bool:
    """A statement text of somebody for whom columns are masked: whatever it is, there is an answer."""
    read = reading.read(data, KNOWLEDGE)
    assert isinstance(read, Parsed | Unsupported | Unknown)
    if isinstance(read, Parsed):
        assert all(each.refusal or each.plan for each in read.statements)
        return any(each.plan for each in read.statements)
    return False


def stored(data: bytes) -> bool:
    """What is stored of a text, a value, a name and words that nobody has understood."""
    text = data.decode(errors="replace")
    masked_text = literals.mask_text(data, (), False, KEY, "k")
    _bounded(masked_text.text)
    assert masked_text.lossy == (text.encode() != data)
    value = literals.mask_value(data, len(data) & 1 == 0, KEY, "k")
    assert value is not None
    _bounded(value)
    literals.mask_name(text, KEY, "k")
    literals.mask_secrets(literals.mask_words(text, KEY, "k"))
    return masked_text.text != text


def _bounded(text: str) -> None:
    assert len(text) <= literals.TEXT_CHARACTERS
    assert len(json.dumps(text, ensure_ascii=False).encode(errors="surrogatepass")) <= 2 * literals.TEXT_BYTES


def told(data: bytes) -> bool:
    """What a target says of its relations: rows of cells behind a line's end each, cells behind a tab."""
    rows = [tuple(line.split("\t")) for line in data.decode(errors="replace").split("\n")]
    try:
        close(snapshot(rows), LABELS, parse)
        accepted = True
    except ValueError:
        accepted = False
    return accepted


# --- the bus ---------------------------------------------------------------------------------------------------------


def line(data: bytes) -> bool:
    """A line of the bus; whole, and cut."""
    try:
        read = jsonrpc.decode(data)
    except jsonrpc.JsonRpcError:
        return False
    try:
        assert jsonrpc.decode(jsonrpc.encode(read)) == read
    except ValueError:
        assert len(data) > 100
    stream, middle = jsonrpc.Lines(), len(data) // 2
    if b"\n" not in data:
        assert stream.feed(data[:middle]) == []
        assert stream.feed(data[middle:] + b"\n") == [read]
    return True


def member(data: bytes) -> bool:
    """What travels in such lines: requests, grants, identities."""
    try:
        document = orjson.loads(data)
    except ValueError:
        return False
    accepted = 0
    for read in _READ:
        try:
            read(document)
            accepted += 1
        except ValueError:
            continue
    return bool(accepted)


def analysed(data: bytes) -> bool:
    """An answer of the parser process."""
    try:
        exchange.decode_answer(data)
    except exchange.Garbled:
        return False
    return True


_READ: Final = (
    approvals_on_the_bus.request_from_json,
    approvals_on_the_bus.offer_from_json,
    approvals_on_the_bus.candidate_from_json,
    approvals_on_the_bus.grant_from_json,
    identities_on_the_bus.answer_from_json,
    identities_on_the_bus.identity_from_json,
)


# --- the API ---------------------------------------------------------------------------------------------------------


def cursor(data: bytes) -> bool:
    """Cursors, times and ids of the API."""
    text, accepted = data.decode(errors="replace"), False
    for read in (sessions._cursor, sessions._time, approvals._cursor, replaying.cursor):
        try:
            accepted = read(text) is not None or accepted
        except Problem as problem:
            assert problem.status_code == 422
    return accepted


class _Nothing:
    """Stands for everything behind the routes: there is no session, and nothing is recorded."""

    async def search(self, *_: Any) -> list[Any]:
        return []

    async def find(self, *_: Any) -> list[Any]:
        return []

    async def record(self, *_: Any, **__: Any) -> None:
        return None


def _app() -> FastAPI:
    app, nothing = FastAPI(), _Nothing()
    app.state.sessions = sessions.Sessions(
        nothing,
        nothing,
        lambda _: frozenset({"auditor"}),
        nothing.find,
        nothing,  # type: ignore[arg-type]
    )
    app.include_router(sessions.router)
    app.dependency_overrides[current_identity] = lambda: identity("internal-audit")
    return app


APP: Final = _app()


def query(data: bytes) -> bool:
    """The target of a request to the API, as the web server hands it on."""
    path, _, asked = data.partition(b"?")
    statuses: list[int] = []

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    scope: dict[str, Any] = {"type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "GET"}
    scope |= {"path": path.decode(errors="replace"), "raw_path": path, "query_string": asked, "root_path": ""}
    scope |= {"headers": [(b"host", b"v")], "scheme": "https", "client": ("192.0.2.7", 1), "server": ("v", 443)}
    # No loop: nothing behind the routes waits, so the coroutine goes to its end by itself, or cannot.
    asyncio.run(APP(scope, receive, send))
    assert statuses
    assert statuses[0] in (200, 307, 404, 405, 422), statuses
    return statuses[0] == 200


# --- whole ones ------------------------------------------------------------------------------------------------------


def _statements() -> list[bytes]:
    deep = (f"{before}{each * 40}{middle}{after * 40}" for before, each, middle, after in _SHAPES.values())
    placed = (place.replace("{e}", evil.CALLS[at % len(evil.CALLS)]) for at, place in enumerate(evil.PLACES))
    around = (place.replace("{s}", evil.ACTS[at % len(evil.ACTS)]) for at, place in enumerate(evil.AROUND))
    return [text.encode() for text in (*deep, *placed, *around, *evil.ACTS)]


def _masked_statements() -> list[bytes]:
    tables = (*lines(CLEAN), *lines(CLOSED), *(text for table in (PLAIN, REFUSED) for _, text in pairs(table)))
    return [text.encode() for text in tables]


def _pasted() -> list[bytes]:
    texts = (
        "SELECT * FROM customers WHERE ssn = '078-05-1120' AND mail = \"ada@bank.example\" -- 4111 1111 1111 1111",
        "ALTER ROLE ada PASSWORD 'hunter2'; CREATE USER bea IDENTIFIED BY $$secret$$ /* pwd=hunter2 */",
        "postgres://ada:hunter2@db/core eyJhbGciOi.J9.x AKIAABCDEFGHIJKLMNOP "
        "aws_secret_access_key = 'abcdefghijklmnopqrstuvwxyz0123456789/+=='",
        "-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----",
        "SELECT E'\\x41\\'', U&'\\0041', B'101', 0x1F_FF, 1_000_000, $1, $x$ 123456 $x$, "
        "'\u0661\u0662\u0663\u0664\u0665\u0666'",
    )
    return [text.encode() for text in texts]


def _rows() -> list[bytes]:
    return ["\n".join("\t".join(row) for row in BANK[at : at + 9]).encode() for at in range(0, len(BANK), 6)] + [
        "\n".join("\t".join(row) for row in BANK).encode()
    ]


def _members() -> list[bytes]:
    offer = {"approval": "AR-7Q2M4V0XKD", "key_id": "k", "key": "ab" * 32, "url": "https://v/x"}
    about = {"bytes_mac": "0" * 64, "fingerprint": "f", "state": "granted", "policy": "1" * 64, "expires_at": 9}
    written = {"id": str(UUID(int=1)), "leaf": "0" * 64}
    grant = {"permit": str(UUID(int=2)), "request": written, "answers": [written], "uses_left": 1}
    admitted = identities_on_the_bus.answer_to_json(Admission(identity("dba", targets=["core"]), "k", KEY))
    request = approvals_on_the_bus.request_to_json(REQUEST)
    return [orjson.dumps(each) for each in (request, offer, offer | about, grant, admitted, {"refused": "unknown"})]


def _lines() -> list[bytes]:
    said = (
        jsonrpc.Request(7, "prove", {"token": "vst_x", "wanted": ["core"]}),
        jsonrpc.Notification("revoked", {"login": "x"}),
        jsonrpc.Result(7, {"identity": {"who": {}}, "n": 1.5}),
        jsonrpc.Failure(None, jsonrpc.INTERNAL_ERROR, "no"),
    )
    return [jsonrpc.encode(each).rstrip(b"\n") for each in said]


def _answers() -> list[bytes]:
    read = [reading.read(text, KNOWLEDGE) for text in (*_masked_statements()[::25], *_statements()[::40])]
    return [exchange.encode_answer(each) for each in read]


def _queries() -> list[bytes]:
    base = b"/api/v1/sessions"
    return [
        base + b"?user=ada&target=core&since=2026-01-31&until=2026-01-31T09:00Z&state=open&limit=50",
        base + b"?before=2026-01-31T09:00:00.000000Z/0a000000-0000-4000-8000-000000000001",
        base + b"/0a00?after=3&limit=100",
        base + b"/0a000000-0000/replay?after=0&limit=1",
        base + b"/0a00/replay/results?after=1.22.3&at_us=5&statement=1&seen=0&wait=0.5&limit=10",
    ]


_SQL: Final = (
    *(
        b"SELECT ",
        b" FROM ",
        b" WHERE ",
        b" UNION ",
        b"ssn",
        b"customers",
        b"(",
        b")",
        b"::text",
        b"$1",
        b"''",
        b"E'\\'",
        b"U&'",
    ),
    *(
        b"/*",
        b"*/",
        b"--",
        b"$$",
        b";",
        b" AS ",
        b" IN (",
        b" OVER ()",
        b"ARRAY[",
        b" CASE WHEN ",
        b" WITH x AS (",
        b"*",
        b"x.",
        b"'",
    ),
)
_MARKS: Final = (
    b"password ",
    b"pwd=",
    b"://",
    b"@",
    b"eyJ",
    b"vst_",
    b"123456",
    b"'",
    b'"',
    b"$$",
    b"/*",
    b"*/",
    b"\\x",
    b":",
)
_URL: Final = (
    b"&",
    b"=",
    b"%",
    b"%00",
    b"%ff",
    b"%ed%a0%80",
    b"+",
    b"/",
    b"..",
    b"limit=",
    b"before=",
    b"after=",
    b"state=",
    b"wait=",
)
_JSON: Final = (
    b'"',
    b":",
    b"{}",
    b"[]",
    b"null",
    b"true",
    b"1e400",
    b"1.5",
    b'"id":',
    b'"method":',
    b'"params":',
    b'"error":',
)

READERS: Final = (
    Reader("texts.sql", sql, _statements, 100, _SQL),
    Reader("texts.masked", masked, _masked_statements, 80, _SQL),
    Reader("texts.stored", stored, _pasted, 60, _MARKS),
    Reader(
        "texts.told",
        told,
        _rows,
        30,
        (b"\t", b"\n", b"relation\t", b"column\t", b"definition\t", b"inherits\t", b"function\t"),
    ),
    Reader("texts.line", line, _lines, 150, _JSON),
    Reader("texts.member", member, _members, 100, _JSON),
    Reader("texts.analysed", analysed, _answers, 60, _JSON),
    Reader(
        "texts.cursor",
        cursor,
        lambda: [b"2026-01-31T09:00:00.000000Z/0a000000-0000-4000-8000-000000000001", b"1.22.3", b"1700/AR-7Q2M4V0XKD"],
        200,
    ),
    Reader("texts.query", query, _queries, 10, _URL),
)
