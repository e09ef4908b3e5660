from __future__ import annotations

import pytest

from vestibule.analysis.sql.analyse import analyse
from vestibule.analysis.sql.catalog import Catalog
from vestibule.model.statement import Analysis, Parsed

#: What pg_dump sends where the server has the setting.
DUMP = (
    "SELECT set_config(name, 'view, foreign-table', false) FROM pg_settings "
    "WHERE name = 'restrict_nonsystem_relation_kind'"
)


def analysed(text: str) -> Analysis:
    answer = analyse(text.encode(), Catalog())
    assert isinstance(answer, Parsed), answer
    return answer.statements[0]


@pytest.mark.parametrize("schema", ["", "pg_catalog."])
def test_a_setting_picked_by_its_name_from_pg_settings_is_set_as_if_by_that_name(schema: str) -> None:
    found = analysed(DUMP.replace("pg_settings", f"{schema}pg_settings"))

    assert found.refusal is None
    assert found.settings == (("restrict_nonsystem_relation_kind", "view, foreign-table"),)


@pytest.mark.parametrize(
    "text",
    [
        # A temporary relation may have this name, and a collation may call another setting's name equal.
        DUMP.replace("'view, foreign-table'", "'public'"),
        DUMP.replace("'view, foreign-table'", "'view, ' || 'public'"),
        DUMP.replace("restrict_nonsystem_relation_kind", "jit"),
        DUMP.replace("restrict_nonsystem_relation_kind", "role"),
        DUMP.replace("restrict_nonsystem_relation_kind", "xmlbinary"),
        DUMP.replace("WHERE", "WHERE true OR"),
        DUMP.replace(" = ", " <> "),
        DUMP.replace(" = ", " OPERATOR(public.=) "),
        DUMP.replace("pg_settings", "public.pg_settings"),
        DUMP.replace("pg_settings", "pg_settings AS s (setting, name)"),
        DUMP.replace("pg_settings", "pg_settings, other"),
        DUMP.replace("pg_settings", "pg_settings JOIN pg_settings o USING (name)"),
        DUMP.replace("set_config(name", "set_config(setting"),
        DUMP.replace("set_config(name", "set_config(upper(name)"),
        DUMP.replace("WHERE name", "WHERE setting"),
        f"WITH pg_settings AS (SELECT 'role' AS name) {DUMP}",
        f"{DUMP} UNION {DUMP}",
        DUMP.partition(" WHERE")[0],
    ],
)
def test_where_the_name_is_not_sure_to_be_that_one_the_call_is_refused(text: str) -> None:
    found = analysed(text)

    assert found.refusal is not None
    assert "needs the setting's name as a literal" in found.refusal.message


def test_a_call_without_arguments_is_no_call_that_could_set_anything() -> None:
    assert analysed("SELECT set_config() FROM pg_settings WHERE name = 'jit'").refusal is not None
