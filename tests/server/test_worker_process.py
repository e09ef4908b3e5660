import asyncio
import socket
import subprocess
import sys
import textwrap

import pytest

from tests.server.test_worker import target_address
from tests.support.doors import PATIENCE, eventually
from tests.support.little_authority import LittleAuthority
from vestibule.bus import Peer, connect
from vestibule.server import sockets

pytestmark = pytest.mark.asyncio

# --- as a process ----------------------------------------------------------------------------------------------------

PARENT = """
    import os, socket, sys, time
    from pathlib import Path
    from tests.support.doors import speak_at_once
    from tests.support.scripted import FakeAnalyst, FakeSecrets, ScriptedRelay
    from tests.server.test_worker import FullJournal
    from vestibule.server.worker import Wiring, WorkerSettings, run_worker

    certificate, key, listening, bus = sys.argv[1:]
    settings = WorkerSettings(3, "postgres", Path(certificate), Path(key), {"version": "0.1", "python": "3.11"})
    wiring = Wiring(lambda call: FullJournal(), speak_at_once, speak_at_once, lambda facts: ScriptedRelay(),
                    lambda policy: None, FakeSecrets(), FakeAnalyst())
    child = os.fork()
    if child == 0:
        run_worker([int(listening)], int(bus), settings, wiring)
        os._exit(0)
    print(child, flush=True)
    time.sleep(60)
"""


async def test_a_process_dies_with_its_parent(little_authority: LittleAuthority) -> None:
    leaf = little_authority.issue()
    with sockets.listen(target_address()) as listening:
        ours, theirs = socket.socketpair()
        control, ready = Peer(), asyncio.Event()
        control.on("hello", lambda _: {"policy": {}})
        control.on("ready", lambda _: ready.set())
        await connect(ours, control)
        command = [sys.executable, "-c", textwrap.dedent(PARENT), str(leaf.certificate), str(leaf.key)]
        # Both descriptors stay open here, so that the end of the bus cannot be what ends the process.
        parent = subprocess.Popen(  # noqa: ASYNC220 - nothing else runs in this loop
            [*command, str(listening.fileno()), str(theirs.fileno())],
            pass_fds=(listening.fileno(), theirs.fileno()),
            stdout=subprocess.PIPE,
        )
        try:
            assert parent.stdout is not None
            child = int(await asyncio.to_thread(parent.stdout.readline))
            await asyncio.wait_for(ready.wait(), PATIENCE)
            assert _is_alive(child)
        finally:
            parent.kill()
            parent.wait()
            parent.stdout.close()
        await eventually(lambda: not _is_alive(child))
        theirs.close()
        control.close()
        await control.closed.wait()


def _is_alive(process: int) -> bool:
    try:
        with open(f"/proc/{process}/stat") as status:
            return status.read().split(") ")[1][0] != "Z"
    except FileNotFoundError:
        return False
