from __future__ import annotations

from typing import Any

import pytest

from tests.support.analysed import does, spoken
from vestibule.analysis.sql.actions import ACTIONS
from vestibule.analysis.sql.catalog import Catalog
from vestibule.analysis.sql.visit import Visit
from vestibule.model.statement import Impact, Unsupported


def visit(tree: dict[str, Any], kind: str = "SelectStmt") -> list[str]:
    found = Visit(kind, Catalog(), ACTIONS)
    found.walk(tree)
    return [spoken(operation) for operation in found.operations()]


def test_a_node_that_is_not_listed_is_unknown_and_what_is_in_it_is_found() -> None:
    tree = {
        "SelectStmt": {"targetList": [{"NewExpr": {"arg": {"FuncCall": {"funcname": [{"String": {"sval": "f"}}]}}}}]}
    }

    assert visit(tree) == ["unknown NewExpr unknown", "call f unknown"]


def test_a_statement_that_is_not_listed_is_unknown() -> None:
    assert visit({"NewStmt": {"relation": {"relname": "t"}}}) == ["unknown NewStmt unknown", "select t read"]


def test_fields_that_are_not_listed_are_visited() -> None:
    assert visit({"SelectStmt": {"newField": [{"RangeVar": {"relname": "t"}}]}}) == ["select t read"]


def test_a_tree_of_any_depth_is_visited_without_recursion() -> None:
    tree: dict[str, Any] = {"FuncCall": {"funcname": [{"String": {"sval": "f"}}]}}
    for _ in range(50_000):
        tree = {"BoolExpr": {"args": [tree]}}

    assert visit(tree) == ["call f unknown"]


def test_operations_stand_in_the_order_of_the_text_and_once_each_with_the_worst_impact() -> None:
    assert does("SELECT f(1) FROM b, a, b WHERE f(2) = g(1)") == [
        "call f unknown",
        "select b read",
        "select a read",
        "call g unknown",
    ]
    assert does("SELECT FROM a, (SELECT FROM a FOR UPDATE) x") == ["select a write"]


@pytest.mark.parametrize(
    ("text", "relations"),
    [
        ('WITH c AS (SELECT * FROM t) SELECT * FROM c, C, "C"', ["t", "C"]),
        ("WITH c AS (SELECT 1) SELECT * FROM public.c", ["public.c"]),
        ("WITH c AS (SELECT 1) SELECT * FROM (SELECT * FROM (SELECT * FROM c) x) y", []),
        ("SELECT * FROM c, (WITH c AS (SELECT 1) SELECT * FROM c) x", ["c"]),
        ("WITH c AS (SELECT 1) SELECT * FROM t WHERE a IN (WITH d AS (TABLE c) SELECT * FROM d, e)", ["t", "e"]),
        ("WITH RECURSIVE a AS (SELECT * FROM b), b AS (SELECT 1) SELECT * FROM a", []),
        ("(WITH c AS (SELECT 1) SELECT * FROM c) UNION SELECT * FROM c", ["c"]),
        ("WITH c AS (SELECT 1) (SELECT * FROM c UNION SELECT * FROM c)", []),
    ],
)
def test_names_of_with_queries_are_lexical(text: str, relations: list[str]) -> None:
    read = [line.removeprefix("select ").removesuffix(" read") for line in does(text)]

    assert [name for name in read if name not in ("select", "read", "select read")] == relations


def test_planning_notes_what_may_be_called_but_not_what_is_done() -> None:
    found = Visit("ExplainStmt", Catalog(), ACTIONS)
    found.is_planned_only = True

    found.note("delete", "t", Impact.WRITE)
    found.call("call", "f", Impact.UNKNOWN)

    assert [spoken(operation) for operation in found.operations()] == ["explain t read", "call f unknown"]


def test_the_first_reason_to_refuse_stays() -> None:
    found = Visit("SelectStmt", Catalog(), ACTIONS)

    found.refuse(Unsupported("42501", "first"), "set", "a")
    found.refuse(Unsupported("42501", "second"), "set", "b")

    assert found.refusal == Unsupported("42501", "first")
    assert [spoken(operation) for operation in found.operations()] == ["set a unknown", "set b unknown"]


@pytest.mark.parametrize(
    "name", ["pg_authid", "pg_catalog.pg_authid", "core.pg_catalog.pg_authid", "information_schema.x"]
)
def test_to_write_to_a_system_catalog_is_for_administrators(name: str) -> None:
    assert does(f"UPDATE {name} SET a = 1") == [f"update {name} admin"]
    assert does(f"EXPLAIN UPDATE {name} SET a = 1") == [f"explain {name} read"]


@pytest.mark.parametrize("name", ["public.pg_authid", "pg_authid.t", '"pg_catalog.pg_authid"'])
def test_a_table_that_is_only_named_like_a_catalog_is_a_table(name: str) -> None:
    assert does(f"UPDATE {name} SET a = 1") == [f"update {name} write"]


@pytest.mark.parametrize(
    ("text", "operation"),
    [
        ("SELECT rolpassword FROM pg_authid", "select pg_authid admin"),
        ("SELECT passwd FROM pg_catalog.pg_shadow", "select pg_catalog.pg_shadow admin"),
        ("COPY pg_authid TO STDOUT", "copy pg_authid admin"),
        ("COPY (SELECT * FROM pg_authid) TO STDOUT", "select pg_authid admin"),
        ("SELECT rolname FROM pg_roles", "select pg_roles read"),
        ("COPY pg_class TO STDOUT", "copy pg_class read"),
        ("SELECT * FROM public.pg_authid", "select public.pg_authid read"),
    ],
)
def test_the_passwords_of_roles_are_for_administrators(text: str, operation: str) -> None:
    assert operation in does(text)
