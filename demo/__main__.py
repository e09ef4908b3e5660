"""`make demo`: the main job on a real database, step by step; `--once` ends after the walk."""

from __future__ import annotations

import argparse
import signal
import sys
import time
from types import FrameType

from demo.show import Show
from demo.stage import Stage, raised
from demo.steps import STEPS

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
    signal.signal(signal.SIGTERM, _interrupt)
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
    variables = "\n".join(f"  export {name}={value}" for name, value in gateway.client_environment().items())
    connection = (
        f"host=localhost port={gateway.port} user=+core-banking dbname=core "
        f"sslmode=verify-full sslrootcert={gateway.ca}"
    )
    people = ", ".join(f"{person.sub} ({', '.join(person.groups)})" for person in stage.provider.people.values())
    return f"""
Still serving. Try it by hand, in another terminal, from this folder:

{variables}
  .venv/bin/vestibule login            # the provider takes your word: {people}
  psql "{connection}"

  control plane  {gateway.public_url}
  provider       {stage.provider.issuer}
  policy         {gateway.policy_file}   (change it: it is read again at once)
  evidence       {gateway.data}

Ctrl-C ends everything and removes it."""


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
