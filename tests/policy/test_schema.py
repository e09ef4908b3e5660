from __future__ import annotations

import re

import pytest

from tests.support.policies import HEAD, RULES
from tests.support.wrong_policies import WRONG
from vestibule.policy.document import PolicyError, load


def refused(text: str) -> str:
    with pytest.raises(PolicyError) as caught:
        load(text.encode(), "policy.yaml")
    return str(caught.value)


@pytest.mark.parametrize(("old", "new", "below", "words"), WRONG, ids=[f"{new[:40]!r}" for _, new, _, _ in WRONG])
def test_what_is_wrong_is_refused_at_its_line_with_what_to_write(old: str, new: str, below: int, words: str) -> None:
    text = HEAD + RULES
    line = text[: text.index(old)].count("\n") + 1 + below
    told = [entry for entry in refused(text.replace(old, new, 1)).splitlines() if words in entry]
    assert [int(entry.split(":")[1]) for entry in told] == [line]
    assert re.match(r"policy\.yaml:\d+:\d+: ", told[0])


@pytest.mark.parametrize("where", ["file:/etc/vestibule/core.password", "env:SANDBOX_PASSWORD"])
@pytest.mark.parametrize("secret", ["hunter2", "12345678", "'hunter2: x'", "[hunter2]", "{hunter2: x}", "vault"])
def test_a_password_written_into_the_policy_is_refused_and_never_repeated(where: str, secret: str) -> None:
    told = refused((HEAD + RULES).replace(where, secret))
    assert "env:NAME or file:/path" in told
    assert "hunter2" not in told.replace("password.hunter2", "")
    assert "12345678" not in told
