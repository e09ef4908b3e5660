"""The command line's own small web server: waits on 127.0.0.1 until the browser brings the answer to a log-in.

Whatever else comes in on the port (another program of this machine, a browser that guesses) is refused and changes
nothing: only a request with this log-in's `state` counts, and only the first.
"""

from __future__ import annotations

import hmac
import queue
import threading
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Final, Self
from urllib.parse import parse_qsl, urlsplit

from vestibule.cli.exits import CommandError
from vestibule.control import pages

PATH: Final = "/callback"
REQUEST_TIMEOUT: Final = 5.0
MAX_OPEN: Final = 16


class Loopback:
    """Listens from the start of the `with` block to its end."""

    def __init__(self, state: str) -> None:
        """Wait for the answer that carries `state`."""
        self._answers: queue.Queue[Mapping[str, str]] = queue.Queue(1)
        self._server = _Server(("127.0.0.1", 0), _handler(state, self._answers.put))
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    @property
    def port(self) -> int:
        """The port, which the kernel chose."""
        return int(self._server.server_address[1])

    @property
    def redirect_uri(self) -> str:
        """The address that the browser is sent to."""
        return f"http://127.0.0.1:{self.port}{PATH}"

    def __enter__(self) -> Self:
        """Listen."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()

    def wait(self, seconds: float) -> Mapping[str, str]:
        """Wait for the browser; raise `CommandError` if it does not come in time."""
        try:
            return self._answers.get(timeout=seconds)
        except queue.Empty as error:
            raise CommandError(f"nobody logged in within {seconds:g} seconds; try again") from error


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    # Waiting for the threads of clients that hold still would hold the command.
    block_on_close = False
    request_queue_size = 64

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of a browser that has gone."""


def _handler(state: str, take: Callable[[Mapping[str, str]], None]) -> type[BaseHTTPRequestHandler]:
    places = threading.BoundedSemaphore(MAX_OPEN)
    first = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        timeout = REQUEST_TIMEOUT

        def handle(self) -> None:
            """Take one request, unless too many are open."""
            if places.acquire(blocking=False):
                try:
                    super().handle()
                finally:
                    places.release()

        def do_GET(self) -> None:
            """Take the answer, if it is one."""
            url = urlsplit(self.path)
            answer = _unique(parse_qsl(url.query, keep_blank_values=True))
            given = answer.get("state", "").encode(errors="replace")
            if url.path != PATH or not hmac.compare_digest(given, state.encode()):
                self._reply(404, pages.refused("This is no answer to a log-in of this program."))
                return
            if not first.acquire(blocking=False):
                self._reply(409, pages.refused("This log-in was answered already."))
                return
            # The page first: with the answer the program goes on, and may end before the browser has its page.
            try:
                self._reply(200, _page(answer))
            finally:
                take(answer)

        def _reply(self, status: int, page: str) -> None:
            body = page.encode()
            self.send_response(status)
            for name, value in {**pages.HEADERS, "Content-Length": str(len(body)), "Connection": "close"}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
            """Log nothing: the address holds a code."""

    return Handler


def _unique(pairs: list[tuple[str, str]]) -> Mapping[str, str]:
    members = dict(pairs)
    return members if len(members) == len(pairs) else {}


def _page(answer: Mapping[str, str]) -> str:
    if "code" in answer:
        return pages.handed_over()
    return pages.refused(answer.get("error_description") or "The log-in was refused.")
