"""JSON-RPC 2.0 (jsonrpc.org/specification), one document a line, bytes in and messages out.

1. A line, its newline included, is at most `LINE_LIMIT` bytes; a longer one breaks the stream for good.
2. Parameters are always an object; batches are refused. Ids are integers: both peers are ours.
3. Nothing of a message's content is shown by its `repr` or by an error: lines carry tokens and keys.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import orjson

Json = None | bool | int | float | str | Sequence["Json"] | Mapping[str, "Json"]
Params = Mapping[str, Json]

#: The longest line, its newline included.
LINE_LIMIT: Final = 1 << 20

PARSE_ERROR: Final = -32700
INVALID_REQUEST: Final = -32600
METHOD_NOT_FOUND: Final = -32601
INVALID_PARAMS: Final = -32602
INTERNAL_ERROR: Final = -32603


class JsonRpcError(Exception):
    """The peer's bytes are not JSON-RPC as spoken here; the stream cannot go on."""


@dataclass(frozen=True, slots=True)
class Request:
    """Asks for an answer with the same `id`."""

    id: int
    method: str
    params: Params = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class Notification:
    """Is not answered."""

    method: str
    params: Params = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class Result:
    """The answer to a request that was carried out."""

    id: int
    result: Json = field(repr=False)


@dataclass(frozen=True, slots=True)
class Failure:
    """The answer to a request that was not; `id` is None when the request could not be read."""

    id: int | None
    code: int
    message: str


Message = Request | Notification | Result | Failure


def encode(message: Message) -> bytes:
    """Write one line; a message that does not fit, or holds what JSON cannot, is a `ValueError`."""
    try:
        line = orjson.dumps(_document(message), option=orjson.OPT_APPEND_NEWLINE)
    except orjson.JSONEncodeError:
        raise ValueError("the message holds a value that JSON cannot carry") from None
    if len(line) > LINE_LIMIT:
        raise ValueError(f"the message has {len(line)} bytes; a line has at most {LINE_LIMIT}")
    return line


def _document(message: Message) -> dict[str, Json]:
    match message:
        case Request(id=id_, method=method, params=params):
            return {"jsonrpc": "2.0", "id": id_, "method": method, "params": params}
        case Notification(method=method, params=params):
            return {"jsonrpc": "2.0", "method": method, "params": params}
        case Result(id=id_, result=result):
            return {"jsonrpc": "2.0", "id": id_, "result": result}
        case Failure(id=number, code=code, message=text):
            return {"jsonrpc": "2.0", "id": number, "error": {"code": code, "message": text}}


def decode(line: bytes) -> Message:
    """Read one line, with or without its newline; anything else than one message is a `JsonRpcError`."""
    try:
        document = orjson.loads(line)
    except orjson.JSONDecodeError:
        raise JsonRpcError("a line is not JSON") from None
    if not isinstance(document, dict) or document.get("jsonrpc") != "2.0":
        raise JsonRpcError("a line is not a JSON-RPC 2.0 object")
    if "method" in document:
        return _call(document)
    return _answer(document)


def _call(document: dict[str, Json]) -> Message:
    method, params = document["method"], document.get("params", {})
    if not isinstance(method, str) or not isinstance(params, dict):
        raise JsonRpcError("a call has a name and an object of parameters")
    if "id" not in document:
        return Notification(method, params)
    return Request(_id(document), method, params)


def _answer(document: dict[str, Json]) -> Message:
    if ("result" in document) is ("error" in document):
        raise JsonRpcError("an answer has either a result or an error")
    if "result" in document:
        return Result(_id(document), document["result"])
    error = document["error"]
    if not isinstance(error, dict):
        raise JsonRpcError("an error is an object")
    code, text = error.get("code"), error.get("message")
    if type(code) is not int or not isinstance(text, str):
        raise JsonRpcError("an error has a code and a message")
    return Failure(None if document.get("id", 0) is None else _id(document), code, text)


def _id(document: Mapping[str, Json]) -> int:
    number = document.get("id")
    if type(number) is not int:
        raise JsonRpcError("an id is an integer")
    return number


class Lines:
    """Cuts a stream into messages."""

    def __init__(self) -> None:
        """Start before the first byte."""
        self._rest = bytearray()

    def feed(self, data: bytes) -> list[Message]:
        """Take the next bytes of the stream and return the messages that they complete."""
        *complete, rest = data.split(b"\n")
        messages = []
        for part in complete:
            self._keep(part)
            messages.append(decode(bytes(self._rest)))
            self._rest.clear()
        self._keep(rest)
        return messages

    def _keep(self, part: bytes) -> None:
        if len(self._rest) + len(part) >= LINE_LIMIT:
            raise JsonRpcError(f"a line is longer than {LINE_LIMIT} bytes")
        self._rest += part
