"""What a name means, while the target has not answered yet."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vestibule.protocols.postgres.names import Names, Unsettled


def names(limit: int = 100, room: int = 1_000) -> Names[str]:
    return Names(limit, room, len)


def test_a_pending_name_serves_messages_of_its_own_segment() -> None:
    table = names()
    table.offer("s", "SELECT 1", segment=3)
    assert table.find("s", 3) == "SELECT 1"


def test_a_pending_name_of_an_earlier_segment_must_be_waited_for() -> None:
    table = names()
    change = table.offer("s", "SELECT 1", segment=3)
    with pytest.raises(Unsettled):
        table.find("s", 4)
    change.settle()
    assert table.find("s", 4) == "SELECT 1"


def test_what_the_target_refused_goes_back_to_what_it_was() -> None:
    table = names()
    table.offer("s", "SELECT 1", 0).settle()
    table.offer("s", "DELETE FROM t", 1).revert()
    assert table.find("s", 2) == "SELECT 1"


def test_a_refused_change_below_a_newer_one_leaves_the_newer_one() -> None:
    table = names()
    table.offer("s", "first", 0).settle()
    second = table.offer("s", "second", 1)
    third = table.offer("s", "third", 1)
    second.revert()
    assert table.find("s", 1) == "third"
    third.revert()
    assert table.find("s", 1) == "first"


def test_the_unnamed_statement_is_lost_when_its_replacement_is_refused_and_kept_when_that_is_not_reached() -> None:
    table = names()
    table.offer("", "SELECT 1", 0).settle()
    table.offer("", "SELECT 2", 1).revert()
    assert table.find("", 2) == "SELECT 1"
    table.offer("", "SELECT 3", 2).fail()
    assert table.find("", 3) is None


def test_a_named_statement_stays_when_its_replacement_is_refused() -> None:
    table = names()
    table.offer("s", "SELECT 1", 0).settle()
    table.offer("s", "SELECT 2", 1).fail()
    assert table.find("s", 2) == "SELECT 1"


def test_what_the_target_has_dropped_does_not_come_back_behind_a_pending_change() -> None:
    table = names()
    table.offer("p", "old", 0).settle()
    pending = table.offer("p", "new", 1)
    assert table.drop_settled() == ["old"]
    assert table.find("p", 1) == "new"
    pending.revert()
    assert table.find("p", 2) is None


def test_a_closed_name_goes_when_the_target_has_closed_it() -> None:
    table = names()
    table.offer("s", "SELECT 1", 0).settle()
    close = table.offer("s", None, 1)
    assert table.find("s", 1) is None
    close.settle()
    assert table.current("s") is None


def test_a_drop_of_everything_spares_what_was_asked_for_later() -> None:
    table = names()
    table.offer("old", "SELECT 1", 0).settle()
    table.offer("new", "SELECT 2", 1)
    assert table.drop_settled() == ["SELECT 1"]
    assert table.find("new", 1) == "SELECT 2"


def test_a_drop_of_one_name_spares_the_others() -> None:
    table = names()
    table.offer("", "SELECT 1", 0).settle()
    table.offer("p", "SELECT 2", 0).settle()
    assert table.drop_settled("") == ["SELECT 1"]
    assert table.values() == ["SELECT 2"]


def test_names_are_bounded_by_number_and_by_bytes() -> None:
    few = names(limit=1)
    few.offer("a", "x", 0)
    assert not few.has_room("b")
    assert few.has_room("a")
    small = names(room=10)
    small.offer("a", "123456", 0)
    assert small.has_room("b")
    small.offer("b", "1234", 0)
    assert not small.has_room("b")
    small.forget("a")
    assert small.has_room("b")


def test_what_a_name_may_go_back_to_takes_room() -> None:
    table = names(room=10)
    changes = [table.offer("", "123456", 0) for _ in range(2)]
    assert not table.has_room("")
    changes[0].settle()
    changes[1].settle()
    assert table.has_room("")


steps_of_names = st.tuples(
    st.sampled_from(["a", "b", ""]), st.sampled_from(["x", "yy", None]), st.sampled_from("srofd")
)


@given(st.lists(steps_of_names))
def test_what_is_left_at_the_end_is_all_that_takes_room(steps: list[tuple[str, str | None, str]]) -> None:
    table = names(room=1)
    pending = []
    for at, (name, value, fate) in enumerate(steps):
        change = table.offer(name, value, at)
        match fate:
            case "s":
                change.settle()
            case "r":
                change.revert()
            case "f":
                change.fail()
            case _:
                pending.append(change)
        if fate == "d":
            table.drop_settled()
    for change in pending:
        change.revert()
    assert table.has_room("a") is not any(table.values())
