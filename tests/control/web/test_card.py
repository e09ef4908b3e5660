from typing import Any
from uuid import UUID

import pytest

from tests.support.approvals import ASKER, BEA, OUTSIDER, request
from tests.support.asked import TOKEN
from vestibule.control.approval_view import shown_hash
from vestibule.control.web.card import Card
from vestibule.model.approval import State, Written
from vestibule.model.identity import Identity
from vestibule.model.names import GroupName, Instant
from vestibule.stores.approvals import Given, Kept

WRITTEN = Written(UUID(int=1), "a" * 64)


def card(viewer: Identity = BEA, state: State = "pending", answers: tuple[Given, ...] = (), **changes: Any) -> Card:
    asked = request(**changes)
    granted = sum(given.granted for given in answers)
    return Card(Kept(asked, WRITTEN, state, granted, None, None, answers), viewer, True)


def doing(*operations: tuple[str, str, str]) -> tuple[dict[str, str], ...]:
    return tuple({"verb": verb, "object": name, "impact": impact} for verb, name, impact in operations)


def test_the_summary_names_the_worst_and_what_it_is_done_to() -> None:
    made = card(operations=doing(("select", "a", "read"), ("delete", "b", "write"), ("delete", "b", "write")))
    assert (made.summary, made.impact) == ("DELETE b", "write")


def test_a_summary_of_many_says_how_many_more() -> None:
    made = card(operations=doing(*(("drop", f"t{number}", "schema") for number in range(5))))
    assert made.summary == "DROP t0, DROP t1, DROP t2 and 2 more"


def test_what_is_not_known_is_the_worst() -> None:
    assert card(operations=()).impact == "unknown"
    assert card(operations=()).summary == "A statement that is not understood"
    assert card(operations=({"verb": "call"},)).impact == "unknown"
    assert card(operations=doing(("x", "y", "harmless"), ("select", "a", "read"))).impact == "unknown"


def test_a_statement_that_may_go_on_behind_its_text_is_said_to() -> None:
    assert not card(text="SELECT 1", text_bytes=8).is_cut
    assert not card(text=f"SELECT {TOKEN}", text_bytes=9_000).is_cut
    assert card(text="x" * 16_384, text_bytes=16_385).is_cut
    assert card(text="\u20ac" * 10_920, text_bytes=40_000).is_cut
    assert card(text=f"SELECT {TOKEN}", text_bytes=40_000).is_cut


def test_as_many_operations_as_are_kept_may_be_more() -> None:
    assert not card().has_more
    assert card(operations=doing(*(("select", "t", "read"),) * 64)).has_more


def test_parameters_have_the_names_of_their_types() -> None:
    made = card(
        parameters=(
            {"type": "23", "value": "7", "null": False},
            {"type": "0", "null": True},
            {"type": "99999", "value": "x", "null": False},
        )
    )
    assert [(each.type, each.value, each.is_null) for each in made.parameters] == [
        ("integer", "7", False),
        ("not said", "", True),
        ("99999", "x", False),
    ]


def test_masks_are_counted_in_text_and_values() -> None:
    assert card(text="SELECT 1", parameters=()).masks == 0
    assert card(text=f"SELECT {TOKEN}", parameters=({"type": "25", "value": TOKEN, "null": False},)).masks == 2


def test_the_hash_is_that_of_what_is_shown() -> None:
    assert card().hash == shown_hash(request())
    assert card().hash != card(text="DELETE FROM loans").hash


@pytest.mark.parametrize(
    ("viewer", "changes", "why"),
    [
        (ASKER, {}, "You asked for this"),
        (OUTSIDER, {}, "answered by dba-managers"),
        (BEA, {"approvers": frozenset(map(GroupName, ("z", "a")))}, "answered by a or z"),
        (BEA, {"state": "granted"}, "approved, and has not run"),
        (BEA, {"state": "refused"}, "denied"),
        (BEA, {"state": "expired"}, "in time"),
        (BEA, {"state": "withdrawn"}, "withdrawn"),
        (BEA, {"state": "spent"}, "has run"),
        (BEA, {}, "cannot be answered any more"),
    ],
)
def test_its_reader_is_told_why_they_cannot_answer(viewer: Identity, changes: dict[str, Any], why: str) -> None:
    asker = {"requester": ASKER.who} if viewer is ASKER else {}
    assert why in card(viewer, **asker, **changes).why_not


def test_somebody_who_has_answered_is_told_so() -> None:
    given = Given(BEA.who, True, "", "web", Instant(0), WRITTEN)
    made = card(answers=(given,), quorum=2)
    assert "You have answered" in made.why_not
    assert (made.granted, made.decided_by) == (1, None)


def test_the_last_answer_decided_unless_time_did() -> None:
    given = Given(BEA.who, True, "", "web", Instant(0), WRITTEN)
    assert card(state="granted", answers=(given,)).decided_by == given
    assert card(state="expired", answers=(given,)).decided_by is None
