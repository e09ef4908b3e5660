from __future__ import annotations

from dataclasses import replace

import pytest

from tests.support.masked import BRANCHES, CUSTOMERS, SCENE, TICKETS, tree
from vestibule.masking.refusal import RefusedError, UnknownError
from vestibule.masking.scene import Scene
from vestibule.masking.survey import Survey


def surveyed(text: str, scene: Scene = SCENE) -> Survey:
    survey = Survey(scene)
    survey.walk(tree(text)["stmt"])
    return survey


@pytest.mark.parametrize(
    ("text", "read", "written"),
    [
        ("SELECT 1", set(), set()),
        ("SELECT 1 FROM customers, branches b", {CUSTOMERS, BRANCHES}, set()),
        ("SELECT (SELECT 1 FROM customers) FROM branches", {CUSTOMERS, BRANCHES}, set()),
        ("SELECT 1 FROM branches UNION SELECT 2 FROM customers", {CUSTOMERS, BRANCHES}, set()),
        ("SELECT 1 FROM branches ORDER BY (SELECT 1 FROM customers)", {CUSTOMERS, BRANCHES}, set()),
        ("WITH q AS (SELECT 1 FROM customers) SELECT 1 FROM q", {CUSTOMERS}, set()),
        ("WITH customers AS (SELECT 1) SELECT 1 FROM customers", set(), set()),
        ("WITH customers AS (SELECT 1) SELECT 1 FROM public.customers", {CUSTOMERS}, set()),
        ("WITH customers AS (SELECT 1 FROM customers) SELECT 1 FROM customers", {CUSTOMERS}, set()),
        ("WITH RECURSIVE customers AS (SELECT 1 FROM customers) SELECT 1 FROM customers", set(), set()),
        ("SELECT (WITH customers AS (SELECT 1) SELECT 1 FROM customers) FROM customers", {CUSTOMERS}, set()),
        ("WITH branches AS (SELECT 1) INSERT INTO branches SELECT 1 FROM branches", set(), {BRANCHES}),
        ("WITH d AS (DELETE FROM tickets RETURNING 1) UPDATE branches SET id = 1 FROM d", set(), {BRANCHES, TICKETS}),
        ("MERGE INTO branches USING customers ON true WHEN MATCHED THEN DELETE", {CUSTOMERS}, {BRANCHES}),
        ("SELECT 1 FROM branches FOR UPDATE OF branches", {BRANCHES}, set()),
    ],
)
def test_relations_are_found_wherever_they_stand(text: str, read: set[int], written: set[int]) -> None:
    survey = surveyed(text)

    assert (survey.read, survey.written) == (read, written)
    assert survey.is_sensitive == (CUSTOMERS in read | written)


def test_the_first_name_that_nothing_has_is_kept() -> None:
    survey = surveyed("SELECT 1 FROM nosuch, neither")

    assert survey.hopeless is not None
    assert survey.hopeless["relname"] == "nosuch"


def test_an_unknown_name_and_an_old_catalog_ask_for_a_new_one() -> None:
    with pytest.raises(UnknownError):
        surveyed("SELECT 1 FROM nosuch", replace(SCENE, is_fresh=False))


@pytest.mark.parametrize(
    "text",
    [
        "SELECT pg_read_file('x')",
        "SELECT pg_catalog.pg_read_file('x')",
        "SELECT * FROM ts_stat('x')",
        "SELECT ('x').pg_read_file",
        "SELECT b.ts_stat FROM branches b",
        "SELECT 1 FROM branches ORDER BY lo_get(5)",
        "INSERT INTO branches SELECT pg_ls_dir('x')",
        "SELECT set_config('ROLE', 'x', true)",
        "SELECT set_config('session_authorization', $1, true)",
        "SELECT set_config($1, 'x', true)",
        "SELECT set_config()",
    ],
)
def test_functions_that_reach_what_the_text_does_not_show_are_refused(text: str) -> None:
    with pytest.raises(RefusedError):
        surveyed(text)


def test_a_setting_by_function_is_no_harm() -> None:
    assert surveyed("SELECT set_config('jit', $1, false)").read == set()
