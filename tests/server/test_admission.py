import pytest
from hypothesis import given
from hypothesis import strategies as st

from vestibule.server.admission import Admission, Allowance, Slot, source_of


class Door:
    def __init__(self, total: int, per_source: int) -> None:
        self.admission = Admission(total, per_source)
        self.evicted: list[str] = []

    def enter(self, ip: str, name: str, is_proxy: bool = False) -> Slot:
        return self.admission.enter(ip, lambda: self.evicted.append(name), is_proxy)


def test_a_full_address_loses_its_own_oldest_and_never_turns_the_newcomer_away() -> None:
    door = Door(total=10, per_source=2)
    door.enter("192.0.2.9", "other")
    for name in ("a", "b", "c", "d"):
        door.enter("192.0.2.1", name)
    assert door.evicted == ["a", "b"]
    assert len(door.admission) == 3


def test_a_full_house_costs_the_address_that_holds_most() -> None:
    door = Door(total=4, per_source=3)
    door.enter("192.0.2.9", "lonely and oldest")
    for name in ("a", "b", "c"):
        door.enter("192.0.2.1", name)
    door.enter("192.0.2.5", "newcomer")
    assert door.evicted == ["a"]


def test_the_last_places_are_for_sources_that_have_none() -> None:
    door = Door(total=10, per_source=10)
    for number in range(8):
        door.enter(f"192.0.2.{number}", f"source {number}")
    door.enter("192.0.2.7", "a second time")
    assert door.evicted == ["source 7"]
    door.enter("192.0.2.8", "new")
    door.enter("192.0.2.9", "new")
    assert len(door.admission) == 10
    assert door.evicted == ["source 7"]


def test_a_proxy_counts_with_the_whole_house_only_and_its_client_from_when_it_is_named() -> None:
    door = Door(total=10, per_source=2)
    slots = [door.enter("192.0.2.1", f"behind the proxy {number}", is_proxy=True) for number in range(9)]
    assert door.evicted == []
    for slot in slots[:3]:
        slot.move("198.51.100.7")
    assert door.evicted == ["behind the proxy 0"]
    slots[0].move("203.0.113.9")
    slots[0].release()
    assert len(door.admission) == 8
    for slot in slots:
        slot.release()
    assert len(door.admission) == 0


def test_who_has_left_is_not_evicted() -> None:
    door = Door(total=2, per_source=2)
    first = door.enter("192.0.2.1", "first")
    door.enter("192.0.2.1", "second")
    first.release()
    first.release()
    door.enter("192.0.2.1", "third")
    assert door.evicted == []
    assert len(door.admission) == 2


def test_an_ipv6_host_counts_with_its_network_however_it_names_itself() -> None:
    assert source_of("2001:db8::1") == source_of("2001:db8:0:0:ffff::9")
    assert source_of("2001:db8::1") != source_of("2001:db8:0:1::1")
    assert source_of("192.0.2.1") != source_of("192.0.2.2")
    assert source_of("") == ""


@given(st.lists(st.tuples(st.integers(0, 3), st.booleans()), max_size=60))
def test_the_counts_hold_whoever_comes_and_goes(moves: list[tuple[int, bool]]) -> None:
    door = Door(total=6, per_source=3)
    inside: list[Slot] = []
    for source, leaves in moves:
        if leaves and inside:
            inside.pop(0).release()
        else:
            inside.append(door.enter(f"192.0.2.{source}", "x"))
        assert len(door.admission) <= 6
    for slot in inside:
        slot.release()
    assert len(door.admission) == 0


def test_an_allowance_refills_with_time() -> None:
    time = [100.0]
    allowance = Allowance(burst=2, rate=1.0, monotonic=lambda: time[0])
    assert [allowance.take("192.0.2.1") for _ in range(3)] == [True, True, False]
    assert allowance.take("192.0.2.2")
    time[0] += 1.0
    assert [allowance.take("192.0.2.1") for _ in range(2)] == [True, False]


def test_an_allowance_remembers_a_bounded_number_of_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Allowance, "REMEMBERED", 3)
    allowance = Allowance(burst=1, rate=0.0, monotonic=lambda: 0.0)
    for last in range(5):
        allowance.take(f"192.0.2.{last}")
    assert not allowance.take("192.0.2.4")
    assert allowance.take("192.0.2.0")
