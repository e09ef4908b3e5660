from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from postgast import pg_query_pb2

from tests.support.masked import CUSTOMERS, LABELS, SCENE, SENSITIVE, TAIL, decided, form, relation, sensitive, tree
from tests.support.masked_statements import CLEAN, CLOSED, PLAIN, REFUSED, lines, pairs
from tests.support.queries import Statements
from vestibule.analysis.sql.parser import parse
from vestibule.masking.decide import STATEMENTS, decide
from vestibule.masking.scene import Scene, Temporary
from vestibule.masking.survey import NODES
from vestibule.model.plan import Column, Form, Mask, Plan
from vestibule.model.statement import Unknown, Unsupported


@pytest.mark.parametrize("text", lines(CLEAN))
def test_a_statement_without_a_sensitive_column_is_clean(text: str) -> None:
    decision = decided(text)

    assert form(decision) == "clean", decision


@pytest.mark.parametrize(("masked", "text"), pairs(PLAIN))
def test_a_statement_that_carries_sensitive_columns_on_is_plain(masked: str, text: str) -> None:
    decision = decided(text)

    assert form(decision) in (f"plain({masked})", "clean" if not masked else ""), decision
    assert isinstance(decision, Plan)
    assert decision.is_reduced
    assert (decision.columns is None) == (not masked)


@pytest.mark.parametrize(("construct", "text"), pairs(REFUSED))
def test_a_statement_that_uses_a_sensitive_column_is_refused_with_the_construct(construct: str, text: str) -> None:
    decision = decided(text)

    assert isinstance(decision, Unsupported), decision
    assert decision.code == "42501"
    assert decision.message.endswith(f"cannot be used in {construct}") or construct == "ON CONFLICT", decision
    assert "353-34" not in decision.message + decision.hint


@pytest.mark.parametrize("text", lines(CLOSED))
def test_a_statement_that_could_carry_them_elsewhere_is_refused_and_told_what_to_do(text: str) -> None:
    decision = decided(text)

    assert isinstance(decision, Unsupported), decision
    assert decision.hint or decision.code != "42501"


def test_a_refusal_names_column_construct_place_and_what_is_allowed() -> None:
    assert decided("SELECT id, 'ä' FROM customers WHERE ssn = '353-34-3540'") == Unsupported(
        "42501",
        "vestibule: customers.ssn is masked for you and cannot be used in WHERE",
        "Select the column by itself; conditions, sorting and grouping may use other columns.",
        37,
    )


def test_a_plan_lists_all_columns_in_order_with_their_origins() -> None:
    decision = decided("SELECT ssn AS s, 1 AS one, c.id FROM customers c")

    assert isinstance(decision, Plan)
    assert decision.columns == (
        Column("s", (CUSTOMERS, 2), Mask(LABELS[0].rule, TAIL)),
        Column("one"),
        Column("id", (CUSTOMERS, 1)),
    )


# --- what the answer may say when something is wrong


@pytest.mark.parametrize(
    ("text", "is_reduced"),
    [
        ("SELECT id FROM customers", False),
        ("SELECT ssn FROM customers", True),
        ("SELECT id, n FROM reporting.v_expr", True),
        ("INSERT INTO customers (id) VALUES (1)", True),
        ("INSERT INTO branches (id) VALUES (1)", False),
        ("UPDATE accounts SET balance = 1", True),
        ("UPDATE reporting.v_public SET state = 'x'", True),
        ("DELETE FROM tickets", False),
        ("WITH d AS (DELETE FROM customers) SELECT 1", True),
        ("COPY customers FROM STDIN", True),
        ("COPY branches FROM STDIN", False),
        ("EXPLAIN ANALYZE INSERT INTO customers (id) VALUES (1)", True),
        ("PREPARE p AS INSERT INTO customers (id) VALUES (1)", True),
        ("COMMIT", True),
        ("PREPARE TRANSACTION 'x'", True),
        ("BEGIN", False),
    ],
)
def test_errors_that_could_quote_a_sensitive_value_are_reduced(text: str, is_reduced: bool) -> None:
    decision = decided(text)

    assert isinstance(decision, Plan)
    assert decision.is_reduced is is_reduced


def test_a_relation_with_rules_of_its_own_is_not_written() -> None:
    scene = Scene(sensitive(relation(30_000, "ruled", ["id"], flags="r")), is_fresh=True)

    assert form(decided("SELECT id FROM ruled", scene)) == "clean"
    assert form(decided("INSERT INTO ruled VALUES (1)", scene)) == "refused"


# --- names


def test_an_unknown_relation_asks_for_the_catalog_once() -> None:
    assert decided("SELECT * FROM nosuch", is_fresh=False) == Unknown(("nosuch",))


def test_the_server_itself_says_that_nothing_has_a_name_and_no_row_is_expected() -> None:
    decision = decided("SELECT * FROM nosuch_table")

    assert isinstance(decision, Plan)
    assert (decision.form, decision.columns) == (Form.CLEAN, ())


NOWHERE = """
SELECT * FROM v_full
SELECT ssn FROM nosuch, customers
COPY nosuch TO STDOUT
COPY nosuch FROM STDIN
COPY (SELECT 1 FROM nosuch) TO STDOUT
INSERT INTO nosuch VALUES (1)
INSERT INTO branches SELECT * FROM nosuch
WITH d AS (DELETE FROM branches) SELECT 1 FROM nosuch
PREPARE p AS SELECT 1 FROM nosuch
SELECT 1 INTO TEMP w FROM nosuch
CREATE TEMP TABLE w AS TABLE nosuch
SELECT * FROM "näher"
"""


@pytest.mark.parametrize("text", lines(NOWHERE))
def test_an_unknown_name_is_refused_in_the_servers_words_where_more_than_rows_could_come_of_it(text: str) -> None:
    decision = decided(text)

    assert isinstance(decision, Unsupported)
    assert decision.code == "42P01"
    assert decision.message.startswith(("relation ", "a relation of the query"))


def test_a_column_that_nothing_has_is_refused_in_the_servers_words() -> None:
    assert decided("SELECT nosuch FROM customers") == Unsupported("42703", 'column "nosuch" does not exist')
    assert decided("SELECT nosuch FROM customers", is_fresh=False) == Unknown(("nosuch",))


def test_the_search_path_says_which_relation_is_meant() -> None:
    scene = Scene(sensitive(relation(30_000, "scratch.customers", ["id", "ssn"]), labels=()), is_fresh=True)
    masked = Scene(
        sensitive(
            relation(30_000, "scratch.clients", ["id", "ssn"]),
            relation(30_010, "clients", ["id", "ssn"]),
            labels=[LABELS[0].__class__(LABELS[0].rule, ("public.clients.ssn",), TAIL)],
        ),
        is_fresh=True,
    )

    assert form(decided("SELECT ssn FROM customers", scene, search_path=("scratch", "public"))) == "clean"
    assert form(decided("SELECT ssn FROM clients", masked, search_path=("scratch", "public"))) == "clean"
    assert form(decided("SELECT ssn FROM clients", masked, search_path=("public", "scratch"))) == "plain(ssn)"
    doubt = {"search_path": ("scratch", "public"), "is_path_certain": False}
    assert form(decided("SELECT ssn FROM clients", masked, **doubt)) == "refused"
    assert form(decided("SELECT ssn FROM scratch.clients", masked, **doubt)) == "clean"


def test_the_sessions_own_temporary_tables_are_clean_and_seen_first() -> None:
    temporaries = {"w": Temporary(("id", "ssn")), "unclear": Temporary(), "branches": Temporary(("a",))}

    for text in (
        "SELECT ssn FROM w",
        "SELECT upper(x) FROM unclear, customers",
        "SELECT pg_temp.w.ssn FROM pg_temp.w",
        "COPY w FROM STDIN",
        "INSERT INTO w SELECT id, state FROM customers",
        "DROP TABLE w, pg_temp.unclear",
        "SELECT a FROM branches",
        "SELECT w.ctid FROM w, customers",
    ):
        assert form(decided(text, temporaries=temporaries)) == "clean", text
    assert form(decided("INSERT INTO w SELECT id, ssn FROM customers", temporaries=temporaries)) == "refused"
    assert form(decided("DROP TABLE w, customers", temporaries=temporaries)) == "refused"


def test_a_temporary_table_with_the_name_of_a_sensitive_one_is_doubt() -> None:
    scene: dict[str, Any] = {"temporaries": {"customers": Temporary(("id", "ssn"))}}

    assert form(decided("SELECT ssn FROM customers", **scene)) == "refused"
    assert form(decided("SELECT ssn FROM pg_temp.customers", **scene)) == "clean"
    assert form(decided("SELECT ssn FROM public.customers", **scene)) == "plain(ssn)"


# --- what is kept


def test_execute_is_decided_as_what_was_prepared_where_it_is_executed() -> None:
    prepared = {"p": tree("PREPARE p(int) AS SELECT lower(state) FROM x")["stmt"]}

    assert form(decided("EXECUTE p(1)", prepared=prepared, temporaries={"x": Temporary()})) == "clean"
    scene = Scene(
        sensitive(
            relation(30_000, "x", ["id", "state"]),
            labels=[LABELS[0].__class__(LABELS[0].rule, ("*.x.state",), TAIL)],
        ),
        prepared=prepared,
        is_fresh=True,
    )
    refusal = decided("EXECUTE p(1) -- the place is in another text, and not in this one", scene)
    assert isinstance(refusal, Unsupported)
    assert refusal.position == 0


def test_a_cursor_has_the_plan_of_its_query() -> None:
    plan = decided("DECLARE d CURSOR FOR SELECT id FROM customers")
    assert isinstance(plan, Plan)

    assert decided("FETCH 5 FROM d", cursors={"d": plan}) == plan


# --- limits and forms that nobody foresaw


def node_types() -> list[str]:
    return [field.message_type.name for field in pg_query_pb2.Node.DESCRIPTOR.fields]


@pytest.mark.parametrize("kind", node_types())
def test_a_node_that_is_not_listed_is_refused_wherever_it_stands(kind: str) -> None:
    inside: dict[str, Any] = {"stmt": {"SelectStmt": {"targetList": [{"ResTarget": {"val": {kind: {}}}}]}}}

    assert kind in STATEMENTS or isinstance(decide({"stmt": {kind: {}}}, b"x", SCENE), Unsupported)
    assert kind in NODES or isinstance(decide(inside, b"x", SCENE), Unsupported)


def test_the_lists_name_nodes_of_the_grammar_only() -> None:
    # What the parser leaves unwrapped is in the grammar too.
    known = set(pg_query_pb2.DESCRIPTOR.message_types_by_name)

    assert NODES - known == set()
    assert STATEMENTS.keys() - known == set()


@pytest.mark.parametrize("field", ["unheardOf", "qualifyClause"])
@pytest.mark.parametrize("text", ["SELECT ssn FROM customers", "UPDATE customers SET state = 'x'"])
def test_a_field_that_is_not_known_is_refused_where_a_sensitive_relation_is(text: str, field: str) -> None:
    statement = tree(text)
    next(iter(statement["stmt"].values()))[field] = [{"ColumnRef": {"fields": [{"String": {"sval": "ssn"}}]}}]

    assert form(decide(statement, text.encode(), SCENE)) == "refused"


@pytest.mark.parametrize(
    "statement",
    [{}, {"stmt": {}}, {"stmt": {"SelectStmt": 5}}, {"stmt": {"SelectStmt": {"withClause": {"ctes": [5]}}}}],
)
def test_a_tree_of_another_form_is_refused_and_nothing_is_raised(statement: dict[str, Any]) -> None:
    assert isinstance(decide(statement, b"", SCENE), Unsupported)


def test_what_is_nested_too_deeply_is_refused() -> None:
    node: dict[str, Any] = tree("SELECT id FROM customers")["stmt"]
    for _ in range(900):
        value = {"SubLink": {"subLinkType": "EXPR_SUBLINK", "subselect": node}}
        node = {"SelectStmt": {"targetList": [{"ResTarget": {"val": value}}]}}

    decision = decide({"stmt": node}, b"", SCENE)

    assert isinstance(decision, Unsupported)
    assert decision.code == "54001"


def test_a_short_text_cannot_make_the_answer_wide_or_the_work_long() -> None:
    columns = ", ".join(["id"] * 1_600)
    many = f"SELECT {columns}, {columns} FROM customers"
    doubled = "WITH a0 AS (SELECT * FROM customers)"
    for number in range(1, 25):
        doubled += f", a{number} AS (SELECT * FROM a{number - 1} x, a{number - 1} y)"
    wide = f"WITH q AS (SELECT {columns} FROM customers) SELECT 1 FROM q" + "".join(f", q q{n}" for n in range(90))
    deep = "SELECT 1 FROM customers"
    for number in range(14):
        deep = f"WITH RECURSIVE r{number} AS (({deep}) UNION SELECT 1) SELECT 1 FROM r{number}"

    answers = [decided(text) for text in (many, doubled + " SELECT 1", wide, deep)]

    assert [answer.code for answer in answers if isinstance(answer, Unsupported)] == [
        "54011",
        "54011",
        "54001",
        "54001",
    ]


# --- properties


@given(st.integers(0, 1 << 32))
def test_a_label_more_never_opens_what_was_closed(seed: int) -> None:
    text = Statements(seed).statement()
    trees = parse(text.encode())
    if isinstance(trees, Unsupported):
        return
    more = LABELS[0].__class__(LABELS[0].rule, ("*.*.state", "*.*.id"), TAIL)
    wider = Scene(sensitive(labels=[*LABELS, more]), is_fresh=True)

    before = decide(trees[0], text.encode(), SCENE)
    after = decide(trees[0], text.encode(), wider)

    if isinstance(before, Unsupported):
        assert isinstance(after, Unsupported)
    elif isinstance(before, Plan) and isinstance(after, Plan):
        assert before.form == Form.CLEAN or after.form == Form.PLAIN
        assert before.is_reduced <= after.is_reduced
        assert masked_places(before) <= masked_places(after)


def masked_places(plan: Plan) -> set[int]:
    return {place for place, column in enumerate(plan.columns or ()) if column.mask is not None}


@given(st.integers(0, 1 << 32))
def test_the_same_statement_has_the_same_digest_and_another_plan_another(seed: int) -> None:
    text = Statements(seed).statement()
    trees = parse(text.encode())
    if isinstance(trees, Unsupported):
        return
    one, other = (decide(trees[0], text.encode(), SCENE) for _ in range(2))

    assert one == other
    if isinstance(one, Plan):
        assert len(one.digest) == 64
        assert one.digest != decided("SELECT ssn AS nobody_else FROM customers").digest  # type: ignore[union-attr]


def test_the_digest_rests_on_the_sensitive_columns_too() -> None:
    wider = Scene(sensitive(labels=LABELS[:1]), is_fresh=True)
    one, other = decided("SELECT 1"), decided("SELECT 1", wider)

    assert isinstance(one, Plan)
    assert isinstance(other, Plan)
    assert one.digest != other.digest
    assert SENSITIVE.version != wider.sensitive.version
