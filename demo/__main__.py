"""`make demo`: the main job on a real database, step by step; `--once` ends after the walk."""

from __future__ import annotations

import argparse
import signal
import sys
import time
from types import FrameType

from demo.show import Show
from demo.stage import Stage, environment_file, raised
from demo.steps import AUDITOR, ENGINEER, STEPS
from tests.support.providers import PEOPLE

INTRODUCTION = """
Vestibule stands between people and a database. It knows who they are, decides every statement by policy, records the
decision before anything travels, and keeps the only credential. Everything below is real: psql, PostgreSQL, OpenID
Connect, TLS. Nothing leaves this machine.
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
    engineer, auditor = (environment_file(stage, person) for person in (ENGINEER, AUDITOR))
    people = ", ".join(f"{person.sub} ({', '.join(person.groups) or 'no group'})" for person in PEOPLE.values())
    return f"""
Still serving. In another terminal:

  . {engineer}     # as {ENGINEER}, an engineer who is logged in
  psql
  vestibule token --life 15m

  . {auditor}      # as {AUDITOR}, an auditor
  vestibule sessions list
  vestibule evidence verify {gateway.data}

  vestibule login                                # with a browser; the provider takes a person's word:
                                                 # {people}

  control plane  {gateway.public_url}
  provider       {stage.provider.issuer}
  policy         {gateway.policy_file}     (change it: it is read again without dropping sessions)
  log            {gateway.program.log if gateway.program else ""}

Ctrl-C ends everything and removes it."""


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
