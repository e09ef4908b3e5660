"""The steps of the walk: what is done, and what it must show."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from demo.show import SHOWN_LINES, Show
from demo.stage import DELETING, EMPTYING, Stage
from tests.support import bank
from tests.support.browser import Browser, forms_of, text_of
from tests.support.clients import Outcome
from tests.support.gateway import TARGET, token_in
from tests.support.waiting import wait_for
from vestibule.evidence.verify import CHECKS

#: As much of a verification as fits the screen: the checks, not the page about its limits.
VERDICTS: Final = len(CHECKS)
#: As much of a replay, and of a request for approval.
REPLAYED: Final = 40

ENGINEER: Final = "dev1"
MANAGER: Final = "dora"
AUDITOR: Final = "ana"

QUERY: Final = "SELECT id, name, state FROM customers ORDER BY id LIMIT 3"
PEOPLE_SHOWN: Final = "SELECT name, ssn, email FROM customers ORDER BY id LIMIT 3;"
CARDS_SHOWN: Final = "SELECT pan, expires FROM cards ORDER BY id LIMIT 2;"
GUESS: Final = "SELECT name FROM customers WHERE ssn LIKE '078%';"
ALLOWED: Final = "SELECT name FROM customers WHERE state = 'TX' LIMIT 1;"
TRUNCATE: Final = "TRUNCATE loans;"
DELETE: Final = "DELETE FROM loans WHERE id = 17;"
#: What the walk's own psql asks at the end, and what the loans are then.
LEFT: Final = "SELECT count(*) FROM loans;"
#: What the manager reads on the page, by its elements, and what must be in them.
READ: Final = ("<h1", '<p class="sum"', '<p class="why"', '<pre class="sql"')
REASON: Final = "agreed in CHG-7"
SEEN: Final = (ENGINEER, TARGET, DELETING["reason"], DELETE)


@dataclass(frozen=True, slots=True)
class Step:
    """One step of the walk."""

    title: str
    why: str
    act: Callable[[Stage, Show], None]


def log_in(stage: Stage, show: Show) -> None:
    """Log in by the command line and the provider's own form."""
    gateway = stage.gateway
    show.command("vestibule login --no-browser")
    show.told(f"The walk is {ENGINEER}'s browser: it posts the provider's form.")
    output, _ = gateway.walk_login(ENGINEER)
    token = token_in(output)
    show.output(hidden(re.sub(r"\?response_type=\S+", "?...", output), token))
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
    show.command("cp DATA/log/checkpoint saved.txt      # the log's signed state")
    published = stage.gateway.data / "log" / "checkpoint"
    wait_for(published.exists, "the first checkpoint")
    shutil.copyfile(published, saved_checkpoint(stage))


def masked(stage: Stage, show: Show) -> None:
    """Select what is protected, in a psql that stays open from here on."""
    real = protected(stage)
    typed_psql(stage, show)
    talk = stage.talk(ENGINEER, show)
    text = talk.say(PEOPLE_SHOWN) + talk.say(CARDS_SHOWN)
    tails = [f"***{value[-4:]}" for value in (bank.FIRST_SSN, real[-1])]
    show.check("of an SSN and a card the last four characters are shown, of an e-mail nothing", has_all(text, tails))
    show.check("no real value arrived in psql", not any(value in text for value in real))
    stored = b"".join(path.read_bytes() for path in stage.gateway.data.rglob("*") if path.is_file())
    show.check("nor is one in anything that the gateway keeps", not any(value.encode() in stored for value in real))


def guess(stage: Stage, show: Show) -> None:
    """Use a masked column in a condition, and go on."""
    mark = stage.server.mark()
    talk = stage.talk(ENGINEER, show)
    told = talk.say(GUESS)
    reason = "customers.ssn is masked for you and cannot be used in WHERE"
    show.check("the error names the column, the place and what is allowed", has_all(told, [reason, "HINT"]))
    show.check("the same session goes on, with another column", "(1 row)" in talk.say(ALLOWED))
    show.check("the database never saw the question", GUESS not in stage.server.statements(mark))


def empty(stage: Stage, show: Show) -> None:
    """Try what a guardrail denies, and go on."""
    mark = stage.server.mark()
    talk = stage.talk(ENGINEER, show)
    told = talk.say(TRUNCATE)
    show.check("the error names the rule and the reason", f'denied by rule "{EMPTYING["name"]}"' in told)
    show.check("the same session goes on, and the rows are there", str(bank.LOANS) in talk.say(LEFT))
    reached = " ".join(stage.server.statements(mark)).upper()
    show.check("TRUNCATE never reached the database: its own log has no trace of it", "TRUNCATE" not in reached)


def hold(stage: Stage, show: Show) -> None:
    """Delete what takes two people: psql waits, a manager approves in a browser, the answer arrives in that psql."""
    mark = stage.server.mark()
    talk = stage.talk(ENGINEER, show)
    talk.begin(DELETE)
    address = "".join(re.findall(r"https://\S+", talk.line()))
    show.check("psql waits, and was told at once where people answer", "/approvals/AR-" in address)
    stage.approvals.append(address.rpartition("/")[2])
    show.check("the database has not seen the DELETE", DELETE not in stage.server.statements(mark))
    answer(stage, show, address)
    show.told(f"In {ENGINEER}'s psql, which is still open:")
    show.check("the row count arrived in the psql that waited", "DELETE 1" in talk.rest())
    show.check("its session goes on, and the row is gone", str(bank.LOANS - 1) in talk.say(LEFT))
    show.check("the database ran it once", stage.server.statements(mark).count(DELETE) == 1)
    talk.end()


def answer(stage: Stage, show: Show, address: str) -> None:
    """Approve as the manager does: sign in by the provider's form, read the page, send its form."""
    show.told(
        f"{MANAGER}, a manager, opens that page. The walk is her browser: it signs in and sends the page's own form."
    )
    with Browser(stage.gateway.ca) as browser:
        page = browser.log_in(address, *stage.provider.types(MANAGER))
        asked = [text_of(page.text, element) for element in READ]
        show.output("\n".join(asked))
        show.check("she sees who wants to run what, and why it waits", has_all(" ".join(asked), SEEN))
        [form] = [form for form in forms_of(page.text) if form.action == page.url.path]
        done = browser.send(page, form, answer="approve", reason=REASON)
    show.check("her answer is taken, with her name and her reason", f"approved by {MANAGER}" in text_of(done.text))


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
    done = told(stage, show, AUDITOR, "sessions", "list", is_table=True)
    show.check(f"{ENGINEER}'s sessions on {TARGET} are listed", has_all(done.output, [ENGINEER, TARGET]))


def replay(stage: Stage, show: Show) -> None:
    """Let the auditor see what was done, and who approved it."""
    session = str(stage.gateway.sessions(AUDITOR, "--user", ENGINEER)[0]["session"])
    done = told(stage, show, AUDITOR, "sessions", "replay", session, "--speed", "10", lines=REPLAYED)
    show.check("the SELECT of masked columns is there, with its number of rows", has_all(done.output, [PEOPLE_SHOWN]))
    refused = [GUESS.partition("'")[0], "masked for you"]
    show.check("so is the refused one with its reason, its constant a keyed token", has_all(done.output, refused))
    show.check("so is the denied TRUNCATE with its rule", has_all(done.output, [TRUNCATE, EMPTYING["name"]]))
    ran = re.search(rf"held by rule '{DELETING['name']}'.*ok, 1 row", done.output, re.DOTALL)
    show.check("so is the DELETE that was held, and ran once", ran is not None)
    done = told(stage, show, AUDITOR, "approvals", "show", stage.approvals[0], lines=REPLAYED)
    show.check("who approved it, when and why", has_all(done.output, [f"granted by {MANAGER}", REASON]))


def verify(stage: Stage, show: Show) -> None:
    """Check the evidence with the verifier that auditors get."""
    saved = ("--checkpoint", saved_checkpoint(stage))
    done = told(stage, show, AUDITOR, "evidence", "verify", stage.gateway.data, *saved, lines=VERDICTS)
    show.check("every check passes", done.status == 0 and "FAIL" not in done.output)
    equal = "PASS V12 approvals: 1 requests, 1 used, all commitments equal, 0 self-approved"
    show.check("what ran is, byte for byte, what was approved, by somebody else", equal in done.output)


def tamper(stage: Stage, show: Show) -> None:
    """Flip one byte of a copy and check that."""
    copy = copied(stage)
    segment = max(copy.rglob("*.seg"), key=lambda path: len(path.read_bytes().rstrip(b"\0")))
    place = flip(segment)
    show.told(f"one byte of a copy is flipped: {segment.relative_to(copy)}, offset {place}")
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
    Step("SSN, card and e-mail are masked", "The policy says which columns, and what is left of them.", masked),
    Step("A masked column is no oracle", "What would tell of a value without showing it is refused.", guess),
    Step("TRUNCATE is denied", "A guardrail of the policy answers in PostgreSQL's own form.", empty),
    Step("DELETE takes two people", "It waits in the open session until somebody else has read it.", hold),
    Step("A wrong token is refused", "Nothing is dialled before a proof.", wrong_token),
    Step("An expired token is refused", "Access ends when the log-in does.", expired_token),
    Step("The auditor lists the sessions", "Who, when, from where, to what. Each look is recorded.", list_sessions),
    Step("The auditor replays one", "Each statement with its decision and outcome, in order.", replay),
    Step("The evidence verifies", "Offline, with Python's standard library alone.", verify),
    Step("One flipped byte is found", "In a copy: nobody can change what was recorded unseen.", tamper),
)


def saved_checkpoint(stage: Stage) -> Path:
    """Where a checkpoint is kept that the gateway cannot reach any more."""
    return stage.sandbox.root / "saved.txt"


def protected(stage: Stage) -> list[str]:
    """Ask the database itself for what must not come through; the last is the first card."""
    people = "SELECT ssn, email FROM customers ORDER BY id LIMIT 3"
    values = [str(value) for row in stage.server.execute(people) for value in row]
    return values + [str(pan) for (pan,) in stage.server.execute("SELECT pan FROM cards ORDER BY id LIMIT 1")]


def has_all(text: str, wanted: Iterable[str]) -> bool:
    """Tell whether everything that is wanted is in a text."""
    return all(each in text for each in wanted)


def typed_psql(stage: Stage, show: Show) -> None:
    """Show what one types to come in; the token is in PGPASSWORD."""
    user = f"{ENGINEER}+{TARGET}"
    show.command(f'psql "host=localhost port={stage.gateway.port} user={user} sslmode=verify-full"')


def through(stage: Stage, show: Show, token: str, *lines: str) -> Outcome:
    """Run lines of psql through the gateway, in a session of their own."""
    typed_psql(stage, show)
    for line in lines:
        show.typed(line)
    return stage.gateway.psql(ENGINEER, token).script("\n".join(lines) + "\n")


def refused(stage: Stage, show: Show, token: str, text: str) -> None:
    """Show that a token opens nothing."""
    mark = stage.server.mark()
    done = through(stage, show, token, "SELECT 1;")
    show.output(done.errors)
    show.check("psql is told why, and what to do", text in done.errors and done.status == 2)
    reached = [line for line in stage.server.since(mark) if line.user == "vestibule_rw"]
    show.check("the database saw nothing of it", reached == [])


def told(
    stage: Stage, show: Show, person: str, *words: str | Path, lines: int = SHOWN_LINES, is_table: bool = False
) -> Outcome:
    """Run the command line and show what it says."""
    show.command("vestibule " + " ".join(str(word) for word in words))
    done = stage.gateway.cli(person, *words)
    show.output(done.output + done.errors, lines, is_table=is_table)
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
