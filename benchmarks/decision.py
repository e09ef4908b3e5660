"""What a whole decision costs over the statements of the leak battery: reading, planning the masks, asking the policy.

    python -m benchmarks.decision [--rounds 30]

As a session's gate does it, with what a real server said of the battery's bank; what is recorded of it is not in it.
Uncached is a text that nobody sent before, cached one that is remembered. What is refused counts like what is allowed.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from statistics import median
from typing import Any, Final

import yaml

from benchmarks.figures import Figure, quantile
from tests.support.canary_bank import BANK, BATTERY, MASKS, SUPERUSER, serve_bank
from tests.support.certificates import Authority
from tests.support.gates import NOW, admitted
from tests.support.policies import HEAD, RULES
from tests.support.postgres import PostgresServer
from tests.support.sandbox import Sandbox
from vestibule.analysis.sql.catalog import QUERY, catalog, search_path
from vestibule.gate.gate import Gate, StorageKey
from vestibule.gate.reading import Reader
from vestibule.gate.session import SessionGate
from vestibule.masking.catalog import QUERY as SNAPSHOT
from vestibule.model.decision import Decision
from vestibule.model.statement import Parsed, Statement
from vestibule.policy.document import load
from vestibule.policy.engine import Engine
from vestibule.protocols.postgres.knowing import Knowing
from vestibule.protocols.postgres.learning import Learned

Rows = list[tuple[str, ...]]
#: What an oracle asks first.
_GUESS: Final = {"pos": 1, "posm1": 0, "ch": "0", "code": 48, "prefix": ""}
#: Members of the battery's steps that hold SQL.
_TEXTS: Final = ("query", "ext", "parse", "setup", "copyin")


def texts() -> list[bytes]:
    """Give every statement of the battery; an oracle's with its first guess."""
    cases: list[dict[str, Any]] = yaml.safe_load((BATTERY / "cases.yaml").read_text())["cases"]
    found = [text for case in cases for step in case.get("steps", ()) for text in _said(step)]
    found += [case["template"].format_map(_GUESS) for case in cases if "template" in case]
    return [text.encode() for text in found]


def _said(step: str | dict[str, Any]) -> list[str]:
    if isinstance(step, str):
        return [step]
    return [*(step[name] for name in _TEXTS if name in step and "replication" not in step), *step.get("pipeline", ())]


def asked(server: PostgresServer) -> tuple[Rows, Rows]:
    """Ask a server what the gateway asks it: what it has of its own, and all its relations."""
    answers: list[Rows] = []
    with server.connect(SUPERUSER, BANK) as connection:
        for question in (QUERY, SNAPSHOT):
            cursor = connection.execute(question.encode())
            while cursor.description is None and cursor.nextset():
                pass
            answers.append([tuple("" if cell is None else str(cell) for cell in row) for row in cursor.fetchall()])
    own, relations = answers
    return own, relations


class Deciding:
    """One session of somebody for whom columns are masked."""

    def __init__(self, own: Rows, relations: Rows, masks: object = MASKS) -> None:
        """Know what a server said."""
        policy = HEAD + RULES + yaml.safe_dump({"masks": masks})
        self.gate: SessionGate = admitted(
            at=Gate(Engine(load(policy.encode(), "policy.yaml")), StorageKey("k", bytes(32)))
        )
        self.known = Knowing(self.gate, Learned(catalog(own, ()), search_path(own)))
        charted = self.gate.charting(lambda: relations)()
        self.known.survey(charted, NOW, is_of_now=True)

    def decide(self, text: bytes, reader: Reader) -> Decision | None:
        """Decide one text; None for one that never travels, whatever the policy says."""
        answer = reader.read(text, self.known.knowledge(text))
        if not isinstance(answer, Parsed) or any(each.refusal is not None for each in answer.statements):
            return None
        return self.gate.judge_statement(Statement(text, answer.statements))


def timed(deciding: Deciding, text: bytes, rounds: int) -> tuple[float, float]:
    """Give the median microseconds of one text, uncached and cached."""
    nothing, reader = Reader(0), Reader()
    deciding.decide(text, reader)
    found = []
    for used in (nothing, reader):
        times = []
        # A statement arrives in a buffer of its own: nothing of it is remembered but what it says.
        for copy in [bytes(bytearray(text)) for _ in range(rounds)]:
            began = time.perf_counter_ns()
            deciding.decide(copy, used)
            times.append((time.perf_counter_ns() - began) / 1_000)
        found.append(median(times))
    return found[0], found[1]


def measure(rounds: int) -> Iterator[Figure]:
    """Measure the cost of a decision, uncached and cached, over all statements of the battery."""
    with Sandbox() as sandbox:
        server = serve_bank(sandbox, Authority(sandbox))
        own, relations = asked(server)
        server.stop()
    deciding = Deciding(own, relations)
    listed = texts()
    refused = sum(deciding.decide(text, Reader(0)) is None for text in listed)
    found = [timed(deciding, text, rounds) for text in listed]
    for place, (kind, aim) in enumerate((("uncached", 100.0), ("cached", 5.0))):
        values = [each[place] for each in found]
        parts = {
            "statements": float(len(values)),
            "of these refused": float(refused),
            "90 of 100 are below": quantile(values, 0.9),
            "the most": max(values),
        }
        yield Figure("decision", f"a decision, {kind}, median of the battery", median(values), "us", aim, parts=parts)


def main() -> None:
    """Measure and print."""
    arguments = argparse.ArgumentParser(description="What a decision costs over the leak battery's statements.")
    arguments.add_argument("--rounds", type=int, default=30, help="times that each is measured (default 30)")
    given = arguments.parse_args()
    for each in measure(given.rounds):
        sys.stdout.write(f"{each.name:50}{each.value:>10.1f} {each.unit}  {dict(each.parts)}\n")


if __name__ == "__main__":
    main()
