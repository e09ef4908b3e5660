"""The page on masks: its statements are decided, and its values transformed, as it says."""

from __future__ import annotations

import re
from itertools import product
from pathlib import Path

import pytest
import yaml

from tests.support.masked import decided, form
from vestibule.gate.masks import MAX_AGE_US
from vestibule.masking import built_in, transforms
from vestibule.masking.diagnostics import DETAIL
from vestibule.masking.transforms import cell
from vestibule.model.names import SECOND
from vestibule.model.plan import Transform
from vestibule.model.statement import Unsupported

PAGE = (Path(__file__).parents[2] / "docs/reference/masking.md").read_text()

#: The residual channels, as they were written before anything was built. Nobody shortens them.
RESIDUAL = """
Even perfect masking leaves: (a) predicates under the `lookup` right; (b) unique-constraint probing by writing guesses
(23505, MySQL 1062, foreign keys); (c) row counts, command tags, timing, plan estimates over allowed statements; (d)
`count(DISTINCT c)` with own rows inserted; (e) the shown tail; (f) equality through deterministic tokens; (g) text
columns nobody labelled (notes, memos, tickets); (h) what another person tells.
"""
TYPES = {
    "text": transforms.TEXT,
    "varchar": transforms.VARCHAR,
    "char": transforms.BPCHAR,
    "json": transforms.JSON,
    "jsonb": transforms.JSONB,
    "integer": 23,
    "date": 1082,
}


def table(heading: str) -> list[list[str]]:
    """Read the rows of the table whose head begins with these words."""
    [body] = re.findall(rf"^\| {re.escape(heading)} .*\n\|[-|]+\n((?:\|.*\n)+)", PAGE, re.MULTILINE)
    return [[part.strip() for part in re.split(r"(?<!\\)\|", row)[1:-1]] for row in body.splitlines()]


def code(part: str) -> str:
    return part.strip("`")


@pytest.mark.parametrize(("statement", "expected", "masked"), table("statement"))
def test_a_statement_has_the_form_and_the_masked_columns_that_stand_beside_it(
    statement: str, expected: str, masked: str
) -> None:
    assert form(decided(code(statement))) == ("clean" if expected == "clean" else f"plain({masked})")


@pytest.mark.parametrize(("statement", "construct", "instead"), table("refused | in"))
def test_a_refused_statement_names_its_construct_and_what_stands_beside_it_is_allowed(
    statement: str, construct: str, instead: str
) -> None:
    refused = decided(code(statement))
    assert isinstance(refused, Unsupported)
    assert refused.code == "42501"
    assert refused.message.endswith(f"cannot be used in {construct}")
    assert not isinstance(decided(code(instead)), Unsupported)


@pytest.mark.parametrize(("statement", "instead"), table("refused | instead"))
def test_a_statement_that_is_refused_for_what_it_is_is_refused_and_what_stands_beside_it_is_allowed(
    statement: str, instead: str
) -> None:
    assert isinstance(decided(code(statement)), Unsupported)
    assert not instead or not isinstance(decided(code(instead)), Unsupported)


@pytest.mark.parametrize(("transform", "type_", "value", "shown"), table("`transform` | type"))
def test_a_value_is_shown_as_the_table_says(transform: str, type_: str, value: str, shown: str) -> None:
    name, _, length = type_.rstrip(")").partition("(")
    value = code(value).ljust(int(length)) if name == "char" else code(value)
    typmod = int(length) + 4 if length else -1
    expected = None if shown == "NULL" else code(shown).encode()
    assert cell(meant(code(transform)), value.encode(), TYPES[name], 0, typmod) == expected


def meant(text: str) -> Transform:
    written = yaml.safe_load(text)
    if isinstance(written, dict):
        return Transform("keep", written.get("keep_first", 0), written.get("keep_last", 0))
    return Transform("null" if written is None else written)


def test_every_transform_of_this_version_is_in_the_table() -> None:
    kinds = {meant(code(row[0])).kind for row in table("`transform` | type")}
    assert kinds == {"hide", "keep", "null"}


def test_what_is_masked_without_an_entry_is_listed_whole() -> None:
    listed: dict[str, frozenset[str]] = {}
    for relations, columns in table("relation | columns"):
        named = built_in.ALL if columns == "all" else frozenset(re.findall(r"`(\w+)`", columns))
        listed |= dict(product(re.findall(r"`([\w.]+)`", relations), [named]))
    known = {f"{schema}.{name}": columns for (schema, name), columns in built_in.COLUMNS.items()}
    assert listed == known | dict(built_in.ANYWHERE)


def test_what_remains_is_said_word_for_word() -> None:
    section = PAGE.split("## What remains\n")[1].replace("\n- ", "\n")
    assert " ".join(section.split()).startswith(" ".join(RESIDUAL.split()))


def test_the_age_of_a_catalog_and_the_words_of_an_error_are_the_programs() -> None:
    assert f"older than {MAX_AGE_US // SECOND} seconds" in PAGE
    assert f"\n{DETAIL}\n" in PAGE
