from __future__ import annotations

import time
from itertools import chain

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.masked import (
    ACCOUNTS,
    BANK,
    CUSTOMERS,
    FULL,
    HIDE,
    HISTORY,
    LABELS,
    MADE,
    PUBLIC,
    SENSITIVE,
    TAIL,
    VIP,
    Row,
    catalog,
    relation,
    row,
    sensitive,
    view,
)
from tests.support.postgres import PostgresServer
from tests.support.queries import SCHEMA
from vestibule.analysis.sql.parser import parse
from vestibule.masking.catalog import QUERY, snapshot
from vestibule.masking.sensitive import Sensitive, close
from vestibule.model.names import RuleName
from vestibule.model.plan import Label, Mask

V = 31_000


def masked(found: Sensitive, oid: int) -> list[str]:
    return [column.name for column in found.snapshot.relations[oid].columns if (oid, column.number) in found.masks]


def viewed(
    definition: str, *more: list[Row], columns: tuple[str, ...] = ("a",), clean: tuple[str, ...] = ()
) -> Sensitive:
    return sensitive(view(V, "reporting.v", columns, definition), *more, clean=clean)


def of_rule(name: str, *columns: str) -> Label:
    return Label(RuleName(name), columns, TAIL)


def test_labels_name_columns_by_pattern() -> None:
    assert masked(SENSITIVE, CUSTOMERS) == ["ssn", "email", "home"]
    assert SENSITIVE.masks[CUSTOMERS, 2] == Mask(RuleName("tail"), TAIL)
    assert masked(sensitive(labels=[of_rule("r", "public.*.s?n")]), CUSTOMERS) == ["ssn"]
    assert masked(sensitive(labels=[of_rule("r", "customers.STATE")]), CUSTOMERS) == ["state"]
    assert masked(sensitive(labels=[of_rule("r", "other.customers.ssn")]), CUSTOMERS) == []


def test_of_two_labels_the_stricter_counts() -> None:
    strict = Label(RuleName("z"), ("*.customers.ssn",), HIDE)

    assert sensitive(labels=[LABELS[0], strict]).masks[CUSTOMERS, 2] == Mask(RuleName("z"), HIDE)


def test_a_label_reaches_the_system_only_by_its_schemas_name() -> None:
    assert masked(sensitive(labels=[of_rule("r", "*.*.relname")]), 1_259) == []
    assert masked(sensitive(labels=[of_rule("r", "pg_catalog.pg_class.relname")]), 1_259) == ["relname"]


def test_the_systems_own_values_are_sensitive_without_any_label() -> None:
    definition = "SELECT s.query, s.calls FROM ext.pg_stat_statements(true) s(query, calls)"
    found = sensitive(view(31_000, "ext.pg_stat_statements", ["query", "calls"], definition), labels=())

    assert masked(found, 1_255) == ["prosrc"]
    assert masked(found, 12_000) == ["most_common_vals"]
    assert masked(found, 20_900) == ["chunk_id", "chunk_seq", "chunk_data"]
    assert masked(found, 31_000) == ["query"]
    assert found.masks[1_255, 3].rule == "built-in"


def test_a_child_has_its_parents_masks_by_name_and_a_parent_its_childrens() -> None:
    assert masked(SENSITIVE, VIP) == ["ssn", "email", "home"]
    assert masked(sensitive(labels=[of_rule("r", "*.customers_vip.state")]), CUSTOMERS) == ["state"]


def test_a_view_that_gives_a_column_as_it_is_has_its_mask() -> None:
    assert SENSITIVE.masks[FULL, 2] == Mask(RuleName("tail"), TAIL)
    assert masked(SENSITIVE, PUBLIC) == []


def test_nothing_is_shown_of_what_a_view_makes_of_a_column() -> None:
    assert SENSITIVE.masks[MADE, 2] == Mask(RuleName("tail"), HIDE)
    assert masked(SENSITIVE, MADE) == ["r"]


@pytest.mark.parametrize(
    "definition",
    [
        "SELECT t.x AS a FROM (SELECT ssn AS x FROM public.customers) t",
        "WITH q AS (SELECT ssn FROM public.customers) SELECT ssn AS a FROM q",
        "SELECT state AS a FROM public.customers UNION SELECT ssn FROM public.customers",
        "SELECT name AS a FROM public.branches EXCEPT SELECT ssn FROM public.customers",
        "WITH RECURSIVE r(n, s) AS (SELECT 1, name FROM public.branches UNION ALL"
        " SELECT n + 1, (SELECT ssn FROM public.customers WHERE id = n) FROM r) SELECT s AS a FROM r",
        "WITH RECURSIVE r(n, s) AS (SELECT ssn, name FROM public.customers, public.branches UNION ALL"
        " SELECT name, n FROM r, public.branches) SELECT s AS a FROM r",
        "WITH RECURSIVE r(s) AS (SELECT ssn FROM public.customers UNION ALL SELECT s FROM r)"
        " SEARCH DEPTH FIRST BY s SET o SELECT o AS a FROM r",
        "SELECT (SELECT ssn FROM public.customers WHERE id = 1) AS a",
        "SELECT EXISTS (SELECT 1 FROM public.customers WHERE ssn = 'x') AS a",
        "SELECT c.* IS NULL AS a FROM public.customers c",
        "SELECT to_jsonb(c.*) AS a FROM public.customers c",
        "SELECT (c.old_row).id AS a FROM public.cust_history c",
        "SELECT u AS a FROM public.customers, unnest(ARRAY[ssn]) u",
        "SELECT j.b AS a FROM (public.customers JOIN public.branches USING (id)) j(a, b)",
        "SELECT x.t AS a FROM public.customers, XMLTABLE('/a' PASSING ssn COLUMNS t text PATH 'b') x",
        "VALUES ((SELECT ssn FROM public.customers))",
        "SELECT v.column1 AS a FROM public.customers, LATERAL (VALUES (ssn)) v",
        "SELECT tax_ref AS a FROM reporting.v_full",
        "SELECT prosrc AS a FROM pg_proc",
        "SELECT count(*) FILTER (WHERE ssn > 'a') AS a FROM public.customers",
        "SELECT x AS a FROM public.nobody_knows",
        "SELECT pg_read_file('x') AS a",
        "SELECT name AS a FROM public.branches WHERE",
        "DELETE FROM public.customers",
        "SELECT 1 AS a, 2 AS b",
        "SELECT b.* FROM generate_series(1, 2) a, unnest(ARRAY[1]) b",
    ],
)
def test_a_view_that_reaches_a_sensitive_column_or_is_not_understood_is_sensitive(definition: str) -> None:
    assert masked(viewed(definition), V) == ["a"]


@pytest.mark.parametrize(
    "definition",
    [
        "SELECT count(ssn) AS a FROM public.customers",
        "SELECT ssn IS NULL AS a FROM public.customers",
        "SELECT id AS a FROM public.customers WHERE ssn > 'a' ORDER BY ssn",
        "SELECT b.name AS a FROM public.customers c JOIN public.branches b ON b.name = c.ssn",
        "SELECT relname AS a FROM pg_class",
        "SELECT lower(name) AS a FROM public.branches",
        "SELECT ext.c_function(name) AS a FROM public.branches",
        "WITH customers AS (SELECT name AS ssn FROM public.branches) SELECT ssn AS a FROM customers",
    ],
)
def test_a_view_of_clean_columns_is_clean(definition: str) -> None:
    assert masked(viewed(definition), V) == []


def test_a_view_without_its_definition_is_sensitive() -> None:
    assert masked(sensitive(relation(V, "reporting.v", ["a", "b"], "v")), V) == ["a", "b"]


def test_a_label_reaches_what_a_user_has_put_into_a_system_schema() -> None:
    assert masked(sensitive(relation(V, "pg_catalog.customers", ["ssn"])), V) == ["ssn"]


def test_a_view_over_a_view_is_carried_on_whatever_their_order() -> None:
    chain_of_views = [
        view(32_000 + number, f"public.v{number}", ["a"], f"SELECT a FROM public.v{number + 1}") for number in range(20)
    ]
    last = view(32_020, "public.v20", ["a"], "SELECT ssn AS a FROM public.customers")

    found = sensitive(*chain_of_views, last)

    assert all(masked(found, 32_000 + number) == ["a"] for number in range(21))


@pytest.mark.parametrize(
    ("what", "expression"),
    [
        ("function", "public.f(name)"),
        ("operator", "name OPERATOR(public.f) name"),
        ("type", "name::public.f"),
    ],
)
def test_code_of_the_target_makes_a_views_column_sensitive(what: str, expression: str) -> None:
    name = "+" if what == "operator" else "f"
    definition = f"SELECT {expression.replace('.f) ', '.+) ')} AS a FROM public.branches"

    assert masked(viewed(definition), V) == []
    assert masked(viewed(definition, [row("coded", what, "public", name)]), V) == ["a"]


def test_a_function_that_is_vouched_for_gives_clean_columns() -> None:
    coded = [row("coded", "function", "public", "f")]

    assert masked(viewed("SELECT public.f(name) AS a FROM public.branches", coded, clean=("public.f",)), V) == []
    assert masked(viewed("SELECT public.f(ssn) AS a FROM public.customers", coded, clean=("public.f",)), V) == ["a"]


def test_a_generated_column_over_a_sensitive_one_is_sensitive() -> None:
    rows = relation(V, "made", ["ssn", "low", "one", "odd"])
    rows += [row("generated", V, 2, "lower(ssn)"), row("generated", V, 3, "1"), row("generated", V, 4, "lower(")]

    found = sensitive(rows, labels=[of_rule("r", "*.made.ssn")])

    assert masked(found, V) == ["ssn", "low", "odd"]
    assert found.masks[V, 2].transform == HIDE


def test_a_column_whose_type_holds_a_sensitive_row_is_sensitive() -> None:
    row_type = CUSTOMERS + 1
    rows = [
        row("contains", 26_000, row_type),
        row("contains", 26_001, 26_000),
        *relation(26_010, "holder", [("c", 26_001)], "c"),
        *relation(V, "held", ["id", ("one", row_type), ("many", 26_000), ("deep", 26_011), ("other", 26_500)]),
    ]

    found = sensitive(rows)

    assert masked(found, HISTORY) == ["old_row"]
    assert masked(found, V) == ["one", "many", "deep"]
    assert found.masks[V, 2].transform == HIDE


def test_reading_may_quote_values_where_a_view_or_row_security_looks_at_them() -> None:
    found = sensitive(
        view(V, "reporting.v", ["a"], "SELECT id AS a FROM public.customers WHERE ssn::int > 5"),
        view(V + 10, "reporting.w", ["a"], "SELECT a FROM reporting.v"),
        relation(V + 20, "far", ["ssn"], "f"),
        relation(V + 30, "guarded", ["ssn"], flags="s"),
        relation(V + 40, "open", ["id"], flags="s"),
        labels=[*LABELS, of_rule("r", "*.far.ssn", "*.guarded.ssn")],
    )

    assert found.touching >= {V, V + 10, V + 20, V + 30, FULL}
    assert not {V + 40, PUBLIC, CUSTOMERS} & found.touching


def test_writing_may_quote_values_where_keys_triggers_and_views_lead_to_them() -> None:
    found = sensitive(
        relation(V, "triggered", ["id"], flags="t"),
        relation(V + 10, "referred", ["id"]),
        row_of_reference(V + 20, V + 10),
        relation(V + 20, "refers", ["id", "ssn"]),
        relation(V + 30, "alone", ["id"]),
        labels=[*LABELS, of_rule("r", "*.refers.ssn")],
    )

    assert found.exposed >= {CUSTOMERS, ACCOUNTS, PUBLIC, V, V + 10, V + 20}
    assert V + 30 not in found.exposed


def row_of_reference(of: int, to: int) -> list[Row]:
    return [row("references", of, to)]


def test_the_version_is_of_labels_snapshot_and_what_is_vouched_for() -> None:
    versions = [
        sensitive().version,
        sensitive(labels=LABELS[:1]).version,
        sensitive(labels=[Label(LABELS[0].rule, LABELS[0].columns, HIDE), LABELS[1]]).version,
        sensitive([row("constraint", "x")]).version,
        sensitive(clean=["public.f"]).version,
    ]

    assert len(set(versions)) == len(versions)
    assert sensitive().version == sensitive().version
    assert len(versions[0]) == 64


def test_five_thousand_relations_are_closed_in_about_a_second() -> None:
    tables = (relation(20_000 + 20 * n, f"t{n}", [f"c{number}" for number in range(12)]) for n in range(4_500))
    views = (
        view(
            200_000 + 20 * n,
            f"v{n}",
            ["a", "b"],
            f"SELECT t.c1 AS a, lower(t.c2) AS b FROM public.t{n} t WHERE t.c3 > 1",
        )
        for n in range(500)
    )
    found = snapshot(list(chain(chain.from_iterable(tables), chain.from_iterable(views))))

    start = time.process_time()
    closed = close(found, [of_rule("r", "*.t1*.c1")], parse)

    assert len(closed.masks) > 1_000
    assert time.process_time() - start < 3


PATTERNS = st.lists(st.sampled_from(["*.customers.ssn", "*.accounts.*", "*.*.id", "*.v_full.tax_ref", "*.*_vip.level"]))


@given(PATTERNS, PATTERNS)
def test_a_label_more_never_takes_a_mask_away(some: list[str], more: list[str]) -> None:
    few, many = sensitive(labels=[of_rule("r", *some)]), sensitive(labels=[of_rule("r", *some, *more)])

    assert few.masks.keys() <= many.masks.keys()
    assert few.touching <= many.touching
    assert few.exposed <= many.exposed


@given(st.sampled_from([line for line in BANK if line[0] in ("inherits", "definition", "references")]))
def test_a_step_more_never_takes_a_mask_away(line: Row) -> None:
    fewer = close(catalog(without=[line]), LABELS, parse)

    if line[0] != "definition":
        assert fewer.masks.keys() <= SENSITIVE.masks.keys()
    assert fewer.exposed <= SENSITIVE.exposed


def test_the_closure_of_a_real_bank_is_found(postgres15: PostgresServer) -> None:
    database = postgres15.create_database("closures", template="template0")
    try:
        with postgres15.connect(database=database) as connection:
            connection.execute(SCHEMA.replace("{salt}", "x"))
            found = snapshot(connection.execute(QUERY).fetchall())
    finally:
        postgres15.drop_database(database)

    closed = close(found, [of_rule("r", "*.customers.ssn", "*.customers.email")], parse)

    names = {oid: relation.name for oid, relation in found.relations.items() if relation.schema == "public"}
    assert {name: masked(closed, oid) for oid, name in names.items() if masked(closed, oid)} == {
        "customers": ["ssn", "email"],
        "vip": ["ssn", "email"],
        "history": ["old"],
        "full_view": ["tax", "email"],
        "made": ["r", "j"],
        "kept": ["either"],
    }
