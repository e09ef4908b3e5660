from __future__ import annotations

import json
from collections.abc import Sequence
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.evidence_records import (
    access,
    closed,
    conversation,
    decided,
    finished,
    heartbeat,
    opened,
)
from tests.support.journals import NODE, START, same_random
from vestibule.evidence.canonical import ZERO_LEAF, Header, decode_header
from vestibule.evidence.errors import EvidenceFormatError
from vestibule.evidence.segment import read_frames
from vestibule.model.errors import EvidenceUnavailable
from vestibule.model.record import Kind, Record, Reference
from vestibule.stores import chain as module
from vestibule.stores.chain import PLACE_LIMIT, Chain, Draft, Encoded, place_in_batch

ADA, BOB = UUID(int=1), UUID(int=2)


def chain() -> Chain:
    return Chain(NODE, 1, ZERO_LEAF, same_random())


def written(to: Chain, *appends: Sequence[Record]) -> list[Encoded]:
    """Write one batch."""
    draft = to.draft()
    for records in appends:
        draft.add(records, START)
    to.accept(draft)
    return draft.encoded


def header(encoded: Encoded) -> Header:
    return decode_header(next(read_frames(encoded.frame)).header)


def body(encoded: Encoded) -> dict[str, object]:
    members: dict[str, object] = json.loads(next(read_frames(encoded.frame)).body)
    return members


def test_records_are_numbered_and_linked_across_batches() -> None:
    to = chain()
    records = [*written(to, [heartbeat(0)], [heartbeat(1)]), *written(to, [heartbeat(2)])]
    headers = [header(encoded) for encoded in records]
    assert [each.n for each in headers] == [0, 1, 2]
    assert [each.prev for each in headers] == [ZERO_LEAF, records[0].leaf, records[1].leaf]


def test_a_session_has_a_chain_of_its_own_whatever_stands_between() -> None:
    to = chain()
    records = written(to, [access(ADA)], [access(BOB)], [opened(ADA)], [heartbeat()], [opened(BOB)])
    headers = [header(encoded) for encoded in records]
    assert [(each.session, each.sn) for each in headers] == [(ADA, 0), (BOB, 0), (ADA, 1), (None, None), (BOB, 1)]
    assert headers[2].sprev == records[0].leaf
    assert headers[4].sprev == records[1].leaf
    assert headers[3].sprev is None


def test_a_reference_becomes_id_and_leaf_of_the_record_it_names() -> None:
    records = written(chain(), [access(ADA)], [opened(ADA)], [decided(ADA, 1), finished(ADA, 1)])
    reference = {"id": str(records[2].id), "leaf": records[2].leaf.hex()}
    assert body(records[3])["decided"] == reference


def test_a_reference_deep_in_a_list_is_found() -> None:
    to = chain()
    first = written(to, [heartbeat()])
    draft = to.draft()
    nested = Record(Kind.HEARTBEAT, {"beat": 1, "sinks": [{"name": Reference("x"), "next": 0, "lag_s": 0}]})
    with pytest.raises(EvidenceUnavailable, match="'x'"):
        draft.add([nested], START)
    assert draft.encoded == []
    assert draft.prev == first[0].leaf


def test_a_reference_that_was_the_last_use_is_forgotten() -> None:
    to = chain()
    written(to, [access(ADA)], [opened(ADA)], [decided(ADA, 1), finished(ADA, 1)])
    assert not to.knows(ADA, "decided/1")
    assert to.knows(ADA, "opened")
    with pytest.raises(EvidenceUnavailable, match="decided/1"):
        to.draft().add([finished(ADA, 1)], START)


def test_a_reference_never_leads_into_another_session() -> None:
    to = chain()
    written(to, [access(ADA)])
    with pytest.raises(EvidenceUnavailable, match="access"):
        to.draft().add([opened(BOB)], START)


def test_an_append_that_fails_leaves_the_batch_as_it_was() -> None:
    to = chain()
    draft = to.draft()
    draft.add([access(ADA), opened(ADA)], START)
    before = draft.data()
    with pytest.raises(EvidenceFormatError):
        draft.add([decided(ADA, 1), Record(Kind.HEARTBEAT, {"beat": -1})], START)
    assert draft.data() == before
    draft.add([decided(ADA, 1)], START)
    assert [header(each).sn for each in draft.encoded] == [0, 1, 2]


def test_a_draft_that_is_not_accepted_changes_nothing() -> None:
    to = chain()
    written(to, [access(ADA)])
    to.draft().add([opened(ADA)], START)
    again = written(to, [opened(ADA)])
    assert (header(again[0]).n, header(again[0]).sn) == (1, 1)


def test_the_end_of_a_session_says_where_its_chain_ends_and_forgets_it() -> None:
    to = chain()
    records = written(to, *[[record] for record in conversation(ADA, 2)])
    assert body(records[-1])["last_sn"] == header(records[-1]).sn == 6
    assert not to.knows(ADA, "opened")


def test_what_another_writer_says_of_a_session_is_not_in_its_chain() -> None:
    to = chain()
    foreign = Record(Kind.SESSION_CLOSED, {**closed(ADA).members, "opened": _ref()}, ADA, sequenced=False)
    records = written(to, [access(ADA)], [foreign], [opened(ADA)])
    assert [header(each).sn for each in records] == [0, None, 1]
    assert "last_sn" not in body(records[1])


def test_log_ins_that_open_nothing_are_forgotten_oldest_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "UNOPENED_LIMIT", 100)
    to = chain()
    written(to, *[[access(UUID(int=number))] for number in range(101)])
    assert not to.knows(UUID(int=0), "access")
    assert to.knows(UUID(int=1), "access")


def test_a_session_that_opened_is_never_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "UNOPENED_LIMIT", 100)
    to = chain()
    written(to, [access(ADA)], [opened(ADA)])
    written(to, *[[access(UUID(int=number))] for number in range(10, 150)])
    assert to.knows(ADA, "opened")


def test_an_id_says_which_record_of_its_batch_it_is() -> None:
    to = chain()
    first = written(to, [heartbeat(0)], [heartbeat(1), heartbeat(2)])
    second = written(to, [heartbeat(3)])
    headers = [next(read_frames(each.frame)).header for each in (*first, *second)]
    assert [place_in_batch(each) for each in headers] == [0, 1, 2, 0]
    assert place_in_batch(b"something else") == PLACE_LIMIT
    assert {each.id.version for each in first} == {7}


def test_salts_and_ids_never_repeat() -> None:
    records = written(chain(), *[[heartbeat()] for _ in range(100)])
    assert len({each.id for each in records}) == 100
    assert len({body(each)["salt"] for each in records}) == 100


def test_a_new_epoch_counts_from_zero_and_links_to_the_old_one() -> None:
    to = chain()
    before = written(to, [access(ADA)], [opened(ADA)])
    to.begin(2, before[1].leaf)
    after = written(to, [decided(ADA, 1)])
    assert (header(after[0]).epoch, header(after[0]).n, header(after[0]).prev) == (2, 0, before[1].leaf)
    assert (header(after[0]).sn, header(after[0]).sprev) == (2, before[1].leaf)


@given(st.lists(st.sampled_from(["heartbeat", "access", "bad"]), max_size=12), st.integers(0, 12))
def test_a_cut_draft_is_the_draft_that_never_had_the_rest(words: list[str], keep: int) -> None:
    # Given
    def fill(draft: Draft, these: Sequence[str]) -> None:
        for word in these:
            number = len(draft.encoded)
            match word:
                case "heartbeat":
                    draft.add([heartbeat(number)], START)
                case "access":
                    draft.add([access(UUID(int=number % 3))], START)
                case _:
                    with pytest.raises(EvidenceFormatError):
                        draft.add([Record(Kind.HEARTBEAT, {})], START)

    good = [word for word in words if word != "bad"]
    draft = chain().draft()
    fill(draft, words)
    # When
    draft.cut(keep)
    # Then
    whole = chain().draft()
    fill(whole, good[:keep])
    assert [(header(each).n, header(each).sn) for each in draft.encoded] == [
        (header(each).n, header(each).sn) for each in whole.encoded
    ]
    assert draft.size == len(draft.data())


def _ref() -> dict[str, str]:
    return {"id": str(UUID(int=9)), "leaf": "a" * 64}
