import asyncio

import pytest

from vestibule.evidence.kinds import BODY
from vestibule.model.identity import Peer
from vestibule.model.record import Kind, Record
from vestibule.protocols.base import Refused
from vestibule.server import repeats as repeats_module
from vestibule.server.refusals import Refusals

pytestmark = pytest.mark.asyncio

CLIENT, OTHER = Peer("192.0.2.7", 40_000), Peer("192.0.2.8", 40_000)


class Desk:
    def __init__(self, window: float = 60.0) -> None:
        self.records: list[Record] = []
        self.refusals = Refusals("postgres", self.records.append, window)

    @property
    def counts(self) -> list[object]:
        return [record.members.get("count", 1) for record in self.records]


async def test_a_refusal_is_recorded_at_once_as_what_it_was() -> None:
    desk = Desk()
    desk.refusals.note(Refused("no TLS", "dev1+core", b"words"), CLIENT)
    (record,) = desk.records
    assert (record.kind, record.session, record.target) == (Kind.ACCESS_DECIDED, None, None)
    assert record.members == {
        "attempted": "dev1+core",
        "client": {"ip": "192.0.2.7", "port": 40_000},
        "protocol": "postgres",
        "decision": "deny",
        "cause": "no TLS",
    }
    BODY[Kind.ACCESS_DECIDED](record.members)
    desk.refusals.close()


async def test_a_scan_is_two_records_whatever_its_length() -> None:
    desk = Desk(window=0.05)
    for _ in range(1_000):
        desk.refusals.note(Refused("tls injection"), CLIENT)
    assert desk.counts == [1]
    await asyncio.sleep(0.1)
    assert desk.counts == [1, 999]
    desk.refusals.note(Refused("tls injection"), CLIENT)
    assert desk.counts == [1, 999, 1]
    desk.refusals.close()


async def test_another_address_reason_or_name_is_another_refusal() -> None:
    desk = Desk()
    for refused, client in (
        (Refused("no TLS", "a"), CLIENT),
        (Refused("no TLS", "b"), CLIENT),
        (Refused("tls injection", "a"), CLIENT),
        (Refused("no TLS", "a"), OTHER),
        (Refused("no TLS", "a"), Peer("192.0.2.7", 50_000)),
    ):
        desk.refusals.note(refused, client)
    assert desk.counts == [1] * 4
    desk.refusals.close()
    assert desk.counts == [1] * 5


async def test_a_window_without_repeats_leaves_nothing_behind() -> None:
    desk = Desk(window=0.02)
    desk.refusals.note(Refused("no TLS"), CLIENT)
    await asyncio.sleep(0.06)
    desk.refusals.close()
    assert desk.counts == [1]


async def test_a_scan_that_varies_what_it_says_is_bounded_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repeats_module, "OPEN", 10)
    desk = Desk()
    for number in range(500):
        desk.refusals.note(Refused("no TLS", f"name {number}"), CLIENT)
    desk.refusals.close()
    assert len(desk.records) == 12
    assert sum(int(str(count)) for count in desk.counts) == 500


async def test_what_a_stranger_chose_is_bounded() -> None:
    desk = Desk()
    desk.refusals.note(Refused("c" * 5_000, "a" * 5_000), CLIENT)
    BODY[Kind.ACCESS_DECIDED](desk.records[0].members)
    assert len(str(desk.records[0].members)) < 2_000
    desk.refusals.close()


async def test_refused_log_ins_are_counted_like_refused_connections() -> None:
    desk = Desk()
    who = {"iss": "https://idp", "sub": "s", "name": "ada", "type": "human", "login": "x"}
    record = Record(Kind.ACCESS_DECIDED, {"who": who, "attempted": "bob+core", "cause": "the token is ada's"})
    for _ in range(5):
        desk.refusals.count(record, CLIENT)
    desk.refusals.close()
    assert desk.counts == [1, 4]
    assert desk.records[1].members["who"] == who


async def test_a_token_that_was_typed_as_a_user_name_is_not_recorded() -> None:
    desk = Desk()
    desk.refusals.note(Refused("no TLS", "vst_" + "x" * 43), CLIENT)
    assert desk.records[0].members["attempted"] == "<secret>"
    desk.refusals.close()
