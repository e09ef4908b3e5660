"""A balancer between a client and a gateway, which cuts connections on which nothing has passed for a while."""

from __future__ import annotations

import select
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress


@contextmanager
def balancer(port: int, idle: float) -> Iterator[int]:
    """Listen on a free port, pass one connection on to `port`, and cut it after `idle` silent seconds."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        passing = threading.Thread(target=_pass, args=(listening, port, idle), daemon=True)
        passing.start()
        yield listening.getsockname()[1]
    passing.join(idle + 10)


def _pass(listening: socket.socket, port: int, idle: float) -> None:
    client, _ = listening.accept()
    # Either side may end as it likes.
    with suppress(OSError), client, socket.create_connection(("127.0.0.1", port)) as gateway:
        ends = {client: gateway, gateway: client}
        last = time.monotonic()
        while (left := last + idle - time.monotonic()) > 0:
            ready, _, _ = select.select(list(ends), [], [], left)
            for end in ready:
                data = end.recv(65_536)
                if not data:
                    return
                ends[end].sendall(data)
                last = time.monotonic()
