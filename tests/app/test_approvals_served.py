"""Approvals in a gateway that runs: what it does with them at a start, and what people do by the command line."""

from __future__ import annotations

import asyncio
import json
import ssl
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.support.approvals import MINUTE, Site, opening, request
from tests.support.evidence import Journal
from tests.support.gateway import TARGET, Gateway, GatewayFactory
from tests.support.postgres import PostgresServer
from tests.support.waiting import wait_for
from vestibule.app.data import wall_clock
from vestibule.model.approval import Request
from vestibule.model.names import Instant, TargetName
from vestibule.stores.data_keys import open_data_keys
from vestibule.stores.database import open_database


async def _leave(data: Path) -> tuple[Request, Request]:
    """Leave what an earlier run might: one request that waits live, one that is run again after approval."""
    engine = await open_database(data / "state.sqlite")
    try:
        site = Site(engine, await open_data_keys(engine, data / "keys" / "kek"))
        made = []
        for live, text in ((True, "DELETE FROM loans"), (False, "DELETE FROM cards")):
            offer = (await site.seek(target=TARGET))["offer"]
            now = wall_clock()
            asked = replace(
                request(live=live, text=text, target=TargetName(TARGET)),
                approval=offer["approval"],
                key_id=offer["key_id"],
                requested_at=now,
                expires_at=Instant(now + 15 * MINUTE),
            )
            await site.call("approval_open", opening(asked))
            made.append(asked)
        return made[0], made[1]
    finally:
        await engine.dispose()


@pytest.fixture
def left(gateways: GatewayFactory, postgres15: PostgresServer) -> tuple[Gateway, Request, Request]:
    gateway = gateways.make({TARGET: postgres15})
    gateway.stop()
    waits, runs_again = asyncio.run(_leave(gateway.data))
    gateway.start()
    return gateway, waits, runs_again


def listed(gateway: Gateway, person: str, *options: str) -> dict[str, str]:
    rows: list[dict[str, Any]] = json.loads(gateway.cli(person, "approvals", "list", "--json", *options).output)
    return {row["approval"]: row["state"] for row in rows}


def test_what_waited_before_a_start_is_withdrawn_and_the_rest_is_answered_by_people(
    left: tuple[Gateway, Request, Request],
) -> None:
    gateway, waits, runs_again = left
    journal = Journal(gateway.data)
    withdrawn = journal.wait_for(journal.beginning, "ApprovalAnswered", answer="withdrawn")
    assert withdrawn["comment"] == "the gateway was started again"

    for person in ("dora", "ana", "eve"):
        gateway.login(person)
    assert listed(gateway, "dora") == {runs_again.approval: "pending"}
    assert listed(gateway, "ana", "--state", "all") == {waits.approval: "withdrawn", runs_again.approval: "pending"}
    assert listed(gateway, "eve", "--state", "all") == {}
    refused = gateway.cli("ana", "approvals", "approve", runs_again.approval)
    assert (refused.status, "dba-managers" in refused.errors) == (1, True)
    assert gateway.cli("eve", "approvals", "show", runs_again.approval).status == 1
    late = gateway.cli("dora", "approvals", "deny", waits.approval)
    assert (late.status, "was withdrawn" in late.errors) == (1, True)

    done = gateway.cli("dora", "approvals", "approve", runs_again.approval, "--comment", "as agreed")
    assert done.status == 0, done.errors
    assert "DELETE FROM cards" in done.output
    assert "is approved until" in done.errors
    granted = journal.wait_for(journal.beginning, "ApprovalAnswered", answer="granted")
    assert (granted["approver"]["name"], granted["channel"], granted["comment"]) == ("dora", "cli", "as agreed")
    assert granted["permit"]["uses"] == 1
    assert gateway.stop() == 0


def test_who_looks_on_live_sees_an_answer_and_is_left_when_logged_out(left: tuple[Gateway, Request, Request]) -> None:
    gateway, _, asked = left
    watching, answering = gateway.login("ana"), gateway.login("dora")
    url = f"{gateway.public_url}/api/v1/approvals"
    tls = ssl.create_default_context(cafile=str(gateway.ca))
    with (
        httpx2.Client(verify=tls, headers={"Authorization": f"Bearer {watching}"}, timeout=20) as ana,
        httpx2.Client(verify=tls, headers={"Authorization": f"Bearer {answering}"}, timeout=20) as dora,
        ana.stream("GET", f"{url}/events") as stream,
    ):
        lines = stream.iter_lines()
        assert next(lines).startswith(":")
        shown = dora.get(f"{url}/{asked.approval}").json()["shown"]
        assert dora.post(f"{url}/{asked.approval}/deny", json={"shown": shown}).status_code == 200
        event = next(line for line in lines if line.startswith("data: "))
        assert json.loads(event.removeprefix("data: "))["state"] == "refused"
        ana.post(f"{gateway.public_url}/api/v1/logout")
        assert [line for line in lines if line.startswith("data: ")] == []
    wait_for(lambda: gateway.get("/readyz")[0] == 200, "the gateway")
