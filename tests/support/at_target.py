"""What is seen of the gateway's sessions at the target itself."""

from __future__ import annotations

from tests.support.postgres import PostgresServer
from tests.support.waiting import wait_for


def backend_of(server: PostgresServer, name: str) -> int:
    """Give the target's process for the session of a client that named itself `name`."""
    ((pid,),) = server.execute("SELECT pid FROM pg_stat_activity WHERE application_name LIKE %s", [f"{name} %"])
    return int(pid)


def backend_is_gone(server: PostgresServer, pid: int, timeout: float = 10.0) -> bool:
    """Wait until a process of the target has ended."""
    question = "SELECT 1 FROM pg_stat_activity WHERE pid = %s"
    return wait_for(lambda: not server.execute(question, [pid]), f"the end of the target's process {pid}", timeout)


def is_running(server: PostgresServer, pid: int, text: str) -> bool:
    """Tell whether a process of the target executes a statement that has `text` in it."""
    question = "SELECT 1 FROM pg_stat_activity WHERE pid = %s AND state = 'active' AND query LIKE %s"
    return bool(server.execute(question, [pid, f"%{text}%"]))


def texts_in(server: PostgresServer, table: str) -> list[str]:
    """Read the column `x` of a table, as committed."""
    return [row[0] for row in server.execute(f"SELECT x FROM {table} ORDER BY x")]
