"""`make demo`: the main job on a real database, step by step; `--once` ends after the walk."""

from __future__ import annotations

import argparse
import signal
import sys
import time
from types import FrameType

from demo.show import Show
from demo.stage import Stage, environment_file, raised
from demo.steps import AUDITOR, ENGINEER, MANAGER, STEPS
from tests.support.providers import PEOPLE

INTRODUCTION = """
Vestibule stands between people and a database. It knows who they are, decides
every statement by policy, holds what takes a second person, records before
anything travels, masks what comes back, and keeps the only credential.

Everything below is real: psql, PostgreSQL, OpenID Connect, TLS. Nothing
leaves this machine.
"""


def main() -> int:
    """Run the walk; then serve until Ctrl-C, or end."""
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__)
    parser.add_argument("--once", action="store_true", help="end after the walk")
    once = parser.parse_args().once
    # Also where a shell started us with Ctrl-C ignored.
    for ending in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ending, _interrupt)
    show = Show(total=len(STEPS))
    show.say(INTRODUCTION)
    try:
        with raised(show) as stage:
            for step in STEPS:
                with show.step(step.title, step.why):
                    step.act(stage, show)
            show.say()
            status = show.finish()
            if not once:
                _serve(stage, show)
    except KeyboardInterrupt:
        show.say("\nended")
        return 130 if once else 0
    return status


def _serve(stage: Stage, show: Show) -> None:
    show.say(_by_hand(stage))
    while True:
        time.sleep(3600)


def _by_hand(stage: Stage) -> str:
    gateway = stage.gateway
    stage.tokens[MANAGER] = gateway.login(MANAGER)
    engineer, manager, auditor = (environment_file(stage, person) for person in (ENGINEER, MANAGER, AUDITOR))
    people = "\n".join(f"    {person.sub:<8}{', '.join(person.groups) or 'no group'}" for person in PEOPLE.values())
    return f"""
Still serving. Try it from other terminals.

As {ENGINEER}, an engineer:
  . {engineer}
  psql
    SELECT name, ssn, email FROM customers LIMIT 5;   -- masked
    SELECT name FROM customers ORDER BY ssn;          -- refused, and why
    DELETE FROM loans WHERE id = 3;                   -- waits for a manager
    /* vestibule: unmask ssn */ SELECT ssn FROM customers LIMIT 1;
                                                      -- waits too, and sees

As {MANAGER}, a manager, while that waits:
  {gateway.public_url}/approvals                    (in a browser)
  . {manager}
  vestibule approvals list
  vestibule approvals approve AR-...

As {AUDITOR}, an auditor:
  . {auditor}
  vestibule sessions list
  vestibule evidence verify {gateway.data}

Browsers and `vestibule login` meet a provider that takes a person's word:
{people}

  control plane  {gateway.public_url}
  authority      {gateway.ca}
  provider       {stage.provider.issuer}
  policy         {gateway.policy_file}
                 change it: it is read again without dropping sessions
  log            {gateway.program.log if gateway.program else ""}

Ctrl-C ends everything and removes it."""  # noqa: S608 - to be read, not run


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
