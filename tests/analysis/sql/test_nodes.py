from __future__ import annotations

import pytest

from vestibule.analysis.sql import nodes, parser
from vestibule.analysis.sql.parser import Node


def first(text: str) -> Node:
    trees = parser.parse(text.encode())
    assert isinstance(trees, list)
    statement: Node = trees[0]["stmt"]
    return statement


def relation(name: str) -> Node:
    found: Node = first(f"SELECT FROM {name}")["SelectStmt"]["fromClause"][0]["RangeVar"]
    return found


def value(text: str) -> Node:
    found: Node = first(f"SELECT {text}")["SelectStmt"]["targetList"][0]["ResTarget"]["val"]
    return found


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("T", "t"),
        ('"T"', "T"),
        ("a.b", "a.b"),
        ("d.a.b", "d.a.b"),
        ('"a.b".c', '"a.b".c'),
        ('"a""b"', '"a""b"'),
        ('U&"d\\0061t"', "dat"),
        ("x" * 80, "x" * 63),
        ("ü" * 40, "ü" * 31),
    ],
)
def test_a_relation_is_named_as_the_server_reads_it(written: str, name: str) -> None:
    assert nodes.relation(relation(written)) == name


def test_a_relation_is_surely_temporary_by_its_schema_or_its_statement() -> None:
    assert nodes.is_temporary(relation("pg_temp.t"))
    assert not nodes.is_temporary(relation("t"))
    assert nodes.is_temporary(first("CREATE TEMP TABLE t (a int)")["CreateStmt"]["relation"])


@pytest.mark.parametrize(
    ("written", "text"),
    [
        ("'x'", "x"),
        ("''", ""),
        ("7", "7"),
        ("0", "0"),
        ("1.50", "1.50"),
        ("true", "true"),
        ("false", "false"),
        ("B'101'", "b101"),
        ("NULL", None),
        ("a", None),
        ("$1", None),
        ("'x' || 'y'", None),
    ],
)
def test_a_constant_has_a_text_and_nothing_else_has(written: str, text: str | None) -> None:
    assert nodes.constant(value(written)) == text


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("DROP TABLE a.b, c", [("a", "b"), ("c",)]),
        ("DROP SCHEMA s", [("s",)]),
        ("DROP TYPE a.b", [("a", "b")]),
        ("DROP FUNCTION a.f(int, text)", [("a", "f")]),
        ("DROP CAST (a AS b)", [("a", "b")]),
        ("DROP TRANSFORM FOR a LANGUAGE b", [("a", "b")]),
    ],
)
def test_an_object_is_named_whatever_node_stands_for_it(text: str, names: list[tuple[str, ...]]) -> None:
    assert [nodes.named(node) for node in first(text)["DropStmt"]["objects"]] == names


def test_roles_and_rights_are_named_too() -> None:
    grant = first("GRANT a, b TO CURRENT_USER, bob")["GrantRoleStmt"]

    assert [nodes.named(node) for node in grant["granted_roles"]] == [("a",), ("b",)]
    assert [nodes.named(node) for node in grant["grantee_roles"]] == [("current_user",), ("bob",)]


def test_an_object_without_a_name_has_none() -> None:
    assert nodes.named({"Integer": {"ival": 7}}) == ()
