"""A JDBC client: reads one job as JSON on standard input, writes the answer as JSON on its output; needs `jpype` alone.

It is a program of its own because a Java machine takes its process over, and is copied to where it runs.
The job is `tests.support.jdbc.Job`, the answer `tests.support.jdbc.Answer`.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import jpype  # type: ignore[import-untyped]

DRIVER = "/usr/share/java/postgresql.jar"
MACHINES = ("lib/server/libjvm.so", "jre/lib/server/libjvm.so")


def main() -> None:
    """Do the job on standard input."""
    job = json.loads(sys.stdin.read())
    home = Path(os.environ["JAVA_HOME"])
    machine = next(path for path in map(home.joinpath, MACHINES) if path.exists())
    jpype.startJVM(str(machine), "-Xmx256m", "-Xrs", classpath=[DRIVER])
    driver = jpype.JClass("org.postgresql.Driver")()
    version = str(jpype.JClass("org.postgresql.util.DriverInfo").DRIVER_VERSION)
    sys.stdout.write(json.dumps({"driver": version, "results": _results(driver, job)}) + "\n")


def _results(driver: Any, job: dict[str, Any]) -> list[dict[str, Any]]:
    failure = jpype.JClass("java.sql.SQLException")
    properties = jpype.JClass("java.util.Properties")()
    for name, value in job["properties"].items():
        properties.setProperty(name, value)
    try:
        connection = driver.connect(job["url"], properties)
        connection.setAutoCommit(job["autocommit"])
    except failure as error:
        return [_wrong(error)]
    results = []
    for text in job["statements"]:
        try:
            results.append(_result(connection, text, job["fetch_size"]))
        except failure as error:
            results.append(_wrong(error))
    connection.close()
    return results


def _result(connection: Any, text: str, fetch_size: int) -> dict[str, Any]:
    statement = connection.prepareStatement(text)
    try:
        statement.setFetchSize(fetch_size)
        if not statement.execute():
            return {"changed": int(statement.getUpdateCount())}
        found = statement.getResultSet()
        places = range(1, found.getMetaData().getColumnCount() + 1)
        rows = []
        while found.next():
            rows.append([_text(found.getString(place)) for place in places])
        return {"rows": rows}
    finally:
        statement.close()


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def _wrong(error: Any) -> dict[str, Any]:
    return {"state": _text(error.getSQLState()), "message": str(error.getMessage())}


if __name__ == "__main__":
    main()
