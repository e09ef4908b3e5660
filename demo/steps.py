"""The steps of the walk: what is done, and what it must show."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from demo.show import SHOWN_LINES, Show
from demo.stage import Stage
from tests.support.clients import Outcome
from tests.support.gateway import TARGET, token_in
from tests.support.waiting import wait_for

#: As much of a verification as fits the screen: the checks, not the page about its limits.
VERDICTS: Final = 8

ENGINEER: Final = "dev1"
AUDITOR: Final = "ana"

QUERY: Final = (
    "SELECT c.name, a.kind, a.balance FROM customers c JOIN accounts a ON a.customer_id = c.id "
    "ORDER BY c.id, a.id LIMIT 3"
)


@dataclass(frozen=True, slots=True)
class Step:
    """One step of the walk."""

    title: str
    why: str
    act: Callable[[Stage, Show], None]


def log_in(stage: Stage, show: Show) -> None:
    """Log in by the command line and the provider's own form."""
    gateway = stage.gateway
    show.command(f"vestibule login --no-browser      # the walk is {ENGINEER}'s browser and posts the provider's form")
    output, _ = gateway.walk_login(ENGINEER)
    token = token_in(output)
    show.output(hidden(output, token))
    stage.tokens[ENGINEER] = token
    show.check("an opaque token of 47 characters came back, good as a database password", len(token) == 47)
    stored = b"".join(path.read_bytes() for path in gateway.data.rglob("*") if path.is_file())
    show.check("the gateway keeps no copy of it, only its hash", token.encode() not in stored)


def query(stage: Stage, show: Show) -> None:
    """Read through the gateway with psql."""
    mark = stage.server.mark()
    done = through(stage, show, stage.tokens[ENGINEER], "\\conninfo", f"{QUERY};", "SELECT current_user;")
    show.output(done.output)
    show.check("psql has verified the gateway's certificate; the connection is TLS 1.3", "TLSv1.3" in done.output)
    show.check("three rows came back", done.output.count("|") >= 6)
    show.check("at the database it is the gateway's account, whose password nobody has", "vestibule_rw" in done.output)
    reached = stage.server.statements(mark)
    show.check("the database's own log shows this very statement", f"{QUERY};" in reached)
    show.command("cp DATA/log/checkpoint saved.txt      # the signed state of the log, kept elsewhere")
    published = stage.gateway.data / "log" / "checkpoint"
    wait_for(published.exists, "the first checkpoint")
    shutil.copyfile(published, saved_checkpoint(stage))


def drop(stage: Stage, show: Show) -> None:
    """Try what a guardrail denies, and go on."""
    mark = stage.server.mark()
    done = through(stage, show, stage.tokens[ENGINEER], "DROP TABLE loans;", "SELECT count(*) FROM loans;")
    show.output(done.errors)
    show.output(done.output)
    show.check("the error names the rule, the reason and what to do", 'denied by rule "no dropping"' in done.errors)
    show.check("the same session goes on, and the table is there", done.rows == ["25"])
    reached = " ".join(stage.server.statements(mark)).upper()
    show.check("DROP never reached the database: its own log has no trace of it", "DROP TABLE" not in reached)


def wrong_token(stage: Stage, show: Show) -> None:
    """Come with a token of which one character is wrong."""
    token = stage.tokens[ENGINEER]
    other = token[:-1] + ("A" if token[-1] != "A" else "B")
    refused(stage, show, other, "token not accepted")


def expired_token(stage: Stage, show: Show) -> None:
    """Come with a token whose time is over."""
    gateway = stage.gateway
    show.command("vestibule token --life 1s")
    token = token_in(gateway.cli(ENGINEER, "token", "--life", "1s").output)
    time.sleep(1.5)
    refused(stage, show, token, "token expired")


def list_sessions(stage: Stage, show: Show) -> None:
    """Let the auditor see who was there."""
    stage.tokens[AUDITOR] = stage.gateway.login(AUDITOR)
    done = told(stage, show, AUDITOR, "sessions", "list")
    show.check(f"{ENGINEER}'s sessions on {TARGET} are listed", ENGINEER in done.output and TARGET in done.output)


def replay(stage: Stage, show: Show) -> None:
    """Let the auditor see what was done."""
    session = str(stage.gateway.sessions(AUDITOR, "--user", ENGINEER)[0]["session"])
    done = told(stage, show, AUDITOR, "sessions", "replay", session, "--speed", "10")
    denied = "DROP TABLE loans" in done.output and "no dropping" in done.output
    show.check("the denied DROP is there with its rule", denied)
    show.check("so is the SELECT behind it", "count(*)" in done.output)


def verify(stage: Stage, show: Show) -> None:
    """Check the evidence with the verifier that auditors get."""
    saved = ("--checkpoint", saved_checkpoint(stage))
    done = told(stage, show, AUDITOR, "evidence", "verify", stage.gateway.data, *saved, lines=VERDICTS)
    show.check("every check passes", done.status == 0 and "FAIL" not in done.output)


def tamper(stage: Stage, show: Show) -> None:
    """Flip one byte of a copy and check that."""
    copy = copied(stage)
    segment = max(copy.rglob("*.seg"), key=lambda path: len(path.read_bytes().rstrip(b"\0")))
    place = flip(segment)
    show.say(f"      one byte of a copy is flipped: {segment.relative_to(copy)}, offset {place}")
    done = told(stage, show, AUDITOR, "evidence", "verify", copy, lines=VERDICTS)
    show.check("verification fails", done.status == 1 and "FAIL" in done.output)
    show.check("and names the damage", segment.name in done.output)
    shutil.rmtree(copy.parent)


def copied(stage: Stage) -> Path:
    """Copy the data of the running gateway: first the log, then the journal, which holds at least what it tells of."""
    copy = stage.sandbox.folder("copy") / "data"
    script = 'mkdir "$2" && cp -a "$1/log" "$2" && cp -a "$1/journal" "$2"'
    done = stage.sandbox.run(["sh", "-c", script, "sh", stage.gateway.data, copy], folder=copy.parent)
    if done.returncode:
        raise RuntimeError(f"the copy failed: {done.stderr}")
    return copy


STEPS: Final[Sequence[Step]] = (
    Step("Log in by OpenID Connect", "People prove themselves to the bank's own provider, not to a database.", log_in),
    Step("Query the database with psql", "The token is the password; statements travel decided and recorded.", query),
    Step("DROP TABLE is denied", "A guardrail of the policy answers in PostgreSQL's own form.", drop),
    Step("A wrong token is refused", "Nothing is dialled before a proof.", wrong_token),
    Step("An expired token is refused", "Access ends when the log-in does.", expired_token),
    Step("The auditor lists the sessions", "Who, when, from where, to what. Each look is recorded.", list_sessions),
    Step("The auditor replays one", "Each statement with its decision, in order.", replay),
    Step("The evidence verifies", "Offline, with Python's standard library alone.", verify),
    Step("One flipped byte is found", "In a copy: nobody can change what was recorded unseen.", tamper),
)


def saved_checkpoint(stage: Stage) -> Path:
    """Where a checkpoint is kept that the gateway cannot reach any more."""
    return stage.sandbox.root / "saved.txt"


def through(stage: Stage, show: Show, token: str, *lines: str) -> Outcome:
    """Run lines of psql through the gateway, in one session."""
    psql = stage.gateway.psql(ENGINEER, token)
    show.command(f'psql "host=localhost port={stage.gateway.port} user={psql.settings["user"]} sslmode=verify-full"')
    for line in lines:
        show.say(f"      > {line}")
    return psql.script("\n".join(lines) + "\n")


def refused(stage: Stage, show: Show, token: str, text: str) -> None:
    """Show that a token opens nothing."""
    mark = stage.server.mark()
    done = through(stage, show, token, "SELECT 1;")
    show.output(done.errors)
    show.check("psql is told why, and what to do", text in done.errors and done.status == 2)
    reached = [line for line in stage.server.since(mark) if line.user == "vestibule_rw"]
    show.check("the database saw nothing of it", reached == [])


def told(stage: Stage, show: Show, person: str, *words: str | Path, lines: int = SHOWN_LINES) -> Outcome:
    """Run the command line and show what it says."""
    show.command("vestibule " + " ".join(str(word) for word in words))
    done = stage.gateway.cli(person, *words)
    show.output(done.output + done.errors, lines)
    return done


def hidden(text: str, token: str) -> str:
    """Take the token out of what is printed."""
    return text.replace(token, token[:8] + "...")


def flip(path: Path) -> int:
    """Change one bit of one byte where a record is; give its place."""
    data = bytearray(path.read_bytes())
    place = len(data.rstrip(b"\0")) // 2
    data[place] ^= 1
    path.write_bytes(data)
    return place
