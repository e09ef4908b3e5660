from tests.support.gates import CLIENT, NOW, SESSION, admission, admitted, gate, statement
from vestibule.gate.kept import LONGEST_ROW, Kept, Recording, nothing
from vestibule.gate.session import Finished, SessionGate
from vestibule.model.event import Dialed
from vestibule.model.identity import Peer
from vestibule.model.names import TargetName


def recording_gate(**limits):
    made = gate()
    made.recording = Recording(lambda target: target.name == "core-banking", **limits)
    return made


def finished(session: SessionGate, *disclosed: tuple[bytes, int]):
    result = session.result()
    for data, rows in disclosed:
        result.disclose(data, rows)
        if result.kept is not None:
            result.kept.take(len(data), rows, False)
    decided = session.decide(statement(), (), NOW)
    return session.finished(decided, Finished("ok", True, [result]), NOW).members["results"][0]


def test_the_beginning_of_a_result_is_kept_up_to_its_rows() -> None:
    kept = Kept(Recording(rows=3))

    assert [kept.take(10, 2, False), kept.take(10, 1, False), kept.take(10, 1, False)] == [True, True, False]
    assert (kept.rows, kept.size, kept.is_truncated) == (3, 20, True)


def test_nothing_is_kept_behind_the_first_bytes_that_did_not_fit() -> None:
    kept = Kept(Recording(bytes=10))

    assert [kept.take(8, 1, False), kept.take(3, 1, False), kept.take(1, 1, False)] == [True, False, False]


def test_a_row_in_pieces_is_kept_up_to_its_own_limit() -> None:
    kept = Kept(Recording(bytes=1 << 40))
    pieces = [kept.take(1 << 20, 0, number > 0) for number in range(6)]

    assert pieces == [True, True, True, True, True, False]
    assert kept.size == (1 << 20) + LONGEST_ROW


def test_rows_that_are_whole_do_not_count_as_one_long_row() -> None:
    kept = Kept(Recording(bytes=1 << 40))

    assert all(kept.take(1 << 20, 1, False) for _ in range(100))


def test_a_result_that_fits_is_recorded_in_full() -> None:
    said = finished(admitted(at=recording_gate()), (b"row", 1), (b"row", 1))

    assert (said["recorded"], said["recorded_rows"], said["rows"]) == ("full", 2, 2)


def test_a_result_that_was_cut_says_so_and_goes_on_counting() -> None:
    whole = finished(admitted(at=gate()), (b"row", 1), (b"row", 1))
    said = finished(admitted(at=recording_gate(rows=1)), (b"row", 1), (b"row", 1))

    assert (said["recorded"], said["recorded_rows"]) == ("truncated", 1)
    assert (said["rows"], said["bytes"], said["disclosed_mac"]) == (2, 6, whole["disclosed_mac"])


def test_unless_the_application_says_so_results_are_digests_alone() -> None:
    session = admitted()

    assert not session.records_results
    assert finished(session, (b"row", 1)) == {**finished(admitted(), (b"row", 1)), "recorded": "digest"}
    assert not nothing(session.place.target)


def test_a_session_says_from_its_start_whether_it_is_recorded() -> None:
    found = {}
    for on in (recording_gate(), gate()):
        session = SessionGate(on, SESSION, CLIENT, "postgres")
        proof = admission()
        target = on.target(proof.identity, TargetName("core-banking"))
        session.admit(proof, target, target.databases[0], "alice")
        opened = session.opened(Dialed(Peer("10.0.0.5", 5432), 40_000, None, b""), None, "", 1, ("", ""), NOW)
        found[session.records_results] = opened.members["recording"]["results"]
    assert found == {True: "masked", False: "digest"}


def test_of_what_may_not_be_stored_nothing_is_kept_and_that_is_said() -> None:
    kept = Kept(Recording())
    kept.withhold()

    assert not kept.take(1, 1, goes_on=False)
    assert (kept.word, kept.rows) == ("none", 0)
