"""The client's half: what each message becomes on its way to the target."""

from __future__ import annotations

import pytest

from tests.support.gates import gate
from tests.support.pg_model import COPY_IN, ModelServer
from tests.support.pg_play import session, written
from tests.support.playbook import Playbook, Recorded, ToClient, ToTarget, recorded
from tests.support.policies import HEAD
from vestibule.gate.gate import Gate
from vestibule.model.event import Side
from vestibule.policy.document import load
from vestibule.policy.engine import Engine
from vestibule.protocols.postgres import messages as pg

ALLOWED = {"decision": "allow"}
DENIED = {"decision": "deny"}
COLUMN = pg.Field("column1", 0, 0, 25, -1, -1, 0)
IDLE = pg.ReadyForQuery("I")
POISON = "vestibule_ccb2ac00eae7c244"


def with_server(at: Gate | None = None) -> tuple[Playbook, ModelServer]:
    server = ModelServer()
    return session(at=at, target=lambda message: written(*server.receive(message))), server


def told(play: Playbook) -> list[object]:
    """What reached the client, an error as its code."""
    return [message.text("C") if isinstance(message, pg.ErrorResponse) else message for message in play.to(Side.CLIENT)]


def decisions(play: Playbook) -> list[object]:
    return [record.members["decision"] for record in play.attempted if record.kind == "StatementDecided"]


# --- the simple protocol ---------------------------------------------------------------------------------------------


def test_an_allowed_query_travels_under_its_record():
    play = session()
    play.client(pg.Query(b"SELECT 1"))
    play.expect(recorded("StatementDecided", ALLOWED | {"no": 1, "text": "SELECT 1"}), ToTarget(pg.Query(b"SELECT 1")))
    play.target(pg.RowDescription((COLUMN,)), pg.DataRow((b"1",)), pg.CommandComplete("SELECT 1"), IDLE)
    play.expect(
        recorded("StatementFinished", {"outcome": "ok", "rows": 1, "transaction": "I", "forwarded": True}),
        ToClient(pg.RowDescription((COLUMN,))),
        ToClient(pg.DataRow((b"1",))),
        ToClient(pg.CommandComplete("SELECT 1")),
        ToClient(IDLE),
    )


@pytest.mark.case("PG-17")
def test_one_denied_statement_refuses_the_whole_query_and_nothing_travels():
    play = session()
    play.client(pg.Query(b"SELECT 1; DROP TABLE t"))
    play.expect(
        recorded("StatementDecided", DENIED),
        recorded("StatementFinished", {"outcome": "refused", "forwarded": False}),
        ToClient(pg.ErrorResponse),
        ToClient(IDLE),
    )


@pytest.mark.case("PG-18")
def test_a_denied_query_in_a_block_fails_the_block_as_a_real_error_would():
    play, server = with_server()
    play.client(pg.Query(b"BEGIN"))
    play.client(pg.Query(b"INSERT INTO played VALUES ('a')"))
    play.take()
    play.client(pg.Query(b"DROP TABLE t"))
    assert told(play) == ["42501", pg.ReadyForQuery("E")]
    play.client(pg.Query(b"VALUES ('1')"))
    assert told(play) == ["25P02", pg.ReadyForQuery("E")]
    play.client(pg.Query(b"ROLLBACK"))
    assert told(play) == [pg.CommandComplete("ROLLBACK"), IDLE]
    assert server.committed == []


def test_a_text_that_does_not_parse_is_refused_by_us_with_the_parsers_words():
    play = session()
    play.client(pg.Query(b"SELEC 1"))
    seen = play.take()
    assert isinstance(seen[2], ToClient)
    assert seen[2].message.text("C") == "42601"
    assert not [item for item in seen if isinstance(item, ToTarget)]


@pytest.mark.case("PG-30")
def test_a_function_call_is_refused_in_the_manner_of_a_query():
    play = session()
    play.client(pg.FunctionCall(1598, (), (), 0))
    assert told(play) == ["0A000", IDLE]
    assert not play.closed


# --- the extended protocol -------------------------------------------------------------------------------------------


def test_a_parse_is_no_statement_a_bind_is_one_and_an_execute_rides_on_it():
    play = session()
    play.client(pg.Parse("s", b"SELECT $1", (25,)))
    play.expect(ToTarget(pg.Parse("s", b"SELECT $1", (25,))))
    bind = pg.Bind("", "s", (), (b"x",))
    play.client(bind)
    play.expect(recorded("StatementDecided", ALLOWED), ToTarget(bind))
    play.client(pg.Execute(""), pg.Sync())
    play.expect(ToTarget(pg.Describe("P", "")), ToTarget(pg.Execute("")), ToTarget(pg.Sync()))


def test_parameters_are_recorded_with_the_types_that_the_target_told():
    play = session()
    play.client(pg.Parse("s", b"SELECT $1"), pg.Describe("S", "s"), pg.Sync())
    play.target(pg.ParseComplete(), pg.ParameterDescription((23,)), pg.RowDescription((COLUMN,)), IDLE)
    play.take()
    play.client(pg.Bind("", "s", (1,), (b"\0\0\0\7",)))
    (record,) = [item.record for item in play.take() if isinstance(item, Recorded)]
    assert record.members["parameters"] == [{"type": "23", "value": "7", "null": False}]


def test_the_clients_own_describe_serves_and_no_second_one_is_sent():
    play = session()
    play.client(pg.Parse("", b"SELECT 1"), pg.Bind("", ""), pg.Describe("P", ""), pg.Execute(""))
    assert [type(message) for message in play.to(Side.TARGET)] == [pg.Parse, pg.Bind, pg.Describe, pg.Execute]


def test_a_describe_of_ours_is_not_answered_to_the_client():
    play = session()
    play.client(pg.Parse("", b"SELECT 1"), pg.Bind("", ""), pg.Execute(""), pg.Sync())
    play.take()
    done = (pg.DataRow((b"1",)), pg.CommandComplete("SELECT 1"), IDLE)
    play.target(pg.ParseComplete(), pg.BindComplete(), pg.RowDescription((COLUMN,)), *done)
    assert told(play) == [pg.ParseComplete(), pg.BindComplete(), *done]


@pytest.mark.case("PG-19")
def test_a_refusal_in_a_pipeline_undoes_and_skips_like_a_real_error():
    play, server = with_server()
    one = (pg.Parse("", b"INSERT INTO played VALUES ('a')"), pg.Bind("", ""), pg.Execute(""))
    bad = (pg.Parse("", b"DROP TABLE t"), pg.Bind("", ""), pg.Execute(""))
    play.client(*one, *bad, *one, pg.Sync())
    assert told(play) == [pg.ParseComplete(), pg.BindComplete(), pg.CommandComplete("INSERT 0 1"), "42501", IDLE]
    assert server.committed == []
    assert decisions(play) == ["allow", "deny"]
    assert b"DROP" not in play.bytes[Side.TARGET]


def test_the_poison_carries_no_text_and_a_name_that_no_client_can_use():
    play = session()
    play.client(pg.Parse("", b"DROP TABLE t"), pg.Sync())
    assert play.to(Side.TARGET) == [pg.Execute(POISON), pg.Sync()]
    for message in (pg.Bind(POISON, ""), pg.Parse(POISON, b"SELECT 1")):
        play, _ = with_server()
        play.client(message, pg.Sync())
        assert told(play) == ["42602", IDLE]


@pytest.mark.parametrize(
    ("message", "code"),
    [
        (pg.Bind("", "nobody"), "26000"),
        (pg.Describe("S", "nobody"), "26000"),
        (pg.Describe("P", "nobody"), "34000"),
        (pg.Execute("nobody"), "34000"),
    ],
)
def test_a_name_that_nobody_made_is_refused_by_us(message, code):
    play, _ = with_server()
    play.client(message, pg.Sync())
    assert told(play) == [code, IDLE]
    assert b"nobody" not in play.bytes[Side.TARGET]


def test_closing_what_is_not_there_is_no_error():
    play, _ = with_server()
    play.client(pg.Close("S", "nobody"), pg.Close("P", "nobody"), pg.Sync())
    assert told(play) == [pg.CloseComplete(), pg.CloseComplete(), IDLE]


def test_a_suspended_portal_goes_on_without_another_record():
    play, _ = with_server()
    play.client(pg.Query(b"BEGIN"))
    rows = pg.Parse("", b"VALUES ('1'), ('2'), ('3')")
    play.client(rows, pg.Bind("p", ""), pg.Execute("p", 2), pg.Sync())
    play.client(pg.Execute("p", 2), pg.Sync())
    assert decisions(play) == ["allow", "allow"]
    finished = [record for record in play.attempted if record.kind == "StatementFinished"]
    assert finished[-1].members["rows"] == 3
    assert play.to(Side.CLIENT)[-3:] == [
        pg.DataRow((b"3",)),
        pg.CommandComplete("SELECT 1"),
        pg.ReadyForQuery("T"),
    ]


def test_running_a_finished_portal_again_is_another_statement():
    play, _ = with_server()
    play.client(pg.Query(b"BEGIN"))
    play.client(pg.Parse("", b"VALUES ('1')"), pg.Bind("p", ""), pg.Execute("p"), pg.Execute("p"), pg.Sync())
    play.client(pg.Execute("p"), pg.Sync())
    assert decisions(play).count("allow") == 3


def deny_all(at: Gate) -> None:
    at.apply(Engine(load((HEAD + "access: []\n").encode(), "policy.yaml")))


def test_a_statement_prepared_while_allowed_is_decided_by_the_new_policy_at_its_next_bind():
    at = gate()
    play, _ = with_server(at)
    play.client(pg.Parse("s", b"VALUES ('1')"), pg.Sync())
    deny_all(at)
    play.client(pg.Bind("", "s"), pg.Execute(""), pg.Sync())
    assert told(play) == [pg.ParseComplete(), IDLE, "42501", IDLE]


def test_a_portal_bound_while_allowed_is_decided_by_the_new_policy_at_its_next_execute():
    at = gate()
    play, _ = with_server(at)
    play.client(pg.Parse("s", b"VALUES ('1')"), pg.Bind("", "s"), pg.Flush())
    play.take()
    deny_all(at)
    play.client(pg.Execute(""), pg.Sync())
    assert told(play) == ["42501", IDLE]
    assert decisions(play) == ["allow", "deny"]


def test_names_are_bounded():
    play, _ = with_server()
    play.client(*(pg.Parse(f"s{at}", b"VALUES ('1')") for at in range(10_000)), pg.Sync())
    play.take()
    play.client(pg.Parse("one more", b"VALUES ('1')"), pg.Sync())
    assert told(play) == ["54000", IDLE]
    play.client(pg.Close("S", "s1"), pg.Sync())
    play.client(pg.Parse("one more", b"VALUES ('1')"), pg.Sync())
    assert told(play) == [pg.CloseComplete(), IDLE, pg.ParseComplete(), IDLE]


def test_what_a_client_wrote_is_encoded_anew():
    play = session()
    play.client(pg.Parse("s", b"SELECT 1", (0,)), pg.Bind("p", "s", (0,), (), (1,)), pg.Execute("p", -5), pg.Flush())
    assert play.to(Side.TARGET) == [
        pg.Parse("s", b"SELECT 1", (0,)),
        pg.Bind("p", "s", (0,), (), (1,)),
        pg.Describe("P", "p"),
        pg.Execute("p", -5),
        pg.Flush(),
    ]


# --- COPY from the client --------------------------------------------------------------------------------------------


def test_a_copy_passes_in_frames_of_our_own_and_is_one_statement():
    play = session()
    play.client(pg.Query(COPY_IN))
    play.target(pg.CopyInResponse(0, (0,)))
    play.take()
    play.client(pg.CopyData(b"x" * 100_000), pg.CopyDone())
    sent = play.to(Side.TARGET)
    assert all(isinstance(message, pg.CopyData) and len(message.data) < 65_536 for message in sent[:-1])
    assert b"".join(message.data for message in sent[:-1]) == b"x" * 100_000
    assert sent[-1] == pg.CopyDone()
    play.target(pg.CommandComplete("COPY 7"), IDLE)
    assert [record.members["rows"] for record in play.attempted if record.kind == "StatementFinished"] == [7]


def test_what_follows_a_copy_waits_until_the_target_has_agreed():
    play = session()
    play.client(pg.Query(COPY_IN), pg.CopyData(b"1\n"), pg.CopyDone(), pg.Query(b"SELECT 1"))
    assert play.to(Side.TARGET) == [pg.Query(COPY_IN)]
    play.target(pg.CopyInResponse(0, (0,)))
    assert play.to(Side.TARGET) == [pg.CopyData(b"1\n"), pg.CopyDone(), pg.Query(b"SELECT 1")]


def test_a_copy_that_the_target_refuses_drops_what_the_client_has_sent_already():
    play = session()
    play.client(pg.Query(COPY_IN), pg.CopyData(b"1\n"), pg.CopyDone(), pg.Query(b"SELECT 1"))
    play.take()
    play.target(pg.ErrorResponse((("S", "ERROR"), ("C", "42P01"), ("M", "no table"))), IDLE)
    assert play.to(Side.TARGET) == [pg.Query(b"SELECT 1")]


def test_each_copy_of_a_query_gets_its_own_data():
    play = session()
    text = b"INSERT INTO played VALUES ('a'); COPY played FROM STDIN; COPY played TO STDOUT; COPY played FROM STDIN"
    first, second, done = pg.CopyData(b"1\n"), pg.CopyData(b"2\n"), pg.CopyDone()
    play.client(pg.Query(text), first, done, second, done, pg.Query(b"SELECT 1"))
    play.target(pg.CommandComplete("INSERT 0 1"))
    assert play.to(Side.TARGET) == [pg.Query(text)]
    play.target(pg.CopyInResponse(0, (0,)))
    assert play.to(Side.TARGET) == [first, done]
    play.target(pg.CommandComplete("COPY 1"), pg.CopyOutResponse(0, (0,)), first, done, pg.CommandComplete("COPY 1"))
    play.target(pg.CopyInResponse(0, (0,)))
    assert play.to(Side.TARGET) == [second, done, pg.Query(b"SELECT 1")]
    play.target(pg.CopyInResponse(0, (0,)))
    assert play.closed == "protocol_error"


@pytest.mark.parametrize("message", [pg.Query(b"SELECT 1"), pg.Parse("", b"SELECT 1"), pg.Execute("")])
def test_anything_but_the_copy_ends_the_session_in_a_copy(message):
    play = session()
    play.client(pg.Query(COPY_IN))
    play.target(pg.CopyInResponse(0, (0,)))
    play.take()
    play.client(message)
    assert told(play) == ["08P01"]
    assert play.closed == "protocol_error"


def test_copy_data_without_a_copy_goes_nowhere():
    play = session()
    play.client(pg.CopyData(b"1\n"), pg.CopyDone(), pg.CopyFail("no"))
    assert play.take() == []


# --- violations ------------------------------------------------------------------------------------------------------


@pytest.mark.case("PG-25")
@pytest.mark.parametrize(
    "said",
    [
        b"Q\0\0\0\3",
        b"Q\xff\xff\xff\xff",
        b"p\0\0\0\x05\0",
        b"y\0\0\0\4",
        b"S\0\0\0\5\0",
        b"Q\0\0\0\x08abcd",
        b"B\0\0\0\x0d\0\0\0\0\xff\xff\0\0\0",
    ],
)
def test_a_violation_closes_both_sides_and_says_what_it_was(said):
    play = session()
    play.client(said + written(pg.Query(b"SELECT 1")))
    assert told(play) == ["08P01"]
    assert play.closed == "protocol_error"
    assert play.bytes[Side.TARGET].endswith(written(pg.Terminate()))
    assert play.attempted[-1].members["cause"] == "protocol_error"


@pytest.mark.parametrize(
    "message",
    [
        pg.Parse("n" * 64, b"SELECT 1"),
        pg.Parse("\u00e9" * 32, b"SELECT 1"),
        pg.Bind("n" * 64, ""),
        pg.Close("S", "n" * 64),
        pg.Close("P", "n" * 64),
    ],
)
def test_names_that_the_server_would_cut_are_refused(message):
    play = session()
    play.client(pg.Parse("", b"SELECT 1"), pg.Sync())
    play.target(pg.ParseComplete(), IDLE)
    play.take()
    play.client(message)
    assert play.to(Side.TARGET) == [pg.Execute(POISON)]
    play.target(pg.ErrorResponse((("S", "ERROR"), ("C", "34000"), ("M", "no portal"))))
    assert told(play) == ["42622"]


def test_behind_a_query_the_unnamed_portal_is_the_querys_own():
    play = session()
    play.client(pg.Query(b"BEGIN"))
    play.target(pg.CommandComplete("BEGIN"), pg.ReadyForQuery("T"))
    play.client(pg.Parse("", b"SELECT 1"), pg.Bind("", ""), pg.Sync())
    play.target(pg.ParseComplete(), pg.BindComplete(), pg.ReadyForQuery("T"))
    play.take()
    play.client(pg.Query(b"SELECT 1 / 0"), pg.Execute(""))
    assert play.to(Side.TARGET) == [pg.Query(b"SELECT 1 / 0")]
    play.target(pg.ErrorResponse((("S", "ERROR"), ("C", "22012"), ("M", "division"))), pg.ReadyForQuery("E"))
    assert play.to(Side.TARGET) == [pg.Execute(POISON)]
    play.client(pg.Terminate())
    ended = [record.members["outcome"] for record in play.records if record.kind == "StatementFinished"]
    assert sorted(ended) == ["error", "ok", "ok"]


def test_portals_are_bounded_by_their_parameters():
    play = session()
    play.client(pg.Query(b"BEGIN"))
    play.target(pg.CommandComplete("BEGIN"), pg.ReadyForQuery("T"))
    play.client(pg.Parse("s", b"SELECT $1"), pg.Sync())
    play.target(pg.ParseComplete(), pg.ReadyForQuery("T"))
    for at in range(3):
        play.client(pg.Bind(f"p{at}", "s", (), (bytes(30 << 20),)), pg.Sync())
        play.target(pg.BindComplete(), pg.ReadyForQuery("T"))
    play.take()
    play.client(pg.Bind("one more", "s", (), (b"1",)))
    assert play.to(Side.TARGET) == [pg.Execute(POISON)]


def test_a_pipeline_of_large_parameters_waits_for_answers_instead_of_being_refused():
    play = session()
    play.client(pg.Parse("s", b"SELECT $1"))
    large = pg.Bind("", "s", (), (bytes(30 << 20),))
    play.client(large, large, large)
    play.take()
    play.client(large)
    assert play.to(Side.TARGET) == [pg.Flush()]
    play.target(pg.ParseComplete(), *[pg.BindComplete()] * 3)
    assert large in play.to(Side.TARGET)


@pytest.mark.slow
@pytest.mark.parametrize("text", ["PREPARE one_more AS SELECT 1", "DECLARE one_more CURSOR FOR SELECT 1"])
def test_names_made_by_sql_are_bounded_too(text):
    play = session()
    kind = text.split()[0]
    many = "; ".join(text.replace("one_more", f"n{at}") for at in range(2_500))
    tag = {"PREPARE": "PREPARE", "DECLARE": "DECLARE CURSOR"}[kind]
    for at in range(4):
        play.client(pg.Query(many.replace(" n", f" n{at}_").encode()))
        play.target(*[pg.CommandComplete(tag)] * 2_500, IDLE)
    play.take()
    play.client(pg.Query(text.encode()))
    assert told(play) == ["54000", IDLE]
