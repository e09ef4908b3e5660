"""Every command of the program, and where it lives. To add one: write its file, add its line.

`place` is `module:name` below `vestibule.cli`. The name is a function (one command) or a `typer.Typer` (a group of
commands). A module is imported only when the command line names it, so it may import what it likes at its top.
Every command shows an example: a function by `example` in the table, a command of a group by `epilog=example(...)`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Final


@dataclass(frozen=True, slots=True)
class Command:
    """One entry of the table; `summary` is what the overview says, `example` a line to type."""

    place: str
    summary: str
    example: str = ""

    def load(self) -> object:
        """Import the module and give what the entry names."""
        module, _, name = self.place.partition(":")
        return getattr(import_module(f"vestibule.cli.{module}"), name)


COMMANDS: Final[Mapping[str, Command]] = {
    "login": Command(
        "login:login", "Log in with a browser.", "vestibule login --server https://vestibule.example:8443"
    ),
    "logout": Command("login:logout", "End the log-in with its tokens and sessions.", "vestibule logout"),
    "token": Command(
        "login:token", "Make a token: the password for a database.", "vestibule token --target core-banking --life 15m"
    ),
    "certificate": Command(
        "certificate:certificate",
        "Make a certificate: a key for a database in place of a password.",
        "vestibule certificate ~/vestibule-certificate --target core-banking",
    ),
    "targets": Command("targets:targets", "List the targets that you may use.", "vestibule targets"),
    "approvals": Command("approvals:app", "See what waits for approval, approve it or deny it."),
    "sessions": Command("sessions:app", "Find, replay and end sessions."),
    "evidence": Command("evidence:app", "Check the evidence, offline."),
    "serve": Command("serve:serve", "Run the gateway.", "vestibule serve --config /etc/vestibule/vestibule.yaml"),
    "doctor": Command(
        "doctor:doctor",
        "Check that this gateway, and a target, are set up well.",
        "vestibule doctor core-banking --config /etc/vestibule/vestibule.yaml",
    ),
    "backup": Command(
        "backup:backup", "Copy the data folder while the gateway works.", "vestibule backup /backup/vestibule-monday"
    ),
    "restore": Command(
        "backup:restore",
        "Make the data folder of a backup.",
        "vestibule restore /backup/vestibule-monday --checkpoint saved.txt",
    ),
    "policy": Command("policy:app", "Check and explain the policy file."),
}


def example(line: str) -> str:
    """Make the end of a command's help: a line to type, which is not wrapped."""
    return f"\b\nExample:\n  {line}"
