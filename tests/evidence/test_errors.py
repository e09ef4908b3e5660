from vestibule.evidence.errors import DamagedSegment, EvidenceFormatError, MemberRefused, TornSegment
from vestibule.model.errors import VestibuleError


def test_all_that_is_wrong_with_bytes_is_caught_as_one_error() -> None:
    for error in (TornSegment(7), DamagedSegment(7, "bytes"), MemberRefused("must be text", "text")):
        assert isinstance(error, EvidenceFormatError)
        assert isinstance(error, VestibuleError)


def test_a_refused_member_is_named_from_the_outside_in() -> None:
    inner = MemberRefused("must be text", "name").within("[]").within("ops").within("StatementDecided")
    assert str(inner) == "StatementDecided.ops[].name must be text"
    assert (inner.words, inner.path) == ("must be text", "StatementDecided.ops[].name")


def test_a_segment_error_says_where_to_look() -> None:
    assert "offset 7" in str(TornSegment(7))
    assert str(DamagedSegment(7, "foreign bytes")) == "damaged at offset 7: foreign bytes"
