"""`vestibule sessions`: find a session, see what was run, replay it, end it.

What comes from sessions (SQL, names, errors) is made printable before it reaches a terminal.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Any, Final, Literal

import typer
from rich.console import Console
from rich.padding import Padding
from rich.table import Table

from vestibule.cli.api import Api, logged_in
from vestibule.cli.commands import example
from vestibule.cli.exits import CommandError, Exit
from vestibule.cli.tables import Tables, ending, followed, recorded, rendered, title
from vestibule.cli.terminal import console as _console
from vestibule.cli.terminal import cut as _cut
from vestibule.cli.terminal import shown as _shown

app = typer.Typer(no_args_is_help=True, help="Find, replay and end sessions (roles auditor, administrator).")

PAGE: Final = 200
#: A silence is not replayed longer than this, however slow.
LONGEST_PAUSE: Final = 10.0

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Id = Annotated[str, typer.Argument(metavar="SESSION", help="Its id, or the first four digits or more.")]

Row = Mapping[str, Any]


@app.command(
    "list", epilog=example("vestibule sessions list --user alice --since 2026-01-31"), short_help="List sessions."
)
def list_sessions(
    user: Annotated[str | None, typer.Option("--user", metavar="NAME", help="Of this person.")] = None,
    target: Annotated[str | None, typer.Option("--target", metavar="NAME", help="At this target.")] = None,
    since: Annotated[str | None, typer.Option("--since", metavar="TIME", help="Opened then or later, in UTC.")] = None,
    until: Annotated[str | None, typer.Option("--until", metavar="TIME", help="Opened before, in UTC.")] = None,
    only_open: Annotated[bool, typer.Option("--open", help="Only those that are open now.")] = False,
    limit: Annotated[int, typer.Option("--limit", min=1, max=10_000, help="How many at most.")] = 50,
    as_json: AsJson = False,
) -> None:
    """List sessions, the newest first: who, when, from where, to what, and how it ended."""
    wanted = {"user": user, "target": target, "since": since, "until": until, "state": "open" if only_open else None}
    with logged_in() as api:
        rows = list(_search(api, {key: value for key, value in wanted.items() if value is not None}, limit))
    if as_json:
        typer.echo(json.dumps(rows, indent=2))
        return
    _console().print(_session_table(rows) if rows else "No session matches.")


@app.command(epilog=example("vestibule sessions show 3c77dd78"))
def show(session: Id, as_json: AsJson = False) -> None:
    """Show one session and every statement in it."""
    with logged_in() as api:
        about, rows = _whole(api, session, "")
    if as_json:
        typer.echo(json.dumps({**about, "statements": rows}, indent=2))
        return
    console = _console()
    for line in _heading(about):
        console.print(line)
    console.print(_statement_table(rows) if rows else "No statement was run.")


@app.command(epilog=example("vestibule sessions replay 3c77dd78 --speed 10"))
def replay(
    session: Id,
    speed: Annotated[
        float, typer.Option("--speed", min=0, help="1 keeps the pauses, 10 is ten times faster, 0 has none.")
    ] = 1,
    follow: Annotated[
        bool, typer.Option("--follow", help="Show a running session as it goes on, until it ends.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Play a session again: each event at its moment, with the original pauses or faster.

    What the client was shown stands as tables under each statement, where the session is recorded.
    """
    with logged_in() as api:
        if follow:
            _follow(api, session, as_json)
        else:
            _play(api, session, speed, as_json)


@app.command(epilog=example("vestibule sessions kill 3c77dd78"))
def kill(session: Id, as_json: AsJson = False) -> None:
    """End an open session at once (role administrator): its statement is cancelled, its client told."""
    with logged_in() as api:
        done = api.call("POST", f"/api/v1/sessions/{_id(session)}/kill")
    if as_json:
        typer.echo(json.dumps(done, indent=2))
    if not done["killed"]:
        raise CommandError(f"session {done['session']} is not open")
    if not as_json:
        typer.echo(f"Session {done['session']} has ended.", err=True)


# --- what comes from the gateway -------------------------------------------------------------------------------------


def _id(session: str) -> str:
    if not all(character in "0123456789abcdefABCDEF-" for character in session):
        raise CommandError(f"{session!r} is no session's id; take it from vestibule sessions list", Exit.USAGE)
    return session


def _search(api: Api, wanted: Mapping[str, str], limit: int) -> Iterator[Row]:
    before: str | None = None
    while limit > 0:
        query = {**wanted, "limit": min(limit, PAGE), **({} if before is None else {"before": before})}
        page = api.call("GET", "/api/v1/sessions", query=query)
        yield from page["sessions"]
        limit -= len(page["sessions"])
        before = page["next"]
        if before is None:
            return


def _whole(api: Api, session: str, what: str) -> tuple[Row, list[Row]]:
    rows: list[Row] = []
    after = 0
    while True:
        query = {"after": after, "limit": PAGE}
        page = api.call("GET", f"/api/v1/sessions/{_id(session)}{what}", query=query)
        rows += page["statements"]
        if page["next"] is None:
            return page["session"], rows
        session, after = page["session"]["session"], page["next"]


def _play(api: Api, session: str, speed: float, as_json: bool) -> None:
    about, rows = _whole(api, session, "/replay")
    tables = Tables(recorded(api, about["session"]))
    if as_json:
        _print_json(timeline(about, rows), tables)
        return
    console = _console()
    for line in _heading(about):
        console.print(line)
    before = 0
    announced: set[int] = set()
    for event in timeline(about, rows):
        for table in tables.until(event.at_us, announced, event.ends):
            _print_table(console, table)
        announced.add(event.number)
        if speed:
            time.sleep(min((event.at_us - before) / 1_000_000 / speed, LONGEST_PAUSE))
        before = event.at_us
        console.print(f"[dim]{_clock(event.at_us)}[/dim]  {event.markup}")
    for table in tables.rest():
        _print_table(console, table)


def _follow(api: Api, session: str, as_json: bool) -> None:
    console, opened = _console(), None
    for page in followed(api, _id(session)):
        about = page["session"]
        if as_json:
            typer.echo(json.dumps(page))
            continue
        if opened is None:
            opened = _time(about["opened_at"])
            for line in _heading(about):
                console.print(line)
        for row in page["statements"]:
            at = _since(opened, row["decided_at"])
            console.print(f"[dim]{_clock(at)}[/dim]  {_decision(at, row).markup}")
        for table in page["tables"]:
            _print_table(console, table)
            if text := ending(table):
                console.print(f"              {_shown(text)}")
        if page["over"] and not page["statements"]:
            console.print(f"[bold]closed[/bold]: {_shown(about['cause'])}")


def _print_table(console: Console, table: Row) -> None:
    drawn = rendered(table, _shown)
    if drawn is not None:
        console.print(f"[dim]{_clock(table['at_us'])}  {title(table)}[/dim]")
        console.print(Padding(drawn, (0, 0, 0, 14), expand=False))


def _print_json(events: Sequence[Moment], tables: Tables) -> None:
    told: list[Mapping[str, Any]] = [{"at_us": event.at_us, "text": event.text} for event in events]
    told += tables.rest()
    typer.echo(json.dumps(sorted(told, key=lambda each: int(each["at_us"])), indent=2))


# --- replay ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Moment:
    """One event of a replay: microseconds since the session opened, plain and for a terminal."""

    at_us: int
    text: str
    markup: str
    #: The statement that it tells of, and the one that it ends.
    number: int = 0
    ends: int = 0


def timeline(about: Row, rows: Sequence[Row]) -> list[Moment]:
    """Put a session's events into the order of time."""
    opened = _time(about["opened_at"])
    found = [Moment(0, f"opened by {about['name']}", f"[bold]opened[/bold] by {_shown(about['name'])}")]
    for row in rows:
        at = _since(opened, row["decided_at"])
        found += [_decision(at, row), *_outcome(_ended(opened, at, row), row)]
    if about["closed_at"] is not None:
        at = _since(opened, about["closed_at"])
        found.append(Moment(at, f"closed: {about['cause']}", f"[bold]closed[/bold]: {_shown(about['cause'])}"))
    # Sorting is stable: what has one moment stays in the order of the session.
    return sorted(found, key=lambda moment: moment.at_us)


def _decision(at: int, row: Row) -> Moment:
    number, text = row["number"], row["text"]
    if row["decision"] == "allow":
        return Moment(at, f"#{number} {text}", f"[bold cyan]#{number}[/bold cyan] {_shown(text)}", number)
    word, colour = ("held", "yellow") if row["decision"] == "hold" else ("denied", "red")
    why = f"{word} by rule {row['rule']!r}: {row['cause']}"
    return Moment(
        at,
        f"#{number} {text}\n{why}",
        f"[bold cyan]#{number}[/bold cyan] {_shown(text)}\n            [{colour}]{_shown(why)}[/{colour}]",
        number,
    )


def _ended(opened: datetime, at: int, row: Row) -> int:
    """Say when a statement ended: its record may be younger, for it waits for the next one; never is it older."""
    recorded = at if row["finished_at"] is None else max(at, _since(opened, row["finished_at"]))
    return min(at + (row["duration_us"] or 0), recorded)


def _outcome(at: int, row: Row) -> Iterator[Moment]:
    if row["outcome"] is None or row["decision"] == "deny":
        return
    text = f"#{row['number']} {_ending(row)}"
    colour = "green" if row["outcome"] == "ok" else "yellow"
    yield Moment(at, text, f"[{colour}]{_shown(text)}[/{colour}]", row["number"], row["number"])


def _ending(row: Row) -> str:
    # What is held has no record of when it stopped to wait.
    outcome = str(row["outcome"] or ("running" if row["decision"] == "allow" else "not ended"))
    if row["error_code"]:
        outcome += f" {row['error_code']} {row['error_text'] or ''}".rstrip()
    rows = "" if row["rows"] is None else f", {row['rows']} row{'' if row['rows'] == 1 else 's'}"
    took = "" if row["duration_us"] is None else f", {_duration(row['duration_us'])}"
    return f"{outcome}{rows}{took}"


# --- what people see -------------------------------------------------------------------------------------------------


def _heading(about: Row) -> Iterator[str]:
    yield f"[bold]Session {about['session']}[/bold]"
    yield f"  {_shown(about['name'])} ({_shown(about['issuer'])}, {_shown(about['subject'])})"
    yield f"  from {_shown(about['ip'])}:{about['port']}, client {_shown(about['banner'] or 'unnamed')}"
    where = f"{about['target']}/{about['database']} as {about['account']}"
    yield f"  at {_shown(where)}, opened {about['opened_at']}"
    if about["closed_at"] is None:
        yield "  [green]open[/green]"
    else:
        complete = "" if about["complete"] else ", [red]not recorded to its end[/red]"
        yield f"  closed {about['closed_at']}: {_shown(about['cause'])}{complete}"
    yield ""


def _session_table(rows: Sequence[Row]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("SESSION", "WHO", "OPENED (UTC)", "FROM", "TARGET", "RUN", "DENIED", "ENDED"):
        is_short = name in ("SESSION", "OPENED (UTC)", "RUN", "DENIED")
        justify: Literal["left", "right"] = "right" if name in ("RUN", "DENIED") else "left"
        table.add_column(name, overflow="fold", no_wrap=is_short, justify=justify)
    for row in rows:
        table.add_row(
            row["session"][:8],
            _shown(row["name"]),
            row["opened_at"][:19].replace("T", " "),
            _shown(row["ip"]),
            _shown(row["target"]),
            _number(row["statements"]),
            _number(row["denied"]),
            "[green]open[/green]" if row["closed_at"] is None else _shown(row["cause"]),
        )
    return table


def _statement_table(rows: Sequence[Row]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", show_lines=False)
    for name in ("#", "AT (UTC)", "DECISION", "OUTCOME", "STATEMENT"):
        table.add_column(name, overflow="fold", no_wrap=name in ("#", "AT (UTC)"))
    for row in rows:
        word, colour = row["decision"], "red" if row["decision"] == "deny" else "yellow"
        decision = "allow" if word == "allow" else f"[{colour}]{word}[/{colour}] ({_shown(row['rule'])})"
        ending = "refused" if word == "deny" else _shown(_ending(row))
        table.add_row(str(row["number"]), row["decided_at"][11:23], decision, ending, _shown(_cut(row["text"])))
    return table


def _number(value: int | None) -> str:
    return "" if value is None else str(value)


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _since(opened: datetime, text: str) -> int:
    return max(0, (_time(text) - opened) // timedelta(microseconds=1))


def _clock(microseconds: int) -> str:
    seconds, rest = divmod(microseconds, 1_000_000)
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}.{rest // 1000:03}"


def _duration(microseconds: int) -> str:
    if microseconds < 1_000:
        return f"{microseconds} µs"
    return f"{microseconds / 1_000:.1f} ms" if microseconds < 1_000_000 else f"{microseconds / 1_000_000:.2f} s"
