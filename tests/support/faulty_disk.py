"""A disk that fails when it is told to; everything else goes to the real one."""

from __future__ import annotations

import errno
import os
import threading

from vestibule.stores.disk import Disk


class FaultyDisk(Disk):
    """Switches for what goes wrong; `syncs` and `batches` count what was done."""

    def __init__(self) -> None:
        self.syncs = 0
        self.batches: list[bytes] = []
        #: What the next syncs raise.
        self.sync_error: OSError | None = None
        #: How many bytes of a batch whose sync failed are on the disk; None means all.
        self.kept: int | None = None
        #: Whether there is room for another file.
        self.room = True
        #: What the volume says is free; None means the truth.
        self.free_bytes: int | None = None
        #: Syncs wait for this.
        self.gate = threading.Event()
        self.gate.set()
        self.waiting = threading.Event()
        self._last = (0, b"")

    def write(self, fd: int, data: bytes, offset: int) -> None:
        super().write(fd, data, offset)
        self.batches.append(data)
        self._last = (offset, data)

    def sync(self, fd: int) -> None:
        self.waiting.set()
        self.gate.wait(30)
        self.syncs += 1
        if self.sync_error is not None:
            if self.kept is not None:
                offset, data = self._last
                os.pwrite(fd, bytes(len(data) - self.kept), offset + self.kept)
            raise self.sync_error
        super().sync(fd)

    def allocate(self, fd: int, size: int) -> None:
        if not self.room:
            raise OSError(errno.ENOSPC, "No space left on device")
        super().allocate(fd, size)

    def free(self, fd: int) -> int:
        return super().free(fd) if self.free_bytes is None else self.free_bytes

    def hold(self) -> None:
        """Let syncs wait from now on."""
        self.waiting.clear()
        self.gate.clear()
