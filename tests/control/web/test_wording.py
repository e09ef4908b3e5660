import pytest

from vestibule.control.web.wording import clock, duration
from vestibule.model.names import SECOND, Instant


def test_a_moment_is_written_with_its_zone() -> None:
    assert clock(Instant(1_800_000_000 * SECOND)) == "2027-01-15 08:00:00 UTC"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (-5, "0 s"),
        (0, "0 s"),
        (9, "9 s"),
        (60, "1 min"),
        (250, "4 min 10 s"),
        (3_900, "1 h 5 min"),
        (90_061, "1 d 1 h"),
    ],
)
def test_a_span_is_written_by_its_two_largest_units(seconds: int, words: str) -> None:
    assert duration(seconds * SECOND) == words
