"""The policy in force is evidence before it is law."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.support.policies import HEAD, RULES
from vestibule.control.policy import PolicyKeeper
from vestibule.model.errors import ConfigurationError, EvidenceUnavailable
from vestibule.model.names import Instant
from vestibule.model.record import Kind, Record
from vestibule.policy.document import TEXT_LIMIT, Policy

BANK = HEAD + RULES
NOW = Instant(1_700_000_000_000_000)


class Journal:
    """Keeps records in memory, or refuses."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.is_full = False

    async def persist(self, record: Record) -> None:
        if self.is_full:
            raise EvidenceUnavailable("full")
        self.records.append(record)


def keeper(path: Path, journal: Journal) -> PolicyKeeper:
    return PolicyKeeper(path, journal.persist, lambda: NOW)


async def _nothing(_: Policy) -> None:
    pass


def test_the_first_policy_is_recorded_with_its_text(tmp_path: Path) -> None:
    path, journal = tmp_path / "policy.yaml", Journal()
    path.write_text(BANK)
    policy = asyncio.run(keeper(path, journal).begin(None))
    [record] = journal.records
    assert record.kind is Kind.POLICY_APPLIED
    assert record.members["text"] == BANK
    assert record.members["policy"] == policy.digest
    assert "previous" not in record.members


def test_the_same_policy_at_the_next_start_is_not_recorded_again(tmp_path: Path) -> None:
    path, journal = tmp_path / "policy.yaml", Journal()
    path.write_text(BANK)
    digest = asyncio.run(keeper(path, journal).begin(None)).digest
    asyncio.run(keeper(path, journal).begin(digest))
    assert len(journal.records) == 1


def test_a_change_takes_effect_after_it_was_recorded_with_its_diff(tmp_path: Path) -> None:
    path, journal, applied = tmp_path / "policy.yaml", Journal(), list[int]()
    path.write_text(BANK)

    async def apply(_: Policy) -> None:
        applied.append(len(journal.records))

    async def change() -> bool:
        keeps = keeper(path, journal)
        await keeps.begin(None)
        path.write_text(BANK + "\n# reviewed\n")
        return await keeps.reload(apply)

    assert asyncio.run(change())
    assert applied == [2]
    assert "+# reviewed" in str(journal.records[1].members["diff"])
    assert journal.records[1].members["previous"] == journal.records[0].members["policy"]


@pytest.mark.parametrize("spoil", ["wrong", "missing", "full", "huge"])
def test_a_policy_that_cannot_take_effect_changes_nothing(tmp_path: Path, spoil: str) -> None:
    path, journal = tmp_path / "policy.yaml", Journal()
    path.write_text(BANK)

    async def change() -> tuple[Policy, Policy, bool]:
        keeps = keeper(path, journal)
        before = await keeps.begin(None)
        match spoil:
            case "wrong":
                path.write_text("version: 1\nacess: []\n")
            case "missing":
                path.unlink()
            case "huge":
                path.write_text(BANK + "#" * TEXT_LIMIT)
            case "full":
                path.write_text(BANK + "\n# reviewed\n")
                journal.is_full = True
        return before, keeps.policy, await keeps.reload(_nothing)

    before, after, reloaded = asyncio.run(change())
    assert not reloaded
    assert after is before
    assert len(journal.records) == 1


def test_a_policy_that_is_missing_at_start_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read"):
        asyncio.run(keeper(tmp_path / "policy.yaml", Journal()).begin(None))


def test_a_changed_file_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vestibule.control.policy.LOOK_EVERY", 0.01)
    path, journal = tmp_path / "policy.yaml", Journal()
    path.write_text(BANK)

    async def change() -> Policy:
        keeps = keeper(path, journal)
        await keeps.begin(None)
        noticed: asyncio.Future[Policy] = asyncio.get_running_loop().create_future()

        async def apply(policy: Policy) -> None:
            noticed.set_result(policy)

        watching = asyncio.create_task(keeps.watch(apply))
        path.write_text(BANK + "\n# reviewed\n")
        policy = await asyncio.wait_for(noticed, 5)
        watching.cancel()
        return policy

    assert asyncio.run(change()).text.endswith(b"# reviewed\n")


def test_whether_the_file_is_what_rules_is_known(tmp_path: Path) -> None:
    path, seen = tmp_path / "policy.yaml", list[bool]()
    path.write_text(BANK)

    async def scene() -> None:
        keeps = keeper(path, Journal())
        await keeps.begin(None)
        for text in (BANK, "nonsense: 1", BANK, "nonsense: 1", BANK + "\n# reviewed\n"):
            path.write_text(text)
            await keeps.reload(_nothing)
            seen.append(keeps.is_file_in_force)

    asyncio.run(scene())
    assert seen == [True, False, True, False, True]
