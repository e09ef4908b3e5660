from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vestibule.model.statement import Impact
from vestibule.model.target import Address
from vestibule.policy import values


@pytest.mark.parametrize(
    ("text", "micros"),
    [("10s", 10_000_000), ("30m", 1_800_000_000), ("8h", 28_800_000_000), ("1d", 86_400_000_000), ("200ms", 200_000)],
)
def test_durations_are_microseconds(text: str, micros: int) -> None:
    assert values.duration(text) == micros


@pytest.mark.parametrize("text", ["0ms", "1ms", "1500ms", "1s", "90s", "1m", "15m", "36h", "1d", "366d"])
def test_a_duration_is_written_as_it_is_read(text: str) -> None:
    assert values.duration(values.spelled(values.duration(text))) == values.duration(text)


def test_a_duration_is_written_in_the_largest_unit_without_a_rest() -> None:
    assert [values.spelled(values.duration(text)) for text in ("1500ms", "900s", "90s", "60m", "24h", "25h")] == [
        "1500ms", "15m", "90s", "1h", "1d", "25h",
    ]  # fmt: skip


@pytest.mark.parametrize("text", ["8", "8 h", "8H", "h", "-1h", "1.5h", "1h30m", "", "٣h", "999999999d", "367d"])
def test_what_is_no_duration_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match=r"is no duration|is too long"):
        values.duration(text)


@pytest.mark.parametrize("value", [8, True, None, ["8h"], 1.5])
def test_a_duration_needs_its_unit(value: object) -> None:
    with pytest.raises(ValueError, match="10s, 30m, 8h or 7d"):
        values.duration(value)


@pytest.mark.parametrize(
    ("text", "size"), [(4096, 4096), ("4096", 4096), ("1KiB", 1024), ("64MiB", 67_108_864), ("2GiB", 2_147_483_648)]
)
def test_sizes_are_bytes(text: object, size: int) -> None:
    assert values.size(text) == size


@pytest.mark.parametrize("value", ["64MB", "64 MiB", "-1", True, None, "1e3", "", "٣KiB"])
def test_what_is_no_size_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="is no size"):
        values.size(value)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("db1.internal:5432", Address("db1.internal", 5432)),
        ("10.0.0.7:1", Address("10.0.0.7", 1)),
        ("[FD00::1]:5432", Address("fd00::1", 5432)),
        ("my_db:65535", Address("my_db", 65535)),
    ],
)
def test_addresses_have_host_and_port(text: str, address: Address) -> None:
    assert values.address(text) == address


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("db1", "has no port"),
        ("db1:", "has no port"),
        ("db1:postgres", "has no port"),
        ("db1:٣", "has no port"),
        ("db1:0", "port 0 does not exist"),
        ("db1:65536", "port 65536 does not exist"),
        ("::1:5432", "in brackets"),
        ("[::g]:5432", "no IPv6 address"),
        (":5432", "no host name"),
        ("a b:5432", "no host name"),
        ("/var/run:5432", "no host name"),
        (5432, "has no port"),
        (None, "has no port"),
    ],
)
def test_what_is_no_address_is_refused(text: object, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        values.address(text)


@pytest.mark.parametrize("text", ["env:CORE_PASSWORD", "file:/etc/core.password", "file:core.password"])
def test_secrets_are_named_by_reference(text: str) -> None:
    assert values.reference(text) == text


@pytest.mark.parametrize("text", ["vault:kv/data/core#password", "aws:arn", "hashicorp:x"])
def test_stores_of_coming_versions_are_refused_by_name(text: str) -> None:
    with pytest.raises(ValueError, match="this version cannot read secrets from"):
        values.reference(text)


@pytest.mark.parametrize(
    "text", ["hunter2", "vault", "p:hunter2", "env:hunter-2", "env:", "file:", "file:a\nhunter2", 42]
)
def test_a_secret_in_the_place_of_a_reference_is_never_repeated(text: object) -> None:
    with pytest.raises(ValueError, match=r"env:|file:") as caught:
        values.reference(text)
    assert "hunter" not in str(caught.value)
    assert "42" not in str(caught.value)


def test_references_of_the_policy_are_absolute() -> None:
    assert values.absolute("file:/a") == "file:/a"
    assert values.absolute("env:A") == "env:A"
    with pytest.raises(ValueError, match="absolute"):
        values.absolute("file:a")


@pytest.mark.parametrize(
    "text",
    [
        "https://idp.bank.example",
        "https://idp.bank.example:8443/realms/staff/",
        "http://127.0.0.1:9000",
        "http://localhost:9000",
        "http://[::1]:9000",
    ],
)
def test_urls_stay_as_they_are(text: str) -> None:
    assert values.url(text) == text


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("http://idp.bank.example/x", "write https://idp.bank.example/x"),
        ("http://127.0.0.1.evil.example", "plain http is refused"),
        ("https://u:hunter2@idp.bank.example", "without user"),
        ("https://idp.bank.example?x=1", "without user"),
        ("https://idp.bank.example#", "without user"),
        ("ftp://u:hunter2@idp.bank.example", "no https URL"),
        ("idp.bank.example", "no https URL"),
        ("https://", "no https URL"),
        ("https://idp.bank.example:99999", "no URL"),
        ("https://[::1", "no URL"),
        ("https://idp.bank .example", "no https URL"),
    ],
)
def test_what_is_no_https_url_is_refused_without_repeating_a_password(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        values.url(text)
    assert "hunter2" not in str(caught.value)


def test_impacts_are_the_words_of_the_vocabulary() -> None:
    assert [values.impact(word) for word in ("read", "write", "schema", "admin", "unknown")] == list(Impact)
    with pytest.raises(ValueError, match='did you mean "write"'):
        values.impact("writ")
    with pytest.raises(ValueError, match="is no impact"):
        values.impact(1)


@pytest.mark.parametrize(
    ("parser", "good", "bad"),
    [
        (values.slug, "core-banking.v2_1", "Core"),
        (values.slug, "a" * 63, "a" * 64),
        (values.slug, "a", "a+b"),
        (values.slug, "0", ""),
        (values.label, "Production", "with space"),
        (values.line, "engineers work in production", "two\nlines"),
        (values.line, "é", " padded "),
        (values.line, "x" * 200, "x" * 201),
        (values.line, "a", "\x1b[31mred"),
        (values.authority, "file:/etc/ca.pem", "file:ca.pem"),
        (values.authority, "file:/etc/ca.pem", "/etc/ca.pem"),
        (values.function, "public.state_count(text)", "state_count(text)"),
        (values.function, "public.now()", "public.f(text); drop"),
        (values.identifier, "core", "x" * 64),
        (values.identifier, "Ünïcode db", "a\x00b"),
    ],
)
def test_names_have_their_syntax(parser: Callable[[str], str], good: str, bad: str) -> None:
    assert parser(good).endswith(good.removeprefix("file:"))
    with pytest.raises(ValueError, match=r"write|no"):
        parser(bad)


def test_a_duration_of_nothing_is_no_limit_and_refused() -> None:
    with pytest.raises(ValueError, match="leave it out"):
        values.positive(0)


def test_a_list_says_nothing_twice() -> None:
    assert values.distinct(["a", "b"]) == ["a", "b"]
    with pytest.raises(ValueError, match='"a" is written twice'):
        values.distinct(["a", "b", "a"])


_parsers = st.sampled_from(
    [
        values.duration,
        values.size,
        values.address,
        values.reference,
        values.url,
        values.authority,
        values.function,
        values.line,
        values.slug,
        values.label,
        values.identifier,
        values.impact,
    ]
)


@given(_parsers, st.text(max_size=40))
def test_any_text_gives_a_value_or_a_value_error(parser: Callable[[str], object], text: str) -> None:
    with suppress(ValueError):
        parser(text)
