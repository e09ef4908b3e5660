"""The control plane's HTTPS server: one listener, TLS 1.2 or newer, inside the control process's event loop."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Generator
from pathlib import Path
from typing import Final

import uvicorn
from starlette.types import ASGIApp

#: Seconds that open requests may take when the gateway stops.
GRACE: Final = 5
BACKLOG: Final = 128


class Web:
    """Serves one application until it is told to stop."""

    def __init__(self, application: ASGIApp, certificate: Path | None, key: Path | None) -> None:
        """Prepare; a certificate that cannot be used is an error here. Without one it serves in the clear."""
        config = uvicorn.Config(
            application,
            log_config=None,
            access_log=False,
            server_header=False,
            date_header=False,
            ssl_certfile=None if certificate is None else str(certificate),
            ssl_keyfile=None if key is None else str(key),
            timeout_keep_alive=30,
            timeout_graceful_shutdown=GRACE,
            limit_concurrency=512,
            h11_max_incomplete_event_size=32 * 1024,
            lifespan="off",
            proxy_headers=False,
            backlog=BACKLOG,
        )
        config.load()
        context = config.ssl
        if context is not None:
            context.minimum_version = ssl.TLSVersion.TLSv1_2
        elif certificate is not None:
            raise AssertionError("a certificate was given")
        self._server = _Server(config)
        self._task: asyncio.Task[None] | None = None

    async def start(self, listening: socket.socket) -> None:
        """Serve on a listening socket, and return once requests are answered."""
        self._task = asyncio.create_task(self._server.serve([listening]))
        while not self._server.started:
            if self._task.done():
                self._task.result()
                raise RuntimeError("the control plane did not start")
            await asyncio.sleep(0.01)

    async def stop(self) -> None:
        """Finish open requests, and stop."""
        self._server.should_exit = True
        if self._task is not None:
            await self._task


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Leave signals to the control process."""
        yield
