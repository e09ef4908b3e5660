"""`vestibule approvals`: what waits for approval, and the answers to it.

1. Whoever approves or denies is shown the request first; the answer is for that, and for nothing that changed since.
2. What comes from sessions (SQL, names, reasons) is made printable before it reaches a terminal.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Final, Literal

import typer
from rich.table import Table

from vestibule.cli.api import Api, logged_in
from vestibule.cli.commands import example
from vestibule.cli.exits import CommandError, Exit
from vestibule.cli.terminal import console, cut, shown

app = typer.Typer(
    no_args_is_help=True, help="See what waits for approval, and answer it (the groups that a rule names)."
)

PAGE: Final = 200

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Id = Annotated[str, typer.Argument(metavar="ID", help="As in AR-7Q2M4V0XKD.")]
Comment = Annotated[str, typer.Option("--comment", metavar="TEXT", help="Recorded, and told to whoever asked.")]
State = Literal["pending", "granted", "refused", "expired", "withdrawn", "spent", "all"]

Row = Mapping[str, Any]


@app.command("list", epilog=example("vestibule approvals list"), short_help="List what waits for approval.")
def list_approvals(
    state: Annotated[State, typer.Option("--state", help="Those in this state.")] = "pending",
    limit: Annotated[int, typer.Option("--limit", min=1, max=10_000, help="How many at most.")] = 50,
    as_json: AsJson = False,
) -> None:
    """List requests for approval, the newest first: your own, and those that your groups answer."""
    with logged_in() as api:
        rows = list(_search(api, {} if state == "all" else {"state": state}, limit))
    if as_json:
        typer.echo(json.dumps(rows, indent=2))
        return
    console().print(_table(rows) if rows else "No request matches.")


@app.command(epilog=example("vestibule approvals show AR-7Q2M4V0XKD"))
def show(approval: Id, as_json: AsJson = False) -> None:
    """Show one request: what will run, who asks, from where, since when and until when."""
    with logged_in() as api:
        row = _get(api, approval)
    if as_json:
        typer.echo(json.dumps(row, indent=2))
        return
    _print(row)


@app.command(epilog=example('vestibule approvals approve AR-7Q2M4V0XKD --comment "as agreed in CHG-7"'))
def approve(approval: Id, comment: Comment = "", as_json: AsJson = False) -> None:
    """Approve a request as it is shown, so that its statement runs once."""
    _answer(approval, "approve", comment, as_json)


@app.command(epilog=example('vestibule approvals deny AR-7Q2M4V0XKD --comment "use the migration"'))
def deny(approval: Id, comment: Comment = "", as_json: AsJson = False) -> None:
    """Refuse a request; one refusal is enough."""
    _answer(approval, "deny", comment, as_json)


# --- what comes from the gateway -------------------------------------------------------------------------------------


def _answer(approval: str, word: Literal["approve", "deny"], comment: str, as_json: bool) -> None:
    with logged_in() as api:
        row = _get(api, approval)
        if not as_json:
            _print(row)
        body = {"shown": row["shown"], "comment": comment, "channel": "cli"}
        done = api.call("POST", f"/api/v1/approvals/{row['approval']}/{word}", body=body)
    if as_json:
        typer.echo(json.dumps(done, indent=2))
        return
    typer.echo(_outcome(done), err=True)


def _get(api: Api, approval: str) -> Row:
    letters = approval.upper()
    if not (letters.isascii() and letters.startswith("AR-") and letters[3:].isalnum()):
        raise CommandError(f"{approval!r} is no approval's id; take it from vestibule approvals list", Exit.USAGE)
    row: Row = api.call("GET", f"/api/v1/approvals/{letters}")
    return row


def _search(api: Api, wanted: Mapping[str, str], limit: int) -> Iterator[Row]:
    before: str | None = None
    while limit > 0:
        query = {**wanted, "limit": min(limit, PAGE), **({} if before is None else {"before": before})}
        page = api.call("GET", "/api/v1/approvals", query=query)
        yield from page["approvals"]
        limit -= len(page["approvals"])
        before = page["next"]
        if before is None:
            return


# --- what people see -------------------------------------------------------------------------------------------------


def _outcome(row: Row) -> str:
    name = row["approval"]
    match row["state"]:
        case "pending":
            return f"{name}: your approval counts, {row['granted']} of {row['quorum']} so far."
        case "refused":
            return f"{name} is refused."
        case "granted" if row["live"]:
            return f"{name} is approved; the statement goes on."
        case "granted":
            return f"{name} is approved until {row['expires_at']}; {row['requester']['name']} runs the statement again."
        case state:
            return f"{name} is {state}."


def _print(row: Row) -> None:
    out = console()
    for line in _lines(row):
        out.print(line)


def _lines(row: Row) -> Iterator[str]:
    who = row["requester"]
    colour = {"pending": "yellow", "granted": "green", "spent": "green"}.get(row["state"], "red")
    yield f"[bold]{shown(row['approval'])}[/bold]  [{colour}]{shown(row['state'])}[/{colour}]"
    yield f"  who       {shown(who['name'])} ({shown(who['type'])}; {shown(who['iss'])}, {shown(who['sub'])})"
    yield f"  groups    {shown(', '.join(row['groups']) or 'none')}"
    yield f"  from      {shown(row['ip'])}:{row['port']}, client {shown(row['banner'] or 'unnamed')}"
    where = f"{row['target']}/{row['database']} as {row['account']}, search path {row['search_path'] or 'the default'}"
    yield f"  at        {shown(where)} ({shown(row['protocol'])})"
    yield f"  session   {shown(row['session'])}, statement {row['number']}"
    yield f"  since     {shown(row['requested_at'])}"
    yield f"  until     {shown(row['expires_at'])}"
    yield f"  because   {shown(row['reason'])} (rule {shown(row['rule'])})"
    yield f"  approved  {row['granted']} of {row['quorum']}, by {shown(', '.join(row['approvers']))}"
    yield from _answers(row)
    wait = "it waits in the open session" if row["live"] else "it is run again after approval"
    yield f"  runs      once; {wait}"
    if row["scope"] == "unmask":
        yield "  [bold]unmasks[/bold]   it would see masked columns as they are"
    yield from _operations(row)
    yield ""
    yield shown(row["text"])
    if row["text_bytes"] > len(row["text"].encode()):
        yield f"[dim](text of {row['text_bytes']} bytes as written; what is masked or cut is not shown)[/dim]"
    yield from _parameters(row)


def _answers(row: Row) -> Iterator[str]:
    for given in row["answers"]:
        comment = f": {given['comment']}" if given["comment"] else ""
        yield f"            {shown(given['answer'])} by {shown(given['by'])} at {shown(given['at'])}{shown(comment)}"


def _operations(row: Row) -> Iterator[str]:
    for operation in row["operations"]:
        words = f"{operation.get('verb', '')} {operation.get('object', '')}".strip()
        yield f"  does      {shown(words)} ({shown(operation.get('impact', 'unknown'))})"


def _parameters(row: Row) -> Iterator[str]:
    for number, parameter in enumerate(row["parameters"], 1):
        value = "NULL" if parameter.get("null") else parameter.get("value", "")
        yield f"  ${number} = {shown(value)}"


def _table(rows: Sequence[Row]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("ID", "STATE", "WHO", "TARGET", "SINCE (UTC)", "UNTIL (UTC)", "APPROVED", "STATEMENT"):
        table.add_column(name, overflow="fold", no_wrap=name in ("ID", "STATE", "SINCE (UTC)", "UNTIL (UTC)"))
    for row in rows:
        table.add_row(
            shown(row["approval"]),
            shown(row["state"]),
            shown(row["requester"]["name"]),
            shown(row["target"]),
            _clock(row["requested_at"]),
            _clock(row["expires_at"]),
            f"{row['granted']} of {row['quorum']}",
            shown(cut(row["text"])),
        )
    return table


def _clock(text: str) -> str:
    return shown(text[:19].replace("T", " "))
