"""What code does to the world while it is watched: files opened, names resolved, addresses connected to."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_WATCHED = frozenset({"open", "os.open", "socket.connect", "socket.getaddrinfo", "subprocess.Popen", "os.listdir"})
_lists: dict[int, list[tuple[str, str]]] = {}
_installed = threading.Lock()
_is_installed = False


@contextmanager
def watched() -> Iterator[list[tuple[str, str]]]:
    """List what this thread does within the block, as (event, argument)."""
    _install()
    thread = threading.get_ident()
    seen: list[tuple[str, str]] = []
    _lists[thread] = seen
    try:
        yield seen
    finally:
        del _lists[thread]


def _install() -> None:
    # A hook cannot be taken away again; one that finds no list does nothing.
    global _is_installed
    with _installed:
        if not _is_installed:
            sys.addaudithook(_hear)
            _is_installed = True


def _hear(event: str, arguments: tuple[object, ...]) -> None:
    if event in _WATCHED and (seen := _lists.get(threading.get_ident())) is not None:
        seen.append((event, repr(arguments[0] if event != "socket.connect" else arguments[1])))
