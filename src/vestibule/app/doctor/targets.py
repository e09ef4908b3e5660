"""A target as the gateway will find it, and what the evidence can promise of it.

1. Nothing is changed there. What is asked is about settings, the account, functions and the catalog; no table is read.
2. The target's own words are shown for a log-in that it refuses, and nowhere else: they may quote values.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Final
from uuid import uuid4

from vestibule.app.doctor.asking import Asking, QuestionRefused, Row, open_target
from vestibule.app.doctor.findings import Finding, fail, ok, unreachable, warn
from vestibule.masking.catalog import QUERY, Snapshot, snapshot
from vestibule.masking.sensitive import count_columns
from vestibule.model.errors import TargetProtocolError, TargetUnavailable
from vestibule.model.target import Target
from vestibule.policy.document import Policy
from vestibule.server.dialer import Dialer

PATIENCE: Final = 60.0
#: The first server that is tested, and the last.
OLDEST, NEWEST = 14, 18

SETTINGS: Final = (
    "server_version",
    "application_name",
    "log_statement",
    "log_min_duration_statement",
    "log_parameter_max_length",
    "log_parameter_max_length_on_error",
    "log_min_error_statement",
    "client_connection_check_interval",
    "statement_timeout",
    "is_superuser",
)
_SETTINGS: Final = (
    "SELECT n, pg_catalog.current_setting(n, true) FROM pg_catalog.unnest(ARRAY[{}]::pg_catalog.text[]) AS n"
)
_REGISTERED: Final = (
    "SELECT n, pg_catalog.to_regprocedure(n) IS NOT NULL FROM pg_catalog.unnest(ARRAY[{}]::pg_catalog.text[]) AS n"
)
_ROLE: Final = (
    "SELECT rolname, rolsuper, rolbypassrls, rolreplication, rolcreaterole, rolcreatedb FROM pg_catalog.pg_roles "
    "WHERE rolname OPERATOR(pg_catalog.=) current_user"
)
_RIGHTS: Final = {
    "superuser": "it can do anything, reads every file of the server and can stop its log",
    "bypassrls": "row security does not bind it",
    "replication": "it can read the whole server past every statement",
    "createrole": "it can make accounts that nobody watches",
    "createdb": "it can make databases",
}
_GRAVE: Final = ("superuser", "bypassrls", "replication")


async def examine(target: Target, policy: Policy, dialer: Dialer) -> AsyncIterator[Finding]:
    """Check one target, and every database of it that the policy names."""
    about = f"target {target.name}"
    yield tls(about, target.tls.mode)
    for number, database in enumerate(target.databases):
        session = uuid4()
        try:
            async with asyncio.timeout(PATIENCE):
                asking = await open_target(target, dialer, database, session)
                try:
                    place = f"{about}: {database}"
                    yield ok(place, "reached, verified as configured, logged in")
                    if number == 0:
                        for finding in await _server(asking, about, f"vestibule:{str(session)[:8]}"):
                            yield finding
                    for finding in await _database(asking, place, target, policy):
                        yield finding
                finally:
                    asking.close()
        except TimeoutError:
            yield unreachable(about, "no answer in time", "look at the network and the server")
        except TargetUnavailable as error:
            yield unreachable(about, str(error), "look at hosts, tls, credential and databases in the policy")
        except (TargetProtocolError, QuestionRefused) as error:
            yield fail(about, str(error), "see whether a proxy stands between, and whether this is PostgreSQL")


async def _server(asking: Asking, about: str, ours: str) -> list[Finding]:
    names = ", ".join(f"'{name}'" for name in SETTINGS)
    found = {row[0]: row[1] for row in await asking.ask(_SETTINGS.format(names))}
    [role] = await asking.ask(_ROLE)
    return [
        version(about, found["server_version"]),
        *rights(about, role),
        *settings(about, found),
        joinable(about, found["application_name"], ours),
    ]


def tls(about: str, mode: str) -> Finding:
    """Say whether the target is known to be who it says."""
    about = f"{about}: tls"
    if mode == "verify-full":
        return ok(about, "its certificate and its name are verified")
    return warn(about, f"mode is {mode}", "use verify-full: only then the target is who it says")


def version(about: str, said: str) -> Finding:
    """Say whether the server's version is one that is tested."""
    about = f"{about}: version"
    major = re.match(r"\d+", said)
    if major is not None and OLDEST <= int(major[0]) <= NEWEST:
        return ok(about, f"PostgreSQL {said[:32]}")
    return warn(about, f"{said[:32]} is none of {OLDEST} to {NEWEST}", "what is not tested may be refused without need")


def rights(about: str, role: Row) -> Iterator[Finding]:
    """Say what the account can do that no policy can take back."""
    about = f"{about}: account"
    has = [right for right, flag in zip(_RIGHTS, role[1:], strict=True) if flag == "t"]
    for right in has:
        name = role[0]
        yield warn(about, f"{name} has {right}: {_RIGHTS[right]}", f'run there: ALTER ROLE "{name}" NO{right.upper()}')
    if not has:
        yield ok(about, f"{role[0]} has no right beyond those of its grants")


def settings(about: str, found: dict[str, str]) -> Iterator[Finding]:
    """Say which settings of the server put what the gateway masks into a log of its own, or let work go on unseen."""
    place = f"{about}: its own log"
    in_clear = []
    if found["log_statement"] != "none":
        in_clear.append(f"log_statement is {found['log_statement']}")
    if found["log_min_duration_statement"] not in ("-1", ""):
        in_clear.append(f"log_min_duration_statement is {found['log_min_duration_statement']}")
    if in_clear:
        lengths = "and set log_parameter_max_length to 0" if found["log_parameter_max_length"] != "0" else ""
        yield warn(
            place,
            f"{', '.join(in_clear)}: statements stand there with their literals in clear",
            f"set it to none for the gateway's account, {lengths or 'or'} protect that log like the data".strip(),
        )
    else:
        yield ok(place, "statements that succeed are not written there")
    if found["log_parameter_max_length_on_error"] not in ("0", ""):
        yield warn(
            place,
            f"log_parameter_max_length_on_error is {found['log_parameter_max_length_on_error']}: "
            "an error there quotes parameters",
            "set it to 0",
        )
    place = f"{about}: what outlives its session"
    if found["client_connection_check_interval"] in ("0", "") and found["statement_timeout"] == "0":
        yield warn(
            place,
            "client_connection_check_interval and statement_timeout are 0: a statement whose session was killed by a "
            "crash of the gateway runs to its end, and its outcome is unknown in the evidence",
            "set client_connection_check_interval to 10s, or a statement_timeout",
        )
    else:
        yield ok(place, "a statement whose session is gone is ended by the server")


def joinable(about: str, said: str, ours: str) -> Finding:
    """Say whether the target's own view of a session can be joined with the evidence."""
    about = f"{about}: application_name"
    if ours in said:
        return ok(about, "carries the session's id, as evidence does")
    return warn(
        about,
        "does not arrive as it was sent: the server's own sessions and log cannot be joined with the evidence",
        "let the gateway reach the server itself, or have the pooler between pass application_name on",
    )


async def _database(asking: Asking, about: str, target: Target, policy: Policy) -> list[Finding]:
    findings = list(functions(about, target, await asking.ask(_registered(target)))) if target.functions else []
    masks = {(entry.name, pattern) for entry in policy.masks if entry.concerns(target) for pattern in entry.columns}
    if masks:
        findings += masked(about, sorted(masks), snapshot(await asking.ask(QUERY)))
    return findings


def _registered(target: Target) -> str:
    names = ", ".join("'" + function.name.replace("'", "''") + "'" for function in target.functions)
    return _REGISTERED.format(names)


def functions(about: str, target: Target, rows: Sequence[Row]) -> Iterator[Finding]:
    """Say which functions that the policy vouches for are not there."""
    there = {row[0] for row in rows if row[1] == "t"}
    missing = [function.name for function in target.functions if function.name not in there]
    if missing:
        yield warn(
            f"{about}: functions",
            f"not there, or with other arguments: {', '.join(missing[:8])}",
            "write them as the server does: schema.name(types)",
        )
    else:
        yield ok(f"{about}: functions", f"all {len(there)} that the policy names are there")


def masked(about: str, patterns: Sequence[tuple[str, str]], known: Snapshot) -> Iterator[Finding]:
    """Say which masks of the policy match no column."""
    place, matched = f"{about}: masks", 0
    for rule, pattern in patterns:
        count = count_columns(known, pattern)
        matched += count
        if not count:
            yield warn(place, f'"{rule}": {pattern} matches no column here', "see whether the name is spelled as there")
    if matched:
        yield ok(place, f"{matched} columns are named")
