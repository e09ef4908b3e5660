import asyncio
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.doors import End, eventually, tcp_pair
from vestibule.model.event import Side
from vestibule.model.record import Kind, Record
from vestibule.server import door as door_module
from vestibule.server.commits import Commit
from vestibule.server.door import HIGH, LOW, Door, joined


@dataclass
class Watcher:
    data: bytearray = field(default_factory=bytearray)
    ends: int = 0
    lost: int = 0
    rooms: int = 0

    def on_data(self, side: Side, data: bytes) -> None:
        self.data += data

    def on_end(self, side: Side) -> None:
        self.ends += 1

    def on_lost(self, side: Side) -> None:
        self.lost += 1

    def on_room(self, side: Side) -> None:
        self.rooms += 1


class FakeTransport:
    """Takes everything and remembers each write."""

    def __init__(self) -> None:
        self.writes: list[bytes] = []
        self.held = 0

    def write(self, data: bytes) -> None:
        self.writes.append(data)

    def writelines(self, data: list[bytes]) -> None:
        self.writes.extend(data)

    def get_write_buffer_size(self) -> int:
        return self.held

    def set_write_buffer_limits(self, high: int, low: int) -> None:
        assert low < high < LOW

    def set_protocol(self, protocol: object) -> None: ...

    def get_extra_info(self, name: str) -> None: ...

    def is_closing(self) -> bool:
        return False

    @property
    def text(self) -> bytes:
        return b"".join(self.writes)


def commit(durable: bool | None = None) -> Commit:
    made = Commit([Record(Kind.STATEMENT_DECIDED, {}, name="name")], 0.0, lambda _: None)
    made.durable = durable
    return made


@pytest.fixture
def pushed() -> tuple[Door, FakeTransport]:
    door, transport = Door(Side.TARGET, Watcher()), FakeTransport()
    door.attach(transport)  # type: ignore[arg-type] # only what a door uses
    return door, transport


def leave(door: Door) -> None:
    door.release()
    door.flush()


# --- the outbox ------------------------------------------------------------------------------------------------------


def test_what_waits_for_nothing_leaves_at_the_next_flush(pushed: tuple[Door, FakeTransport]) -> None:
    door, transport = pushed
    door.push(b"a", None)
    door.push(b"b", commit(True))
    assert transport.writes == []
    door.flush()
    assert transport.writes == [b"ab"]
    assert door.bytes_written == 2


def test_nothing_overtakes_what_waits(pushed: tuple[Door, FakeTransport]) -> None:
    door, transport = pushed
    first, second = commit(), commit()
    for data, waits_for in ((b"a", first), (b"b", None), (b"c", second), (b"d", commit(True))):
        door.push(data, waits_for)
    second.durable = True
    leave(door)
    assert transport.text == b""
    first.durable = True
    leave(door)
    assert transport.text == b"abcd"


def test_a_failed_commit_drops_what_waits_for_it_and_everything_behind(pushed: tuple[Door, FakeTransport]) -> None:
    door, transport = pushed
    first, second, third = commit(), commit(), commit()
    for data, waits_for in ((b"a", first), (b"b", second), (b"c", None), (b"d", third)):
        door.push(data, waits_for)
    second.durable = False
    door.drop(second)
    third.durable = True
    door.push(b"too late", None)
    first.durable = True
    leave(door)
    assert transport.text == b"a"
    door.mend()
    door.push(b"again", None)
    door.flush()
    assert transport.text == b"aagain"


def test_what_names_a_failed_commit_drops_what_follows_it_too(pushed: tuple[Door, FakeTransport]) -> None:
    door, transport = pushed
    for data, waits_for in ((b"a", None), (b"b", commit(False)), (b"c", None), (b"d", commit(True))):
        door.push(data, waits_for)
    leave(door)
    assert transport.text == b"a"


def test_a_failed_commit_that_nothing_waits_for_drops_nothing(pushed: tuple[Door, FakeTransport]) -> None:
    door, transport = pushed
    door.push(b"a", commit(True))
    door.drop(commit(False))
    door.push(b"b", None)
    door.flush()
    assert transport.text == b"ab"


@pytest.mark.parametrize("is_known", [False, True])
def test_what_leaves_instead_takes_the_place_of_what_waited_for_a_failed_commit(
    pushed: tuple[Door, FakeTransport], is_known: bool
) -> None:
    door, transport = pushed
    first, second = commit(), commit(False if is_known else None)
    door.push(b"a", first)
    door.push(b"granted", second, b"refused")
    door.push(b"c", None)
    second.durable = False
    door.drop(second)
    leave(door)
    assert transport.text == b""
    first.durable = True
    leave(door)
    assert transport.text == b"arefusedc"
    assert not door.is_full()
    door.push(b"d", None)
    leave(door)
    assert transport.text == b"arefusedcd"


def test_what_leaves_instead_is_not_used_while_its_commit_may_succeed(pushed: tuple[Door, FakeTransport]) -> None:
    door, transport = pushed
    waiting = commit()
    door.push(b"granted", waiting, b"refused")
    leave(door)
    assert transport.text == b""
    waiting.durable = True
    leave(door)
    assert transport.text == b"granted"


MOVES = st.lists(
    st.one_of(
        st.tuples(st.just("push"), st.integers(-1, 5)),
        st.tuples(st.just("durable"), st.integers(0, 5)),
        st.tuples(st.just("fail"), st.integers(0, 5)),
        st.tuples(st.just("mend"), st.just(0)),
    ),
    max_size=60,
)


@given(MOVES)
def test_bytes_leave_in_order_only_after_their_commit_and_never_behind_a_failed_one(
    moves: list[tuple[str, int]],
) -> None:
    door, transport = Door(Side.TARGET, Watcher()), FakeTransport()
    door.attach(transport)  # type: ignore[arg-type] # only what a door uses
    commits = [commit() for _ in range(6)]
    waits_for: dict[int, Commit | None] = {}
    number = 0
    for what, which in moves:
        if what == "push" and number < 250:
            number += 1
            waits_for[number] = None if which < 0 else commits[which]
            door.push(bytes([number]), waits_for[number])
        elif what == "durable" and commits[which].durable is None:
            commits[which].durable = True
        elif what == "fail" and commits[which].durable is None:
            commits[which].durable = False
            door.drop(commits[which])
        elif what == "mend":
            door.mend()
        leave(door)
        left = list(transport.text)
        assert left == sorted(left)
        assert all(entry is None or entry.durable for entry in (waits_for[each] for each in left))


# --- pressure --------------------------------------------------------------------------------------------------------


def test_a_door_is_full_above_the_high_mark_and_until_the_low_one(pushed: tuple[Door, FakeTransport]) -> None:
    door, transport = pushed
    transport.held = HIGH
    assert not door.is_full()
    transport.held = HIGH + 1
    assert door.is_full()
    transport.held = LOW + 1
    assert door.is_full()
    transport.held = LOW
    assert not door.is_full()


def test_the_outbox_counts_with_the_transport(pushed: tuple[Door, FakeTransport]) -> None:
    door, transport = pushed
    waiting = commit()
    door.push(b"x" * HIGH, waiting)
    transport.held = 1
    assert door.is_full()
    door.drop(waiting)
    assert not door.is_full()


@given(st.lists(st.integers(0, 40_000), max_size=30))
def test_joining_keeps_every_byte_and_copies_no_slab(sizes: list[int]) -> None:
    chunks = [bytes([number % 251]) * size for number, size in enumerate(sizes)]
    parts = list(joined(chunks))
    assert b"".join(parts) == b"".join(chunks)
    slabs = [chunk for chunk in chunks if len(chunk) > door_module._SMALL]
    assert [part for part in parts if any(part is slab for slab in slabs)] == slabs
    assert len(parts) <= 2 * len(slabs) + 1


# --- over a real socket ----------------------------------------------------------------------------------------------


async def attached() -> tuple[Door, Watcher, End]:
    near, far = tcp_pair()
    watcher = Watcher()
    door = Door(Side.CLIENT, watcher)
    await asyncio.get_running_loop().connect_accepted_socket(lambda: door, far)
    return door, watcher, End(near)


@pytest.mark.asyncio
async def test_a_finished_door_flushes_and_lets_the_peer_read_though_it_still_sends() -> None:
    door, watcher, peer = await attached()
    words = b"last words" * 50_000
    await peer.send(b"unread" * 100_000)
    door.push(words, None)
    door.finish()
    assert await peer.rest() == words
    peer.leave()
    await eventually(lambda: watcher.lost)
    assert watcher.ends == 0


@pytest.mark.asyncio
async def test_a_finished_door_waits_for_its_outbox() -> None:
    door, watcher, peer = await attached()
    waiting = commit()
    door.push(b"after the record", waiting)
    door.finish()
    assert await peer.nothing()
    waiting.durable = True
    leave(door)
    door.finish_if_empty()
    assert await peer.rest() == b"after the record"
    peer.leave()
    await eventually(lambda: watcher.lost)


@pytest.mark.asyncio
async def test_a_half_closed_peer_is_told_once_and_can_still_be_written_to() -> None:
    door, watcher, peer = await attached()
    peer.sock.shutdown(1)
    await eventually(lambda: watcher.ends)
    door.push(b"still heard", None)
    door.flush()
    assert await peer.take(11) == b"still heard"
    door.finish()
    assert await peer.rest() == b""
    peer.leave()
    await eventually(lambda: watcher.lost)
    assert watcher.ends == 1


@pytest.mark.asyncio
async def test_a_reset_is_an_end_and_a_loss() -> None:
    door, watcher, peer = await attached()
    peer.reset()
    await eventually(lambda: watcher.lost)
    assert (watcher.ends, door.gone, door.closed) == (1, True, True)
    door.push(b"nobody is there", None)
    door.flush()
    assert door.bytes_written == 0


@pytest.mark.asyncio
async def test_reading_stops_and_goes_on() -> None:
    door, watcher, peer = await attached()
    door.read(False)
    await peer.send(b"x" * 1_000)
    await asyncio.sleep(0.05)
    assert not watcher.data
    door.read(True)
    await eventually(lambda: len(watcher.data) == 1_000)
    door.abort()
    await eventually(lambda: watcher.lost)
    peer.leave()


@pytest.mark.asyncio
async def test_a_slow_peer_is_not_dead_and_a_reset_one_is() -> None:
    door, watcher, peer = await attached()
    assert not door.is_dead()
    door.push(b"x" * (8 << 20), None)
    door.flush()
    await asyncio.sleep(0.05)
    assert not door.is_dead()
    door.read(False)
    peer.reset()
    await asyncio.sleep(0.05)
    assert door.closed or door.is_dead()
    door.abort()
    await eventually(lambda: watcher.lost)


@pytest.mark.asyncio
async def test_a_peer_that_is_not_read_is_looked_at_and_its_end_reported_once() -> None:
    door, watcher, peer = await attached()
    door.read(False)
    await peer.send(b"x" * 1_000)
    await asyncio.sleep(0.05)
    door.end_if_gone()
    assert not watcher.ends
    peer.leave()
    await asyncio.sleep(0.05)
    door.end_if_gone()
    door.end_if_gone()
    assert watcher.ends == 1
    door.abort()
    await eventually(lambda: watcher.lost)
