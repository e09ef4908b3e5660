"""The policy in force decides the next statement of every session."""

from __future__ import annotations

from tests.support.gates import admitted, gate, statement
from tests.support.policies import HEAD, RULES, identity
from vestibule.gate.gate import StorageKey
from vestibule.model.decision import Allow, Deny
from vestibule.model.names import TargetName
from vestibule.policy.document import load
from vestibule.policy.engine import Engine


def test_another_policy_decides_the_next_statement_of_an_open_session() -> None:
    one = gate()
    session = admitted(at=one)
    assert isinstance(session.judge(statement().operations), Allow)
    one.apply(Engine(load((HEAD + "access: []\n").encode(), "policy.yaml")))
    assert isinstance(session.judge(statement().operations), Deny)
    assert not session.is_granted()


def test_unknown_and_not_granted_targets_look_alike() -> None:
    one, somebody = gate(), identity("engineering")
    assert one.target(somebody, TargetName("vault-room")) is None
    assert one.target(somebody, TargetName("no-such-target")) is None
    assert [target.name for target in one.targets(somebody)] == ["core-banking", "sandbox"]


def test_the_storage_key_shows_in_no_repr() -> None:
    assert "secret" not in repr(StorageKey("k1", b"secret"))


def test_what_is_stored_is_masked_whoever_sees_more() -> None:
    masks = "masks: [{name: ssn, columns: ['*.customers.ssn'], clear_for: {groups: [fraud-desk]}}]\n"
    one, somebody = gate(), identity("engineering", "fraud-desk")
    target = one.target(somebody, TargetName("core-banking"))
    assert target is not None
    assert not one.is_masked(target)
    one.apply(Engine(load((HEAD + RULES + masks).encode(), "policy.yaml")))

    assert one.is_masked(target)
    shown, stored = one.engine.labels(somebody, target)
    assert shown == ()
    assert [label.rule for label in stored] == ["ssn"]
