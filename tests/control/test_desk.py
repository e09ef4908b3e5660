"""What data processes are answered."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any
from uuid import UUID

import pytest

from tests.support.policies import identity
from vestibule.control.desk import Desk
from vestibule.control.places import PlaceLimits, Places
from vestibule.model.event import Admission
from vestibule.model.identity import Identity, Peer, Refusal
from vestibule.model.login import StateUnavailable
from vestibule.wire.identity import answer_from_json

SESSION = UUID(int=5)
ASKED = {
    "method": "token",
    "token": "vst_x",
    "attempted": "alice",
    "wanted": "core",
    "ip": "192.0.2.1",
    "port": 5000,
    "session": str(SESSION),
}
OPENED = {
    "session": str(SESSION),
    "login": str(UUID(int=1)),
    "iss": "https://idp",
    "sub": "s-1",
    "name": "alice",
    "target": "core",
    "ip": "192.0.2.1",
    "port": 5000,
    "started_at": 17,
}


class Identities:
    """Answers every proof alike, and counts the keys it made."""

    def __init__(self, answer: Identity | Refusal, *, fails: bool = False) -> None:
        self.answer, self.fails, self.keys = answer, fails, 0
        self.cancelled: list[str] = []

    async def prove(self, token: bytes, attempted: str, client: Peer) -> Identity | Refusal:
        assert (token, attempted, client) == (b"vst_x", "alice", Peer("192.0.2.1", 5000))
        return self.answer

    async def prove_certificate(self, certificate: bytes, attempted: str, client: Peer) -> Identity | Refusal:
        assert (certificate, attempted, client) == (b"\x30\x82", "alice", Peer("192.0.2.1", 5000))
        return self.answer

    async def new_data_key(self, key_class: str) -> tuple[UUID, bytes]:
        assert key_class == "session"
        if self.fails:
            raise StateUnavailable("locked")
        self.keys += 1
        return UUID(int=self.keys), bytes([self.keys]) * 32

    async def cancel(self, key: str) -> None:
        self.cancelled.append(key)


def desk(answer: Identity | Refusal, *, fails: bool = False, may_open: bool = True) -> tuple[Desk, Identities]:
    world = Identities(answer, fails=fails)
    return Desk(world, world, lambda: {"text": "version: 1"}, lambda: may_open, world.cancel), world


def call(made: Desk, method: str, params: Mapping[str, Any], worker: int = 0) -> Any:
    answer = made.handlers(worker)[method](params)
    if asyncio.iscoroutine(answer):
        return asyncio.run(answer)
    return answer


def test_an_accepted_proof_comes_with_a_key_of_its_own() -> None:
    made, _ = desk(identity("engineering"))
    first, second = (answer_from_json(call(made, "prove", ASKED)) for _ in range(2))
    assert isinstance(first, Admission)
    assert isinstance(second, Admission)
    assert first.identity == identity("engineering")
    assert (first.data_key_id, first.data_key) != (second.data_key_id, second.data_key)


@pytest.mark.parametrize("refusal", list(Refusal))
def test_a_refused_proof_makes_no_key(refusal: Refusal) -> None:
    made, world = desk(refusal)
    assert answer_from_json(call(made, "prove", ASKED)) is refusal
    assert world.keys == 0


def test_without_a_key_that_is_kept_nobody_gets_in() -> None:
    made, _ = desk(identity("engineering"), fails=True)
    assert answer_from_json(call(made, "prove", ASKED)) is Refusal.UNAVAILABLE


def test_without_room_for_evidence_nobody_gets_in() -> None:
    made, world = desk(identity("engineering"), may_open=False)
    assert answer_from_json(call(made, "prove", ASKED)) is Refusal.UNAVAILABLE
    assert world.keys == 0


def test_a_certificate_is_proven_by_its_own_way() -> None:
    made, _ = desk(identity("engineering"))
    asked = {**ASKED, "method": "certificate", "certificate": "3082"}
    del asked["token"]
    answer = answer_from_json(call(made, "prove", asked))
    assert isinstance(answer, Admission)
    assert answer.identity == identity("engineering")


@pytest.mark.parametrize(
    "spoilt",
    [
        {"method": "password"},
        {"method": None},
        {"method": "certificate"},
        {"method": "certificate", "certificate": "no hex"},
        {"method": "certificate", "certificate": 7},
    ],
)
def test_a_proof_of_no_known_kind_is_refused(spoilt: dict[str, object]) -> None:
    made, _ = desk(identity("engineering"))
    with pytest.raises(ValueError, match=r"method is none|is not a string|non-hexadecimal"):
        call(made, "prove", ASKED | spoilt)


@pytest.mark.parametrize("spoilt", [{"token": 7}, {"port": "x"}, {"port": True}, {"attempted": None}])
def test_a_malformed_question_is_refused(spoilt: dict[str, object]) -> None:
    made, _ = desk(identity("engineering"))
    with pytest.raises(ValueError, match="is not a"):
        call(made, "prove", ASKED | spoilt)


def test_the_policy_is_given_to_who_says_hello() -> None:
    made, _ = desk(Refusal.UNKNOWN)
    assert call(made, "hello", {}) == {"policy": {"text": "version: 1"}, "authority": ""}


def test_the_authority_of_peoples_certificates_is_given_to_who_says_hello() -> None:
    world = Identities(Refusal.UNKNOWN)
    made = Desk(world, world, dict, lambda: True, world.cancel, authority="PEM")
    assert call(made, "hello", {})["authority"] == "PEM"


def test_open_sessions_are_listed_until_they_close() -> None:
    made, _ = desk(Refusal.UNKNOWN)
    call(made, "session_opened", OPENED)
    [live] = made.live
    assert (live.session, live.name, live.target, live.worker) == (SESSION, "alice", "core", 0)
    assert made.find(SESSION) is live
    call(made, "session_closed", {"session": str(SESSION), "reason": "client_closed"})
    assert made.live == ()


def test_the_sessions_of_a_dead_process_are_forgotten_and_no_others() -> None:
    made, _ = desk(Refusal.UNKNOWN)
    call(made, "session_opened", OPENED, worker=0)
    call(made, "session_opened", OPENED | {"session": str(UUID(int=6))}, worker=1)
    made.forget(0)
    assert [live.session for live in made.live] == [UUID(int=6)]


def test_a_cancel_for_another_process_is_passed_on() -> None:
    made, world = desk(Refusal.UNKNOWN)
    call(made, "cancel", {"key": "0a0b"})
    assert world.cancelled == ["0a0b"]


def test_the_end_of_a_session_is_told() -> None:
    made, _ = desk(Refusal.UNKNOWN)
    ended: list[UUID] = []

    async def note(session: UUID) -> None:
        ended.append(session)

    made.on_closed(note)
    call(made, "session_opened", OPENED)
    call(made, "session_closed", {"session": str(SESSION), "reason": "client_closed"})
    assert ended == [SESSION]


def limited(**limits: Any) -> Desk:
    world = Identities(identity("engineering"))
    places = Places(PlaceLimits(**limits), lambda _identity, _attempted, wanted: wanted)
    return Desk(world, world, dict, lambda: True, world.cancel, places)


def prove(made: Desk, number: int, worker: int = 0, **more: str) -> Admission | Refusal:
    asked = {**ASKED, "session": str(UUID(int=number)), **more}
    return answer_from_json(call(made, "prove", asked, worker))


@pytest.mark.parametrize(
    ("limits", "refusal"),
    [
        ({"per_person": 2}, Refusal.PERSON_FULL),
        ({"per_address": 2}, Refusal.ADDRESS_FULL),
        ({"per_target": {"core": 2}}, Refusal.TARGET_FULL),
    ],
)
def test_a_limit_counts_over_all_data_processes_from_the_proof_to_the_end(limits: Any, refusal: Refusal) -> None:
    made = limited(**limits)
    assert isinstance(prove(made, 1, worker=0), Admission)
    assert isinstance(prove(made, 2, worker=1), Admission)
    assert prove(made, 3, worker=1) is refusal
    call(made, "session_closed", {"session": str(UUID(int=1)), "reason": "dial failed"})
    assert isinstance(prove(made, 4), Admission)
    assert prove(made, 5) is refusal
    made.forget(1)
    assert isinstance(prove(made, 6), Admission)


def test_a_proof_that_fails_holds_no_place() -> None:
    made = limited(per_person=1)
    made._proofs = Identities(Refusal.UNKNOWN)
    assert prove(made, 1) is Refusal.UNKNOWN
    made._proofs = Identities(identity("engineering"))
    made._keys = Identities(identity("engineering"), fails=True)
    assert prove(made, 2) is Refusal.UNAVAILABLE
    made._keys = Identities(identity("engineering"))
    assert isinstance(prove(made, 3), Admission)


def test_a_conversation_that_ends_while_its_proof_is_looked_up_holds_no_place() -> None:
    made = limited(per_person=1)

    class Slow(Identities):
        async def prove(self, token: bytes, attempted: str, client: Peer) -> Identity | Refusal:
            await made.handlers(0)["session_closed"]({"session": str(SESSION), "reason": "left"})
            return self.answer

    made._proofs = Slow(identity("engineering"))
    assert answer_from_json(call(made, "prove", ASKED)) is Refusal.UNAVAILABLE
    made._proofs = Identities(identity("engineering"))
    assert isinstance(prove(made, 7), Admission)
