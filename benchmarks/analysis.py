"""What analysis costs a statement, and each part of it.

    python -m benchmarks.analysis [--rounds 300] [--json]

The statements are those that applications and people send; the median over all of them is the figure that counts.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Final

from vestibule.analysis.sql import parser
from vestibule.analysis.sql.analyse import analyse
from vestibule.analysis.sql.catalog import Catalog
from vestibule.gate.reading import Knowledge, Reader

CATALOG: Final = Catalog(user_functions=frozenset({"state_count", "tax_ref"}), version="benchmark")

_ROW: Final = "(12345, 'a note of some length')"

STATEMENTS: Final = {
    "begin": "BEGIN",
    "ping": "SELECT 1",
    "set": "SET LOCAL statement_timeout = '5s'",
    "point query": "SELECT id, name, balance FROM accounts WHERE id = $1",
    "insert": "INSERT INTO transactions (account_id, amount, note) VALUES ($1, $2, $3) RETURNING id",
    "update": "UPDATE accounts SET balance = balance - 10.50 WHERE id = 42 AND balance >= 10.50",
    "delete": "DELETE FROM cards WHERE customer_id = 17 AND expires_on < now() - interval '1 year'",
    "join": (
        "SELECT c.id, c.name, a.balance FROM customers c JOIN accounts a ON a.customer_id = c.id "
        "WHERE c.state = 'NY' AND a.balance > 100 ORDER BY a.balance DESC LIMIT 10"
    ),
    "report": (
        "WITH t AS (SELECT customer_id, sum(amount) AS total FROM transactions "
        "WHERE booked_at >= now() - interval '30 days' GROUP BY customer_id) "
        "SELECT c.name, t.total, rank() OVER (ORDER BY t.total DESC) FROM t JOIN customers c ON c.id = t.customer_id "
        "WHERE t.total > (SELECT avg(total) FROM t) AND c.segment IN ('a', 'b', 'c') ORDER BY 2 DESC"
    ),
    "psql \\d": (
        "SELECT a.attname, pg_catalog.format_type(a.atttypid, a.atttypmod), "
        "(SELECT pg_catalog.pg_get_expr(d.adbin, d.adrelid, true) FROM pg_catalog.pg_attrdef d "
        "WHERE d.adrelid = a.attrelid AND d.adnum = a.attnum AND a.atthasdef), a.attnotnull "
        "FROM pg_catalog.pg_attribute a WHERE a.attrelid = '16385' AND a.attnum > 0 AND NOT a.attisdropped "
        "ORDER BY a.attnum"
    ),
    "batch of 100 rows": "INSERT INTO t VALUES " + ", ".join([_ROW] * 100),  # noqa: S608 - timed here, sent nowhere
}


@dataclass(frozen=True, slots=True)
class Figure:
    """Median microseconds for one statement: in all, its parts, and when it is remembered."""

    name: str
    text_bytes: int
    uncached: float
    parse: float
    literals: float
    fingerprint: float
    cached: float


def median(rounds: int, work: Callable[[], object]) -> float:
    """Time `work` and give the median in microseconds."""
    times = []
    for _ in range(rounds):
        started = time.perf_counter_ns()
        work()
        times.append(time.perf_counter_ns() - started)
    return round(statistics.median(times) / 1_000, 2)


def measure(name: str, text: bytes, rounds: int) -> Figure:
    """Time one statement."""
    reader, knowledge = Reader(), Knowledge(CATALOG)
    reader.read(text, knowledge, lambda _: None)
    # A statement arrives in a buffer of its own: nothing of it is remembered but what it says.
    copies = iter([bytes(bytearray(text)) for _ in range(rounds)])
    return Figure(
        name,
        len(text),
        median(rounds, lambda: analyse(text, CATALOG)),
        median(rounds, lambda: parser.parse(text)),
        median(rounds, lambda: parser.literals(text)),
        median(rounds, lambda: parser.fingerprint(text)),
        median(rounds, lambda: reader.read(next(copies), knowledge, lambda _: None)),
    )


def table(figures: Sequence[Figure]) -> str:
    """Write the figures for people."""
    head = f"{'microseconds':20}{'bytes':>7}{'uncached':>10}{'parse':>8}{'literals':>10}{'print':>8}{'cached':>8}"
    rows = [
        f"{each.name:20}{each.text_bytes:>7}{each.uncached:>10}{each.parse:>8}{each.literals:>10}"
        f"{each.fingerprint:>8}{each.cached:>8}"
        for each in figures
    ]
    uncached, cached = (statistics.median(getattr(each, part) for each in figures) for part in ("uncached", "cached"))
    return "\n".join([head, *rows, f"{'median of all':20}{'':>7}{uncached:>10}{'':>26}{cached:>8}"]) + "\n"


def main() -> None:
    """Measure and print."""
    arguments = argparse.ArgumentParser(description="What analysis costs a statement.")
    arguments.add_argument("--rounds", type=int, default=300, help="times that each is measured (default 300)")
    arguments.add_argument("--json", action="store_true", help="print JSON")
    given = arguments.parse_args()
    figures = [measure(name, text.encode(), given.rounds) for name, text in STATEMENTS.items()]
    sys.stdout.write(json.dumps([asdict(each) for each in figures]) + "\n" if given.json else table(figures))


if __name__ == "__main__":
    main()
