"""What the playbook lets leave, and when: the driver's outboxes without a connection."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(eq=False)
class Batch:
    """The records of one `handle`; `durable` is None until that is decided."""

    names: tuple[str, ...]
    durable: bool | None = None


class Outbox:
    """What may not leave yet for one side."""

    def __init__(self, leave: Callable[[bytes], None]) -> None:
        self._leave = leave
        self._queue: deque[tuple[bytes, Batch | None, bytes]] = deque()
        self._is_broken = False

    def push(self, data: bytes, batch: Batch | None, instead: bytes = b"") -> None:
        """Let bytes leave behind everything before them, once their batch is durable; `instead` if that fails."""
        if batch is not None and batch.durable is False:
            self._is_broken = self._is_broken or not instead
            data, batch = instead, None
        if not self._is_broken:
            self._queue.append((data, batch, instead))
            self.release()

    def release(self) -> None:
        """Let leave what may."""
        while self._queue and (self._queue[0][1] is None or self._queue[0][1].durable):
            self._leave(self._queue.popleft()[0])

    def drop(self, batch: Batch) -> None:
        """Drop what waits for a failed batch, and everything behind it; what leaves instead takes its place alone."""
        kept = deque[tuple[bytes, Batch | None, bytes]]()
        for entry in self._queue:
            if entry[1] is not batch:
                kept.append(entry)
            elif entry[2]:
                kept.append((entry[2], None, b""))
            else:
                self._is_broken = True
                break
        self._queue = kept
        self.release()

    def mend(self) -> None:
        """Take entries again: the relay is about to know."""
        self._is_broken = False

    @property
    def is_empty(self) -> bool:
        """Tell whether nothing waits."""
        return not self._queue
