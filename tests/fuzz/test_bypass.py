"""A few hundred of the ways to do more than read, tried on a real gateway; the rest runs by hand and by night."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

import pytest

from tests.fuzz import bypass, evil
from tests.support.certificates import Authority
from tests.support.gateway import GatewayFactory
from tests.support.postgres import PostgresFactory
from tests.support.providers import LightProvider
from tests.support.sandbox import Sandbox

COUNT, SEED = 120, 11


@pytest.fixture(scope="module")
def lab(
    sandbox: Sandbox, authority: Authority, light_provider: LightProvider, postgres_factory: PostgresFactory
) -> Iterator[bypass.Lab]:
    """A target full of traps, where somebody may only read."""
    server = postgres_factory.make(15, bypass.SETTINGS)
    factory = GatewayFactory(sandbox, authority, light_provider)
    with bypass.laboratory(server, factory) as made:
        yield made
    factory.close()
    server.stop()


def test_who_may_only_read_changes_nothing_whatever_is_tried(lab: bypass.Lab) -> None:
    tally = bypass.run(lab, COUNT, SEED)

    assert tally["42501"] > COUNT / 4
    assert not tally["ended"]


def test_what_gets_through_is_seen(lab: bypass.Lab) -> None:
    picture = lab.look()
    for change in ("INSERT INTO touched VALUES ('x')", "SELECT nextval('counted')", "CREATE TABLE t (a int)"):
        lab.server.execute(change)
        seen = lab.look()
        assert seen != picture
        picture = seen


def test_the_same_seed_makes_the_same_attempts_and_every_form_and_place_comes_up() -> None:
    def made(seed: int) -> list[tuple[str, evil.Said]]:
        random = Random(seed)
        texts = [evil.text(random, str) for _ in range(300)]
        return [(text, evil.said(random, text)) for text in texts]

    assert made(1) == made(1) != made(2)
    assert len({tuple(map(type, said)) for _, said in made(3)}) > len(evil.FORMS)
