"""Any conversation in the texts that `pg_model` knows, for property tests."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from tests.support.pg_model import COPY_IN, COPY_OUT
from vestibule.protocols.postgres import messages as pg

#: A statement that policy denies, and that the model, which does not know it, fails to parse.
DENIED = b"DROP TABLE played"

single = st.sampled_from(
    [
        b"VALUES ('1')",
        b"VALUES ('1'), ('2'), ('3')",
        b"VALUES ('1') LIMIT 0",
        b"INSERT INTO played VALUES ('a')",
        b"INSERT INTO played VALUES ('b')",
        b"INSERT INTO played VALUES (NULL)",
    ]
)
transactional = st.sampled_from([b"BEGIN", b"COMMIT", b"ROLLBACK"])
refused = st.sampled_from([DENIED, b"SELEC"])
texts = st.one_of(single, single, transactional, refused, st.just(COPY_OUT), st.just(b""))
several = st.lists(single | refused, min_size=2, max_size=3).map(b"; ".join)
statements = st.sampled_from(["", "s1", "s2"])
portals = st.sampled_from(["", "p1"])
most = st.sampled_from([0, 0, 1, 2])
lines = st.sampled_from([b"c\n", b"d\ne\n", b"", b"two\tcolumns\n"]).map(pg.CopyData)
ends = st.sampled_from([pg.CopyDone(), pg.CopyDone(), pg.CopyFail("no")])
SYNC = [pg.Sync()]


@st.composite
def run(draw: Any) -> list[Any]:
    """The usual way of a driver."""
    name, portal = draw(statements), draw(portals)
    described = [pg.Describe("P", portal)] if draw(st.booleans()) else []
    return [
        pg.Close("S", name),
        pg.Parse(name, draw(texts)),
        pg.Bind(portal, name),
        *described,
        pg.Execute(portal, draw(most)),
        *draw(st.sampled_from([SYNC, SYNC, [], [pg.Flush()]])),
    ]


@st.composite
def copy(draw: Any) -> list[Any]:
    """A COPY from the client, simple or extended."""
    data = [*draw(st.lists(lines, max_size=3)), draw(ends)]
    if draw(st.booleans()):
        return [pg.Query(COPY_IN), *data]
    early = draw(st.sampled_from([SYNC, [pg.Flush()], []]))
    return [pg.Close("S", ""), pg.Parse("", COPY_IN), pg.Bind("", ""), pg.Execute(""), *early, *data, *SYNC]


anything = st.one_of(
    st.builds(pg.Parse, statements, texts),
    st.builds(pg.Bind, portals, statements),
    st.builds(pg.Describe, st.just("S"), statements),
    st.builds(pg.Describe, st.just("P"), portals),
    st.builds(pg.Execute, portals, most),
    st.builds(pg.Close, st.just("S"), statements),
    st.builds(pg.Close, st.just("P"), portals),
    st.just(pg.Sync()),
    st.just(pg.Flush()),
)

phrases = st.one_of(
    st.builds(pg.Query, texts).map(lambda query: [query]),
    st.builds(pg.Query, several).map(lambda query: [query]),
    run(),
    run(),
    copy(),
    anything.map(lambda message: [message]),
)

#: Messages of one client, closed by a Sync.
conversations = st.lists(phrases, min_size=1, max_size=8).map(
    lambda said: [message for phrase in said for message in phrase] + SYNC
)
