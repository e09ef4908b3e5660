"""A real file system that runs full: a tmpfs in a mount namespace that ends with the process holding it.

Root needs nothing else; anybody else needs user namespaces. Where neither is given, the test fails and says so.
"""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

_HOLD = 'mount -t tmpfs -o size="$0",mode=0700 small-disk "$1" && echo mounted && read -r _'


@contextmanager
def small_disk(mount_point: Path, size: int, become: Sequence[str] = ()) -> Iterator[Path]:
    """Mount `size` bytes; the path given leads there from any process of this user, or of the one that we `become`."""
    mount_point.mkdir(parents=True, exist_ok=True)
    own = [] if os.geteuid() == 0 and not become else ["--map-root-user"]
    command = [*become, "unshare", "--mount", *own, "sh", "-c", _HOLD, str(size), str(mount_point)]
    holder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert holder.stdin
    assert holder.stdout
    assert holder.stderr
    try:
        if holder.stdout.readline() != b"mounted\n":
            raise AssertionError(
                "a test needs a small file system: run as root with CAP_SYS_ADMIN, or allow user namespaces; "
                f"unshare said: {holder.stderr.read().decode(errors='replace').strip()}"
            )
        yield Path(f"/proc/{holder.pid}/root{mount_point.resolve()}")
    finally:
        # The end of its input ends the holder, and with it the namespace and the mount.
        holder.stdin.close()
        holder.wait(10)
        holder.stdout.close()
        holder.stderr.close()


def fill(folder: Path, leave: int = 0) -> Path:
    """Take all room of a file system but `leave` bytes."""
    ballast = folder / "ballast"
    fd = os.open(ballast, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        # Whoever writes meanwhile takes of the room that was just counted.
        while not _take(fd, leave):
            pass
    finally:
        os.close(fd)
    return ballast


def _take(fd: int, leave: int) -> bool:
    volume = os.fstatvfs(fd)
    taken = os.fstat(fd).st_blocks * 512
    size = taken + volume.f_bavail * volume.f_frsize - leave
    if size <= taken:
        return True
    try:
        os.posix_fallocate(fd, 0, size)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        return False
    return True
