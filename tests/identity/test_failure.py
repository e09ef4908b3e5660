from pathlib import Path

import pytest

from vestibule.identity.failure import Failure, LoginRefused

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "identity.md"


@pytest.mark.parametrize("failure", list(Failure))
def test_the_reference_explains_every_failure(failure: Failure) -> None:
    assert f"| `{failure}` |" in PAGE.read_text()


def test_a_refusal_carries_its_word_and_its_sentence() -> None:
    refused = LoginRefused(Failure.NONCE, "the token belongs to another log-in")

    assert (refused.failure, str(refused)) == (Failure.NONCE, "the token belongs to another log-in")
