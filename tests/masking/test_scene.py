from __future__ import annotations

from dataclasses import replace

import pytest

from tests.support.masked import BRANCHES, CUSTOMERS, SCENE, decided, form, relation, sensitive
from vestibule.masking import scene as scenes
from vestibule.masking.refusal import RefusedError
from vestibule.masking.scene import Scene, Temporary

SHADOWED = Scene(sensitive(relation(30_000, "scratch.pg_class", ["ssn"]), relation(30_010, "scratch.branches", ["a"])))


def test_the_system_is_found_before_the_path_unless_the_path_says_where() -> None:
    node = {"relname": "pg_class"}

    assert scenes.relation(replace(SHADOWED, search_path=("scratch",)), node) == 1_259
    assert scenes.relation(replace(SHADOWED, search_path=("scratch", "pg_catalog")), node) == 30_000


def test_the_first_schema_of_the_path_counts() -> None:
    node = {"relname": "branches"}

    assert scenes.relation(replace(SHADOWED, search_path=("scratch", "public")), node) == 30_010
    assert scenes.relation(replace(SHADOWED, search_path=("public", "scratch")), node) == BRANCHES
    assert scenes.relation(replace(SHADOWED, search_path=("public",)), {**node, "schemaname": "scratch"}) == 30_010
    assert scenes.relation(replace(SHADOWED, search_path=()), node) is None


def test_an_uncertain_path_with_two_clean_relations_is_a_relation_of_which_nothing_is_known() -> None:
    scene = replace(SHADOWED, search_path=("scratch", "public"), is_path_certain=False)

    assert scenes.relation(scene, {"relname": "branches"}) == Temporary()
    assert scenes.relation(scene, {"relname": "customers"}) == CUSTOMERS


def test_a_temporary_relation_is_found_first_but_never_hides_a_sensitive_one() -> None:
    own = Temporary(("a",))
    scene = replace(SCENE, temporaries={"w": own, "customers": own, "branches": own})

    assert scenes.relation(scene, {"relname": "w"}) is own
    assert scenes.relation(scene, {"relname": "branches"}) is own
    assert scenes.relation(scene, {"relname": "w", "schemaname": "pg_temp"}) is own
    assert scenes.relation(scene, {"relname": "x", "schemaname": "pg_temp"}) is None
    with pytest.raises(RefusedError):
        scenes.relation(scene, {"relname": "customers"})


@pytest.mark.parametrize("schema", ["pg_temp_3", "pg_toast", "pg_toast_temp_3"])
def test_schemas_that_hold_values_without_names_are_closed(schema: str) -> None:
    with pytest.raises(RefusedError, match="closed"):
        scenes.relation(SCENE, {"relname": "x", "schemaname": schema})


def test_a_toast_relation_in_the_path_is_sensitive() -> None:
    found = scenes.relation(replace(SCENE, search_path=("pg_toast",)), {"relname": "pg_toast_20000"})

    assert isinstance(found, int)
    assert SCENE.sensitive.is_sensitive(found)


def test_only_a_name_that_nothing_has_is_hopeless() -> None:
    assert scenes.is_hopeless(SCENE, {"relname": "nosuch"})
    assert not scenes.is_hopeless(SCENE, {"relname": "v_full"})
    assert not scenes.is_hopeless(replace(SCENE, temporaries={"w": Temporary()}), {"relname": "w"})


@pytest.mark.parametrize("schema", [{}, {"schemaname": "pg_temp"}])
def test_a_temporary_relation_that_is_closed_can_be_dropped_and_nothing_else(schema: dict[str, str]) -> None:
    scene = replace(SCENE, temporaries={"w": Temporary(is_closed=True)})
    with pytest.raises(RefusedError, match="w was made when other columns were masked"):
        scenes.relation(scene, {"relname": "w", **schema})
    assert form(decided("DROP TABLE w", scene)) == "clean"
