"""The data process: PostgreSQL's relay behind the listener. Started by the control process alone.

`python -m vestibule.app.data SETTINGS WORKER BUS LISTENING...`, the last ones being inherited descriptors.
"""

from __future__ import annotations

import gc
import platform
import sys
import time
from collections.abc import Callable, Generator, Sequence
from functools import partial
from pathlib import Path
from typing import cast

from vestibule import __version__
from vestibule.gate.gate import Gate, StorageKey
from vestibule.gate.kept import Recording
from vestibule.gate.reading import Knowledge, Reader
from vestibule.logs import configure
from vestibule.model.names import Instant
from vestibule.model.statement import Parsed, Unknown, Unsupported
from vestibule.model.target import Target
from vestibule.policy.document import load as load_policy
from vestibule.policy.engine import Engine
from vestibule.protocols.base import Conversation, Opening, Outcome, Step
from vestibule.protocols.postgres import opening, rows
from vestibule.protocols.postgres.login import Surroundings
from vestibule.protocols.postgres.relay import PostgresRelay
from vestibule.protocols.postgres.scram import SaltedPasswords
from vestibule.server.analyst import ParserProcess
from vestibule.server.clock import Clock
from vestibule.server.commits import Commits
from vestibule.server.listener import ListenerLimits
from vestibule.server.recorder import Recorder
from vestibule.server.worker import Wiring, WorkerJournal, WorkerSettings, run_worker
from vestibule.settings import Settings, load
from vestibule.stores.objects import Directory
from vestibule.stores.segments import Journal
from vestibule.stores.spool import Spool
from vestibule.vault import Vault
from vestibule.wire.jsonrpc import Params

#: A journal's answer comes before the drivers stop to wait for it.
GRACE_SECONDS = 2.0


def writer(settings: Settings, name: str) -> tuple[Path, str]:
    """Give the folder and the name of a writer of this node."""
    node = f"{settings.node}.{name}"
    return settings.data / "journal" / node, node


def wall_clock() -> Instant:
    """Tell the time as the machine has it, steps and all: what a record is stamped with."""
    return Instant(time.time_ns() // 1_000)


def open_journal(settings: Settings, name: str, call: Callable[[Callable[[], None]], object]) -> Journal:
    """Open the journal of one writer as the settings say."""
    folder, node = writer(settings, name)
    limits = settings.journal
    return Journal.open(
        folder,
        node,
        wall_clock,
        call=call,
        segment_bytes=limits.segment_bytes,
        reserve_bytes=limits.segment_bytes,
        min_free=limits.min_free,
        stop_free=limits.stop_free,
        commit_timeout=limits.commit_timeout,
    )


def started(settings: Settings) -> dict[str, str]:
    """Say what runs, for `NodeStarted`."""
    return {
        "version": __version__,
        "config_sha256": settings.digest,
        "build": rows.BUILD,
        "python": platform.python_version(),
    }


class DataProcess:
    """Makes relays by the policy that the control process gives."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._reader = Reader()
        self._salted = SaltedPasswords()
        self._parser = ParserProcess()
        self._around: Surroundings | None = None

    def apply_policy(self, params: Params) -> None:
        """Let a policy take effect; the first one comes with the key for stored text."""
        text = _text(params, "text")
        engine = Engine(load_policy(text.encode(), "policy of the control process"))
        if engine.digest != params.get("digest"):
            raise ValueError("the policy's text is not the one of its digest")
        if self._around is not None:
            self._around.gate.apply(engine)
            return
        key = StorageKey(_text(params, "storage_key_id"), bytes.fromhex(_text(params, "storage_key")))
        gate = Gate(engine, key)
        recording = self._settings.recording
        gate.recording = Recording(self.records_results, recording.result_rows, recording.result_bytes)
        self._around = Surroundings(gate, self._reader, self._salted, self._settings.limits.bind_bytes)

    def records_results(self, target: Target) -> bool:
        """Tell whether what a target's clients are shown is recorded: where somebody has said what is sensitive."""
        is_masked = self._around is not None and self._around.gate.is_masked(target)
        return is_masked and self._settings.recording.results == "masked"

    def make_relay(self, conversation: Conversation) -> PostgresRelay:
        """Make the relay of one connection."""
        if self._around is None:
            raise AssertionError("nobody is served before there is a policy")
        return PostgresRelay(conversation, self._around)

    async def analyse(self, text: bytes, knowledge: object) -> Parsed | Unsupported | Unknown:
        """Analyse a large text in a process of its own."""
        return await self._parser.analyse(text, cast(Knowledge, knowledge))


def make_recorder(settings: Settings, worker: int, commits: Commits, clock: Clock) -> Recorder:
    """Make what records the sessions of a data process, in a spool of its own."""
    _, node = writer(settings, str(worker))
    spool = Spool(settings.data / "spool" / node, settings.recording.spool_max // settings.workers)
    return Recorder(spool, Directory(settings.data / "objects"), commits, clock)


def reach(target: Target, hello: bytes) -> Opening:
    """Speak first to a target, as its configuration says."""
    return opening.reach(target.tls.direct, plaintext=target.tls.mode == "disable", hello=hello)


def main(arguments: Sequence[str]) -> None:
    """Run the data process."""
    # What was imported lives until the end: no collection between two statements passes over it.
    gc.freeze()
    settings = load(Path(arguments[0]))
    worker, bus, *listening = (int(argument) for argument in arguments[1:])
    configure(settings.log_format, str(worker))
    process = DataProcess(settings)

    def journal(call: Callable[[Callable[[], None]], object]) -> WorkerJournal:
        return open_journal(settings, str(worker), call)

    listener, limits = settings.listeners.postgres, settings.limits
    run_worker(
        listening,
        bus,
        WorkerSettings(
            worker=worker,
            protocol="postgres",
            certificate=listener.certificate,
            key=listener.key,
            started=started(settings),
            sessions=limits.sessions,
            listener=ListenerLimits(
                limits.startup_timeout,
                limits.pending,
                limits.pending_per_address,
                tuple(settings.trusted_proxies),
            ),
            dial_seconds=limits.dial_timeout,
            commit_seconds=settings.journal.commit_timeout + GRACE_SECONDS,
        ),
        Wiring(
            journal,
            _accept,
            reach,
            process.make_relay,
            process.apply_policy,
            Vault(),
            process,
            partial(make_recorder, settings, worker),
        ),
    )


def _accept() -> Generator[Step, bytes, Outcome]:
    return opening.accept()


def _text(params: Params, name: str) -> str:
    value = params.get(name)
    if not isinstance(value, str):
        raise ValueError(f"{name} is not a string")
    return value


if __name__ == "__main__":
    main(sys.argv[1:])
