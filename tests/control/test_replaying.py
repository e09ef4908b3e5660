from __future__ import annotations

import random
import time
import tracemalloc
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID

import pytest
import pytest_asyncio

from tests.support.identities import fresh_database
from tests.support.recorded_rows import Shelf, done, head, result, rows
from vestibule.control.replaying import PAGE_BYTES, Cursor, Page, RecordingUnreadable, cursor
from vestibule.evidence.recording import Event, Part

pytestmark = pytest.mark.asyncio
SESSION = UUID(int=1)


@pytest_asyncio.fixture
async def shelf(tmp_path: Path) -> AsyncIterator[Shelf]:
    engine = await fresh_database(tmp_path)
    yield Shelf(tmp_path, engine)
    await engine.dispose()


async def read(shelf: Shelf, start: Cursor = Cursor(), limit: int = 500, closed: bool = True) -> Page:  # noqa: B008
    return await shelf.replayer.page(SESSION, start, limit, is_closed=closed)


async def read_all(shelf: Shelf, limit: int) -> tuple[list[tuple[int, tuple]], list[Page]]:
    """Every row, page by page."""
    pages, start = [], Cursor()
    while not pages or not pages[-1].over:
        pages.append(await read(shelf, start, limit))
        assert len(pages) < 10_000
        start = pages[-1].next
    return [(table.statement, row) for page in pages for table in page.tables for row in table.rows], pages


async def test_results_are_read_back_in_the_order_in_which_they_were_shown(shelf: Shelf) -> None:
    await shelf.chunk(SESSION, 0, [*result(1, 10, ["n"], ["a"], [None]), *result(2, 20, ["m"], ["b"])])
    await shelf.chunk(SESSION, 1, result(3, 30, ["o"], ["c"]))
    page = await read(shelf)

    assert [(t.statement, t.at_us, t.columns[0].name, t.rows) for t in page.tables] == [
        (1, 10, "n", [("a",), (None,)]),
        (2, 20, "m", [("b",)]),
        (3, 30, "o", [("c",)]),
    ]
    assert [table.ended.tag for table in page.tables if table.ended] == ["SELECT 2", "SELECT 1", "SELECT 1"]
    assert page.over
    assert page.next == Cursor(2)


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 100])
async def test_pages_of_any_size_give_every_row_once(shelf: Shelf, limit: int) -> None:
    first = [*result(1, 1, ["n"], *[[str(n)] for n in range(10)]), *result(2, 2, ["n"], *[[str(n)] for n in range(3)])]
    await shelf.chunk(SESSION, 0, [*first, *result(3, 3, ["n"])[:1], Event(3, 3, Part.FRAMES, rows(["x"], ["y"]))])
    third = [Event(4, 3, Part.FRAMES, rows(["z"])), Event(5, 3, Part.FRAMES, done("S"))]
    second = [Event(4, 3, Part.HEAD, head("n")), *third]
    await shelf.chunk(SESSION, 1, second)

    found, pages = await read_all(shelf, limit)

    expected = [(1, (str(n),)) for n in range(10)] + [(2, (str(n),)) for n in range(3)]
    assert found == [*expected, (3, ("x",)), (3, ("y",)), (3, ("z",))]
    assert all(page.rows <= limit for page in pages)
    assert all(table.columns[0].name == "n" for page in pages for table in page.tables if table.rows)


async def test_a_table_that_goes_on_says_so(shelf: Shelf) -> None:
    await shelf.chunk(SESSION, 0, result(1, 1, ["n"], *[[str(n)] for n in range(5)]))

    _, pages = await read_all(shelf, 2)

    assert [table.continued for page in pages for table in page.tables][:3] == [False, True, True]


async def test_a_page_is_bounded_in_bytes_too(shelf: Shelf) -> None:
    long = "x" * 100_000
    await shelf.chunk(SESSION, 0, result(1, 1, ["n"], *[[long]] * 40))
    page = await read(shelf, limit=5_000)

    assert page.size < PAGE_BYTES + 200_000
    assert len((await read_all(shelf, 5_000))[0]) == 40


async def test_a_row_in_pieces_is_given_whole_wherever_a_page_ends(shelf: Shelf) -> None:
    data = rows(["y" * 3_000])
    cuts = [data[:7], *(data[at : at + 1_000] for at in range(7, len(data), 1_000))]
    events = [
        Event(1, 1, Part.HEAD, head("n")),
        Event(1, 1, Part.FRAMES, rows(["x"])),
        *(Event(1, 1, Part.PIECE if number else Part.FRAMES, cut) for number, cut in enumerate(cuts)),
        Event(1, 1, Part.FRAMES, rows(["z"])),
    ]
    await shelf.chunk(SESSION, 0, events)

    found, _ = await read_all(shelf, 1)

    assert [row for _, row in found] == [("x",), ("y" * 3_000,), ("z",)]


# --- running sessions ------------------------------------------------------------------------------------------------


async def test_what_is_not_sealed_yet_is_read_from_the_spool_and_goes_on_in_the_chunk(shelf: Shelf) -> None:
    part = shelf.part(SESSION, 0, result(1, 1, ["n"], ["a"])[:2])
    page = await read(shelf, closed=False)
    assert [table.rows for table in page.tables] == [[("a",)]]
    assert not page.over
    again = await read(shelf, page.next, closed=False)
    assert again.tables == []
    shelf.go_on(part, [Event(2, 1, Part.FRAMES, rows(["b"]))])
    page = await read(shelf, page.next, closed=False)
    assert [(table.rows, table.continued) for table in page.tables] == [([("b",)], True)]
    shelf.go_on(part, [Event(3, 1, Part.FRAMES, rows(["c"]))])
    await shelf.seal(part)
    await shelf.chunk(SESSION, 1, result(2, 9, ["n"], ["d"]))
    page = await read(shelf, page.next)

    assert [table.rows for table in page.tables] == [[("c",)], [("d",)]]
    assert page.over


async def test_a_torn_part_is_read_up_to_where_it_was_torn(shelf: Shelf) -> None:
    part = shelf.part(SESSION, 0, result(1, 1, ["n"], ["a"]))
    part.path.write_bytes(part.path.read_bytes()[:-1])

    page = await read(shelf, closed=False)

    assert [table.rows for table in page.tables] == [[("a",)]]
    assert page.tables[0].ended is None


async def test_a_session_that_shows_nothing_yet_is_not_over_and_one_without_chunks_is(shelf: Shelf) -> None:
    assert not (await read(shelf, closed=False)).over
    assert (await read(shelf)).over


# --- places ----------------------------------------------------------------------------------------------------------


async def test_a_moment_and_a_statement_lead_to_their_place(shelf: Shelf) -> None:
    await shelf.chunk(SESSION, 0, [*result(1, 10, ["n"], ["a"]), *result(2, 20, ["n"], ["b"])])
    await shelf.chunk(SESSION, 1, [*result(3, 30, ["n"], ["c"]), *result(5, 50, ["n"], ["e"])])

    async def first(place: Cursor) -> tuple:
        return (await read(shelf, place)).tables[0].rows[0]

    for moment, value in ((0, "a"), (10, "a"), (11, "b"), (21, "c"), (31, "e")):
        assert await first(await shelf.replayer.at(SESSION, moment)) == (value,)
    for number, value in ((1, "a"), (2, "b"), (3, "c"), (5, "e")):
        assert await first(await shelf.replayer.of_statement(SESSION, number)) == (value,)
    assert (await read(shelf, await shelf.replayer.at(SESSION, 51))).over


async def test_any_moment_of_a_long_session_is_found_in_a_tenth_of_a_second(shelf: Shelf) -> None:
    values = [[f"{n:06}", "x" * 60] for n in range(2_500)]
    for seq in range(60):
        await shelf.chunk(SESSION, seq, result(seq + 1, seq * 1_000, ["n", "x"], *values))
    source, times = random.Random(7), []
    for _ in range(40):
        began = time.perf_counter()
        place = await shelf.replayer.at(SESSION, source.randrange(59_000))
        assert (await read(shelf, place, 50)).tables
        times.append(time.perf_counter() - began)

    assert sorted(times)[int(len(times) * 0.9)] < 0.1


@pytest.mark.parametrize(("text", "place"), [("0.0.0", Cursor()), ("12.34.5", Cursor(12, 34, 5))])
async def test_a_cursor_is_read_as_it_was_written(text: str, place: Cursor) -> None:
    assert cursor(text) == place
    assert str(place) == text


@pytest.mark.parametrize("text", ["", "1", "1.2", "1.2.x", "-1.0.0", "1.2.3.4", "9" * 16 + ".0.0", "٣.0.0"])
async def test_what_is_no_cursor_is_none(text: str) -> None:
    assert cursor(text) is None


@pytest.mark.parametrize("place", [Cursor(0, 5, 0), Cursor(0, 10**9, 0), Cursor(0, 0, 10**9), Cursor(10**14, 0, 0)])
async def test_a_cursor_that_somebody_made_up_gives_rows_or_nothing(shelf: Shelf, place: Cursor) -> None:
    await shelf.chunk(SESSION, 0, result(1, 1, ["n"], ["a"]))

    page = await read(shelf, place)

    assert all(row == ("a",) for table in page.tables for row in table.rows)


# --- what is not as it should be -------------------------------------------------------------------------------------


async def test_a_chunk_that_is_missing_among_others_is_named_and_passed_over(shelf: Shelf) -> None:
    await shelf.chunk(SESSION, 0, result(1, 1, ["n"], ["a"]))
    await shelf.chunk(SESSION, 2, result(2, 2, ["n"], ["b"]))
    page = await read(shelf)

    assert page.missing == [1]
    assert [table.rows for table in page.tables] == [[("a",)], [("b",)]]


async def test_a_chunk_that_was_changed_is_never_shown(shelf: Shelf) -> None:
    await shelf.chunk(SESSION, 0, result(1, 1, ["n"], ["a"]))
    [path] = (shelf.folder / "objects" / "obj").glob("*/*")
    path.chmod(0o600)
    path.write_bytes(path.read_bytes()[:-1] + b"x")

    with pytest.raises(RecordingUnreadable, match="not the object that its record names"):
        await read(shelf)


async def test_a_chunk_whose_object_or_key_is_gone_says_so(shelf: Shelf) -> None:
    await shelf.chunk(SESSION, 0, result(1, 1, ["n"], ["a"]))
    shelf.keys.clear()
    with pytest.raises(RecordingUnreadable, match="key of chunk 0"):
        await read(shelf)


async def test_frames_that_cannot_be_read_say_so(shelf: Shelf) -> None:
    await shelf.chunk(SESSION, 0, [Event(0, 1, Part.FRAMES, b"D\x00\x00\x00\x01")])

    with pytest.raises(RecordingUnreadable, match="shorter than its length"):
        await read(shelf)


async def test_a_long_recording_is_read_in_the_memory_of_a_few_chunks(shelf: Shelf) -> None:
    values = [[f"{n:06}", "x" * 90] for n in range(9_000)]
    for seq in range(12):
        await shelf.chunk(SESSION, seq, result(seq + 1, seq, ["n", "x"], *values))

    tracemalloc.start()
    start, over = Cursor(), False
    while not over:
        page = await read(shelf, start, 2_000)
        start, over = page.next, page.over
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert peak < 16 * 1024 * 1024
