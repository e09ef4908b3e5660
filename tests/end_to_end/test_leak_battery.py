"""The leak battery proves itself: what it must find where nothing is masked, and what honest work must look like."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest

from tests.support.canary_bank import Bank, canary_bank
from tests.support.certificates import Authority
from tests.support.providers import LightProvider
from tests.support.sandbox import Sandbox
from tests.support.verdicts import leaks, surprises

pytestmark = pytest.mark.timeout(400)  # a busy machine takes four times as long

#: The battery's cases of each kind.
CASES = {"leak": 140, "oracle": 13, "benign": 42}


@pytest.fixture(scope="module")
def bank(sandbox: Sandbox, authority: Authority, light_provider: LightProvider) -> Iterator[Bank]:
    """The bank behind a gateway that masks nothing."""
    with canary_bank(sandbox, authority, light_provider, masks=()) as made:
        yield made


def test_without_a_gateway_every_attack_leaks(bank: Bank) -> None:
    verdicts = bank.attack()

    assert [each for each in verdicts if not each.ok] == []
    assert Counter(each.kind for each in verdicts) == CASES


def test_a_gateway_without_masks_leaks_and_changes_no_honest_work(bank: Bank) -> None:
    verdicts = bank.attack(side=bank.through)

    statuses = Counter((each.kind, each.status) for each in verdicts)
    assert statuses["leak", "LEAK"] >= 100
    assert statuses["oracle", "LEAK"] >= 11
    assert statuses["benign", "SAME"] == CASES["benign"]
    assert not {"DOWN", "RUNNER-ERROR"} & {status for _, status in statuses}
    assert [each.id for each in verdicts if each.closed] == []


def test_where_the_server_itself_masks_the_battery_finds_no_leak(bank: Bank) -> None:
    verdicts = bank.attack("--ignore-origin", side=bank.by_privilege)

    assert leaks(verdicts) == []
    # What this role may not do at all differs, and what a view of constants counts.
    assert {each.id for each in verdicts if not each.ok} <= {"B014", "B023", "B028", "W001", "W005", "W006", "W010"}
    assert surprises(verdicts, {each.id: each.status for each in verdicts if not each.ok}) == []
