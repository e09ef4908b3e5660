"""Bytes in both directions at any speed: bounded memory, nothing that stands still, nobody else delayed."""

from __future__ import annotations

import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from tests.end_to_end.conftest import Connect
from tests.support.at_target import backend_is_gone, backend_of
from tests.support.evidence import Journal
from tests.support.gateway import TARGET, Gateway
from tests.support.memory import MIB, growth
from tests.support.postgres import PostgresServer
from tests.support.raw_client import RawClient, codes, in_session
from tests.support.signing_in import SignedIn
from vestibule.protocols.postgres import messages as pg
from vestibule.protocols.postgres.codec import encode

#: A reader of 1 MB/s, and how long it reads.
PACE, READS_FOR = 1_000_000, 20.0
PIECE = 64 << 10
#: How many messages a flood sends in one piece.
FLOOD = 4_000
READY = b"Z\0\0\0\5"


def test_a_slow_reader_of_a_gigabyte_costs_the_gateway_no_memory(
    gateway: Gateway, dev1: SignedIn, connect: Connect, postgres15: PostgresServer, journal: Journal, name: str
) -> None:
    neighbour = connect(application_name="neighbour")
    with growth(gateway) as grown, slow_session(gateway, dev1, name) as client:
        backend = backend_of(postgres15, name)
        client.send(pg.Query(b"SELECT repeat('x', 1000) FROM generate_series(1, 1048576)"))
        read = read_slowly(client, lambda: neighbour.execute("SELECT 1").fetchone())
        (wait,) = postgres15.execute("SELECT wait_event FROM pg_stat_activity WHERE pid = %s", [backend])
        client.stream.close()

    assert wait == ("ClientWrite",), "the target waits for the reader too"
    assert PACE * READS_FOR * 0.6 < read < PACE * READS_FOR * 1.5
    assert grown.mib < 32
    assert backend_is_gone(postgres15, backend)
    finished = journal.closed_session(name).one("StatementFinished")
    assert finished["outcome"] in ("unknown", "cancelled")
    assert finished["results"][0]["bytes"] < read + 32 * MIB


def test_one_row_of_many_megabytes_passes_in_pieces(
    gateway: Gateway, raw: RawClient, journal: Journal, name: str
) -> None:
    size = 200 * MIB

    with growth(gateway) as grown:
        raw.send(pg.Query(f"SELECT repeat('x', {size})".encode()))
        raw.expect(pg.RowDescription)
        received = len(raw.read)
        raw.read = b""
        while received < size:
            received += len(raw.stream.recv(1 << 20))
        raw.stream.close()

    assert grown.mib < 32
    assert journal.closed_session(name).one("StatementFinished")["results"][0]["bytes"] >= size


def test_a_full_duplex_pipeline_of_many_megabytes_does_not_stand_still(
    gateway: Gateway, connect: Connect, journal: Journal, name: str
) -> None:
    connection = connect()
    sizes = [MIB, 10, 3 * MIB, 100_000] * 25

    with growth(gateway) as grown, connection.pipeline():
        cursors = [connection.execute("SELECT %s::text, repeat('y', %s::int)", ("x" * size, size)) for size in sizes]
        answers = [tuple(len(value) for value in cursor.fetchone()) for cursor in cursors]

    assert answers == [(size, size) for size in sizes]
    assert grown.mib < 100
    connection.close()
    session = journal.closed_session(name)
    assert session.outcomes == ["ok"] * len(sizes)
    assert session.one("SessionClosed")["bytes_to_target"] > sum(sizes)


def test_a_copy_both_ways_at_once_and_thousands_of_small_statements_keep_their_order(connect: Connect) -> None:
    connection = connect()

    with connection.pipeline():
        cursors = [connection.execute("SELECT %s::int", (number,)) for number in range(3_000)]
        answers = [cursor.fetchone()[0] for cursor in cursors]

    assert answers == list(range(3_000))


@pytest.mark.parametrize("side", ["before the log-in", "in a session"])
def test_a_client_that_reads_nothing_at_all_holds_up_nobody(
    gateway: Gateway, dev1: SignedIn, raw: RawClient, side: str
) -> None:
    with slow_session(gateway, dev1, "readsnothing") as deaf:
        if side == "in a session":
            deaf.send(*[pg.Query(b"SELECT repeat('x', 100000) FROM generate_series(1, 1000)")] * 20)
        began = time.monotonic()
        for _ in range(20):
            assert codes(raw.query("SELECT 1"))[-1] == "Z I"
        assert time.monotonic() - began < 5.0


@pytest.mark.parametrize(
    ("said", "share"),
    [(pg.Query(b"SELECT 1"), 6_000), (pg.Query(b"DROP TABLE cards"), 6_000), (pg.Sync(), 24_000)],
    ids=["queries", "refused", "syncs"],
)
def test_a_client_that_pipelines_without_end_delays_neither_log_ins_nor_statements_of_others(
    gateway: Gateway, dev1: SignedIn, said: pg.FrontendMessage, share: int
) -> None:
    user, rounds = f"{dev1.person}+{TARGET}", 10

    with in_session(gateway.port, gateway.ca, user, dev1.token) as client, flooded(client, said) as answered:
        before = answered()
        for _ in range(rounds):
            with in_session(gateway.port, gateway.ca, user, dev1.token) as neighbour:
                assert codes(neighbour.query("SELECT 1"))[-1] == "Z I"
        # Shares, not seconds: a slow machine slows both. Without turns it is some 20,000 queries a round; of what is no
        # statement one turn has four times as many.
        assert 300 < answered() - before < share * rounds


@contextmanager
def flooded(client: RawClient, said: pg.FrontendMessage) -> Iterator[Callable[[], int]]:
    """Let a client pipeline a message thousands of times, again and again; gives how many are answered."""
    enough = threading.Event()
    answered = 0

    def flood() -> None:
        nonlocal answered
        while not enough.is_set():
            client.stream.sendall(encode(said) * FLOOD)
            missing, tail = FLOOD, b""
            while missing > 0:
                data = tail + client.stream.recv(PIECE)
                assert len(data) > len(tail), "the gateway closed"
                missing -= data.count(READY)
                answered += data.count(READY)
                tail = data[-(len(READY) - 1) :]

    with ThreadPoolExecutor(1) as pool:
        flooding = pool.submit(flood)
        try:
            yield lambda: answered
        finally:
            enough.set()
            flooding.result(timeout=60)


@contextmanager
def slow_session(gateway: Gateway, who: SignedIn, name: str) -> Iterator[RawClient]:
    """A raw session whose kernel keeps little of what the gateway sends."""
    user = f"{who.person}+{TARGET}"
    with in_session(gateway.port, gateway.ca, user, who.token, application_name=name) as client:
        client.stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 128 << 10)
        yield client


def read_slowly(client: RawClient, meanwhile: Callable[[], object]) -> int:
    """Read at the pace for the time; look at the clock of a neighbour now and then."""
    began, read = time.monotonic(), 0
    while (passed := time.monotonic() - began) < READS_FOR:
        if read > PACE * passed:
            select.select([], [], [], 0.05)
            asked = time.monotonic()
            meanwhile()
            assert time.monotonic() - asked < 2.0, "the neighbour was delayed"
            continue
        read += len(client.stream.recv(PIECE))
    return read
