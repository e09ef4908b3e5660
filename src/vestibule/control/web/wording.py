"""Moments and spans of time as people read them."""

from __future__ import annotations

from vestibule.model.names import SECOND, Instant, stamp


def clock(instant: Instant) -> str:
    """Write a moment: `2026-01-31 09:00:05 UTC`."""
    text = stamp(instant)
    return f"{text[:10]} {text[11:19]} UTC"


def duration(micros: int) -> str:
    """Write a span by its two largest units, as `static/page.js` does: `1 h 5 min`, `4 min 10 s`, `9 s`."""
    seconds = max(0, micros // SECOND)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    parts = [(days, "d"), (hours, "h"), (minutes, "min"), (seconds, "s")]
    first = next((place for place, (count, _) in enumerate(parts) if count), len(parts) - 1)
    return " ".join(f"{count} {unit}" for count, unit in parts[first : first + 2] if count) or "0 s"
