"""Snapshots and closures that the sessions of a process share."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import pytest

from tests.support.masked import BANK, CUSTOMERS, LABELS, relation, row
from tests.support.policies import sample
from vestibule.gate.masks import KEPT, MAX_AGE_US, Charted, ClosureKey, Masks, chart, clean_functions, key_of
from vestibule.model.names import Instant, TargetName

TARGET = sample().targets[TargetName("core-banking")]
KEY = key_of(TARGET, "core")
NOW = Instant(1_700_000_000_000_000)
OLD = Instant(NOW + MAX_AGE_US)


def charted(rows: Iterable[tuple[str, ...]], *known: ClosureKey) -> Charted:
    return chart(rows, LABELS, clean_functions(TARGET), frozenset(known))


def test_a_snapshot_is_good_until_it_is_too_old() -> None:
    masks = Masks()
    assert masks.loaded(KEY, NOW) is None
    kept = masks.keep(KEY, charted(BANK), NOW, is_shared=True)
    assert masks.loaded(KEY, Instant(OLD - 1)) is kept
    assert masks.loaded(KEY, OLD) is None


def test_the_same_rows_in_another_order_are_the_same_snapshot_of_another_time() -> None:
    masks = Masks()
    first = masks.keep(KEY, charted(BANK), NOW, is_shared=True)
    again = masks.keep(KEY, charted(reversed(BANK)), OLD, is_shared=True)
    assert again.snapshot is first.snapshot
    assert masks.loaded(KEY, OLD) is again


def test_what_is_not_shared_is_not_given_to_others() -> None:
    masks = Masks()
    shared = masks.keep(KEY, charted(BANK), NOW, is_shared=True)
    own = masks.keep(KEY, charted([*BANK, *relation(30_000, "more", ["a"])]), Instant(NOW + 1), is_shared=False)
    assert masks.loaded(KEY, NOW) is shared
    assert own.snapshot is not shared.snapshot


def test_a_database_is_known_by_target_hosts_name_and_account() -> None:
    credential = replace(TARGET.credential, username="other")
    others = (
        replace(TARGET, name=TargetName("x")),
        replace(TARGET, hosts=TARGET.hosts[:1]),
        replace(TARGET, credential=credential),
    )
    assert len({KEY, key_of(TARGET, "reports"), *(key_of(other, "core") for other in others)}) == 5


@pytest.mark.parametrize("rows", [[("relation", "1")], [row("relation", "x", "a", "b", "r", "", 1)]])
def test_rows_that_are_no_catalog_leave_what_there_was(rows: list[tuple[str, ...]]) -> None:
    masks = Masks()
    kept = masks.keep(KEY, charted(BANK), NOW, is_shared=True)
    with pytest.raises(ValueError, match=r"columns|literal"):
        charted(rows)
    assert masks.loaded(KEY, NOW) is kept


def test_a_closure_is_made_once_for_a_snapshot_and_labels() -> None:
    masks = Masks()
    known = masks.keep(KEY, charted(BANK), NOW, is_shared=True).snapshot
    found = masks.close(known, LABELS, TARGET)
    assert (CUSTOMERS, 2) in found.masks
    assert masks.close(known, (*LABELS,), TARGET) is found
    assert masks.close(known, LABELS[:1], TARGET) is not found
    assert masks.close(known, LABELS, replace(TARGET, functions=())).version != found.version


def test_a_closure_that_there_is_already_is_not_made_again() -> None:
    masks = Masks()
    first = charted(BANK)
    known = masks.keep(KEY, first, NOW, is_shared=True).snapshot
    assert masks.close(known, LABELS, TARGET) is first.sensitive
    again = charted(BANK, *masks.known)
    assert again.sensitive is None
    masks.keep(KEY, again, OLD, is_shared=True)
    assert masks.close(known, LABELS, TARGET) is first.sensitive


def test_what_is_kept_is_bounded_and_the_oldest_goes() -> None:
    masks = Masks()
    first = masks.keep(KEY, charted(BANK), NOW, is_shared=True)
    closed = masks.close(first.snapshot, LABELS, TARGET)
    for number in range(KEPT):
        masks.keep(key_of(TARGET, f"d{number}"), charted(BANK[:number]), NOW, is_shared=True)
        masks.close(first.snapshot, (replace(LABELS[0], columns=(f"*.*.c{number}",)),), TARGET)
    assert masks.loaded(KEY, NOW) is None
    assert masks.loaded(key_of(TARGET, "d1"), NOW) is not None
    assert masks.close(first.snapshot, LABELS, TARGET) is not closed
