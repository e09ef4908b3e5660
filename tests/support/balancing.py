"""A TCP balancer before several gateways: to the first that takes the connection, maybe with a PROXY header."""

from __future__ import annotations

import select
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress

#: Writes what goes ahead of a client's bytes, given the client's own address.
Ahead = Callable[[tuple[str, int]], bytes]


@contextmanager
def balancing(ports: Sequence[int], ahead: Ahead | None = None) -> Iterator[int]:
    """Listen on a free port and pass each connection to the first of `ports` that accepts it, until the end."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        accepting = threading.Thread(target=_accept, args=(listening, tuple(ports), ahead), daemon=True)
        accepting.start()
        yield listening.getsockname()[1]
        listening.shutdown(socket.SHUT_RDWR)
    accepting.join(10)


def _accept(listening: socket.socket, ports: Sequence[int], ahead: Ahead | None) -> None:
    while True:
        try:
            client, address = listening.accept()
        except OSError:
            return
        passing = (client, ports, b"" if ahead is None else ahead(address))
        threading.Thread(target=_pass, args=passing, daemon=True).start()


def _pass(client: socket.socket, ports: Sequence[int], ahead: bytes) -> None:
    # Either side may end as it likes.
    with client, suppress(OSError), _first(ports) as gateway:
        gateway.sendall(ahead)
        ends = {client: gateway, gateway: client}
        while ends:
            for end in select.select(list(ends), [], [])[0]:
                if data := end.recv(65_536):
                    ends[end].sendall(data)
                else:
                    ends.pop(end).shutdown(socket.SHUT_WR)


def _first(ports: Sequence[int]) -> socket.socket:
    for port in ports[:-1]:
        with suppress(OSError):
            return socket.create_connection(("127.0.0.1", port), timeout=60)
    return socket.create_connection(("127.0.0.1", ports[-1]), timeout=60)
