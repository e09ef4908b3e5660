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
        #: What syncs raise once `good` of them have gone well.
        self.sync_error: OSError | None = None
        self.good = 0
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
        self._last = (0, 0)
        self._durable: dict[int, int] = {}

    def write(self, fd: int, data: bytes, offset: int) -> None:
        super().write(fd, data, offset)
        self.batches.append(data)
        self._last = (offset, offset + len(data))

    def sync(self, fd: int) -> None:
        self.waiting.set()
        self.gate.wait(30)
        self.syncs += 1
        file, (start, end) = os.fstat(fd).st_ino, self._last
        if self.sync_error is None or self.good > 0:
            self.good = max(0, self.good - 1)
            super().sync(fd)
            self._durable[file] = max(end, self._durable.get(file, 0))
            return
        if self.kept is not None:
            # What was durable before stays so, whatever is written over it with the same bytes.
            lost = max(start + self.kept, self._durable.get(file, 0))
            os.pwrite(fd, bytes(max(0, end - lost)), lost)
        raise self.sync_error

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
