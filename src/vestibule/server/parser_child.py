"""The parser process itself: `python -m vestibule.server.parser_child PARENT MEMORY SECONDS`.

Reads frames from standard input and answers each text on standard output, until its input ends.

1. It has a limit of memory, and of processor time for each text: what goes beyond ends the process, not the gateway.
2. It has a deep stack: the parser recurses as deep as the text makes it.
3. It dies with its parent, writes no file and no core, and has nothing of the parent's environment.

A frame is `u32be length`, one letter and the payload: `K` knowledge, which has no answer, and `T` a text or its answer.
The first frame out is an empty `R`: ready, so that the time a process takes to start is not taken from a text.
"""

from __future__ import annotations

import ctypes
import gc
import math
import os
import resource
import signal
import struct
import sys
import threading
from typing import BinaryIO, Final

from vestibule.analysis.sql import parser
from vestibule.analysis.sql.catalog import Catalog
from vestibule.gate import exchange
from vestibule.gate.reading import Knowledge, read
from vestibule.model.statement import Parsed, Unknown, Unsupported

#: The deepest chain of 2 MiB takes 140 MB of stack [measured].
STACK: Final = 256 << 20
HEADER: Final = struct.Struct(">IB")
KNOWLEDGE, TEXT, READY = b"KTR"

_SET_PDEATHSIG, _SET_DUMPABLE, _SET_NO_NEW_PRIVS = 1, 4, 38


def confine(parent: int, memory: int) -> None:
    """Die with the parent, and be able to do nothing but compute."""
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    prctl(_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    prctl(_SET_DUMPABLE, 0, 0, 0, 0)
    prctl(_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if os.getppid() != parent:
        raise SystemExit("the parent is gone")
    # Ctrl-C in a terminal is for the parent, which closes the pipe.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (16, 16))
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))


def allow(seconds: int) -> None:
    """Give so much processor time from now on; the kernel ends the process behind it."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    soft = math.ceil(used.ru_utime + used.ru_stime) + seconds
    resource.setrlimit(resource.RLIMIT_CPU, (soft, resource.RLIM_INFINITY))


def serve(source: BinaryIO, sink: BinaryIO, seconds: int) -> None:
    """Answer texts until the source ends."""
    knowledge = Knowledge(Catalog())
    sink.write(HEADER.pack(0, READY))
    sink.flush()
    while True:
        head = source.read(HEADER.size)
        if len(head) < HEADER.size:
            return
        length, kind = HEADER.unpack(head)
        payload = source.read(length)
        if kind == KNOWLEDGE:
            knowledge = exchange.decode_knowledge(payload)
            continue
        allow(seconds)
        answer = exchange.encode_answer(understand(payload, knowledge))
        sink.write(HEADER.pack(len(answer), TEXT) + answer)
        sink.flush()


def understand(text: bytes, knowledge: Knowledge) -> Parsed | Unsupported | Unknown:
    """Read a text, or say that there is no memory for it."""
    try:
        return read(text, knowledge)
    except MemoryError:
        return parser.TOO_DEEP


def main(arguments: list[str]) -> int:
    """Serve on the standard streams, on a thread with a deep stack."""
    parent, memory, seconds = map(int, arguments)
    # Trees have no cycles; looking for some takes longer than all the rest together.
    gc.disable()
    threading.stack_size(STACK)
    confine(parent, memory)
    thread = threading.Thread(target=serve, args=(sys.stdin.buffer, sys.stdout.buffer, seconds))
    thread.start()
    thread.join()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
