from vestibule.model.names import Instant
from vestibule.server.clock import Clock


class Hands:
    def __init__(self) -> None:
        self.wall, self.monotonic = 1_700_000_000_000_000_000, 5_000_000_000

    def clock(self) -> Clock:
        return Clock(lambda: self.wall, lambda: self.monotonic)


def test_a_step_of_the_wall_clock_moves_nothing() -> None:
    hands = Hands()
    clock = hands.clock()
    hands.wall += 3_600 * 1_000_000_000
    hands.monotonic += 2_000_000_000
    assert clock.now() == 1_700_000_000_000_000 + 2_000_000
    assert clock.elapsed_us() == 2_000_000


def test_a_deadline_that_has_passed_is_now() -> None:
    hands = Hands()
    clock = hands.clock()
    assert clock.seconds_until(Instant(clock.now() + 1_500_000)) == 1.5
    assert clock.seconds_until(Instant(0)) == 0.0


def test_the_real_clock_goes_forward() -> None:
    clock = Clock()
    first, second = clock.now(), clock.now()
    assert 1_600_000_000_000_000 < first <= second
