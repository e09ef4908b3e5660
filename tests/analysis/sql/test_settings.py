from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vestibule.analysis.sql import settings

LISTED = (
    "application_name DateStyle IntervalStyle TimeZone bytea_output extra_float_digits statement_timeout lock_timeout "
    "idle_in_transaction_session_timeout idle_session_timeout transaction_isolation default_transaction_read_only "
    "enable_seqscan jit jit_above_cost geqo geqo_threshold random_page_cost plan_cache_mode role "
    "synchronize_seqscans row_security transaction_timeout restrict_nonsystem_relation_kind "
    "check_function_bodies default_tablespace default_table_access_method"
)
PINNED = (
    "session_preload_libraries work_mem backslash_quote xmlbinary quote_all_identifiers log_statement "
    "session_replication_role vestibule.ticket app.user escape_string_warning jitter enable geqox dynamic_library_path "
    "local_preload_libraries temp_tablespaces jit_dump_bitcode jit_debugging_support jit_provider"
)


def refusal(name: str, value: str | None = "x") -> str:
    problem = settings.judge(name, value)
    assert problem is not None
    assert problem.code == "42501"
    assert problem.hint
    return problem.message


@pytest.mark.parametrize("name", LISTED.split())
def test_a_listed_setting_may_have_any_value(name: str) -> None:
    assert settings.judge(name, "x") is None
    assert settings.judge(name.upper(), None) is None


@pytest.mark.parametrize("name", PINNED.split())
def test_a_setting_that_is_not_listed_may_not_be_set_not_even_to_its_default(name: str) -> None:
    assert name in refusal(name)
    assert name in refusal(name, None)


def test_a_refusal_says_what_may_be_set() -> None:
    problem = settings.judge("work_mem", "1MB")

    assert problem is not None
    assert "search_path" in problem.hint


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        (
            "client_encoding",
            ["UTF8", "utf-8", "Unicode", "'UTF8'".strip("'")],
            ["LATIN1", "SQL_ASCII", "UTF16", "", "GBK"],
        ),
        ("standard_conforming_strings", ["on", "ON", "true", "1", "yes", "t"], ["off", "0", "false", "", "no"]),
        ("xmloption", ["content", "CONTENT"], ["document", "", "contents"]),
        ("client_min_messages", ["notice", "WARNING", "error"], ["debug1", "log", "info", "", "panic"]),
        (
            "search_path",
            ["public", "", '"A b", c', "pg_temp", '""'],
            ["$user", '"$user", public', "a,", "a b", 'a"b', ","],
        ),
    ],
)
def test_a_restricted_setting_may_have_only_harmless_values(name: str, good: list[str], bad: list[str]) -> None:
    assert [value for value in good if settings.judge(name, value) is not None] == []
    assert [value for value in bad if settings.judge(name, value) is None] == []
    assert settings.judge(name, None) is None


@pytest.mark.parametrize(
    ("value", "names"),
    [
        ("", ()),
        ("  ", ()),
        ("public", ("public",)),
        ("Public, s", ("public", "s")),
        (' "A, b" ,"c""d" ', ("A, b", 'c"d')),
        ('""', ("",)),
        ("a b", None),
        ("a,", None),
        (",a", None),
        ('"a', None),
    ],
)
def test_a_search_path_is_read_as_the_server_reads_it(value: str, names: tuple[str, ...] | None) -> None:
    assert settings.schemas(value) == names


@given(st.lists(st.text(st.characters(blacklist_characters="\0", blacklist_categories=["Cs"]), min_size=1)))
def test_a_search_path_that_was_written_reads_as_its_names(names: list[str]) -> None:
    assert settings.schemas(settings.written(names)) == tuple(names)


@given(st.text(), st.one_of(st.none(), st.text()))
def test_whatever_the_name_and_value_there_is_an_answer(name: str, value: str | None) -> None:
    settings.judge(name, value)
    settings.schemas(value or "")


def test_a_refusal_cannot_carry_control_characters_or_a_long_name() -> None:
    assert "\n" not in refusal("a\nb")
    assert len(refusal("a" * 10_000)) < 200
