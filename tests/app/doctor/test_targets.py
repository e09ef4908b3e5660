"""What is concluded from a target's answers."""

from __future__ import annotations

import pytest

from tests.support.scripted import target
from vestibule.app.doctor import targets
from vestibule.masking.catalog import Attribute, Relation, Snapshot
from vestibule.model.target import RegisteredFunction

GOOD = {
    "server_version": "15.14 (Debian 15.14-0+deb12u1)",
    "log_statement": "none",
    "log_min_duration_statement": "-1",
    "log_parameter_max_length": "-1",
    "log_parameter_max_length_on_error": "0",
    "client_connection_check_interval": "10s",
    "statement_timeout": "0",
}


@pytest.mark.parametrize(
    ("said", "level"),
    [("15.14 (Debian)", "ok"), ("18.1", "ok"), ("13.2", "warn"), ("19devel", "warn"), ("", "warn"), ("a" * 99, "warn")],
)
def test_a_version_that_is_not_tested_is_said(said: str, level: str) -> None:
    found = targets.version("target core", said)
    assert found.level == level
    assert len(found.text) < 100


@pytest.mark.parametrize(
    ("mode", "level"), [("verify-full", "ok"), ("verify-ca", "warn"), ("require", "warn"), ("disable", "warn")]
)
def test_a_target_that_may_be_somebody_else_is_said(mode: str, level: str) -> None:
    assert targets.tls("target core", mode).level == level


def test_an_account_with_every_right_is_told_each_of_them() -> None:
    found = list(targets.rights("target core", ("vestibule_rw", "t", "t", "t", "f", "f")))
    assert [each.level for each in found] == ["warn"] * 3
    assert "NOBYPASSRLS" in found[1].advice


def test_an_account_without_rights_of_its_own_is_good() -> None:
    [found] = targets.rights("target core", ("vestibule_rw", "f", "f", "f", "f", "f"))
    assert found.level == "ok"


def test_good_settings_are_good() -> None:
    assert {each.level for each in targets.settings("target core", GOOD)} == {"ok"}


@pytest.mark.parametrize(
    ("changed", "about"),
    [
        ({"log_statement": "ddl"}, "its own log"),
        ({"log_min_duration_statement": "0"}, "its own log"),
        ({"log_parameter_max_length_on_error": "-1"}, "its own log"),
        ({"client_connection_check_interval": "0"}, "what outlives its session"),
        ({"client_connection_check_interval": ""}, "what outlives its session"),
    ],
)
def test_a_setting_that_weakens_the_evidence_is_said(changed: dict[str, str], about: str) -> None:
    warned = [each for each in targets.settings("target core", {**GOOD, **changed}) if each.level == "warn"]
    assert [each.about for each in warned] == [f"target core: {about}"]
    assert next(iter(changed)) in warned[0].text


def test_a_pooler_that_changes_the_name_is_found() -> None:
    assert targets.joinable("target core", "x vestibule:12345678", "vestibule:12345678").level == "ok"
    assert targets.joinable("target core", "pgbouncer", "vestibule:12345678").level == "warn"


def test_functions_that_are_not_there_are_named() -> None:
    names = (RegisteredFunction("public.f(text)", "clean"), RegisteredFunction("public.o'g()", "clean"))
    known = target(("127.0.0.1", 5432))
    known = type(known)(**{slot: getattr(known, slot) for slot in known.__slots__} | {"functions": names})
    assert "'public.o''g()'" in targets._registered(known)
    [found] = targets.functions("target core", known, [("public.f(text)", "t"), ("public.o'g()", "f")])
    assert "public.o'g()" in found.text
    [found] = targets.functions("target core", known, [("public.f(text)", "t"), ("public.o'g()", "t")])
    assert found.level == "ok"


def snapshot_of(*columns: str) -> Snapshot:
    attributes = tuple(Attribute(number, name, 25) for number, name in enumerate(columns, 1))
    relation = Relation(20_000, "public", "customers", "r", "", 20_001, attributes)
    made = object.__new__(Snapshot)
    object.__setattr__(made, "relations", {relation.oid: relation})
    return made


def test_masks_that_match_nothing_are_said_and_the_others_counted() -> None:
    found = list(
        targets.masked("target core", [("ssn", "*.customers.ssn"), ("pan", "*.cards.pan")], snapshot_of("ssn"))
    )
    assert [each.level for each in found] == ["warn", "ok"]
    assert "*.cards.pan matches no column" in found[0].text
    assert "1 columns" in found[1].text
