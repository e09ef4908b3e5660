"""What a session knows of its target, and when it must ask again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tests.support.gates import admitted
from tests.support.masked import BANK, CUSTOMERS, Row, relation
from tests.support.pg_masked import MAILS, NUMBERS, engine, masked_gate
from vestibule.analysis.sql.catalog import Catalog
from vestibule.gate.gate import Gate
from vestibule.gate.masks import MAX_AGE_US
from vestibule.model.names import Instant
from vestibule.protocols.postgres import messages as pg
from vestibule.protocols.postgres.codec import encode
from vestibule.protocols.postgres.knowing import Knowing
from vestibule.protocols.postgres.learning import Learned, Surveyed

NOW = Instant(1_700_000_000_000_000)
OLD = Instant(NOW + MAX_AGE_US)
LEARNED = Learned(Catalog(), "public")
W = replace(LEARNED, temporaries={"w": 27_000})


def knowing(*groups: str, at: Gate | None = None) -> Knowing:
    return Knowing(admitted(*groups, at=at or masked_gate()), LEARNED)


def told(rows: Sequence[Row] = BANK) -> Surveyed:
    """What a target says of its relations."""
    return Surveyed([b"".join(encode(pg.DataRow(tuple(cell.encode() for cell in row))) for row in rows)])


def survey(known: Knowing, at: Instant, *more: Row, is_of_now: bool = True) -> None:
    """Let the target tell its relations."""
    charted = known.charting(told([*BANK, *more]))()
    known.survey(charted, at, is_of_now=is_of_now)


def surveyed(*groups: str, at: Gate | None = None) -> Knowing:
    """A session that has learnt all there is."""
    known = knowing(*groups, at=at)
    known.learn(LEARNED, NOW)
    survey(known, NOW)
    known.settle()
    return known


def test_where_nothing_is_masked_on_the_screen_nothing_waits_for_a_survey() -> None:
    known = knowing("engineering", "fraud")
    assert not known.is_masked
    assert not known.must_ask()
    assert known.must_survey(NOW), "what is stored is masked all the same"
    assert known.knowledge(b"").scene is None
    known.is_own_stale = True
    assert not known.must_ask(), "a search path alone changes nothing there"


def test_before_there_is_a_snapshot_no_relation_is_known() -> None:
    known = knowing()
    assert known.must_ask()
    assert known.must_survey(NOW)
    scene = known.knowledge(b"").scene
    assert scene is not None
    assert not scene.sensitive.snapshot.relations


def test_a_snapshot_is_asked_when_it_is_old_or_lacks_a_name() -> None:
    known = surveyed()
    assert not known.must_ask()
    assert not known.must_survey(Instant(OLD - 1))
    assert known.must_survey(OLD)
    assert known.lacks()
    assert known.must_ask()
    assert known.must_survey(NOW)


def test_a_name_that_a_fresh_snapshot_lacks_is_not_asked_for_again() -> None:
    known = surveyed()
    survey(known, OLD)
    scene = known.knowledge(b"").scene
    assert scene is not None
    assert scene.is_fresh
    assert not known.lacks()
    assert not known.must_survey(OLD)
    known.settle()
    assert known.lacks()


def test_a_snapshot_of_another_session_will_do_if_it_is_newer() -> None:
    gate = masked_gate()
    first = surveyed(at=gate)
    second = knowing(at=gate)
    assert not second.must_survey(NOW)
    assert not second.must_ask()
    survey(second, Instant(NOW + 1), *relation(30_000, "more", ["ssn"]))
    before = first.knowledge(b"").version
    assert not first.must_survey(Instant(NOW + 2))
    assert first.knowledge(b"").version != before


def test_one_of_a_transaction_is_its_sessions_own_and_is_not_put_back_by_an_older_one() -> None:
    gate = masked_gate()
    first, second = surveyed(at=gate), surveyed(at=gate)
    survey(first, Instant(NOW + 1), *relation(30_000, "more", ["ssn"]), is_of_now=False)
    first.settle()
    mine = first.knowledge(b"").version
    assert not first.must_survey(Instant(NOW + 2))
    assert first.knowledge(b"").version == mine
    assert not second.must_survey(Instant(NOW + 2))
    assert second.knowledge(b"").version != mine


def test_what_the_session_may_have_changed_makes_what_is_known_stale() -> None:
    known = surveyed()
    for name in ("is_own_stale", "is_catalog_stale"):
        setattr(known, name, True)
        assert known.is_stale
        assert known.must_ask()
        setattr(known, name, False)
        assert not known.must_ask()


def test_texts_are_read_by_path_temporaries_and_masks_under_one_version() -> None:
    gate = masked_gate()
    known = surveyed(at=gate)
    versions = [known.knowledge(b"").version]
    known.learn(replace(LEARNED, search_path="audit"), NOW)
    versions.append(known.knowledge(b"").version)
    known.learn(W, NOW)
    versions.append(known.knowledge(b"").version)
    gate.apply(engine(NUMBERS, MAILS))
    versions.append(known.knowledge(b"").version)
    gate.apply(engine())
    versions.append(known.knowledge(b"").version)
    assert len(set(versions)) == len(versions)
    assert known.knowledge(b"").scene is None


def test_an_answer_is_held_against_the_masks_that_it_was_decided_by() -> None:
    gate = masked_gate()
    known = surveyed(at=gate)
    then = known.labels
    gate.apply(engine(MAILS))
    assert known.sensitive(()) is None
    before, now = known.sensitive(then), known.sensitive(known.labels)
    assert before is not None
    assert now is not None
    assert ((CUSTOMERS, 2) in before.masks, (CUSTOMERS, 2) in now.masks) == (True, False)
    assert ((CUSTOMERS, 3) in before.masks, (CUSTOMERS, 3) in now.masks) == (False, True)


def is_closed(known: Knowing) -> bool:
    scene = known.knowledge(b"").scene
    assert scene is not None
    assert known.temporary_numbers == frozenset() if scene.temporaries["w"].is_closed else {27_000}
    return scene.temporaries["w"].is_closed


def test_a_temporary_relation_is_closed_when_more_is_masked_than_when_it_was_made() -> None:
    gate = masked_gate()
    known = surveyed(at=gate)
    known.learn(W, NOW)
    assert not is_closed(known)
    gate.apply(engine(NUMBERS, MAILS))
    assert is_closed(known)
    gate.apply(engine(NUMBERS))
    assert is_closed(known)


def test_it_stays_open_when_less_is_masked() -> None:
    gate = masked_gate(NUMBERS, MAILS)
    known = surveyed(at=gate)
    known.learn(W, NOW)
    gate.apply(engine(NUMBERS))
    assert not is_closed(known)


def test_it_is_closed_too_if_the_target_tells_of_it_only_after_the_change() -> None:
    gate = masked_gate()
    known = surveyed(at=gate)
    known.is_own_stale = True
    gate.apply(engine(NUMBERS, MAILS))
    assert known.knowledge(b"").scene is not None
    known.is_own_stale = False
    known.learn(W, NOW)
    assert is_closed(known)
    known.learn(replace(W, temporaries={"w": 27_001}), NOW)
    assert not is_closed(known), "it was made anew"


def test_no_constraint_is_told_before_a_snapshot_names_it() -> None:
    assert knowing().constraints == frozenset()
    assert "customers_ssn_key" in surveyed().constraints


def test_what_is_stored_has_a_scene_of_its_own_where_more_is_shown_alone() -> None:
    masked, cleared = surveyed(), surveyed("engineering", "fraud")
    assert masked.knowledge(b"SELECT 1").stored is None
    stored = cleared.knowledge(b"SELECT 1").stored
    assert stored is not None
    assert stored.sensitive.is_sensitive(CUSTOMERS)


def test_what_the_session_may_have_changed_is_not_known_to_what_is_stored() -> None:
    known = surveyed("engineering", "fraud")
    known.change()
    assert known.should_ask()
    stored = known.knowledge(b"SELECT 1").stored
    assert stored is not None
    assert not stored.sensitive.snapshot.relations


def test_what_was_made_while_more_was_shown_is_closed_to_what_is_stored() -> None:
    known = surveyed("engineering", "fraud")
    known.learn(W, NOW)
    stored = known.knowledge(b"SELECT 1").stored
    assert stored is not None
    assert stored.temporaries["w"].is_closed
