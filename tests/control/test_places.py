from __future__ import annotations

from dataclasses import replace
from uuid import UUID

import pytest

from tests.support.policies import identity
from vestibule.control.places import PlaceLimits, Places
from vestibule.model.identity import Identity, Refusal

ALICE = identity("engineering")
BOB = replace(ALICE, who=replace(ALICE.who, subject="s-2"))


def places(limits: PlaceLimits) -> Places:
    return Places(limits, lambda _identity, _attempted, wanted: wanted)


def enter(made: Places, number: int, who: Identity = ALICE, ip: str = "192.0.2.1", target: str = "core") -> object:
    made.begin(UUID(int=number), number % 2)
    return made.take(UUID(int=number), who, ip, "alice", target)


def test_without_limits_everybody_has_a_place() -> None:
    made = places(PlaceLimits())
    assert [enter(made, number) for number in range(1, 50)] == [None] * 49
    assert len(made) == 49


def test_a_person_is_issuer_and_subject_whatever_the_address_and_the_name() -> None:
    made = places(PlaceLimits(per_person=1))
    assert enter(made, 1) is None
    assert enter(made, 2, ip="198.51.100.7") is Refusal.PERSON_FULL
    made.leave(UUID(int=2))
    assert enter(made, 3, BOB) is None
    other = replace(ALICE, who=replace(ALICE.who, issuer="https://other"))
    assert enter(made, 4, other) is None


def test_an_address_is_a_host_of_ipv4_and_a_network_of_ipv6() -> None:
    made = places(PlaceLimits(per_address=1))
    assert enter(made, 1, ip="2001:db8::1") is None
    assert enter(made, 2, ip="2001:db8::2") is Refusal.ADDRESS_FULL
    assert enter(made, 3, ip="192.0.2.1") is None
    assert enter(made, 4, ip="192.0.2.2") is None


def test_only_a_target_that_has_a_limit_is_full() -> None:
    made = places(PlaceLimits(per_target={"core": 1}))
    assert enter(made, 1) is None
    assert enter(made, 2) is Refusal.TARGET_FULL
    assert enter(made, 3, target="cards") is None
    assert enter(made, 4, target="cards") is None


@pytest.mark.parametrize("gone", ["left", "died"])
def test_a_place_that_is_given_back_is_free(gone: str) -> None:
    made = places(PlaceLimits(per_target={"core": 1}))
    assert enter(made, 1) is None
    if gone == "left":
        made.leave(UUID(int=1))
        made.leave(UUID(int=1))
    else:
        made.forget(0)
        assert len(made) == 1
        made.forget(1)
    assert enter(made, 2) is None


def test_whoever_never_began_gets_none() -> None:
    made = places(PlaceLimits())
    assert made.take(UUID(int=1), ALICE, "192.0.2.1", "alice", "core") is Refusal.UNAVAILABLE
    assert len(made) == 0
