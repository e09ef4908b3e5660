import pytest

from vestibule.identity.failure import Failure, LoginRefused
from vestibule.identity.one_time import OneTime
from vestibule.model.names import Instant

LIFE = 60


def table(most: int = 100, per_network: int = 10) -> OneTime[str]:
    return OneTime(LIFE, most, per_network)


def test_a_secret_opens_once() -> None:
    held = table()
    secret = held.put("value", "192.0.2.1", Instant(0))

    assert held.take(secret, Instant(1)) == "value"
    assert held.take(secret, Instant(1)) is None


def test_a_secret_opens_within_its_life() -> None:
    held = table()
    early, late = (held.put("value", "192.0.2.1", Instant(0)) for _ in range(2))

    assert held.take(early, Instant(LIFE - 1)) == "value"
    assert held.take(late, Instant(LIFE)) is None


@pytest.mark.parametrize("secret", ["", "guess", "x" * 100_000, "\udcff"])
def test_a_wrong_secret_opens_nothing(secret: str) -> None:
    held = table()
    held.put("value", "192.0.2.1", Instant(0))

    assert held.take(secret, Instant(0)) is None
    assert len(held) == 1


def test_one_network_cannot_fill_the_table() -> None:
    held = table(per_network=2)
    for _ in range(2):
        held.put("value", "2001:db8::1", Instant(0))

    with pytest.raises(LoginRefused) as refused:
        held.put("value", "2001:db8::2", Instant(0))
    assert refused.value.failure is Failure.TOO_MANY
    held.put("value", "192.0.2.1", Instant(0))


def test_the_table_has_a_bound() -> None:
    held = table(most=2)
    for number in range(2):
        held.put("value", f"192.0.2.{number}", Instant(0))

    with pytest.raises(LoginRefused):
        held.put("value", "192.0.2.9", Instant(0))


def test_what_is_taken_or_expired_makes_room() -> None:
    held = table(most=2, per_network=2)
    secret = held.put("value", "192.0.2.1", Instant(0))
    held.put("value", "192.0.2.1", Instant(10))

    held.take(secret, Instant(11))
    held.put("value", "192.0.2.1", Instant(11))
    held.put("value", "192.0.2.1", Instant(10 + LIFE))
    assert len(held) == 2
