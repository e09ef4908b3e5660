"""What the bank protects does not come through the gateway: the leak battery, and attempts that are made up."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.fuzz import masked
from tests.support.canary_bank import MASKS, Bank, Verdict, canary_bank
from tests.support.certificates import Authority
from tests.support.providers import LightProvider
from tests.support.sandbox import Sandbox
from tests.support.verdicts import known, leaks, surprises

pytestmark = pytest.mark.timeout(400)  # a busy machine takes four times as long

ATTEMPTS, SEED = 300, 1
#: Groups of attacks that show at once that something is not masked: plain columns, aliases, expressions, nested types.
TELLING = "P,A,E,K"


@pytest.fixture(scope="module")
def bank(sandbox: Sandbox, authority: Authority, light_provider: LightProvider) -> Iterator[Bank]:
    """The bank behind a gateway that masks what is protected."""
    with canary_bank(sandbox, authority, light_provider, MASKS) as made:
        yield made


@pytest.fixture(scope="module")
def verdicts(bank: Bank) -> list[Verdict]:
    """What the whole battery says."""
    return bank.attack(side=bank.through)


def test_through_the_gateway_nothing_leaks(verdicts: list[Verdict]) -> None:
    assert leaks(verdicts) == []


def test_what_is_refused_or_changed_without_need_is_listed(verdicts: list[Verdict]) -> None:
    assert surprises(verdicts, known()) == []


def test_no_attack_costs_the_session(verdicts: list[Verdict]) -> None:
    assert [each.id for each in verdicts if each.closed] == []


@pytest.mark.parametrize("missing", [mask["name"] for mask in MASKS])
def test_a_rule_that_is_missing_is_found(
    sandbox: Sandbox, authority: Authority, light_provider: LightProvider, missing: str
) -> None:
    others = [mask for mask in MASKS if mask["name"] != missing]
    with canary_bank(sandbox, authority, light_provider, others) as bank:
        assert leaks(bank.attack("--kind", "leak", "--only", TELLING, side=bank.through))


def test_attempts_that_are_made_up_bring_nothing(bank: Bank) -> None:
    tally = masked.pry(*masked.sides(bank), range(ATTEMPTS), SEED)

    assert [str(leak) for leak in tally.leaks] == []
    assert not tally.ended
