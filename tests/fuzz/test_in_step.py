"""Some conversations that the model of the tests does not know, held with a real server and through a gateway."""

from __future__ import annotations

from random import Random

import pytest

from tests.fuzz.in_step import compare, conversation, stage_for
from tests.support.gateway import GatewayFactory
from tests.support.postgres import PostgresFactory


@pytest.mark.parametrize("version", [15, 18])
def test_the_gateway_answers_and_keeps_what_the_server_would(
    version: int, postgres_factory: PostgresFactory, gateways: GatewayFactory
) -> None:
    server = postgres_factory.make(version, "log_statement = none")
    stage = stage_for(server, gateways)

    for seed in range(40):
        assert compare(stage, Random(seed)) == ""

    server.stop()


def test_the_same_seed_makes_the_same_conversation() -> None:
    assert conversation(Random(1)) == conversation(Random(1)) != conversation(Random(2))
