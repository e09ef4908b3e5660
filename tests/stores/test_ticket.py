from __future__ import annotations

import threading
import time
from uuid import UUID

import pytest

from tests.support.evidence_records import access, closed, decided, finished, heartbeat, node_started
from vestibule.model.errors import EvidenceUnavailable
from vestibule.model.record import Record
from vestibule.stores.ticket import Ticket, Waiting, decides, own, salvage

ADA = UUID(int=1)
NO = EvidenceUnavailable("no")


def ticket(*records: Record, deadline: float = 10.0) -> Ticket:
    return Ticket(records, deadline, None)


def test_what_an_act_waits_for_is_a_decision_and_the_start_of_a_node_is_not() -> None:
    assert decides(access(ADA))
    assert decides(decided(ADA, 1))
    assert not decides(closed(ADA))
    assert not decides(heartbeat())
    assert not decides(node_started())


def test_a_refused_append_keeps_what_is_no_decision_and_refers_to_none_of_its_own() -> None:
    earlier, own_decision, about_it = finished(ADA, 1), decided(ADA, 2), finished(ADA, 2, "refused")
    assert salvage([earlier, own_decision, about_it, heartbeat()]) == (earlier, heartbeat())


def test_a_ticket_is_settled_once() -> None:
    waiting = Waiting(10)
    one = ticket(access(ADA))
    assert waiting.settle(one, NO)
    assert not waiting.settle(one, None)
    assert one.error is NO


def test_tickets_are_taken_in_order_and_about_as_many_records_as_asked_for() -> None:
    waiting = Waiting(100)
    tickets = [ticket(*[heartbeat()] * count) for count in (3, 3, 3)]
    for each in tickets:
        assert waiting.put(each)
    assert waiting.take(6, None) == tickets[:2]
    assert waiting.records == 3
    assert waiting.take(1, None) == tickets[2:]


def test_tickets_put_back_come_first_and_in_their_order() -> None:
    waiting = Waiting(100)
    first, second, third = ticket(heartbeat(0)), ticket(heartbeat(1)), ticket(heartbeat(2))
    waiting.put(third)
    waiting.put_back([first, second])
    assert waiting.take(10, None) == [first, second, third]


def test_nothing_comes_of_waiting_in_vain() -> None:
    assert Waiting(10).take(10, 0.01) == []


def test_a_line_is_bounded_and_half_of_it_is_for_what_is_no_decision() -> None:
    waiting = Waiting(4)
    assert waiting.put(ticket(access(ADA), access(ADA)))
    assert not waiting.put(ticket(access(ADA)))
    assert waiting.put(ticket(heartbeat(), heartbeat()))
    assert not waiting.put(ticket(heartbeat()))


def test_a_closed_line_gives_what_it_holds_and_takes_nothing_more() -> None:
    waiting = Waiting(10)
    waiting.put(one := ticket(heartbeat()))
    waiting.close()
    assert not waiting.put(ticket(heartbeat()))
    assert waiting.take(10, None) == [one]
    assert waiting.take(10, None) is None
    assert not waiting.pause(10)


def test_only_decisions_are_ever_overdue_whether_in_the_line_or_being_written() -> None:
    waiting = Waiting(100)
    written, line, later = ticket(access(ADA), deadline=1), ticket(access(ADA), deadline=2), ticket(access(ADA))
    waiting.put(written)
    waiting.put(ticket(heartbeat(), deadline=0))
    waiting.take(1, None)
    waiting.put(line)
    waiting.put(later)
    assert waiting.next_deadline() == 1
    assert waiting.overdue(5) == [written, line]
    waiting.settle(written, NO)
    assert waiting.next_deadline() == 2


def test_whoever_waits_for_a_ticket_wakes_when_one_comes() -> None:
    waiting = Waiting(10)
    found: list[list[Ticket] | None] = []
    thread = threading.Thread(target=lambda: found.append(waiting.take(10, 10)))
    thread.start()
    waiting.put(one := own([heartbeat()]))
    thread.join(10)
    assert found == [[one]]


def test_how_a_statement_ended_is_taken_with_the_next_decision(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vestibule.stores.ticket.LINGER", 60.0)
    waiting = Waiting(10)
    found: list[list[Ticket] | None] = []
    thread = threading.Thread(target=lambda: found.append(waiting.take(10, None)))
    thread.start()
    waiting.put(ended := ticket(finished(ADA, 1)))
    thread.join(0.1)
    assert thread.is_alive()
    waiting.put(next_one := ticket(decided(ADA, 2)))
    thread.join(10)
    assert found == [[ended, next_one]]


@pytest.mark.parametrize("pause", [0.0, 0.1], ids=["the writer has just written", "the writer sleeps"])
def test_how_a_statement_ended_does_not_wait_long_for_another(pause: float) -> None:
    waiting = Waiting(10)
    timer = threading.Timer(pause, lambda: waiting.put(ticket(finished(ADA, 1))))
    timer.start()
    began = time.monotonic()
    assert waiting.take(10, None)
    assert time.monotonic() - began < 5
    timer.join()


def test_what_is_left_in_the_line_is_taken_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vestibule.stores.ticket.LINGER", 60.0)
    waiting = Waiting(10)
    first, second, back = (ticket(finished(ADA, number)) for number in (1, 2, 3))
    waiting.put(ticket(decided(ADA, 1)))
    waiting.put(first)
    waiting.take(1, None)
    assert waiting.take(1, None) == [first]
    waiting.put_back([back])
    assert waiting.take(10, None) == [back]
    waiting.put(second)
    waiting.close()
    assert waiting.take(10, None) == [second]


def test_a_drained_line_is_empty() -> None:
    waiting = Waiting(10)
    waiting.put(one := ticket(heartbeat()))
    assert waiting.everybody() == [one]
    assert waiting.drain() == [one]
    assert waiting.records == 0


@pytest.mark.parametrize("closed_first", [True, False])
def test_a_pause_ends_with_the_next_ticket_or_the_end(closed_first: bool) -> None:
    waiting = Waiting(10)
    timer = threading.Timer(0.02, waiting.close if closed_first else lambda: waiting.put(ticket(heartbeat())))
    timer.start()
    assert waiting.pause(10) is not closed_first
    timer.join()
