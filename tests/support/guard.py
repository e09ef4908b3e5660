"""Cleans up behind a test run that was killed: a program of its own, standard library only.

The run holds a pipe to it and tells what it starts: `+<pid> <signal>`, `-<pid>`, `folder <path>`, `tag <tag>`.
When the pipe closes, whatever closed it, everything that was told and not taken back is ended and removed.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))

from tests.support import processes


def main() -> None:
    """Read until the run is gone, then clean up."""
    # Ctrl-C and a closed terminal are for the run; its end is what counts here.
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    started: dict[int, signal.Signals] = {}
    folders: list[str] = []
    tags: list[str] = []
    for line in sys.stdin:
        word, _, rest = line.rstrip("\n").partition(" ")
        match word:
            case "folder":
                folders.append(rest)
            case "tag":
                tags.append(rest)
            case _ if word.startswith("+"):
                started[int(word[1:])] = signal.Signals(int(rest))
            case _:
                started.pop(int(word[1:]), None)
    clean_up(started, tags, folders)


def clean_up(started: dict[int, signal.Signals], tags: list[str], folders: list[str]) -> None:
    """End what was started, newest first, and remove the folders."""
    for pid, first in reversed(started.items()):
        processes.end(pid, first, grace=5)
    for tag in tags:
        processes.kill_all(processes.tagged(tag))
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)
    os._exit(0)


if __name__ == "__main__":
    main()
