"""The one way to write a time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from vestibule.model.names import Instant, stamp


def test_a_time_always_has_six_decimals() -> None:
    assert stamp(Instant(0)) == "1970-01-01T00:00:00.000000Z"


@given(st.integers(0, 4_000_000_000_000_000))
def test_a_time_is_written_to_the_microsecond(instant: int) -> None:
    expected = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=instant)
    assert stamp(Instant(instant)) == expected.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
