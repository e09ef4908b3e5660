from __future__ import annotations

from vestibule.masking.scope import Scope, Source, aliased, joined, qualified, unqualified
from vestibule.masking.shades import Shade
from vestibule.model.names import RuleName
from vestibule.model.plan import Mask, Transform

MASK = Mask(RuleName("r"), Transform("hide"))
SSN, ID = Shade("ssn", MASK, (1, 2)), Shade("id", None, (1, 1))


def customers(alias: str = "customers") -> Source:
    return Source([ID, SSN], alias, table=("public", "customers"))


def scope(*sources: Source, outer: Scope | None = None) -> Scope:
    return Scope(sources, outer, {})


def test_the_innermost_level_that_has_a_column_decides() -> None:
    inner = scope(Source([Shade("ssn")], "x"), outer=scope(customers()))

    found = unqualified(inner, "ssn")

    assert found is not None
    assert found.shade.mask is None
    assert found.is_bare


def test_behind_a_source_with_unknown_columns_the_search_goes_on() -> None:
    inner = scope(Source([], "f", is_open=True), outer=scope(customers()))

    found = unqualified(inner, "ssn")

    assert found is not None
    assert found.shade.mask == MASK


def test_two_columns_of_one_name_count_as_both() -> None:
    found = unqualified(scope(Source([Shade("ssn")], "x"), customers()), "ssn")

    assert found is not None
    assert found.shade.mask == MASK
    assert not found.is_bare


def test_an_alias_is_a_whole_row_only_if_no_level_has_a_column_of_that_name() -> None:
    row = unqualified(scope(customers("c")), "c")
    column = unqualified(scope(customers("c"), outer=scope(Source([Shade("c")], "x"))), "c")

    assert row is not None
    assert (row.shade.mask, row.is_bare) == (MASK, False)
    assert column is not None
    assert (column.shade.mask, column.is_bare) == (None, True)


def test_what_no_level_has_is_nothing() -> None:
    assert unqualified(scope(customers()), "nosuch") is None
    assert unqualified(None, "x") is None
    assert aliased(scope(customers()), "nosuch") is None


def test_system_columns_are_there_in_relations_only() -> None:
    assert unqualified(scope(customers()), "ctid") is not None
    assert unqualified(scope(Source([ID], "x")), "ctid") is None
    assert unqualified(scope(customers().renamed("c", ())), "ctid") is not None


def test_columns_that_are_not_shown_are_found_by_their_source_alone() -> None:
    hidden = customers()
    hidden.shows_columns = False

    assert unqualified(scope(hidden), "ssn") is None
    assert aliased(scope(hidden), "customers") is hidden


def test_a_table_is_found_by_its_full_name_only_without_an_alias() -> None:
    assert qualified(scope(customers()), "public", "customers") is not None
    assert qualified(scope(outer=scope(customers())), "public", "customers") is not None
    assert qualified(scope(customers().renamed("c", ())), "public", "customers") is None


def test_names_of_an_alias_list_go_by_position() -> None:
    renamed = customers().renamed("c", ("a", "b"))

    assert renamed.index.keys() == {"a", "b"}
    assert renamed.index["b"].mask == MASK
    assert customers().renamed("c", ("a",)).index.keys() == {"a", "ssn"}


def test_a_list_names_unknown_columns_too() -> None:
    renamed = Source([], "f", is_open=True, mask=MASK).renamed("f", ("a",))

    assert renamed.is_open
    assert renamed.index["a"].mask == MASK


def test_a_column_without_a_known_name_may_be_any() -> None:
    source = Source([Shade(None, MASK)], "t")

    assert source.is_vague
    assert not source.is_open
    assert source.mask == MASK


def test_two_columns_of_one_source_with_one_name_count_as_both() -> None:
    assert Source([Shade("a"), Shade("a", MASK)], "t").index["a"].mask == MASK
    assert Source([Shade("a", MASK), Shade("a")], "t").index["a"].mask == MASK


def test_a_row_has_the_mask_of_all_its_columns() -> None:
    assert customers().row() == MASK
    assert Source([ID], "t").row() is None
    assert joined([Source([ID], "t"), customers()]).row() == MASK
