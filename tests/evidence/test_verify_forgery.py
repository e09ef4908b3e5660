"""The verifier against logs that are whole as trees and whose records or signatures are not what they should be."""

import json
import random
import re
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from uuid import UUID

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests.support import data_folder
from tests.support.data_folder import (
    PublishedLog,
    WriterChain,
    busy_day,
    findings,
    folder_of,
    gate,
    published_folder,
)
from vestibule.evidence import verify
from vestibule.evidence.canonical import encode_body
from vestibule.evidence.segment import encode_frame
from vestibule.model.record import Kind

FILES, LOG, WRITERS = busy_day(1)
NEWEST = FILES["log/checkpoint"]
SOURCE = Path(verify.__file__)


# --- forgery with the log's own key


def test_a_log_whose_end_was_cut_off_is_smaller_than_the_saved_checkpoint(tmp_path) -> None:
    earlier = LOG.earlier[3]
    assert findings(tmp_path / "a", earlier) == {}
    assert "its end was cut off" in str(findings(tmp_path / "a", earlier, NEWEST)["V05"])


def test_a_log_that_was_written_anew_differs_from_the_saved_checkpoint(tmp_path) -> None:
    other, _, _ = busy_day(2)
    assert findings(tmp_path, other) == {}
    assert "this is another log" in str(findings(tmp_path, other, FILES["log/checkpoints/60"])["V05"])


def test_a_log_signed_by_another_key_is_not_that_of_its_genesis_nor_of_the_saved_checkpoint(tmp_path) -> None:
    thief = PublishedLog(Ed25519PrivateKey.from_private_bytes(bytes(32)))
    thief.integrate(*WRITERS)
    thief.publish()
    files = {name: data for name, data in FILES.items() if name.startswith("journal/")}
    files |= {f"log/{name}": data for name, data in thief.files.items()}
    assert "names another key than log/log.vkey" in str(findings(tmp_path, files)["V05"])
    assert "the saved checkpoint" in str(findings(tmp_path, files, NEWEST)["V05"])


@pytest.mark.parametrize(
    "note", [b"", b"\xff\n\n\n", NEWEST[:-5], NEWEST.replace(b"vestibule.test", b"vestibule.best")]
)
def test_a_saved_checkpoint_that_is_none_is_told(tmp_path, note) -> None:
    assert "the saved checkpoint" in str(findings(tmp_path, FILES, note)["V05"])


# --- records that contradict each other, in a log that is whole


def _drops_a_decision(chain: WriterChain) -> None:
    session = chain.open_session()
    session.finish({"id": data_folder.LOGIN, "leaf": "ab" * 32})


def _forwards_what_was_denied(chain: WriterChain) -> None:
    session = chain.open_session()
    session.finish(session.decide("deny"))


def _ends_a_statement_twice(chain: WriterChain) -> None:
    session = chain.open_session()
    decided = session.decide()
    session.finish(decided)
    session.finish(decided, forwarded=False)


def _takes_a_decision_of_another_session(chain: WriterChain) -> None:
    decided = chain.open_session().decide()
    chain.open_session().finish(decided)


def _forwards_after_the_end(chain: WriterChain) -> None:
    session = chain.open_session()
    session.decide()
    session.close()
    members = {"decided": {"id": data_folder.LOGIN, "leaf": "ab" * 32}, "outcome": "unknown", "forwarded": True}
    chain.write(Kind.STATEMENT_FINISHED, members, session.id, sequenced=False)


def _skips_a_number_of_a_session(chain: WriterChain) -> None:
    session = chain.open_session()
    chain.sessions[session.id].sn += 1
    session.decide()


def _unlinks_a_session(chain: WriterChain) -> None:
    session = chain.open_session()
    chain.sessions[session.id].leaf = bytes(32)
    session.decide()


def _closes_with_another_number(chain: WriterChain) -> None:
    session = chain.open_session()
    members = {"opened": session.opened, "cause": "killed", "last_sn": 9}
    chain.write(Kind.SESSION_CLOSED, members, session.id)


def _closes_twice(chain: WriterChain) -> None:
    session = chain.open_session()
    session.close()
    chain.write(Kind.SESSION_CLOSED, {"opened": session.opened, "cause": "crash"}, session.id, sequenced=False)


def _goes_on_after_the_end(chain: WriterChain) -> None:
    session = chain.open_session()
    session.close()
    session.decide()


def _opens_twice(chain: WriterChain) -> None:
    session = chain.open_session()
    opened = json.loads(chain.rows[-1].body)
    del opened["salt"]
    chain.write(Kind.SESSION_OPENED, opened, session.id)


def _skips_a_record(chain: WriterChain) -> None:
    chain.n += 1
    chain.heartbeat(0)


def _unlinks_a_record(chain: WriterChain) -> None:
    chain.prev = bytes(32)
    chain.heartbeat(0)


def _unlinks_an_epoch(chain: WriterChain) -> None:
    chain.prev = bytes(32)
    chain.start()


def _goes_back_to_an_old_epoch(chain: WriterChain) -> None:
    chain.start()
    chain.epoch, chain.n = 1, 1
    chain.heartbeat(0)


@pytest.mark.parametrize(
    ("act", "check"),
    [
        (_drops_a_decision, "V11"),
        (_forwards_what_was_denied, "V11"),
        (_ends_a_statement_twice, "V11"),
        (_takes_a_decision_of_another_session, "V11"),
        (_forwards_after_the_end, "V11"),
        (_skips_a_number_of_a_session, "V08"),
        (_unlinks_a_session, "V08"),
        (_closes_with_another_number, "V08"),
        (_closes_twice, "V08"),
        (_goes_on_after_the_end, "V08"),
        (_opens_twice, "V08"),
        (_skips_a_record, "V07"),
        (_unlinks_a_record, "V07"),
        (_unlinks_an_epoch, "V07"),
        (_goes_back_to_an_old_epoch, "V07"),
    ],
)
def test_records_that_contradict_each_other_are_named(tmp_path, act: Callable[[WriterChain], None], check) -> None:
    chain = gate()
    act(chain)
    log = PublishedLog(data_folder.test_key())
    log.force(chain.rows)
    log.publish()
    found = findings(tmp_path, folder_of(log, [chain]))
    assert any("gate1.0" in text for text in found[check])


def test_a_body_that_was_forged_under_its_header_is_named(tmp_path) -> None:
    chain = gate()
    row = chain.rows[0]
    forged = encode_body(Kind.NODE_STARTED, {"version": "2", "python": "3.11", "clean": True}, bytes(16))
    files = published_folder([chain]) | {"journal/gate1.0/1-0.seg": encode_frame(row.header, forged)}
    assert findings(tmp_path, files)["V09"] == [
        "leaf 0, journal/gate1.0/1-0.seg at offset 0: the body is not the one that the header names"
    ]


def test_a_body_that_cannot_be_read_is_named(tmp_path) -> None:
    chain = gate()
    chain.heartbeat(0)
    good = chain.rows[-1]
    body = b'{"salt":"x"}'
    header = re.sub(rb'"body":"\w+"', b'"body":"%s"' % sha256(body).hexdigest().encode(), good.header)
    header = re.sub(rb'"len":\d+', b'"len":%d' % len(body), header)
    chain.rows[-1] = replace(good, header=header, body=body)
    chain.frames[-1] = (chain.frames[-1][0], encode_frame(header, body))
    log = PublishedLog(data_folder.test_key())
    log.force(chain.rows)
    log.publish()
    assert "the body of a Heartbeat cannot be read" in str(findings(tmp_path, folder_of(log, [chain])))


def test_recovery_by_another_writer_ends_sessions_wherever_its_records_stand_in_the_log(tmp_path) -> None:
    chain, control = gate(), WriterChain("gate1.control", random.Random(8))
    session = chain.open_session()
    decided = session.decide()
    late = chain.open_session()
    late.close()
    control.start()
    unknown = {"decided": decided, "outcome": "unknown", "forwarded": True}
    not_reached = {"decided": decided, "outcome": "not_reached", "forwarded": False}
    control.write(
        Kind.SESSION_CLOSED, {"opened": session.opened, "cause": "crash", "last_sn": 2}, session.id, sequenced=False
    )
    control.write(Kind.STATEMENT_FINISHED, unknown, session.id, sequenced=False)
    control.write(Kind.STATEMENT_FINISHED, not_reached, late.id, sequenced=False)
    for order in ([chain, control], [control, chain]):
        assert findings(tmp_path, published_folder(order)) == {}
    _, numbers, notes = verify.verify(str(tmp_path), None)
    assert "2 opened, 2 closed, 0 open" in numbers["V08"]
    assert not any("is open" in note for note in notes)


def test_heartbeats_that_count_other_sessions_are_told(tmp_path) -> None:
    chain = gate()
    chain.open_session()
    chain.heartbeat(0)
    chain.open.add(UUID(int=1))
    chain.heartbeat(1)
    chain.start()
    chain.heartbeat(2)
    assert findings(tmp_path, published_folder([chain])) == {}
    assert "3 heartbeats, 1 of which count other sessions" in verify.verify(str(tmp_path), None)[1]["V08"]
