import pytest
from hypothesis import given
from hypothesis import strategies as st

from vestibule.identity.throttle import Throttle, network
from vestibule.model.names import Instant

SECOND = 1_000_000


def at(seconds: float) -> Instant:
    return Instant(int(seconds * SECOND))


def test_a_key_may_fail_its_burst_and_then_once_in_a_while() -> None:
    throttle = Throttle(burst=3, every=10 * SECOND)
    for _ in range(3):
        assert throttle.is_open("a", at(100))
        throttle.fail("a", at(100))

    assert not throttle.is_open("a", at(100))
    assert not throttle.is_open("a", at(109))
    assert throttle.is_open("a", at(110))
    throttle.fail("a", at(110))
    assert not throttle.is_open("a", at(111))


def test_a_key_that_fails_no_more_has_its_whole_burst_again() -> None:
    throttle = Throttle(burst=2, every=10 * SECOND)
    for _ in range(2):
        throttle.fail("a", at(0))

    later = at(60)
    for _ in range(2):
        assert throttle.is_open("a", later)
        throttle.fail("a", later)
    assert not throttle.is_open("a", later)


def test_keys_do_not_pay_for_each_other() -> None:
    throttle = Throttle(burst=1, every=SECOND)
    throttle.fail("a", at(5))

    assert not throttle.is_open("a", at(5))
    assert throttle.is_open("b", at(5))


def test_a_clock_that_is_set_back_locks_nobody_out() -> None:
    throttle = Throttle(burst=2, every=10 * SECOND)
    for _ in range(2):
        throttle.fail("a", at(10_000))

    assert not throttle.is_open("a", at(10_000))
    assert throttle.is_open("a", at(5))


def test_the_table_never_grows_beyond_its_bound() -> None:
    throttle = Throttle(burst=1, every=SECOND, most=100)
    for number in range(1000):
        throttle.fail(f"key-{number}", at(0))

    assert len(throttle) == 100
    assert not throttle.is_open("key-999", at(0))


@pytest.mark.parametrize(
    ("ip", "name"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("fe80::1%eth0", "fe80::/64"),
        ("not an address", "not an address"),
    ],
)
def test_one_household_is_one_source(ip: str, name: str) -> None:
    assert network(ip) == name


@given(st.text())
def test_any_text_names_a_network_of_bounded_length(ip: str) -> None:
    assert len(network(ip)) <= 64
