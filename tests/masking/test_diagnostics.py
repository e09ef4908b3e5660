from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vestibule.masking.diagnostics import DETAIL, reduced
from vestibule.masking.sqlstates import CONDITIONS

SECRET = "353-34-3540"
ERROR = {
    "S": "ERROR",
    "V": "ERROR",
    "C": "23505",
    "M": f'duplicate key value violates unique constraint "{SECRET}"',
    "D": f"Key (ssn)=({SECRET}) already exists.",
    "H": SECRET,
    "P": "12",
    "p": "3",
    "q": f"SELECT {SECRET}",
    "W": f"at {SECRET}",
    "s": "public",
    "t": SECRET,
    "c": SECRET,
    "d": SECRET,
    "n": "customers_ssn_key",
    "F": "nbtinsert.c",
    "L": "1",
    "R": SECRET,
}


def test_an_error_keeps_severity_code_place_and_a_known_constraint() -> None:
    assert reduced(ERROR, {"customers_ssn_key"}) == {
        "S": "ERROR",
        "V": "ERROR",
        "C": "23505",
        "M": "unique violation",
        "D": DETAIL,
        "P": "12",
        "n": "customers_ssn_key",
    }


def test_a_constraint_that_is_not_known_is_not_named() -> None:
    assert "n" not in reduced(ERROR)


@pytest.mark.parametrize("code", ["35334", "3533Z", "", SECRET, "p0001", "ZZZZZ"])
def test_a_code_that_the_target_chose_is_an_internal_error(code: str) -> None:
    shown = reduced({**ERROR, "C": code})

    assert (shown["C"], shown["M"]) == ("XX000", "internal error")


@given(st.dictionaries(st.sampled_from([*ERROR, "z"]), st.just(SECRET) | st.text()))
def test_nothing_that_the_target_wrote_passes(fields: dict[str, str]) -> None:
    shown = reduced(fields)

    assert SECRET not in "".join(shown.values())
    assert shown["C"] in CONDITIONS
    assert shown.keys() <= set("SVCMDPn")
    assert re.fullmatch(r"[0-9]*", shown.get("P", ""))


def test_every_condition_has_its_words() -> None:
    assert len(CONDITIONS) > 250
    assert all(re.fullmatch(r"[0-9A-Z]{5}", code) and words.strip() for code, words in CONDITIONS.items())
