"""The bus between the control process and a data process: JSON-RPC 2.0 over a Unix stream, both ways.

1. Either side calls and notifies; a `Peer` is one end. Answers come in any order.
2. Everything is bounded: calls that wait, calls that are served, bytes that the other side has not read, the time
   of a call. What is beyond a bound is a defined error, never a wait without end.
3. When the other end goes, or breaks the protocol, every open call ends with `BusClosed` and `closed` is set.

From a data process to the control process:

    hello           {worker, pid}                       -> {policy: {...}, authority} as for `policy` below
                    `authority` is the certificate (PEM) that signs those of people; empty: no client is asked for one
    ready           {worker}               it listens now             notification
    prove           {method, token | certificate, attempted, wanted, ip, port, session}
                    -> wire.identity.answer_to_json(...); a certificate is DER in hex, verified by the handshake
    session_opened  {session, login, iss, sub, name, target, ip, port, started_at}     notification
    session_closed  {session, reason}                                                  notification
    cancel          {key}                  a cancel request for another worker         notification
    approval_seek   {session, iss, sub, name, target}  -> {offer: {...} | null, candidates: [{...}], cause}
                    a fresh approval, or why there is none; and what this person has asked for at this target that is
                    pending, or granted and not spent
    approval_open   {request: {...}, record: {id, leaf}}                       -> {}
                    people are asked; `record` is the durable ApprovalRequested. An id that was not offered to this
                    session, or is open already, is refused
    approval_spend  {approval, session, number, iss, sub, target, bytes_mac}
                    -> {grant: {...}}, spent for good, or {refused: cause, permit: {...} | null} with what was granted
    approval_withdraw  {approval, session, why}         by the session that holds it, or its requester    notification

From the control process to a data process:

    policy   {...}             -> {}       as the application's `apply_policy` reads it
    revoked  {login, cause, token?}  -> {sessions: [...]}
    kill     {session, by}     -> {killed: bool}
    cancel   {key}             -> {cancelled: bool}
    drain    {deadline}        -> {}       seconds
    report   {}                -> {sessions: [...], mono_us, and what `state` says}
    state    {}                -> {queue_depth, admits_sessions, draining, policy}
                               `policy` is the digest of the one that the process decides by
    metrics  {}                -> {life, counts, times, gauges} as in `metrics`; another `life` counts from nothing
    answered {session, approval, answer, by, comment}      notification: the final answer (granted, refused, expired,
                               withdrawn) to a request whose statement waits in this process; `by` and `comment` may be
                               empty, and have passed the storage mask

Offers, candidates, requests, grants and references are as in `wire.approval`.
"""

from __future__ import annotations

import asyncio
import inspect
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, cast

import structlog

from vestibule.model.errors import VestibuleError
from vestibule.wire.jsonrpc import (
    INTERNAL_ERROR,
    INVALID_PARAMS,
    LINE_LIMIT,
    METHOD_NOT_FOUND,
    Failure,
    Json,
    JsonRpcError,
    Lines,
    Message,
    Notification,
    Params,
    Request,
    Result,
    encode,
)

log = structlog.get_logger(__name__)

Handler = Callable[[Params], Json | Awaitable[Json]]

#: The server error (reserved range of the specification) for a peer that serves as much as it may.
BUSY: Final = -32000


class BusError(VestibuleError):
    """A call over the bus has no result."""


class BusClosed(BusError):
    """The other process has gone, or spoke no JSON-RPC."""


class BusTimeout(BusError):
    """The other process did not answer in time."""


class BusBusy(BusError):
    """Too many calls wait for an answer already."""


class CallFailed(BusError):
    """The other process refused the call; `code` is JSON-RPC's."""

    def __init__(self, code: int, message: str) -> None:
        """Keep the code beside the message."""
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class BusLimits:
    """The bounds of one end."""

    timeout: float = 10.0
    waiting: int = 1_024
    served: int = 1_024
    #: A peer that leaves more than this unread is given up.
    unread: int = 8 * LINE_LIMIT


class Peer(asyncio.Protocol):
    """One end of the bus."""

    def __init__(self, limits: BusLimits | None = None) -> None:
        """Start before the stream is connected."""
        self._limits = limits or BusLimits()
        self._lines = Lines()
        self._handlers: dict[str, Handler] = {}
        self._transport: asyncio.Transport | None = None
        self._waiting: dict[int, asyncio.Future[Json]] = {}
        self._serving: set[asyncio.Task[None]] = set()
        self._next = 0
        #: Set once the other end has gone.
        self.closed = asyncio.Event()

    def on(self, method: str, handler: Handler) -> None:
        """Serve `method`; the handler's `ValueError` tells the caller that its parameters are wrong."""
        self._handlers[method] = handler

    async def call(self, method: str, params: Params, timeout: float | None = None) -> Json:  # noqa: ASYNC109 - a bound of the call, kept with the others
        """Ask the other end and return its result, or raise a `BusError`."""
        if len(self._waiting) >= self._limits.waiting:
            raise BusBusy(f"{method}: {self._limits.waiting} calls wait already")
        self._next += 1
        number = self._next
        answer: asyncio.Future[Json] = asyncio.get_running_loop().create_future()
        self._waiting[number] = answer
        try:
            self._write(Request(number, method, params))
            async with asyncio.timeout(self._limits.timeout if timeout is None else timeout):
                return await answer
        except TimeoutError:
            raise BusTimeout(f"{method}: no answer in time") from None
        finally:
            self._waiting.pop(number, None)

    def notify(self, method: str, params: Params) -> None:
        """Tell the other end; nothing comes back."""
        self._write(Notification(method, params))

    def close(self) -> None:
        """Hang up, after what is already written."""
        if self._transport is not None:
            self._transport.close()

    # --- asyncio.Protocol --------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the connected stream."""
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Handle the messages that are complete now."""
        try:
            for message in self._lines.feed(data):
                self._receive(message)
        except JsonRpcError as error:
            log.error("bus_protocol_error", error=str(error))
            self._give_up()

    def connection_lost(self, exc: Exception | None) -> None:
        """End every open call."""
        self._transport = None
        self.closed.set()
        for answer in self._waiting.values():
            if not answer.done():
                answer.set_exception(BusClosed("the other process has gone"))
        for task in self._serving:
            task.cancel()

    # --- inside ------------------------------------------------------------------------------------------------------

    def _write(self, message: Message) -> None:
        transport = self._transport
        if transport is None or transport.is_closing():
            raise BusClosed("the other process has gone")
        transport.write(encode(message))
        if transport.get_write_buffer_size() > self._limits.unread:
            log.error("bus_peer_does_not_read", bytes=transport.get_write_buffer_size())
            self._give_up()

    def _give_up(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def _receive(self, message: Message) -> None:
        match message:
            case Request():
                self._serve(message)
            case Notification():
                self._serve(message)
            case Result(id=number, result=result):
                self._settle(number, lambda answer: answer.set_result(result))
            case Failure(id=number, code=code, message=text):
                self._settle(number, lambda answer: answer.set_exception(CallFailed(code, text)))

    def _settle(self, number: int | None, settle: Callable[[asyncio.Future[Json]], None]) -> None:
        answer = None if number is None else self._waiting.get(number)
        if answer is not None and not answer.done():
            settle(answer)

    def _serve(self, call: Request | Notification) -> None:
        if len(self._serving) >= self._limits.served:
            self._answer(call, Failure(_number(call), BUSY, "too many calls are served already"))
            return
        # A task of its own for each: one slow call (a proof) never holds up the next (a revocation).
        task = asyncio.get_running_loop().create_task(self._carry_out(call))
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)

    async def _carry_out(self, call: Request | Notification) -> None:
        handler = self._handlers.get(call.method)
        if handler is None:
            return self._answer(call, Failure(_number(call), METHOD_NOT_FOUND, f"no method {call.method[:64]!r}"))
        try:
            result = handler(call.params)
            if inspect.isawaitable(result):
                result = await result
            answer: Result | Failure = Result(_number(call) or 0, result)
        except ValueError as error:
            answer = Failure(_number(call), INVALID_PARAMS, str(error))
        except Exception as error:  # noqa: BLE001 - whatever a handler does, the caller gets its answer
            log.error("bus_handler_failed", method=call.method, error=type(error).__name__)
            answer = Failure(_number(call), INTERNAL_ERROR, "the call failed; see the log of the other process")
        return self._answer(call, answer)

    def _answer(self, call: Request | Notification, answer: Result | Failure) -> None:
        if isinstance(call, Notification):
            return
        try:
            self._write(answer)
        except ValueError as error:
            self._write(Failure(call.id, INTERNAL_ERROR, str(error)))
        except BusClosed:
            log.info("bus_answer_dropped", method=call.method)


def _number(call: Request | Notification) -> int | None:
    return call.id if isinstance(call, Request) else None


async def connect(stream: socket.socket, peer: Peer) -> None:
    """Put `peer` on one end of a connected Unix stream."""
    stream.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.create_unix_connection(lambda: peer, sock=stream)
