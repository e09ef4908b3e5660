"""What people see: a console that cuts no line of a pipe, and texts from elsewhere made safe for a terminal."""

from __future__ import annotations

import sys
from typing import Final

from rich.console import Console
from rich.markup import escape

WIDEST: Final = 200
#: Columns of a table that goes into a pipe or file.
PIPE_WIDTH: Final = 320


def console() -> Console:
    """Write to the terminal in its width; to a pipe or file without cutting a line."""
    return Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else PIPE_WIDTH)


def shown(text: object) -> str:
    """Make a text from elsewhere safe for a terminal and for markup; its lines stay lines."""
    words = "".join(c if c.isprintable() or c == "\n" else " " if c in "\t\r" else "?" for c in str(text))
    return escape(words)


def cut(text: str) -> str:
    """Put a text on one line that is not too long."""
    words = " ".join(text.split())
    return words if len(words) <= WIDEST else f"{words[:WIDEST]}…"
