from __future__ import annotations

from vestibule.evidence.commitment import OutputMac
from vestibule.gate.outcome import Counts, Result


def test_a_result_counts_and_commits_to_all_that_is_disclosed_however_it_was_cut() -> None:
    whole, pieces = Result(OutputMac(b"k" * 32)), Result(OutputMac(b"k" * 32))
    whole.disclose(b"abcdef", 2)
    for piece in (b"ab", b"", b"cdef"):
        pieces.disclose(piece, 1 if piece else 0)
    assert (whole.rows, whole.sent, whole.mac.hexdigest()) == (pieces.rows, pieces.sent, pieces.mac.hexdigest())
    pieces.disclose(b"g", 0)
    assert pieces.mac.hexdigest() != whole.mac.hexdigest()


def test_a_conversation_begins_with_nothing_counted() -> None:
    counts = Counts()
    assert not any(getattr(counts, name) for name in Counts.__slots__)
