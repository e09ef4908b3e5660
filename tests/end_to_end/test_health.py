"""What a balancer and an operator are told of a real gateway's state, without signing in."""

from __future__ import annotations

import json
import os
import re
import signal

import pytest

from tests.support import processes
from tests.support.gateway import TARGET, Gateway, GatewayFactory
from tests.support.postgres import PostgresServer
from tests.support.waiting import wait_for

pytestmark = pytest.mark.timeout(300)


def problems(gateway: Gateway) -> list[str]:
    status, body = gateway.get("/readyz")
    answer = json.loads(body)
    assert (status == 200) is answer["ready"] is (not answer["problems"])
    return answer["problems"]


def test_a_gateway_that_serves_is_healthy_and_ready(gateway: Gateway) -> None:
    assert gateway.get("/healthz") == (200, "ok\n")
    assert problems(gateway) == []


def test_while_a_data_process_does_not_answer_the_gateway_lives_and_is_not_ready(
    gateways: GatewayFactory, postgres15: PostgresServer
) -> None:
    gateway = gateways.make({TARGET: postgres15}, settings=lambda it: it.update(workers=2))
    assert gateway.program is not None
    first = min(processes.descendants(gateway.program.pid))
    os.kill(first, signal.SIGSTOP)
    try:
        wait_for(lambda: problems(gateway), "that it is noticed")
        [problem] = problems(gateway)
        assert re.match("data process [01] does not serve", problem)
        assert gateway.get("/healthz")[0] == 200
    finally:
        os.kill(first, signal.SIGCONT)
    wait_for(lambda: not problems(gateway), "that it serves again")


def test_without_room_for_evidence_it_is_not_ready_and_says_why(
    gateways: GatewayFactory, postgres15: PostgresServer
) -> None:
    gateway = gateways.make(
        {TARGET: postgres15}, settings=lambda it: it["journal"].update(min_free="500000GiB"), start=False
    )
    gateway.start(wait=False)
    wait_for(lambda: _is_up(gateway), "its control plane")
    wait_for(lambda: len(problems(gateway)) == 2, "that both journals are short")
    assert [problem.split(":")[0] for problem in problems(gateway)] == [
        "the control process's journal admits no session",
        "data process 0 admits no session",
    ]


def _is_up(gateway: Gateway) -> bool:
    try:
        return gateway.get("/healthz")[0] == 200
    except OSError:
        return False
