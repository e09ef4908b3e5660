import pytest
import structlog

from vestibule.server.cancels import Cancels

pytestmark = pytest.mark.asyncio


async def test_an_address_may_send_a_burst_and_then_some_a_second() -> None:
    now = [0.0]
    cancels = Cancels(lambda: now[0], burst=2, rate=1.0)
    assert [cancels.allows("192.0.2.7") for _ in range(3)] == [True, True, False]
    assert cancels.allows("192.0.2.8")
    now[0] = 1.0
    assert [cancels.allows("192.0.2.7") for _ in range(2)] == [True, False]
    cancels.close()


async def test_whoever_sends_too_many_is_two_lines_of_the_log_however_many_they_are() -> None:
    cancels = Cancels(lambda: 0.0, burst=1, rate=0.0)
    with structlog.testing.capture_logs() as logs:
        for last in range(1_000):
            cancels.allows(f"2001:db8::{last:x}")
        cancels.close()
    assert [(line["event"], line["ip"], line["count"]) for line in logs] == [
        ("too_many_cancel_requests", "2001:db8::1", 1),
        ("too_many_cancel_requests", "2001:db8::1", 998),
    ]
