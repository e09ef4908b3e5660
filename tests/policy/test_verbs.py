from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.policies import HEAD
from vestibule.analysis.sql import special
from vestibule.analysis.sql.statements import TABLE
from vestibule.policy.document import PolicyError, load
from vestibule.policy.verbs import VERBS

ANALYSIS = Path(special.__file__).parent
#: Calls that make an operation, and which of their arguments is the verb.
MAKING = {"note": 0, "call": 0, "refuse": 1, "Operation": 0}


def written() -> Iterator[str]:
    """Every verb that the analysis writes out, the strings of a choice between two included."""
    for path in ANALYSIS.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                name = getattr(node.func, "attr", getattr(node.func, "id", ""))
                for argument in node.args[MAKING.get(name, 9) : MAKING.get(name, 9) + 1]:
                    yield from (one.value for one in ast.walk(argument) if isinstance(one, ast.Constant))


def said() -> set[str]:
    """Every verb that the analysis can say."""
    rows = {row.verb for row in TABLE.values()} | {row.unless[1] for row in TABLE.values() if row.unless}
    return {verb for verb in (*rows, *written(), *(verb for verb, _ in special._TRANSACTIONS.values())) if verb}


def test_the_policy_knows_exactly_the_verbs_that_an_analysis_can_say() -> None:
    assert VERBS - said() == set()
    assert said() - VERBS == set()


def guarded(verb: str) -> str:
    return HEAD + f"guardrails:\n  - {{name: a, match: {{verbs: [{verb}]}}, action: deny, reason: x}}\n"


@pytest.mark.parametrize("verb", sorted(VERBS))
def test_every_verb_can_be_guarded(verb: str) -> None:
    (guardrail,) = load(guarded(verb.upper()).encode(), "p").guardrails
    assert guardrail.match.verbs == {verb}


def test_a_slip_of_the_pen_is_refused_rather_than_guarding_nothing() -> None:
    with pytest.raises(PolicyError, match=r'"dorp" is no verb; did you mean "drop"\?'):
        load(guarded("dorp").encode(), "p")
