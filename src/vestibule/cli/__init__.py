"""The command line; one file for each command or group of commands."""

from vestibule.cli.root import main

__all__ = ["main"]
