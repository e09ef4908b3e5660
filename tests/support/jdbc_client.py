"""A JDBC client: reads one job as JSON on standard input, writes the answer as JSON on its output; needs `jpype` alone.

It is a program of its own because a Java machine takes its process over, and is copied to where it runs.
The job is `tests.support.jdbc.Job`, the answer `tests.support.jdbc.Answer`.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Callable
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
    # A short life: what compiles well and collects in parallel takes longer than the work.
    quick = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xshare:auto")
    jpype.startJVM(str(machine), "-Xmx256m", "-Xrs", *quick, classpath=[DRIVER])
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
    for step in job["steps"]:
        try:
            results.append(STEPS[step["do"]](connection, step))
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
        about = found.getMetaData()
        names = [str(about.getColumnLabel(place)) for place in range(1, about.getColumnCount() + 1)]
        return {"columns": names, "rows": _rows(found)}
    finally:
        statement.close()


def _rows(found: Any) -> list[list[str | None]]:
    about = found.getMetaData()
    types = [str(about.getColumnTypeName(place)) for place in range(1, about.getColumnCount() + 1)]
    rows = []
    while found.next():
        rows.append([_value(found, place, name) for place, name in enumerate(types, 1)])
    return rows


def _value(found: Any, place: int, name: str) -> str | None:
    # As a string the driver names the array in memory once it has the binary form.
    if name == "bytea":
        data = found.getBytes(place)
        return None if data is None else bytes(data).hex()
    return _text(found.getString(place))


def _repeat(connection: Any, step: dict[str, Any]) -> dict[str, Any]:
    """Run one prepared statement `times` times; give the rows of each."""
    statement = connection.prepareStatement(step["text"])
    runs = []
    for _ in range(step["times"]):
        for place, value in enumerate(step.get("values", ()), 1):
            statement.setObject(place, value)
        runs.append(_rows(statement.executeQuery()))
    statement.close()
    return {"runs": runs}


def _batch(connection: Any, step: dict[str, Any]) -> dict[str, Any]:
    """Send one statement with many rows of values at once; give the numbers that were changed."""
    statement = connection.prepareStatement(step["text"])
    try:
        for row in step["rows"]:
            for place, value in enumerate(row, 1):
                statement.setObject(place, value)
            statement.addBatch()
        return {"counts": [int(count) for count in statement.executeBatch()]}
    finally:
        statement.close()


def _keys(connection: Any, step: dict[str, Any]) -> dict[str, Any]:
    """Run a statement and read the keys that it made."""
    statement = connection.prepareStatement(step["text"], jpype.JArray(jpype.JString)(step["columns"]))
    statement.executeUpdate()
    return {"rows": _rows(statement.getGeneratedKeys())}


def _describe(connection: Any, step: dict[str, Any]) -> dict[str, Any]:
    """Ask DatabaseMetaData."""
    arguments = [
        jpype.JArray(jpype.JString)(value) if isinstance(value, list) else value for value in step["arguments"]
    ]
    found = getattr(connection.getMetaData(), step["call"])(*arguments)
    return {"rows": _rows(found)} if hasattr(found, "next") else {"value": str(found)}


def _copy_in(connection: Any, step: dict[str, Any]) -> dict[str, Any]:
    """COPY FROM STDIN by CopyManager."""
    reader = jpype.JClass("java.io.StringReader")(step["data"])
    return {"changed": int(_copier(connection).copyIn(step["text"], reader))}


def _copy_out(connection: Any, step: dict[str, Any]) -> dict[str, Any]:
    """COPY TO STDOUT by CopyManager."""
    writer = jpype.JClass("java.io.StringWriter")()
    _copier(connection).copyOut(step["text"], writer)
    return {"data": str(writer.toString())}


def _copier(connection: Any) -> Any:
    return jpype.JClass("org.postgresql.copy.CopyManager")(connection)


def _cancel(connection: Any, step: dict[str, Any]) -> dict[str, Any]:
    """Run a long statement and cancel it from another thread, again and again until it has ended."""
    statement = connection.createStatement()
    has_ended = threading.Event()

    def press() -> None:
        while not has_ended.wait(0.3):
            statement.cancel()

    presser = threading.Thread(target=press)
    presser.start()
    try:
        statement.execute(step["text"])
    finally:
        has_ended.set()
        presser.join()
    return {}


def _commit(connection: Any, _: dict[str, Any]) -> dict[str, Any]:
    connection.commit()
    return {}


def _roll_back(connection: Any, _: dict[str, Any]) -> dict[str, Any]:
    connection.rollback()
    return {}


#: What a step can do, by its `do`.
STEPS: dict[str, Callable[[Any, dict[str, Any]], dict[str, Any]]] = {
    "ask": lambda connection, step: _result(connection, step["text"], step.get("fetch_size", 0)),
    "repeat": _repeat,
    "batch": _batch,
    "keys": _keys,
    "describe": _describe,
    "copy in": _copy_in,
    "copy out": _copy_out,
    "cancel": _cancel,
    "commit": _commit,
    "roll back": _roll_back,
}


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def _wrong(error: Any) -> dict[str, Any]:
    wrong: dict[str, Any] = {"state": _text(error.getSQLState()), "message": str(error.getMessage())}
    # Of a batch, the driver wraps the server's error.
    while error is not None and not hasattr(error, "getServerErrorMessage"):
        error = error.getNextException() if hasattr(error, "getNextException") else None
    said = None if error is None else error.getServerErrorMessage()
    if said is not None:
        wrong |= {"position": int(said.getPosition()), "detail": _text(said.getDetail()), "hint": _text(said.getHint())}
    return wrong


if __name__ == "__main__":
    main()
