"""The operator's log: one event a line on standard error, with a name and fields; JSON where nobody reads along.

1. Never a statement's literal, a result, a token or a password. An error's own words may quote any of them, so of what
   nobody expected the type and the place are logged, and no words.
2. Logs are for operators and may be lost; evidence goes through the journal. Neither stands in for the other.
3. What libraries say comes through the same door: their template's first line, never what they put into it.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Mapping, MutableMapping
from types import TracebackType
from typing import Any, Final, Literal

import structlog

Format = Literal["auto", "json", "text"]

#: How long one field may be; the rest is cut.
LONGEST: Final = 2_000
_LIBRARY: Final = "library_said"
_LEVELS: Final = (("critical", logging.CRITICAL), ("error", logging.ERROR), ("warning", logging.WARNING))

Event = MutableMapping[str, Any]


def configure(form: Format, process: str) -> None:
    """Log as `form` says, under the name of this process; `auto` is JSON unless standard error is a terminal."""
    is_json = form == "json" or (form == "auto" and not sys.stderr.isatty())
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper("iso", utc=True, key="time"),
            _named(process),
            _without_words,
            _bounded,
            structlog.processors.JSONRenderer(_dump) if is_json else structlog.dev.ConsoleRenderer(colors=False),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
    logging.basicConfig(handlers=[_Libraries()], level=logging.WARNING, force=True)


class _Libraries(logging.Handler):
    """Takes what libraries log."""

    def emit(self, record: logging.LogRecord) -> None:
        """Log where it comes from and its template; of an error the type and the place."""
        level = next((name for name, least in _LEVELS if record.levelno >= least), "info")
        said = {"logger": record.name, "template": str(record.msg).split("\n", 1)[0][:200]}
        error = record.exc_info[1] if record.exc_info else None
        getattr(structlog.get_logger(), level)(_LIBRARY, **said, **({} if error is None else {"exc_info": error}))


def _named(process: str) -> structlog.types.Processor:
    def name(_: object, __: str, event: Event) -> Event:
        event["process"] = process
        return event

    return name


def _without_words(_: object, __: str, event: Event) -> Event:
    """Write of an exception its type and where it was raised, not what it says."""
    given = event.pop("exc_info", None)
    if not given:
        return event
    error = given if isinstance(given, BaseException) else sys.exc_info()[1]
    if error is not None:
        event["error"] = type(error).__name__
        event["where"] = " < ".join(_places(error.__traceback__))
    return event


def _places(trace: TracebackType | None) -> list[str]:
    """Name the innermost places of a trace, the last one first."""
    places = []
    while trace is not None:
        places.append(f"{trace.tb_frame.f_code.co_qualname}:{trace.tb_lineno}")
        trace = trace.tb_next
    return places[-5:][::-1]


def _bounded(_: object, __: str, event: Event) -> Event:
    for name, value in event.items():
        if isinstance(value, str) and len(value) > LONGEST:
            event[name] = value[:LONGEST] + "…"
    return event


def _dump(event: Mapping[str, Any], **_: object) -> str:
    return json.dumps(event, default=str, ensure_ascii=False)
