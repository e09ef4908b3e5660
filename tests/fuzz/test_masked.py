"""The attempts to see protected values bring them where nothing is masked, and nothing is seen where nothing is."""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Iterator
from random import Random

import pytest
import yaml

from tests.fuzz import masked, prying
from tests.support.canary_bank import Bank, canary_bank
from tests.support.certificates import Authority
from tests.support.providers import LightProvider
from tests.support.sandbox import Sandbox

SSN = b"353-34-3540"


@pytest.fixture(scope="module")
def bank(sandbox: Sandbox, authority: Authority, light_provider: LightProvider) -> Iterator[Bank]:
    """The bank behind a gateway that masks nothing."""
    with canary_bank(sandbox, authority, light_provider, masks=()) as made:
        yield made


def row(*values: bytes) -> bytes:
    return struct.pack("!h", len(values)) + b"".join(struct.pack("!i", len(each)) + each for each in values)


def found(kind: str, payload: bytes) -> list[tuple[str, str]]:
    return masked.traces([masked.wire.Frame(kind, payload)])


def test_the_same_seed_makes_the_same_attempts_and_every_way_out_comes_up() -> None:
    def made(seed: int) -> list[prying.Attempt]:
        return [prying.attempt(Random(f"{seed}/{number}"), number) for number in range(500)]

    assert made(1) == made(1) != made(2)
    assert Counter(each.way for each in made(1)).keys() == prying.WAYS.keys()
    assert len({str(each.steps) for each in made(1)}) > 450


def test_where_nothing_is_masked_most_attempts_bring_something(bank: Bank) -> None:
    tally = masked.pry(*masked.sides(bank), range(200), 1)

    assert tally.direct >= tally.tried * 0.85
    assert len(tally.leaks) >= tally.tried * 0.7
    assert len(tally.ways) >= 15
    assert not tally.ended


def test_where_the_server_itself_masks_nothing_is_seen(bank: Bank) -> None:
    direct, _ = masked.sides(bank)

    tally = masked.pry(direct, masked.wire.Dsn.parse(bank.by_privilege), range(300), 2)

    assert [str(leak) for leak in tally.leaks] == []
    assert tally.tried - tally.refused > 50


def test_a_leak_is_written_as_a_case_of_the_battery() -> None:
    attempt = prying.attempt(Random("1/7"), 7)

    [case] = yaml.safe_load(str(masked.Leak(7, attempt, "[('D', 'x')]")))

    assert case["steps"] == list(attempt.steps)
    assert (case["id"], case["kind"]) == ("F7", "leak")


@pytest.mark.parametrize(
    ("kind", "payload"),
    [
        ("D", row(b"1", SSN)),
        ("D", row(b"\\x" + SSN.hex().encode())),
        ("D", row(SSN[:5])),
        ("D", row(b"\\x2a2a" + SSN[:5].hex().encode())),
        ("D", row(struct.pack("!q", 353343540))),
        ("d", SSN + b"\n"),
        ("d", masked.SIGNATURE + bytes(8) + row(SSN)),
        ("d", masked.SIGNATURE + bytes(8) + row(struct.pack("!q", 353343540))),
        ("E", b'SERROR\0Minvalid input syntax for type integer: "353-34-3540"\0\0'),
        ("N", b"SNOTICE\0M" + SSN + b"\0\0"),
        ("A", bytes(4) + b"b1\0" + SSN + b"\0"),
        ("S", b"application_name\0" + SSN + b"\0"),
    ],
)
def test_a_canary_is_seen_wherever_it_is(kind: str, payload: bytes) -> None:
    assert found(kind, payload)


@pytest.mark.parametrize(
    ("kind", "payload"),
    [
        ("D", row(b"***3540")),
        ("D", row(b"\\x2a2a2a35333433")),
        ("E", b'SERROR\0D{"rule":"default","session":"35334350-3534-4f5f-8dcf-504-9ec2c8e4","statement":2}\0\0'),
        ("d", masked.SIGNATURE + bytes(8) + row(b"***3540", b"***5343")),
        ("d", masked.END),
    ],
)
def test_what_a_mask_shows_and_the_gateways_own_digits_are_no_canary(kind: str, payload: bytes) -> None:
    assert found(kind, payload) == []


def test_a_disguise_that_is_the_same_as_without_a_gateway_is_a_leak() -> None:
    attempt = prying.Attempt(("SELECT hashtext(ssn) FROM customers",), prying.DISGUISED)
    real = masked.battery.Transcript([masked.wire.Frame("D", row(b"12"))])
    other = masked.battery.Transcript([masked.wire.Frame("D", row(b"34"))])

    assert masked.judge(attempt, real, real)
    assert not masked.judge(attempt, real, other)
    assert not masked.judge(attempt, real, masked.battery.Transcript([]))
